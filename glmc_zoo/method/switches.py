"""The switches of GLMC as options, and the presets with their values.

A new switch is a field here and is used in `GLMCTask`. If presets set it, its values are in `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.method.registry import loss_names, sampler_names

if TYPE_CHECKING:
    from torch import nn

Preset = Literal["official", "paper", "tuned"]
Reduction = Literal["sum", "mean"]
TwoViews = Literal["mixup_cutmix", "mixup", "cutmix"]
"""How the two views of a step are mixed: the published pair, or both in the same way, for ablations."""
Views = Literal["auto", "none", "alternate", "mixup", "cutmix", "mixup_cutmix"]
"""How a step mixes its images; ``auto`` is decided by the length of the training, see `glmc_zoo.options.length`."""

_PRESET = "the preset"


@dataclass(frozen=True, kw_only=True)
class GLMCSwitches(OptionGroup):
    """How GLMC mixes images, samples partners and weights its losses; `preset_switches` has the values of a preset."""

    rebalanced_loss: str = option(
        "loss of GLMC's re-balanced branch: reweighted, as published, or another loss",
        decided_by=_PRESET,
        choices=lambda: ["reweighted", *loss_names()],
    )
    prior_tau: float = option(
        "margin of balanced softmax: 1 as published, more for a wider margin of rare classes",
        decided_by=_PRESET,
        at_least=0,
    )
    sampler: str = option("how partner images are sampled", default="power", choices=sampler_names)
    sampler_power: float = option(
        "q: partner images are sampled with weight n ** -q, n being the images of their class",
        decided_by=_PRESET,
        at_least=0,
    )
    class_weight_power: float = option(
        "k: re-weighted labels use class weights n ** -k", decided_by=_PRESET, at_least=0
    )
    cumulative_power: float = option(
        "the weight of the re-balanced loss grows as (epoch / epochs) to this power", decided_by=_PRESET, above=0
    )
    constant_alpha: float | None = option(
        "weight of the conventional loss in every epoch, 0 or more and below 1, instead of the cumulative schedule",
        default=None,
        at_least=0,
        below=1,  # with 1 the re-balanced classifier, which is exported, is not trained
    )
    consistency_weight: float = option("gamma: weight of the consistency loss", decided_by=_PRESET, at_least=0)
    beta: float = option("both parameters of the Beta distribution of the mixing share", decided_by=_PRESET, above=0)
    correct_lam: bool = option("label CutMix by the area that was actually pasted", decided_by=_PRESET)
    reduction: Reduction = option("how the cross-entropies of the two views are combined", decided_by=_PRESET)
    views: Views = option(
        "how a step mixes images; none: not at all; alternate: one view, MixUp and CutMix in turn; auto: by the length",
        decided_by=_PRESET,
    )
    joint_views: bool = option(
        "send both views through the encoder in one batch: faster, but batch-norm sees both together", default=False
    )
    projection_dim: int | None = option(
        "width of the projection and prediction heads",
        default=None,
        decided_by="the backbone: 128 for CIFAR networks, else 256",
        at_least=1,
    )
    mix_off_epochs: int | None = option(
        "number of epochs at the end that train on unmixed images",
        default=None,
        decided_by="0; with views auto, a quarter",
        at_least=0,
    )
    unmixed_share: float = option(
        "share of the batches left unmixed before the last mix_off_epochs epochs, 0 to 1", default=0.0, at_least=0
    )

    def check(self) -> None:
        """Refuse a share above 1."""
        if self.unmixed_share > 1:
            raise UserError(f"unmixed_share={self.unmixed_share!r} must be between 0 and 1.")

    @property
    def mixes_baseline(self) -> bool:
        """Whether a baseline mixes its one view; GLMC always mixes."""
        return self.views in ("alternate", "mixup", "cutmix")

    @property
    def two_views(self) -> bool:
        """Whether GLMC has two views a step and a consistency loss; ``auto`` counts as two until it is resolved."""
        return self.views != "alternate"


# What the authors' published numbers were made with. Powers and consistency weight are those of their rows for large
# data sets; a data set with published settings of its own overrides them.
_OFFICIAL: dict[str, Any] = {
    "beta": 1.0,
    "correct_lam": False,
    "sampler_power": 0.2,
    "class_weight_power": 1.0,
    "cumulative_power": 2.0,
    "consistency_weight": 10.0,
    "reduction": "sum",
    "rebalanced_loss": "reweighted",
    "prior_tau": 1.0,
    "views": "mixup_cutmix",
}
# The values in the text of the paper.
_PAPER = {"beta": 0.5, "correct_lam": True, "sampler_power": 2.0, "reduction": "mean"}
# For data without published settings: chosen on held-out images of training sets, see docs/settings.md.
_TUNED = {
    "sampler_power": 0.5,
    "cumulative_power": 0.5,
    "consistency_weight": 1.0,
    "rebalanced_loss": "balanced_softmax",
    "views": "auto",
}
PRESETS: dict[Preset, dict[str, Any]] = {
    "official": _OFFICIAL,
    "paper": {**_OFFICIAL, **_PAPER},
    "tuned": {**_OFFICIAL, **_TUNED},
}


def preset_switches(name: Preset, **changes: Any) -> GLMCSwitches:
    """The switches of a preset, with some of them changed."""
    if name not in PRESETS:
        raise UserError(f"preset={name!r} is not accepted: it must be one of {', '.join(get_args(Preset))}.")
    return GLMCSwitches(**{**PRESETS[name], **changes})


@dataclass(frozen=True)
class MethodSetup:
    """The values from which a method builds its task."""

    class_counts: list[int]  # training images of each class, (C,)
    epochs: int
    switches: GLMCSwitches  # a loss may take some of them, see `register_loss`
    image_size: int  # side of the square images in pixels
    make_backbone: Callable[[], nn.Module]  # a timm model with C classes, not yet checked for carrying other heads
