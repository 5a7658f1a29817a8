"""The part of an exported folder that timm reads: its configuration and the weights."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import CONFIG_FILE, WEIGHTS_FILE, one_line
from glmc_zoo.hub._weights import describe_weights, largest_difference, load_exported, save_model

__all__ = ["ModelExport", "checked_export"]

_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming", "random")

# What of the registry's entry describes the network and not somebody's weights or images.
_STRUCTURAL_KEYS = ("architecture", "classifier", "first_conv", "fixed_input_size", "input_size", "pool_size")


@dataclass(frozen=True)
class ModelExport:
    """A model and its metadata, checked to fit each other."""

    model: nn.Module
    class_names: list[str]
    metadata: dict[str, Any]
    data_config: dict[str, Any]

    def write(self, staging: Path, *, half: bool = False) -> dict[str, Any]:
        """Write config and weights, check that timm loads them, and describe the weights."""
        _write_config(self, staging / CONFIG_FILE, half=half)
        path = staging / WEIGHTS_FILE
        save_model(self.model, path)
        loaded = _load_checked(staging)
        if not half:
            return describe_weights(path)
        save_model(self.model, path, half=True)
        kind = "logit" if self.class_names else "feature"
        difference = largest_difference(loaded, _load_checked(staging), self.data_config["input_size"])
        return describe_weights(path, half=True) | {f"max_{kind}_difference": difference}


def checked_export(
    timm_model: nn.Module,
    *,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    input_size: Sequence[int],
    tag: str,
    interpolation: str,
    crop_pct: float,
    **about: str | None,
) -> ModelExport:
    """A model and what is said about it, for arguments as `glmc_zoo.hub.export_model` takes them.

    Raises:
        UserError: they do not fit the model, or it is none of timm's.
    """
    model: Any = _unwrapped(timm_model)
    if len(class_names) != model.num_classes:
        raise UserError(
            f"{len(class_names)} class names for a model of {model.num_classes} classes: give one for each."
        )
    if len(input_size) != 3 or min(input_size) < 1:
        raise UserError(f"input_size {tuple(input_size)} must be three positive numbers: (channels, height, width).")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != input_size[0]:
            raise UserError(f"{name} has {len(values)} values for {input_size[0]} channels: give one for each channel.")
    if min(std) <= 0:
        raise UserError(f"std {tuple(std)} must be positive in every channel: give that of the training images.")
    if not re.fullmatch(r"[A-Za-z0-9]\w*", tag, flags=re.ASCII):
        raise UserError(f"Tag {tag!r} must be letters, digits and underscores, such as glmc_cifar10_lt.")
    if interpolation not in _INTERPOLATIONS:
        raise UserError(f"Unknown interpolation {interpolation!r}: choose from {', '.join(_INTERPOLATIONS)}.")
    if not 0 < crop_pct <= 1:
        raise UserError(f"crop_pct {crop_pct} must be above 0 and at most 1: the crop over the size resized to.")
    metadata = {"tag": tag, **about, "num_classes": model.num_classes, "crop_mode": "center"}
    data_config = {
        "input_size": tuple(input_size),
        "mean": tuple(float(value) for value in mean),
        "std": tuple(float(value) for value in std),
        "interpolation": interpolation,
        "crop_pct": float(crop_pct),
        "crop_mode": "center",
    }
    said = {key: value for key, value in metadata.items() if value is not None}
    return ModelExport(model, [str(name) for name in class_names], said, data_config)


def _unwrapped(model: nn.Module) -> nn.Module:
    from timm.utils import unwrap_model

    model = unwrap_model(model)
    if not hasattr(model, "pretrained_cfg") or not hasattr(model, "num_classes"):
        raise UserError(
            f"{type(model).__name__} is not a timm model: give what timm.create_model made, such as"
            " GLMCModel.timm_model."
        )
    return model


def _load_checked(folder: Path) -> nn.Module:
    try:
        return load_exported(folder)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        raise UserError(
            f"timm cannot rebuild this model from its export: {one_line(error)} Build it with timm.create_model, and do"
            " not change its layers afterwards."
        ) from error


def _write_config(export: ModelExport, path: Path, *, half: bool) -> None:
    from timm.models._hub import save_config_for_hf

    about: dict[str, Any] = {"pretrained_cfg": export.metadata}
    if export.class_names:
        about["label_names"] = export.class_names
    if half:
        about["torch_dtype"] = "float32"  # or transformers would compute in the precision of the file
    try:
        save_config_for_hf(
            _without_registry_metadata(export.model), str(path), model_config=about, data_config=export.data_config
        )
    except ValueError as error:
        raise UserError(
            f"The model cannot be exported for images of size {export.data_config['input_size']}: {one_line(error)}"
            " Give the size and the arguments that the model was built with."
        ) from error
    # num_classes stands at the root: transformers passes it beside model_args, and Python refuses it twice.
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _without_registry_metadata(model: nn.Module) -> nn.Module:
    """A shallow stand-in that shares the weights, so that timm's writer sees our metadata only."""
    stand_in: Any = copy.copy(model)
    registered = stand_in.pretrained_cfg
    stand_in.pretrained_cfg = {key: registered[key] for key in _STRUCTURAL_KEYS if key in registered}
    return stand_in
