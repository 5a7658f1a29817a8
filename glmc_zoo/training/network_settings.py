"""Default optimiser, learning rate and decays of a fine-tuning, chosen by the kind of network.

The values for networks with batch-norm were measured in this project, on networks of up to 5 M parameters: SGD at 0.01
on held-out images (docs/settings.md), and AdamW at 3e-4 on held-out images of clothes (docs/finetuning.md). The values
for networks with layer norm (transformers and ConvNeXt) are published and were not measured here:

- AdamW at 5e-5 and a layer decay of 0.7: Liu et al., A ConvNet for the 2020s, CVPR 2022, TRAINING.md of its code.
- weight decay 0.05, and layer decays of 0.65 to 0.75 for ViT-B to ViT-H: He et al., Masked Autoencoders, CVPR 2022,
  FINETUNE.md of its code. Its learning rate for ViT-B is 6e-5 by its own linear rule for the batch of 32 images here.
- SGD at 0.01 with weight decay 5e-4 for adapters, and where the user chooses SGD: Shi et al., Long-Tail Learning with
  Foundation Model (LIFT), ICML 2024, configs/model/*_peft.yaml of its code. The paper also shows that training all of a
  CLIP ViT-B/16 lowers the accuracy of rare classes.

The learning rate 1e-3 for adapters with an optimiser other than SGD is a guess: search a better one with
``search_minutes``.
"""

from dataclasses import dataclass
from typing import Any

from timm.layers import RmsNorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmc_zoo.options.defaults import FINETUNE_RECIPE

LARGE_NETWORK = 50_000_000
"""Number of parameters from which a note recommends adapters instead of training a whole network with layer norm."""
_SGD = ("sgd", "momentum", "nesterov", "lars", "larc")  # words in the names of timm's optimisers with rates like SGD's
_LAYER_DECAY_TUNES = ("full", "blocks")  # values of ``tune`` that take a layer decay
_ADAPTER_TUNES = ("lora", "adapter")
_WEIGHT_DECAY: float = FINETUNE_RECIPE["weight_decay"]


@dataclass(frozen=True)
class Network:
    """The properties of a network that its settings depend on."""

    layer_norm: bool
    """Whether the network has more layers of layer norm or RMS norm than of batch-norm."""
    parameters: int
    """Number of parameters."""


@dataclass(frozen=True)
class NetworkSettings:
    """Values of the options with these names, and their source."""

    opt: str
    lr: float
    weight_decay: float
    layer_decay: float | None
    source: str
    """Where the values come from, as part of a sentence."""


def uses_sgd(opt: str) -> bool:
    """Whether an optimiser takes learning rates like SGD's; all others take rates like Adam's."""
    return any(word in opt for word in _SGD)


def describe_network(model: nn.Module) -> Network:
    """The properties of a network; its tensors may be on torch's ``meta`` device."""
    modules = list(model.modules())
    layer_norms = sum(isinstance(module, (nn.LayerNorm, nn.RMSNorm, RmsNorm)) for module in modules)
    batch_norms = sum(isinstance(module, _BatchNorm) for module in modules)
    return Network(layer_norms > batch_norms, sum(parameter.numel() for parameter in model.parameters()))


def settings_for(network: Network, tune: str, opt: str | None) -> NetworkSettings:
    """The default settings of a fine-tuning.

    Args:
        network: The network that is fine-tuned.
        tune: Which part of the network is trained, as in the option.
        opt: The optimiser that the user chose; ``None`` to choose it here.
    """
    published = network.layer_norm and tune in _LAYER_DECAY_TUNES
    if opt is None:
        opt = "adamw" if published else "sgd"
    if uses_sgd(opt):
        measured = "measured on small networks with batch-norm"
        source = "published, not measured here (Shi et al., 2024)" if network.layer_norm else measured
        return NetworkSettings(opt, FINETUNE_RECIPE["lr"], _WEIGHT_DECAY, None, source)
    if published:
        source = "published, not measured here (Liu et al., 2022; He et al., 2022)"
        return NetworkSettings(opt, 5e-5, 0.05, 0.7, source)
    if tune in _ADAPTER_TUNES:
        return NetworkSettings(opt, 1e-3, _WEIGHT_DECAY, None, "a guess, neither published for this nor measured")
    return NetworkSettings(opt, 3e-4, _WEIGHT_DECAY, None, "measured with AdamW and EfficientNet-Lite0 at 96 pixels")


def settings_notes(network: Network, tune: str, values: dict[str, Any], source: str) -> list[str]:
    """Notes on the chosen ``values``, which are given by option name, and for a large transformer an alternative."""
    settings = [f"{name}={value!r}" for name, value in values.items() if value is not None]
    norm = "layer norm" if network.layer_norm else "batch-norm or no norm"
    notes = [f"Settings of fine-tuning for a network with {norm}, {source}: {', '.join(settings)}."]
    if network.layer_norm and network.parameters >= LARGE_NETWORK and tune == "full":
        notes.append(
            f"All {network.parameters / 1e6:.0f} M parameters are trained. For so large a network with layer norm, "
            "adapters (tune='lora') are often better on rare classes (Shi et al., 2024; not measured here)."
        )
    return notes
