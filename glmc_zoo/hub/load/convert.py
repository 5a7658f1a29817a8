"""Convert checkpoints of GLMC's authors to a timm model and the heads that only training needs.

Such a checkpoint is a torch file with a state dict, by itself or under ``state_dict`` or ``model``; its keys may start
with ``module.``. The keys of the encoder are those of the CIFAR ResNets in this package or of torchvision's ResNet and
ResNeXt, which timm shares. The four heads are linear layers: ``fc`` (conventional classifier), ``fc_cb`` (re-balanced
classifier, used at inference), ``projection_head`` and ``contrast_head`` (projection and prediction); each of the last
two may be the only layer of a ``Sequential``.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.building import outside_failures
from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import as_user_error

CONVERTIBLE = (
    *("resnet32x4_cifar", "resnet32_cifar", "resnet20_cifar", "resnet56_cifar"),
    *("resnext50_32x4d", "resnet50", "resnet18", "resnet34", "resnet101", "resnet152"),
    *("resnext101_32x8d", "wide_resnet50_2"),
)
"""Backbones that are tried when none is given."""

_BALANCED = "fc_cb"
# Names of the other heads in the checkpoint, and in `glmc_zoo.method.GLMCModel`.
_HEADS = {"fc": "conventional_classifier", "projection_head": "projector", "contrast_head": "predictor"}
_SEQUENTIAL = ("projection_head", "contrast_head")  # heads that may be the only layer of a Sequential


@dataclass(frozen=True)
class ConvertedModel:
    """The content of a checkpoint."""

    backbone: str
    timm_model: nn.Module
    """In evaluation mode; its classifier is the re-balanced one."""
    heads: dict[str, Tensor]
    """State of the other heads, by the names of ``GLMCModel.training_heads()``."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a torch file, without ``module.`` before its keys; no code in the file is run.

    A file that is not a torch file, holds more than tensors and plain values, or no state dict raises a `UserError`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UserError(f"Checkpoint {path.name} is not a regular file: give what torch.save wrote.")
    failures = (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError)
    try:
        with (
            as_user_error(
                f"Checkpoint {path.name} cannot be read as a torch file", *failures, fix="give what torch.save wrote"
            ),
            outside_failures(f"Checkpoint {path.name}", smaller="a smaller one"),
        ):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"Checkpoint {path.name} holds more than tensors and plain values, or is not a torch file, and is not read,"
            " since reading it could run code: save its state_dict alone with torch.save and convert that."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    has_names = isinstance(loaded, Mapping) and all(isinstance(key, str) for key in loaded)
    if not has_names or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        fix = "give a file with tensors by name, by themselves or under 'state_dict' or 'model'"
        raise UserError(f"Checkpoint {path.name} holds no state dict: {fix}.")
    has_prefix = all(key.startswith("module.") for key in loaded)
    return {key.removeprefix("module.") if has_prefix else key: value for key, value in loaded.items()}


def convert_state_dict(state_dict: Mapping[str, Tensor], backbone: str | None = None) -> ConvertedModel:
    """Sort a checkpoint's tensors into the timm model and the other heads; each tensor must be used.

    Number of classes and width of the projection are read from the tensors. The backbone is by default the one of
    ``CONVERTIBLE`` that the tensors fit. A key that is missing or left over, a shape that does not fit, and a head that
    is not a linear layer with a bias raise a `UserError`.
    """
    encoder, heads = _split_heads(state_dict)
    classifier = heads.pop(_BALANCED)
    not_finite = next((key for key, value in state_dict.items() if not torch.isfinite(value).all()), None)
    if not_finite is not None:
        raise UserError(f"The checkpoint's {not_finite!r} holds values that are not finite: give an earlier one.")
    name = backbone if backbone is not None else _nearest_backbone(encoder, classifier)
    model, state, mismatches = _match_backbone(name, encoder, classifier)
    if mismatches:
        alternative = _nearest_backbone(encoder, classifier)
        hint = (
            f"; they fit {alternative}"
            if not _match_backbone(alternative, encoder, classifier, device="meta")[2]
            else ""
        )
        nearest = "" if backbone is not None else ", the nearest of the backbones that were tried"
        shortened = {kind: keys if len(keys) <= 4 else [*keys[:4], "..."] for kind, keys in mismatches.items()}
        listed = "; ".join(f"{len(keys)} {kind} ({', '.join(shortened[kind])})" for kind, keys in mismatches.items())
        raise UserError(f"The checkpoint's tensors do not fit {name}{nearest}: {listed}{hint}.")
    model.load_state_dict(state)
    classes, width = classifier["weight"].shape
    dim = len(heads["projection_head"]["weight"])
    expected = {"fc": (classes, width), "projection_head": (dim, width), "contrast_head": (dim, dim)}
    for head, shape in expected.items():
        actual = tuple(heads[head]["weight"].shape)
        if actual != shape:
            fault = f"has shape {actual} where {shape} fits its other heads"
            raise UserError(f"The checkpoint's key '{head}.weight' {fault}.")
    training = {
        f"{module}.{parameter}": heads[head][parameter]
        for head, module in _HEADS.items()
        for parameter in ("weight", "bias")
    }
    return ConvertedModel(name, model.eval(), training)


def _split_heads(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The encoder's tensors, and weight and bias of each head by its name in the checkpoint."""
    encoder: dict[str, Tensor] = {}
    heads: dict[str, dict[str, Tensor]] = {name: {} for name in (_BALANCED, *_HEADS)}
    for key, value in state_dict.items():
        head, _, parameter = key.partition(".")
        if head not in heads:
            encoder[key] = value
            continue
        parameter = parameter.removeprefix("0.") if head in _SEQUENTIAL else parameter
        if parameter not in ("weight", "bias") or parameter in heads[head]:
            fix = f"head {head!r} must be one linear layer, its weight and bias alone"
            raise UserError(f"The checkpoint's key {key!r} is left over: {fix}.")
        heads[head][parameter] = value
    missing = [name for name, tensors in heads.items() if not tensors]
    if missing:
        requirement = "it must hold the heads fc, fc_cb, projection_head and contrast_head"
        raise UserError(f"The checkpoint has no {', '.join(missing)}: {requirement}.")
    for name, tensors in heads.items():
        if "weight" not in tensors:
            raise UserError(f"The checkpoint's key {name + '.weight'!r} is missing: every head needs its weight.")
        if "bias" not in tensors:
            raise UserError(
                f"The checkpoint's head {name!r} has no bias, as cosine and normalised classifiers have none: these "
                "scale features and weights, and timm's linear classifier does not, so only heads with a bias can be "
                "converted."
            )
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise UserError(
                f"The checkpoint's head {name!r} has a weight of shape {tuple(weight.shape)} and a bias of shape"
                f" {tuple(bias.shape)}: a linear layer has (out, in) and (out,)."
            )
    return encoder, heads


def _match_backbone(
    backbone: str, encoder: Mapping[str, Tensor], classifier: Mapping[str, Tensor], device: str = "cpu"
) -> tuple[Any, dict[str, Tensor], dict[str, list[str]]]:
    """The timm model, the state that it would load, and the keys that do not fit, by the kind of find_contradiction."""
    import timm

    failures = (RuntimeError, ValueError, TypeError, AssertionError, OSError)
    fix = f"Give one of {', '.join(CONVERTIBLE)}, or another timm model."
    with (
        as_user_error(f"backbone={backbone!r} cannot be built", *failures, fix=fix),
        outside_failures(f"backbone={backbone!r}", smaller="a smaller one"),
        torch.random.fork_rng(devices=[]),
        torch.device(device),
    ):
        model: Any = timm.create_model(backbone, num_classes=len(classifier["weight"]))
    name = model.pretrained_cfg.get("classifier")
    if not isinstance(name, str):
        raise UserError(
            f"backbone={model.pretrained_cfg.get('architecture')!r} does not have exactly one classifier, which the"
            " checkpoint's could replace: give one of the ResNets."
        )
    state = {**encoder, **{f"{name}.{parameter}": value for parameter, value in classifier.items()}}
    expected = model.state_dict()
    mismatches = {
        "missing": [key for key in expected if key not in state],
        "left over": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    return model, state, {kind: keys for kind, keys in mismatches.items() if keys}


def _nearest_backbone(encoder: Mapping[str, Tensor], classifier: Mapping[str, Tensor]) -> str:
    """The backbone with the fewest keys that do not fit the tensors; built on ``meta``, since only shapes matter."""
    mismatches = {name: _match_backbone(name, encoder, classifier, device="meta")[2] for name in CONVERTIBLE}
    return min(CONVERTIBLE, key=lambda name: sum(map(len, mismatches[name].values())))
