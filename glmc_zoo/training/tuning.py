"""Which part of a trained model is trained (blocks, classifier, adapters), and how fast each layer learns."""

from typing import Any

import torch
from timm.layers import Conv2dSame
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from glmc_zoo.errors import UserError

_ADAPTABLE = (nn.Linear, nn.Conv2d, Conv2dSame)


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


def add_adapters(model: Any, *, rank: int, alpha: float, image_size: int) -> int:
    """Freeze a timm model but for its classifier, and put low-rank adapters on linear and convolutional layers.

    The layers are replaced in place, through the ``peft`` library; `merge_adapters` removes the adapters again. Their
    output is scaled by ``alpha / rank``. Gives the number of adapted layers. Source: Hu et al., LoRA, ICLR 2022.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise UserError("tune='lora' needs the package peft: pip install 'glmc_zoo[peft]'.") from error
    classifier = model.get_classifier()
    # Not their subclasses: the output of a convolution that standardises its weights is not linear in them, so an
    # adapter could not be merged into it.
    targets = [
        name
        for name, module in model.named_modules()
        if module is not classifier and type(module) in _ADAPTABLE and getattr(module, "groups", 1) == 1
    ]
    if not targets:
        raise UserError(f"{type(model).__name__} has no linear or plain convolutional layer for tune='lora'.")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)  # type: ignore[arg-type]  # a ratio of floats
    LoraModel(model, config, "default")
    model.get_classifier().requires_grad_(True)
    _check_reached(model, image_size)
    return len(targets)


def _check_reached(model: Any, image_size: int) -> None:
    """Refuse a backbone that reads the weights of a layer without calling it: its adapter would learn nothing.

    With several processes, parameters without a gradient would also stop the run at its second step.
    """
    training, parameter = model.training, next(model.parameters())
    probe = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    model.eval()
    try:
        model(probe).sum().backward()
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{type(model).__name__} does not work with adapters ({reason}): give tune='full', 'blocks' or 'head'."
        ) from error
    missed = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    model.train(training)
    if missed:
        layer = missed[0].partition(".lora_")[0]
        raise UserError(
            f"{type(model).__name__} uses the weights of {layer} without calling it, so tune='lora' cannot train it: "
            "give tune='full', 'blocks' or 'head'."
        )


def merge_adapters(model: nn.Module) -> int:
    """Add every adapter of ``model`` to the weights of its layer and remove it; returns how many there were.

    Afterwards the layers are those that the model was built with.
    """
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError:  # then none can have been added
        return 0
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        model.set_submodule(name, module.get_base_layer())
    return len(adapted)
