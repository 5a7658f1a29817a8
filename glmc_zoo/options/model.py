"""Which network is trained, by which method, from which weights, and which part of it."""

from dataclasses import dataclass, fields
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.method.registry import method_names
from glmc_zoo.method.switches import Preset

MOST_VIEWS = 7
"""Views of an image whose features can be used: as in evaluation, mirrored, four corners, and the centre."""
HEAD_OPTIONS = ("head_init", "head_kind", "feature_views", "feature_cache")
"""Options of a classifier that is trained on features."""


@dataclass(frozen=True, kw_only=True)
class MethodOptions(OptionGroup):
    """Method, preset and plug-ins; the switches of GLMC are a group of their own (`GLMCSwitches`)."""

    method: str = option(
        "GLMC, a baseline, a method or loss of a plug-in; auto: GLMC, or as the preset tuned decides",
        default="auto",
        choices=lambda: ["auto", *method_names()],
    )
    preset: Preset = option(
        "switches of GLMC at once: published recipes, the paper's text, or chosen for other data",
        decided_by="official where the data set has a published recipe, else tuned",
    )
    plugin: list[str] = option("Python files of yours that register methods, losses or samplers", default=[])


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(OptionGroup):
    """The timm model that is trained from scratch or from timm's weights."""

    backbone: str = option("any timm model, with or without a pretrained tag", decided_by="the recipe")
    pretrained: bool = option("start from timm's pretrained weights", default=False)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(OptionGroup):
    """The model that is fine-tuned, and which part of it is trained."""

    model: str = option(
        "start from: hf_hub:ORG/NAME, exported folder, zoo name or pretrained timm name",
        example="what to start from, such as hf_hub:ORG/NAME, an exported folder or a pretrained timm model",
    )
    tune: Literal["full", "head", "blocks", "lora"] = option(
        "what is trained: all, the classifier (in minutes, unless --method is given), the last blocks, or adapters",
        default="full",
    )
    last_blocks: int | None = option("blocks that --tune blocks trains", default=None, decided_by="1", at_least=1)
    layer_decay: float | None = option("learning rate of each layer over that of the layer above", default=None)
    lora_rank: int | None = option("rank of the adapters", default=None, decided_by="8", at_least=1)
    lora_alpha: float | None = option("scale of the adapters", default=None, decided_by="twice the rank", above=0)
    head_init: Literal["mean", "fresh"] = option(
        "what the classifiers of --tune head start from and are drawn to: the class means, or zeros", default="mean"
    )
    head_kind: Literal["linear", "cosine"] = option(
        "classifier of --tune head; cosine: trained on features of one length, exported as a linear layer all the same",
        default="linear",
    )
    feature_views: int = option(
        "views of each training image whose features --tune head uses: 1 as in evaluation, 2 mirrored too, more: "
        "crops as well",
        default=4,
        at_least=1,
        below=MOST_VIEWS + 1,
    )
    feature_cache: str | None = option(
        "folder that keeps the features of --tune head for later runs", default=None, decided_by="none is kept"
    )

    def check(self) -> None:
        """Refuse options of another way to tune."""
        belongs = {
            "last_blocks": "blocks",
            "lora_rank": "lora",
            "lora_alpha": "lora",
            **dict.fromkeys(HEAD_OPTIONS, "head"),
        }
        for field in fields(self):
            tune = belongs.get(field.name, self.tune)
            if getattr(self, field.name) != field.default and self.tune != tune:
                name = field.name
                raise UserError(
                    f"{name}= belongs to tune={tune!r} and has no effect with tune={self.tune!r}; leave it out."
                )
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay={self.layer_decay} must be above 0 and at most 1, for instance 0.75.")
        if self.layer_decay is not None and self.tune in ("head", "lora"):
            raise UserError(
                f"layer_decay= is for tune='full' or 'blocks' and has no effect with tune={self.tune!r}; leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class SecondStageOptions(OptionGroup):
    """The first stage's model, and how its classifier is trained again."""

    model: str = option(
        "the first stage's model: hf_hub:ORG/NAME, exported folder or zoo name",
        example="the first stage's model, such as runs/NAME/model, hf_hub:ORG/NAME or a published name",
    )
    class_balanced_beta: float = option(
        "beta of the class-balanced loss; 0 weighs all classes alike", default=0.9999, at_least=0, below=1
    )
    maxnorm: bool = option("keep every row of the classifier within the ball of MaxNorm", default=True)
    maxnorm_threshold: float = option(
        "radius of the ball, from the smallest (0) to the largest (1) row norm at the start", default=0.1, at_least=0
    )

    def check(self) -> None:
        """Refuse a radius beyond the largest row."""
        if self.maxnorm_threshold > 1:
            raise UserError(f"maxnorm_threshold={self.maxnorm_threshold} must lie in 0 to 1.")
