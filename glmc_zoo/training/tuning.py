"""Which part of a trained model is trained (blocks, classifier), and how fast each layer learns."""

from typing import Any

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmc_zoo.errors import UserError


def train_head(model: Any) -> None:
    """Freeze a timm model but for its classifier: the linear probe."""
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)


def train_last_blocks(model: Any, blocks: int) -> None:
    """Freeze a timm model but for its last ``blocks`` blocks and what comes after them.

    Blocks are the layers of the model's own ``group_matcher``, as in timm's layer-wise learning rates.
    """
    layers = _layers(model)
    last = max(layers.values())  # of the final norm and the classifier
    if blocks >= last:
        raise UserError(
            f"last_blocks={blocks} is not less than all the {last} layers of this backbone: give at most {last - 1}, "
            "or train all with tune='full'."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(layers[name] >= last - blocks)
    model.get_classifier().requires_grad_(True)


def _layers(model: Any) -> dict[str, int]:
    """Number of the layer of each parameter, counted from the input; the classifier belongs to the last."""
    if not hasattr(model, "group_matcher"):
        raise UserError(
            f"{type(model).__name__} does not define its layers (group_matcher): give tune='full', 'head' or 'lora'."
        )
    layers: dict[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    return layers


def frozen_modules(module: nn.Module) -> list[nn.Module]:
    """Modules with parameters, none of which is trained: their statistics and dropout stay as in evaluation too."""
    return [m for m in module.modules() if (own := list(m.parameters())) and not any(p.requires_grad for p in own)]


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The batch-norm layers of a model, those of timm that come with an activation too."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def layer_decay_groups(task: nn.Module, model: nn.Module, *, weight_decay: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of ``task``; the learning rate falls by ``decay`` from each layer to the one below.

    timm's groups (Bao et al., BEiT, 2021) with the weight decay on every parameter; what the task trains beside
    the timm model learns at the full rate.
    """
    groups = param_groups_layer_decay(
        model, weight_decay=weight_decay, weight_decay_exclude_1d=False, layer_decay=decay
    )
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    rest = [p for p in task.parameters() if p.requires_grad and id(p) not in grouped]
    return [*groups, *([{"params": rest, "weight_decay": weight_decay, "lr_scale": 1.0}] if rest else [])]


def scale_classifier(
    task: nn.Module,
    groups: list[dict[str, Any]] | None,
    classifiers: list[nn.Module],
    *,
    weight_decay: float,
    scale: float,
) -> list[dict[str, Any]]:
    """Parameter groups in which the classifiers learn at ``scale`` times the rate that ``groups`` give them.

    Without ``groups`` the whole task is one.
    """
    everything = [parameter for parameter in task.parameters() if parameter.requires_grad]
    groups = groups or [{"params": everything, "weight_decay": weight_decay, "lr_scale": 1.0}]
    own = {id(parameter) for layer in classifiers for parameter in layer.parameters()}
    split = []
    for group in groups:
        for inside, factor in ((False, 1.0), (True, scale)):
            part = [parameter for parameter in group["params"] if (id(parameter) in own) == inside]
            if part:
                split.append({**group, "params": part, "lr_scale": factor * group["lr_scale"]})
    return split
