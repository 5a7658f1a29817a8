"""Optimiser, learning rate and decays of a fine-tuning where nobody gives them: by the kind of network.

Values for networks with batch-norm were measured here, with networks of up to 5 M parameters: SGD at 0.01 on held-out
images (benchmarks/README.md), AdamW at 3e-4 beside it on held-out images of clothes (docs/finetuning.md). Values for
networks with layer norm, which are transformers and ConvNeXt, are published ones that were not measured here:

- AdamW at 5e-5 and a layer decay of 0.7: Liu et al., A ConvNet for the 2020s, CVPR 2022, TRAINING.md of its code.
- weight decay 0.05, and layer decays of 0.65 to 0.75 for ViT-B to ViT-H: He et al., Masked Autoencoders, CVPR 2022,
  FINETUNE.md of its code. Its learning rate for ViT-B is 6e-5 by its own linear rule for the batch of 32 images here.
- SGD at 0.01 with weight decay 5e-4 for adapters, and for what is asked to use SGD: Shi et al., Long-Tail Learning with
  Foundation Model (LIFT), ICML 2024, configs/model/*_peft.yaml of its code. It also shows that training all of a CLIP
  ViT-B/16 loses rare classes.

Nothing stands behind 1e-3, for adapters with another optimiser than SGD: it is to be searched (``search_minutes``).
"""

from dataclasses import dataclass
from typing import Any

from timm.layers import RmsNorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmc_zoo.options.resolve import FINETUNE_RECIPE

LARGE = 50_000_000
"""Parameters from which a note recommends to train adapters in place of a whole network with layer norm."""
_SGD = ("sgd", "sgdp", "sgdw", "momentum", "nesterov", "lars")
_LAYERED = ("full", "blocks")  # ways to tune in which layers have learning rates of their own
_ADAPTERS = ("lora", "adapter")
_WEIGHT_DECAY: float = FINETUNE_RECIPE["weight_decay"]


@dataclass(frozen=True)
class Network:
    """What the settings of a fine-tuning depend on."""

    layer_norm: bool
    """Whether there are more layers of layer norm or RMS norm than of batch-norm."""
    parameters: int


@dataclass(frozen=True)
class NetworkSettings:
    """Values of the options with these names, and where they come from."""

    opt: str
    lr: float
    weight_decay: float
    layer_decay: float | None
    source: str
    """The end of a sentence about them."""


def uses_sgd(opt: str) -> bool:
    """Whether an optimiser takes the learning rates of SGD; any other those of Adam."""
    return opt in _SGD


def describe_network(model: nn.Module) -> Network:
    """The kind of a network, which may lie on torch's ``meta`` device."""
    modules = list(model.modules())
    layer = sum(isinstance(module, (nn.LayerNorm, nn.RMSNorm, RmsNorm)) for module in modules)
    batch = sum(isinstance(module, _BatchNorm) for module in modules)
    return Network(layer > batch, sum(parameter.numel() for parameter in model.parameters()))


def settings_for(network: Network, tune: str, opt: str | None) -> NetworkSettings:
    """The settings of a fine-tuning.

    Args:
        network: What is fine-tuned.
        tune: Which part of it is trained, as the option says.
        opt: The optimiser that was asked for; ``None`` leaves it open.
    """
    published = network.layer_norm and tune in _LAYERED
    if opt is None:
        opt = "adamw" if published else "sgd"
    if uses_sgd(opt):
        measured = "measured with small networks with batch-norm"
        source = "published, not measured here (Shi et al., 2024)" if network.layer_norm else measured
        return NetworkSettings(opt, FINETUNE_RECIPE["lr"], _WEIGHT_DECAY, None, source)
    if published:
        source = "published, not measured here (Liu et al., 2022; He et al., 2022)"
        return NetworkSettings(opt, 5e-5, 0.05, 0.7, source)
    if tune in _ADAPTERS:
        return NetworkSettings(opt, 1e-3, _WEIGHT_DECAY, None, "a guess, neither published for this nor measured")
    return NetworkSettings(opt, 3e-4, _WEIGHT_DECAY, None, "measured with AdamW and EfficientNet-Lite0 at 96 pixels")


def settings_notes(network: Network, tune: str, values: dict[str, Any], source: str) -> list[str]:
    """What was decided, ``values`` by option name, and for a large transformer what else to try; a sentence each."""
    shown = [f"{name}={value!r}" for name, value in values.items() if value is not None]
    kind = "layer norm" if network.layer_norm else "batch-norm or no norm"
    notes = [f"Settings of fine-tuning for a network with {kind}, {source}: {', '.join(shown)}."]
    if network.layer_norm and network.parameters >= LARGE and tune == "full":
        notes.append(
            f"All {network.parameters / 1e6:.0f} M parameters are trained. For so large a network with layer norm "
            "adapters often keep more of the rare classes (Shi et al., 2024; not measured here): tune='lora'."
        )
    return notes
