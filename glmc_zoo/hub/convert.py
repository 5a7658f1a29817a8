"""Checkpoints in the layout that GLMC's authors published, as a timm model and the heads that only training needs.

A torch file with a state dict, by itself or under ``state_dict`` or ``model``, its keys with or without ``module.``
before them. The encoder's keys are those of the CIFAR ResNets here (``conv1 bn1 layer1..layer3``, shortcuts without
weights) or torchvision's of ResNet and ResNeXt (``layer1..layer4``, ``downsample.0`` and ``.1``), which are timm's too.
Beside it stand four linear heads: ``fc`` (conventional classifier), ``fc_cb`` (re-balanced classifier, the one used at
inference), ``projection_head`` and ``contrast_head`` (projection and prediction), the last two also as the one layer of
a ``Sequential``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import one_line
from glmc_zoo.hub._weights import file_sha256

__all__ = ["CONVERTIBLE", "ConvertedModel", "checkpoint_facts", "convert_state_dict", "read_checkpoint"]

# Backbones that are looked through for one that the tensors fit.
CONVERTIBLE = (
    *("resnet32x4_cifar", "resnet32_cifar", "resnet20_cifar", "resnet56_cifar"),
    *("resnext50_32x4d", "resnet50", "resnet18", "resnet34", "resnet101", "resnet152"),
    *("resnext101_32x8d", "wide_resnet50_2"),
)

_BALANCED = "fc_cb"
# Their names of the other heads, and those of `glmc_zoo.method.GLMCModel`.
_HEADS = {"fc": "conventional_classifier", "projection_head": "projector", "contrast_head": "predictor"}
_NAMED = 4  # keys named in a message


@dataclass(frozen=True)
class ConvertedModel:
    """What a checkpoint holds."""

    backbone: str
    timm_model: nn.Module
    """With the re-balanced classifier as its own, in evaluation mode."""
    heads: dict[str, Tensor]
    """State of the other heads, by the names of ``GLMCModel.training_heads()``."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a torch file, without ``module.`` before its keys; nothing in the file is run.

    Raises:
        UserError: there is no such file, it is none of torch's, it needs more than tensors and plain values to be read,
            or it holds no state dict.
    """
    path = Path(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"Checkpoint {path.name} holds more than tensors and plain values, or is no torch file, and is not read,"
            " since reading it could run code: save its state_dict alone with torch.save and convert that."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"Checkpoint {path.name} cannot be read as a torch file: {one_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    named = isinstance(loaded, Mapping) and all(isinstance(key, str) for key in loaded)
    if not named or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(
            f"Checkpoint {path.name} holds no state dict: give a file with tensors by name, by themselves or under"
            " 'state_dict' or 'model'."
        )
    wrapped = all(key.startswith("module.") for key in loaded)
    return {key.removeprefix("module.") if wrapped else key: value for key, value in loaded.items()}


def checkpoint_facts(path: str | Path) -> dict[str, str]:
    """Name and SHA-256 of a checkpoint, for the results of the converted model."""
    return {"file": Path(path).name, "sha256": file_sha256(Path(path))}


def convert_state_dict(state_dict: Mapping[str, Tensor], backbone: str | None = None) -> ConvertedModel:
    """Sort a checkpoint's tensors into the timm model and the other heads; every one of them is placed.

    Args:
        state_dict: as `read_checkpoint` gives it; not changed.
        backbone: name of a timm model; by default the one of ``CONVERTIBLE`` that the tensors fit.

    Returns:
        The model with its heads. Number of classes and width of the projection are read from the tensors.

    Raises:
        UserError: a key is missing or left over, a shape does not fit, or a head is not a linear layer with a bias.
    """
    encoder, heads = _split(state_dict)
    classifier = heads.pop(_BALANCED)
    bad = next((key for key, value in state_dict.items() if not torch.isfinite(value).all()), None)
    if bad is not None:
        raise UserError(f"The checkpoint's {bad!r} holds values that are not finite: give one from before it diverged.")
    name = backbone if backbone is not None else _nearest(encoder, classifier)
    model = _build(name, len(classifier["weight"]))
    state = _with_classifier(model, encoder, classifier)
    faults = _faults(model.state_dict(), state)
    if faults:
        other = _nearest(encoder, classifier)
        hint = f"; they fit {other}" if other != name and not _faults_of(other, encoder, classifier) else ""
        nearest = "" if backbone is not None else ", the nearest of the backbones that are tried"
        raise UserError(f"The checkpoint's tensors do not fit {name}{nearest}: {'; '.join(faults)}{hint}.")
    model.load_state_dict(state)
    return ConvertedModel(name, model.eval(), _training_heads(heads, *classifier["weight"].shape))


def _split(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The encoder's tensors, and weight and bias of each head by its name in the checkpoint."""
    encoder: dict[str, Tensor] = {}
    heads: dict[str, dict[str, Tensor]] = {name: {} for name in (_BALANCED, *_HEADS)}
    for key, value in state_dict.items():
        head, _, part = key.partition(".")
        if head not in heads:
            encoder[key] = value
            continue
        part = part.removeprefix("0.") if head not in (_BALANCED, "fc") else part
        if part not in ("weight", "bias") or part in heads[head]:
            raise UserError(
                f"The checkpoint's key {key!r} is left over: head {head!r} must be one linear layer, its weight and"
                " bias alone."
            )
        heads[head][part] = value
    absent = [name for name, tensors in heads.items() if not tensors]
    if absent:
        raise UserError(
            f"The checkpoint has no {', '.join(absent)}: the heads fc, fc_cb, projection_head and contrast_head are all"
            " needed."
        )
    for name, tensors in heads.items():
        if "weight" not in tensors:
            raise UserError(f"The checkpoint's key {name + '.weight'!r} is missing: every head needs its weight.")
        if "bias" not in tensors:
            raise UserError(
                f"The checkpoint's head {name!r} has no bias, as cosine and normalised classifiers have none: these"
                " scale features and weights before the product, which timm's linear classifier does not, so that"
                " only heads with a bias can be converted."
            )
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise UserError(
                f"The checkpoint's head {name!r} has a weight of shape {tuple(weight.shape)} and a bias of shape"
                f" {tuple(bias.shape)}: a linear layer has (out, in) and (out,)."
            )
    return encoder, heads


def _build(backbone: str, num_classes: int) -> Any:
    import timm

    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(backbone, num_classes=num_classes)
    except (RuntimeError, ValueError, TypeError, AssertionError, OSError) as error:
        raise UserError(
            f"Backbone {backbone!r} cannot be built: {one_line(error)} Give one of {', '.join(CONVERTIBLE)}, or"
            " another model of timm."
        ) from error


def _with_classifier(model: Any, encoder: Mapping[str, Tensor], classifier: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of the timm model: the encoder's tensors, and the re-balanced classifier under timm's name of it."""
    name = model.pretrained_cfg.get("classifier")
    if not isinstance(name, str):
        raise UserError(
            f"Backbone {model.pretrained_cfg.get('architecture')!r} has not one classifier, and none of the"
            " checkpoint's can become its own: give one of the ResNets."
        )
    return {**encoder, **{f"{name}.{part}": value for part, value in classifier.items()}}


def _faults(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps ``given`` from being the state of a model whose state is like ``wanted``."""
    shapes = [
        f"{key} {tuple(given[key].shape)} in place of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    found = {
        "missing": [key for key in wanted if key not in given],
        "left over": [key for key in given if key not in wanted],
        "of another shape": shapes,
    }
    return [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in found.items() if keys]


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")


def _faults_of(name: str, encoder: Mapping[str, Tensor], classifier: Mapping[str, Tensor]) -> int:
    """How many keys do not fit a backbone; it is built without memory, since only names and shapes count."""
    with torch.device("meta"):
        model = _build(name, len(classifier["weight"]))
    wanted, given = model.state_dict(), _with_classifier(model, encoder, classifier)
    other_shape = sum(given[key].shape != value.shape for key, value in wanted.items() if key in given)
    return len(wanted.keys() ^ given.keys()) + other_shape


def _nearest(encoder: Mapping[str, Tensor], classifier: Mapping[str, Tensor]) -> str:
    """The backbone that the tensors are the state of, or the one that the fewest keys keep from it."""
    return min(CONVERTIBLE, key=lambda name: _faults_of(name, encoder, classifier))


def _training_heads(heads: Mapping[str, Mapping[str, Tensor]], classes: int, width: int) -> dict[str, Tensor]:
    dim = len(heads["projection_head"]["weight"])
    wanted = {"fc": (classes, width), "projection_head": (dim, width), "contrast_head": (dim, dim)}
    for name, shape in wanted.items():
        if heads[name]["weight"].shape != shape:
            raise UserError(
                f"The checkpoint's key '{name}.weight' has shape {tuple(heads[name]['weight'].shape)} where"
                f" {shape} is needed beside its other heads."
            )
    return {f"{ours}.{part}": heads[name][part] for name, ours in _HEADS.items() for part in ("weight", "bias")}
