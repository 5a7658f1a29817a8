"""Check timm's ``config.json`` of a model that somebody else may have made, before anything is built.

With a wrong value timm would end in a traceback, give scores of NaN, or ask for images of 160,000 pixels a side.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from glmc_zoo.errors import UserError

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming", "random")
MAX_PIXELS = 4096
"""Largest side of the images of a model, and twice that after resizing (see ``crop_pct``)."""
_CROP_MODES = ("center", "squash", "border")
_MAX_CHANNELS = 64
_MAX_CLASSES = 1_000_000
_MAX_ARGUMENT = 100_000
# Arguments of timm's factory that say where weights come from or what is loaded; they are no part of a network.
_FACTORY = re.compile(
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


def check_config(values: Any, shown: str) -> ModelConfig:
    """The checked content of a ``config.json``; messages call the file ``shown``.

    Raises:
        UserError: It does not describe a timm model, or a value has a wrong type or is out of range.
    """
    if not isinstance(values, dict) or "architecture" not in values:
        raise UserError(f"{shown} does not describe a timm model, architecture is missing: give an exported folder.")
    inner = values.get("pretrained_cfg", values)  # old files have everything at the top level
    if not isinstance(inner, dict):
        raise _refusal(shown, "pretrained_cfg", inner, "an object")
    checks: list[tuple[Mapping[str, Any], dict[str, _Check]]] = [(values, _TOP), (inner, _INNER)]
    for part, known in checks:
        for key, (allowed, fits) in known.items():
            if part.get(key) is not None and not fits(part[key]):
                raise _refusal(shown, key, part[key], allowed)
    if not _is_text(values["architecture"]):
        raise _refusal(shown, "architecture", values["architecture"], _TEXT[0])
    _check_arguments(values.get("model_args") or {}, shown)
    _check_statistics(inner, shown)
    count = values.get("num_classes", inner.get("num_classes"))
    names = _class_names(values.get("label_names") or inner.get("label_names") or inner.get("labels"))
    if names and count and len(names) != count:
        raise UserError(f"{shown} names {len(names)} classes and has num_classes {count}: export the model again.")
    return ModelConfig(values["architecture"], count, names, {**inner, "architecture": values["architecture"]})


def _class_names(names: Any) -> list[str] | None:
    """The names in the order of the logits; ``None`` without any, and where timm's form by number has gaps."""
    if isinstance(names, dict):
        numbers = [str(number) for number in range(len(names))]
        names = [names[number] for number in numbers] if set(numbers) == set(names) else None
    return [str(name) for name in names] if names else None


def _refusal(shown: str, key: str, value: Any, allowed: str) -> UserError:
    text = repr(value)
    return UserError(f"{shown} has {key} {text if len(text) < 80 else type(value).__name__}: it must be {allowed}.")


def _check_arguments(arguments: Mapping[str, Any], shown: str) -> None:
    """Refuse names that are not arguments of a network, and values so large that the network would fill the memory."""
    for name, value in arguments.items():
        if not name.isidentifier() or _FACTORY.fullmatch(name):
            raise UserError(
                f"{shown} has {name[:40]!r} among its model_args, which is not an argument of a network: export the "
                "model again."
            )
        if not _is_argument(value):
            allowed = f"a truth value, a short text, a number up to {_MAX_ARGUMENT}, or lists of these"
            raise _refusal(shown, f"model_args {name[:40]}", value, allowed)


def _is_argument(value: Any, levels: int = 4) -> bool:
    if isinstance(value, list | dict):
        items = list(value.values()) if isinstance(value, dict) else value
        return levels > 0 and len(items) <= 1000 and all(_is_argument(item, levels - 1) for item in items)
    if isinstance(value, str):
        return len(value) <= 1000
    return value is None or abs(value) <= _MAX_ARGUMENT


def _check_statistics(inner: Mapping[str, Any], shown: str) -> None:
    """Refuse a mean or std with a wrong number of channels, and a crop that asks for huge images."""
    size = inner.get("input_size") or [3, 224, 224]
    for key in ("mean", "std"):
        if inner.get(key) is not None and len(inner[key]) != size[0]:
            raise UserError(
                f"{shown} has {len(inner[key])} values of {key} for images of {size[0]} channels: give one for each."
            )
    for prefix in ("", "test_"):
        side = max((inner.get(f"{prefix}input_size") or size)[1:])
        crop = inner.get(f"{prefix}crop_pct") or inner.get("crop_pct") or 1
        if side / crop > 2 * MAX_PIXELS:
            raise UserError(
                f"{shown} has crop_pct {crop} for images of {side} pixels, which asks for images of "
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


def _are(kind: Callable[..., bool], *limits: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(kind(item, *limits) for item in value)


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
_TEXTS: _Check = ("text or a list of texts", lambda value: isinstance(value, str) or _are(_is_text)(value))
_TOP: dict[str, _Check] = {
    "num_classes": _COUNT,
    "num_features": ("a whole number from 1", lambda value: _is_whole(value, 1, _MAX_CLASSES)),
    "label_names": _NAMES,
    "model_args": ("an object", lambda value: isinstance(value, dict)),
}
_INNER: dict[str, _Check] = {
    **dict.fromkeys(("input_size", "test_input_size", "min_input_size"), _SIZE),
    "mean": ("numbers from -1,000 to 1,000, one for each channel", _are(_is_number, -1e3, 1e3)),
    "std": ("numbers from 0.000000001 to 1,000, one for each channel", _are(_is_number, 1e-9, 1e3)),
    **dict.fromkeys(("crop_pct", "test_crop_pct"), _CROP),
    "interpolation": (
        f"one of {', '.join(INTERPOLATIONS)}",
        lambda value: isinstance(value, str) and value in INTERPOLATIONS,
    ),
    "crop_mode": (f"one of {', '.join(_CROP_MODES)}", lambda value: isinstance(value, str) and value in _CROP_MODES),
    "num_classes": _COUNT,
    **dict.fromkeys(("label_names", "labels"), _NAMES),
    "fixed_input_size": _TRUTH,
    **dict.fromkeys(("pool_size", "test_pool_size"), ("whole numbers", _are(_is_whole, 1, MAX_PIXELS))),
    **dict.fromkeys(("first_conv", "classifier", "paper_ids", "notes"), _TEXTS),
    **dict.fromkeys(("tag", "license", "description", "origin_url", "paper_name"), _TEXTS),
}
