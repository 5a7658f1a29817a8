"""Adapters on the layers of a frozen timm model, by the library ``peft``, and their merging into its weights."""

import re
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import nn

from glmc_zoo.building import outside_failures
from glmc_zoo.errors import UserError, missing_packages
from glmc_zoo.method.model import evaluation_mode

# peft's LoHa and LoKr compute a convolution themselves, without the padding of `Conv2dSame`. Its DoRA calls `view` on
# the weights of a convolution, which fails for the memory format that training uses.
_ADAPTED: dict[str, tuple[type[nn.Module], ...]] = {
    "lora": (nn.Linear, nn.Conv2d, Conv2dSame),
    "ia3": (nn.Linear, nn.Conv2d, Conv2dSame),
    "loha": (nn.Linear, nn.Conv2d),
    "lokr": (nn.Linear, nn.Conv2d),
    "dora": (nn.Linear,),
}
_BASE = ".base_layer."
_PARTS = re.compile(r"\.(base_layer|lora_\w+|hada_\w+|lokr_\w+|ia3_l)\.")  # of an adapted layer, by peft's names


def add_adapters(model: Any, *, rank: int, alpha: float, image_size: int, kind: str = "lora") -> int:
    """Freeze a timm model except its classifier, and add adapters to its linear and convolutional layers.

    The layers are replaced in place; `merge_adapters` removes the adapters again.

    Args:
        model: A timm model.
        rank: Rank of the adapters; ``ia3`` has none.
        alpha: The output of an adapter is scaled by ``alpha / rank``; ``ia3`` has none.
        image_size: Side in pixels of the image that the adapted model is tested with.
        kind: ``lora`` (Hu et al., LoRA, ICLR 2022), ``loha`` (Hyeon-Woo et al., FedPara, ICLR 2022), ``lokr`` (Edalati
            et al., KronA, 2022), ``dora`` (Liu et al., DoRA, ICML 2024; linear layers alone) or ``ia3`` (Liu et al.,
            Few-Shot Parameter-Efficient Fine-Tuning, NeurIPS 2022).

    Returns:
        The number of adapted layers.

    Raises:
        UserError: The model has no such layer or does not work with adapters, or peft is not installed.
    """
    tune = "lora" if kind == "lora" else "adapter"
    classifier, types = model.get_classifier(), _ADAPTED[kind]
    # Subclasses are excluded: some standardise their weights, and an adapter could not be merged into those.
    targets = [
        name
        for name, module in model.named_modules()
        if module is not classifier and type(module) in types and getattr(module, "groups", 1) == 1
    ]
    if not targets:
        layer = "linear layer" if nn.Conv2d not in types else "linear or plain convolutional layer"
        option = "tune='lora'" if kind == "lora" else f"adapter={kind!r}"
        raise UserError(f"{type(model).__name__} has no {layer} for {option}: give tune='full' or 'blocks'.")
    _insert(model, kind, targets, rank, alpha)
    model.get_classifier().requires_grad_(True)
    _check_reached(model, image_size, tune)
    return len(targets)


def _insert(model: Any, kind: str, targets: list[str], rank: int, alpha: float) -> None:
    """Replace the layers called ``targets``; all other parameters are frozen."""
    try:
        import peft
    except ImportError as error:
        tune = "lora" if kind == "lora" else "adapter"
        raise missing_packages(f"tune={tune!r}", ["peft"], extra="peft") from error
    scale: Any = alpha  # peft annotates whole numbers, and takes floats
    if kind == "loha":
        peft.LoHaModel(model, peft.LoHaConfig(r=rank, alpha=scale, target_modules=targets), "default")
    elif kind == "lokr":
        peft.LoKrModel(model, peft.LoKrConfig(r=rank, alpha=scale, target_modules=targets), "default")
    elif kind == "ia3":
        peft.IA3Model(model, peft.IA3Config(target_modules=targets, feedforward_modules=[]), "default")
    else:
        config = peft.LoraConfig(r=rank, lora_alpha=scale, target_modules=targets, use_dora=kind == "dora")
        peft.LoraModel(model, config, "default")


def _check_reached(model: Any, image_size: int, tune: str) -> None:
    """Refuse a backbone that reads the weights of a layer without calling it, so that its adapter would learn nothing.

    With several processes, parameters without a gradient would also stop the run at its second step.
    """
    parameter = next(model.parameters())
    probe = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    subject = f"{type(model).__name__} with adapters for images of {image_size} x {image_size} pixels"
    try:
        with evaluation_mode(model), outside_failures(subject, smaller="a smaller image_size="):
            model(probe).sum().backward()
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{type(model).__name__} does not work with adapters ({reason}): give tune='full', 'blocks' or 'head'."
        ) from error
    missed = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    if missed:
        layer = _layer_of(missed[0])
        raise UserError(
            f"{type(model).__name__} uses the weights of {layer} without calling it, so tune={tune!r} cannot train it: "
            "give tune='full', 'blocks' or 'head'."
        )


def merge_adapters(model: nn.Module) -> int:
    """Merge every adapter of ``model`` into the weights of its layer and remove it; returns the number of adapters.

    Afterwards the model has the layers that it was built with. The merged weights stay frozen.

    Raises:
        ValueError: The merged weights of a layer contain NaN (from peft).
    """
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError:  # without peft there cannot be adapters
        return 0
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        model.set_submodule(name, module.get_base_layer())
    return len(adapted)


def _layer_of(name: str) -> str:
    """Name in the plain model of the layer that a tensor belongs to; ``name`` is the tensor's name with adapters."""
    return _PARTS.split(name, maxsplit=1)[0]


def encoder_tensors(network: Any) -> dict[str, torch.Tensor]:
    """Tensors of a timm model by name, without those of its classifier and its adapters."""
    tensors: dict[str, torch.Tensor] = network.state_dict(keep_vars=True)
    head = {id(parameter) for parameter in network.get_classifier().parameters()}
    adapted = tuple(f"{_layer_of(name)}." for name in tensors if _BASE in name)
    return {
        name.replace(_BASE, "."): tensor
        for name, tensor in tensors.items()
        if id(tensor) not in head and (_BASE in name or not name.startswith(adapted))
    }
