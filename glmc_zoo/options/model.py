"""Options of the model: its architecture, the weights it starts from, the part that is trained, and the method."""

from dataclasses import dataclass, fields
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option
from glmc_zoo.method.registry import method_names
from glmc_zoo.method.switches import Preset
from glmc_zoo.options.defaults import recipe_text
from glmc_zoo.options.images import BACKBONE_PLUGIN

MAX_VIEWS = 7
"""Largest number of views for frozen features: as in evaluation, mirrored, four corner crops, and the centre crop."""
FEATURE_OPTIONS = ("head_kind", "feature_views", "feature_cache")
"""Options of frozen features."""
HEAD_OPTIONS = ("head_init", "head_loss", *FEATURE_OPTIONS)
"""Options of a classifier that is trained on features."""
Adapter = Literal["loha", "lokr", "dora", "ia3"]
DEFAULT_ADAPTER = "loha"
# The values of ``tune`` with which an option has an effect; options that are not listed have one with all values.
_TUNES: dict[str, tuple[str, ...]] = {
    "last_blocks": ("blocks",),
    "head_loss": ("head",),
    "adapter": ("adapter",),
    "lora_rank": ("lora", "adapter"),
    "lora_alpha": ("lora", "adapter"),
    "layer_decay": ("full", "blocks"),
    "freeze_bn": ("full", "blocks"),
    "head_lr_scale": ("full", "blocks", "lora", "adapter"),
    "search_minutes": ("full", "blocks", "lora", "adapter"),
}


@dataclass(frozen=True, kw_only=True)
class MethodOptions(OptionGroup):
    """Method, preset and plug-ins; the switches of GLMC are a group of their own (`GLMCSwitches`)."""

    method: str = option(
        "glmc, a baseline, or a method or loss of a plug-in; auto: glmc, or what the preset tuned decides",
        default="auto",
        choices=lambda: ["auto", *method_names()],
    )
    preset: Preset = option(
        "values of all switches of GLMC: official (published code), paper (its text), or tuned (for other data)",
        decided_by="official where the data set has a published recipe, else tuned",
    )
    plugin: list[str] = option(
        "your own Python files that register methods, losses, samplers or timm models", default=[]
    )


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(OptionGroup):
    """The timm model that is trained from scratch or from timm's weights."""

    backbone: str = option("any timm model, with or without a pretrained tag", decided_by=recipe_text("backbone"))
    pretrained: bool = option("start from timm's pretrained weights", default=False)


@dataclass(frozen=True, kw_only=True)
class TuneOptions(OptionGroup):
    """The model that is fine-tuned, and which part of it is trained."""

    model: str = option(
        "model to start from: hf-hub:ORG/NAME, exported folder, published model or pretrained timm model",
        default="auto",
        decided_by="tf_efficientnet_lite0.in1k, or an installed package with its weights",
    )
    tune: Literal["full", "head", "blocks", "lora", "adapter"] = option(
        "part that is trained: all layers, the classifier (in minutes, unless --method is given), the last blocks, "
        "LoRA, or another adapter",
        default="full",
    )
    last_blocks: int | None = option("blocks that --tune blocks trains", default=None, decided_by="1", at_least=1)
    layer_decay: float | None = option(
        "factor by which the learning rate falls from each layer to the one below it; 1: the same rate for all",
        default=None,
        decided_by="1, or 0.7 for a network with layer norm unless --lr or sgd is given",
    )
    adapter: Adapter | None = option(
        "kind of adapter of --tune adapter; dora adapts only linear layers", default=None, decided_by=DEFAULT_ADAPTER
    )
    lora_rank: int | None = option("rank of the adapters", default=None, decided_by="8", at_least=1)
    lora_alpha: float | None = option("scale of the adapters", default=None, decided_by="twice the rank", above=0)
    head_init: Literal["auto", "mean", "head", "fresh"] = option(
        "start of the classifier: class means of frozen features, the best head on them, or fresh weights",
        default="auto",
        decided_by="mean for --tune head, head for balanced softmax on new classes, else fresh",
    )
    head_lr_scale: float = option("factor on the learning rate of the classifier", default=1.0, above=0)
    freeze_bn: bool = option("keep the running statistics of batch-norm, for very small batches", default=False)
    head_kind: Literal["linear", "cosine"] = option(
        "classifier on frozen features; cosine: trained on features scaled to one length, and exported as a linear "
        "layer too",
        default="linear",
    )
    head_loss: Literal["auto", "ce", "balanced_softmax"] = option(
        "loss of --tune head; auto: the better one on held-out images, with a logit adjustment; a named loss gets none",
        default="auto",
    )
    feature_views: int = option(
        "views of each image for frozen features; 1: as in evaluation; 2: mirrored too; more: also crops",
        default=4,
        at_least=1,
        below=MAX_VIEWS + 1,
    )
    feature_cache: str | None = option(
        "folder that keeps frozen features for later runs", default=None, decided_by="none is kept"
    )
    search_minutes: float | None = option(
        "spend this many minutes before the training on choosing learning rate and epochs on held-out training images",
        default=None,
        above=0,
    )

    def check(self) -> None:
        """Refuse options that have no effect with this value of ``tune``."""
        for field in fields(self):
            name, tunes = field.name, _TUNES.get(field.name)
            if tunes is None or getattr(self, name) == field.default or self.tune in tunes:
                continue
            if len(tunes) == 1:
                sentence = f"{name}= belongs to tune={tunes[0]!r}"
            else:
                sentence = f"{name}= is for tune={', '.join(map(repr, tunes[:-1]))} or {tunes[-1]!r}"
            raise UserError(f"{sentence} and has no effect with tune={self.tune!r}: leave it out.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay={self.layer_decay} must be above 0 and at most 1, for instance 0.75.")
        if self.adapter == "ia3" and not self.lora_rank is self.lora_alpha is None:
            raise UserError(
                "lora_rank= and lora_alpha= have no effect with adapter='ia3', which has no rank: leave them out."
            )
        if self.head_init == "head" and self.tune == "head":
            raise UserError(
                "head_init='head' starts the training loop from the best classifier on frozen features, which is what "
                "tune='head' itself trains: give head_init='mean' or head_init='fresh'."
            )
        if self.tune != "head":
            self._check_features()

    def _check_features(self) -> None:
        """Refuse options of frozen features that have no effect on the start of the classifier."""
        unused: tuple[str, ...] = {"fresh": FEATURE_OPTIONS, "mean": ("head_kind",)}.get(self.head_init, ())
        for field in fields(self):
            if field.name in unused and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{field.name}= has no effect with head_init={self.head_init!r}: give head_init='head', or leave "
                    f"{field.name}= out."
                )


@dataclass(frozen=True, kw_only=True)
class PluginOptions(OptionGroup):
    """Files that register the architecture of a trained model."""

    plugin: list[str] = option(BACKBONE_PLUGIN, default=[])


@dataclass(frozen=True, kw_only=True)
class SecondStageOptions(OptionGroup):
    """The first stage's model, and how its classifier is trained again."""

    model: str = option(
        "the first stage's model: hf-hub:ORG/NAME, exported folder or published model",
        example="the first stage's model, such as runs/NAME/model, hf-hub:ORG/NAME or a published model",
    )
    class_balanced_beta: float = option(
        "beta of the class-balanced loss; 0 gives all classes the same weight", default=0.9999, at_least=0, below=1
    )
    maxnorm: bool = option("limit the norm of every row of the classifier (MaxNorm)", default=True)
    maxnorm_threshold: float = option(
        "limit of MaxNorm, from 0 (the smallest row norm at the start) to 1 (the largest)", default=0.1, at_least=0
    )

    def check(self) -> None:
        """Refuse a limit above the largest row norm."""
        if self.maxnorm_threshold > 1:
            raise UserError(f"maxnorm_threshold={self.maxnorm_threshold} must be between 0 and 1.")
