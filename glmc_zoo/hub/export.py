"""A trained timm model as a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads.

The folder holds exactly the timm model, so it needs timm alone where the architecture is timm's own. What only training
needs (the other heads of GLMC) lies in a file of its own beside it, which timm does not look at.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError

__all__ = ["GLMC_PAPER", "export_model", "write_heads"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
HEADS_FILE = "glmc_heads.safetensors"

# For `export_model(..., **GLMC_PAPER)`, when the model really was trained with GLMC.
GLMC_PAPER = {
    "paper_name": "Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions",
    "paper_ids": "arXiv:2305.08661",
}

_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming", "random")

# What of the registry's entry describes the network and not somebody's weights or images.
_STRUCTURAL_KEYS = ("architecture", "classifier", "first_conv", "fixed_input_size", "input_size", "pool_size")

# An export may take the place of these and of nothing else: the folder is replaced whole.
_REPLACEABLE = {CONFIG_FILE, WEIGHTS_FILE, HEADS_FILE, "README.md", "results.json", "config.yaml", "plots"}
_REPLACEABLE |= {".cache", ".gitattributes"}


def export_model(
    timm_model: nn.Module,
    folder: str | Path,
    *,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    input_size: tuple[int, int, int],
    tag: str,
    interpolation: str = "bicubic",
    crop_pct: float = 1.0,
    license: str = "apache-2.0",
    description: str | None = None,
    origin_url: str | None = None,
    paper_name: str | None = None,
    paper_ids: str | None = None,
) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as timm lays them out, and check that timm loads them.

    The weights are float32, contiguous and on the CPU, whatever the model's device, precision or memory format; the
    model itself is not changed. The metadata is what the arguments say: of the registry's entry for the architecture
    (its tag, licence, paper, test size, normalisation) nothing stays. The folder is built beside ``folder`` and moved
    into place whole, so that a failure leaves an earlier export as it was; what an earlier export held is replaced.

    Args:
        timm_model: a classifier made by ``timm.create_model``, also when wrapped by ``torch.compile`` or DDP.
        folder: where to write; absent, empty, or an earlier export.
        class_names: the name of each class, in the order of the logits.
        mean: per channel, of images in the range 0 to 1.
        std: per channel, of images in the range 0 to 1.
        input_size: (channels, height, width) of the images that the model was evaluated on.
        tag: what comes after the dot in the model's name, such as ``glmc_cifar10_lt``.
        interpolation: how images were resized for evaluation.
        crop_pct: size of the evaluation crop over the size resized to.
        license: identifier of the weights' licence, as the Hub spells it.
        description: one line about the weights.
        origin_url: where the weights come from.
        paper_name: title of the paper to credit; see ``GLMC_PAPER``.
        paper_ids: its identifier, such as ``arXiv:2305.08661``.

    Returns:
        The folder.

    Raises:
        UserError: an argument does not fit the model, the folder holds something else, or timm cannot rebuild the
            model.
    """
    from timm.models._hub import save_config_for_hf

    model = _unwrapped(timm_model)
    _check_arguments(model, class_names, mean, std, input_size, tag, interpolation, crop_pct)
    folder = Path(folder)
    _check_replaceable(folder)

    metadata = {
        "tag": tag,
        "license": license,
        "description": description,
        "origin_url": origin_url,
        "paper_name": paper_name,
        "paper_ids": paper_ids,
        "num_classes": model.num_classes,
        "crop_mode": "center",
    }
    data_config = {
        "input_size": tuple(input_size),
        "mean": tuple(float(value) for value in mean),
        "std": tuple(float(value) for value in std),
        "interpolation": interpolation,
        "crop_pct": float(crop_pct),
        "crop_mode": "center",
    }
    with _replacing(folder) as staging:
        try:
            save_config_for_hf(
                _without_registry_metadata(model),
                str(staging / CONFIG_FILE),
                model_config={
                    "pretrained_cfg": {key: value for key, value in metadata.items() if value is not None},
                    "label_names": [str(name) for name in class_names],
                },
                data_config=data_config,
            )
        except ValueError as error:
            raise UserError(
                f"The model cannot be exported for images of size {tuple(input_size)}: {one_line(error)} Give the size"
                " and the arguments that the model was built with."
            ) from error
        _drop_num_classes_argument(staging / CONFIG_FILE)
        _save_tensors(model.state_dict(), staging / WEIGHTS_FILE)
        _check_loads(staging)
    return folder


def write_heads(state_dict: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write what only training needs into ``glmc_heads.safetensors``, beside the exported model.

    A second file, since one key too many in ``model.safetensors`` makes timm refuse the model.

    Args:
        state_dict: tensors by name, of any device and precision; stored as contiguous float32 (integers as they are).
        folder: an exported model.

    Returns:
        The file.

    Raises:
        UserError: the folder is not there, or there is nothing to write.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} for the training heads: export the model into it first.")
    if not state_dict:
        raise UserError("The training heads have no tensors: leave write_heads out for a model without them.")
    path = folder / HEADS_FILE
    partial = folder / f".{HEADS_FILE}.{uuid.uuid4().hex}"
    try:
        _save_tensors(state_dict, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _unwrapped(model: nn.Module) -> nn.Module:
    from timm.utils import unwrap_model

    model = unwrap_model(model)
    if not hasattr(model, "pretrained_cfg") or not hasattr(model, "num_classes"):
        raise UserError(
            f"{type(model).__name__} is not a timm model: give what timm.create_model made, such as"
            " GLMCModel.timm_model."
        )
    return model


def _check_arguments(
    model: nn.Module,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    input_size: Sequence[int],
    tag: str,
    interpolation: str,
    crop_pct: float,
) -> None:
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


def _without_registry_metadata(model: nn.Module) -> nn.Module:
    """A shallow stand-in that shares the weights, so that timm's writer sees our metadata only."""
    stand_in: Any = copy.copy(model)
    registered = stand_in.pretrained_cfg
    stand_in.pretrained_cfg = {key: registered[key] for key in _STRUCTURAL_KEYS if key in registered}
    return stand_in


def _drop_num_classes_argument(path: Path) -> None:
    """Leave ``num_classes`` to the config's root: transformers passes it beside ``model_args`` and refuses it twice."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save_tensors(state_dict: Mapping[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    def plain(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
        return tensor.clone(memory_format=torch.contiguous_format)  # a clone each: tied weights share memory

    # Blocks compiled one by one carry the wrapper in their names.
    tensors = {name.replace("_orig_mod.", ""): plain(tensor) for name, tensor in state_dict.items()}
    save_file(tensors, path, metadata={"format": "pt"})  # transformers reads the format


def _check_loads(folder: Path) -> None:
    """Build the model anew from what was written, without moving the random numbers of a run under way."""
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        raise UserError(
            f"timm cannot rebuild this model from its export: {one_line(error)} Build it with timm.create_model, and do"
            " not change its layers afterwards."
        ) from error


def _check_replaceable(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is a link or a file, not a folder: export into another place.")
    if folder.is_dir():
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in _REPLACEABLE)
        if foreign:
            raise UserError(
                f"Folder {folder} holds {foreign[0]!r}, which an export would delete: give a folder of its own."
            )


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside ``folder``: it takes its place when the block ends well, and is removed otherwise."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex
    staging = folder.with_name(f".{folder.name}.{unique}.new")
    retired = folder.with_name(f".{folder.name}.{unique}.old")
    staging.mkdir()
    try:
        yield staging
        if folder.exists():
            folder.rename(retired)
        try:
            staging.rename(folder)
        except OSError:
            if retired.exists():
                retired.rename(folder)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)


def one_line(error: BaseException, limit: int = 300) -> str:
    """What an error says, as the end of a sentence of ours: one line, cut at ``limit`` characters, with a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return text if text.endswith((".", "!", "?")) else f"{text}."
