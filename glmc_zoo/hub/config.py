"""Check timm's ``config.json`` of a model that somebody else may have made, before anything is built.

With a wrong value timm would end in a traceback, give scores of NaN, or ask for images of 160,000 pixels a side.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming", "random")
MAX_PIXELS = 4096
"""Largest side of the images of a model, and twice that after resizing (see ``crop_pct``)."""
_CROP_MODES = ("center", "squash", "border")
_MAX_CHANNELS = 64
_MAX_CLASSES = 1_000_000
_MAX_ARGUMENT = 100_000
# Arguments of timm's factory that say where weights come from or what is loaded; they are no part of a network.
_FACTORY_ARGUMENTS = re.compile(
    r"pretrained.*|checkpoint_path|cache_dir|features_only|feature_cfg|kwargs_filter|model_c.*|variant"
)


@dataclass(frozen=True)
class ModelConfig:
    """The content of a ``config.json`` that was checked."""

    architecture: str
    num_classes: int | None
    """``None`` where the file does not state it; 0 for a model that gives features."""
    class_names: list[str] | None
    """In the order of the logits."""
    pretrained: dict[str, Any]
    """timm's pretrained configuration: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct`` ..."""


def check_config(values: Any, label: str) -> ModelConfig:
    """The checked content of a ``config.json``; messages call the file ``label``.

    Raises:
        UserError: It does not describe a timm model, or a value has a wrong type or is out of range.
    """
    if not isinstance(values, dict) or "architecture" not in values:
        raise UserError(f"{label} does not describe a timm model, architecture is missing: give an exported folder.")
    pretrained_cfg = values.get("pretrained_cfg", values)  # old files have everything at the top level
    if not isinstance(pretrained_cfg, dict):
        raise _refusal(label, "pretrained_cfg", pretrained_cfg, "an object")
    checks: list[tuple[Mapping[str, Any], dict[str, _Check]]] = [
        (values, _TOP_LEVEL_CHECKS),
        (pretrained_cfg, _PRETRAINED_CHECKS),
    ]
    for section, rules in checks:
        for key, (allowed, is_valid) in rules.items():
            if section.get(key) is not None and not is_valid(section[key]):
                raise _refusal(label, key, section[key], allowed)
    if not _is_text(values["architecture"]):
        raise _refusal(label, "architecture", values["architecture"], _TEXT[0])
    _check_arguments(values.get("model_args") or {}, label)
    _check_statistics(pretrained_cfg, label)
    count = values.get("num_classes", pretrained_cfg.get("num_classes"))
    names = _class_names(values.get("label_names") or pretrained_cfg.get("label_names") or pretrained_cfg.get("labels"))
    if names and count and len(names) != count:
        raise UserError(
            f"{label} names {counted(len(names), 'class')} and has num_classes {count}: export the model again."
        )
    return ModelConfig(values["architecture"], count, names, {**pretrained_cfg, "architecture": values["architecture"]})


def _class_names(names: Any) -> list[str] | None:
    """The names in the order of the logits; ``None`` without any, and where timm's form by number has gaps."""
    if isinstance(names, dict):
        numbers = [str(number) for number in range(len(names))]
        names = [names[number] for number in numbers] if set(numbers) == set(names) else None
    return [str(name) for name in names] if names else None


def _refusal(label: str, key: str, value: Any, allowed: str) -> UserError:
    text = repr(value)
    return UserError(f"{label} has {key} {text if len(text) < 80 else type(value).__name__}: it must be {allowed}.")


def _check_arguments(arguments: Mapping[str, Any], label: str) -> None:
    """Refuse names that are not arguments of a network, and values so large that the network would fill the memory."""
    for name, value in arguments.items():
        if not name.isidentifier() or _FACTORY_ARGUMENTS.fullmatch(name):
            raise UserError(
                f"{label} has {name[:40]!r} among its model_args, which is not an argument of a network: export the "
                "model again."
            )
        if not _is_argument(value):
            allowed = f"a truth value, a short text, a number up to {_MAX_ARGUMENT}, or lists of these"
            raise _refusal(label, f"model_args {name[:40]}", value, allowed)


def _is_argument(value: Any, levels: int = 4) -> bool:
    if isinstance(value, list | dict):
        items = list(value.values()) if isinstance(value, dict) else value
        return levels > 0 and len(items) <= 1000 and all(_is_argument(item, levels - 1) for item in items)
    if isinstance(value, str):
        return len(value) <= 1000
    return value is None or abs(value) <= _MAX_ARGUMENT


def _check_statistics(pretrained_cfg: Mapping[str, Any], label: str) -> None:
    """Refuse a mean or std with a wrong number of channels, and a crop that asks for huge images."""
    size = pretrained_cfg.get("input_size") or [3, 224, 224]
    for key in ("mean", "std"):
        if pretrained_cfg.get(key) is not None and len(pretrained_cfg[key]) != size[0]:
            raise UserError(
                f"{label} has {len(pretrained_cfg[key])} values of {key} for images of {size[0]} channels: "
                "give one for each."
            )
    for prefix in ("", "test_"):
        side = max((pretrained_cfg.get(f"{prefix}input_size") or size)[1:])
        crop = pretrained_cfg.get(f"{prefix}crop_pct") or pretrained_cfg.get("crop_pct") or 1
        if side / crop > 2 * MAX_PIXELS:
            raise UserError(
                f"{label} has crop_pct {crop} for images of {side} pixels, which asks for images of "
                f"{side / crop:,.0f} pixels a side: it must ask for at most {2 * MAX_PIXELS:,}."
            )


# ---------------------------------------------------------------- what each value may be
_Check = tuple[str, Callable[[Any], bool]]


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 10_000


def _is_size(value: Any) -> bool:
    """Channels, height and width."""
    if not isinstance(value, list | tuple) or len(value) != 3 or not _is_whole(value[0], 1, _MAX_CHANNELS):
        return False
    return all(_is_whole(side, 1, MAX_PIXELS) for side in value[1:])


def _list_of(is_valid: Callable[..., bool], *limits: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(is_valid(item, *limits) for item in value)


_SIZE: _Check = (
    f"three whole numbers: up to {_MAX_CHANNELS} channels, height and width up to {MAX_PIXELS} pixels",
    _is_size,
)
_CROP: _Check = ("a number from 0.1 to 1.5", lambda value: _is_number(value, 0.1, 1.5))
_COUNT: _Check = (
    f"a whole number from 0 to {_MAX_CLASSES:,}",
    lambda value: _is_whole(value, 0, _MAX_CLASSES),
)
_TEXT: _Check = ("text", _is_text)
_TRUTH: _Check = ("true or false", lambda value: isinstance(value, bool))
_NAMES: _Check = (
    "a list of names",
    lambda value: (
        isinstance(value, list | tuple | dict)
        and all(isinstance(item, str | int) for item in (value.values() if isinstance(value, dict) else value))
    ),
)
_TEXTS: _Check = ("text or a list of texts", lambda value: isinstance(value, str) or _list_of(_is_text)(value))
_TOP_LEVEL_CHECKS: dict[str, _Check] = {
    "num_classes": _COUNT,
    "num_features": ("a whole number from 1", lambda value: _is_whole(value, 1, _MAX_CLASSES)),
    "label_names": _NAMES,
    "model_args": ("an object", lambda value: isinstance(value, dict)),
}
_PRETRAINED_CHECKS: dict[str, _Check] = {
    **dict.fromkeys(("input_size", "test_input_size", "min_input_size"), _SIZE),
    "mean": ("numbers from -1,000 to 1,000, one for each channel", _list_of(_is_number, -1e3, 1e3)),
    "std": ("numbers from 0.000000001 to 1,000, one for each channel", _list_of(_is_number, 1e-9, 1e3)),
    **dict.fromkeys(("crop_pct", "test_crop_pct"), _CROP),
    "interpolation": (
        f"one of {', '.join(INTERPOLATIONS)}",
        lambda value: isinstance(value, str) and value in INTERPOLATIONS,
    ),
    "crop_mode": (f"one of {', '.join(_CROP_MODES)}", lambda value: isinstance(value, str) and value in _CROP_MODES),
    "num_classes": _COUNT,
    **dict.fromkeys(("label_names", "labels"), _NAMES),
    "fixed_input_size": _TRUTH,
    **dict.fromkeys(("pool_size", "test_pool_size"), ("whole numbers", _list_of(_is_whole, 1, MAX_PIXELS))),
    **dict.fromkeys(("first_conv", "classifier", "paper_ids", "notes"), _TEXTS),
    **dict.fromkeys(("tag", "license", "description", "origin_url", "paper_name"), _TEXTS),
}
