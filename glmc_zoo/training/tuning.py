"""Chooses which part of a pretrained model is trained, and the learning rate of each layer."""

from typing import Any

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmc_zoo.errors import UserError


def train_head(model: Any) -> None:
    """Freeze a timm model except its classifier."""
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)


def train_last_blocks(model: Any, blocks: int) -> None:
    """Freeze a timm model except its last ``blocks`` blocks and the layers after them.

    A block is a layer of the model's ``group_matcher``, as in timm's layer-wise learning rates.

    Raises:
        UserError: The model has no ``group_matcher``, or does not have more than ``blocks`` blocks.
    """
    layers = _layers(model)
    last_layer = max(layers.values())  # index of the group with the final norm and the classifier
    if blocks >= last_layer:
        raise UserError(
            f"last_blocks={blocks} is too large for this backbone, which has {last_layer} layers below its classifier: "
            f"give at most {last_layer - 1}, or train all of it with tune='full'."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(layers[name] >= last_layer - blocks)
    model.get_classifier().requires_grad_(True)


def _layers(model: Any) -> dict[str, int]:
    """Index of the layer of each parameter, counted from the input; the classifier belongs to the last layer."""
    if not hasattr(model, "group_matcher"):
        raise UserError(
            f"{type(model).__name__} does not define its layers (group_matcher): give tune='full', 'head' or 'lora'."
        )
    layers: dict[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    return layers


def frozen_modules(module: nn.Module) -> list[nn.Module]:
    """Modules that have parameters, none of them trained. They also keep batch-norm and dropout as in evaluation."""
    return [
        child
        for child in module.modules()
        if (parameters := list(child.parameters())) and not any(p.requires_grad for p in parameters)
    ]


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The batch-norm layers of a model, including timm's layers of batch-norm with an activation."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def layer_decay_groups(task: nn.Module, model: nn.Module, *, weight_decay: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of ``task`` in which each layer has ``decay`` times the learning rate of the layer above it.

    These are timm's groups (Bao et al., BEiT, 2021) with weight decay on every parameter. Parameters of the task
    outside the timm model have the full learning rate.

    Args:
        task: The task that is trained.
        model: The timm model inside it.
        weight_decay: Weight decay of all groups.
        decay: Factor from layer to layer, above 0.
    """
    groups = param_groups_layer_decay(
        model, weight_decay=weight_decay, weight_decay_exclude_1d=False, layer_decay=decay
    )
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    other_parameters = [p for p in task.parameters() if p.requires_grad and id(p) not in grouped]
    return [
        *groups,
        *([{"params": other_parameters, "weight_decay": weight_decay, "lr_scale": 1.0}] if other_parameters else []),
    ]


def scale_classifier_lr(
    task: nn.Module,
    groups: list[dict[str, Any]] | None,
    classifiers: list[nn.Module],
    *,
    weight_decay: float,
    scale: float,
) -> list[dict[str, Any]]:
    """Parameter groups in which the classifiers have ``scale`` times the learning rate of ``groups``.

    Args:
        task: The task that is trained.
        groups: Parameter groups with ``lr_scale``; ``None``: one group of all trained parameters.
        classifiers: The classifiers in the task.
        weight_decay: Weight decay where ``groups`` is ``None``.
        scale: Factor of the learning rate.
    """
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    groups = groups or [{"params": trained, "weight_decay": weight_decay, "lr_scale": 1.0}]
    classifier_ids = {id(parameter) for layer in classifiers for parameter in layer.parameters()}
    scaled = []
    for group in groups:
        for is_scaled, factor in ((False, 1.0), (True, scale)):
            parameters = [parameter for parameter in group["params"] if (id(parameter) in classifier_ids) == is_scaled]
            if parameters:
                scaled.append({**group, "params": parameters, "lr_scale": factor * group["lr_scale"]})
    return scaled
