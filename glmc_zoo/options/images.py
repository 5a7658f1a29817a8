"""How images are fed to the network, and which classes count as many-, medium- and few-shot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import MAX_PROCESSES, OptionGroup, option

_WORKERS = "processes that load images, for each process of the run; 0: it loads them itself"


@dataclass(frozen=True, kw_only=True)
class ImageOptions(OptionGroup):
    """Size, augmentation and workers; with ``None`` the data set, the backbone or the machine decides."""

    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the data set or the backbone", at_least=1, below=4097
    )
    augment: Literal["crop_flip", "shift", "large"] | None = option(
        "augmentation of training images: random crop and mirroring, random crop alone, or as for ImageNet",
        default=None,
        decided_by="the data set",
    )
    auto_augment: str | None = option(
        "timm's policy for each view, e.g. original, rand-m9-mstd0.5-inc1, augmix-m3-w3; it follows crop and mirroring "
        "and replaces colour jitter",
        default=None,
    )
    random_erasing: float | None = option(
        "probability that a rectangle of a view is erased after the normalisation", default=None, at_least=0
    )
    cutout: int | None = option(
        "side in pixels of the square that is erased in each view after the normalisation", default=None, at_least=0
    )
    workers: int | None = option(_WORKERS, default=None, decided_by="the machine", at_least=0, below=MAX_PROCESSES)


_MANY = "classes with more training images than this are many-shot"
_FEW = "classes with fewer training images than this are few-shot"
_GROUPS = "form shot groups by the two thresholds, or of a third of the classes each"
_OF_THE_MODEL = "that of the model's training, else {}"
THRESHOLDS = ("many_threshold", "few_threshold")


@dataclass(frozen=True, kw_only=True)
class ShotOptions(OptionGroup):
    """Shot groups: which classes count as many-, medium- and few-shot."""

    many_threshold: int = option(_MANY, default=100, at_least=0)
    few_threshold: int = option(_FEW, default=20, at_least=0)
    groups: Literal["thresholds", "terciles"] = option(_GROUPS, default="thresholds")

    def check(self) -> None:
        """Refuse a few-shot threshold above the many-shot threshold."""
        defaults = {name for name in THRESHOLDS if getattr(self, name) == getattr(ShotOptions, name)}
        check_order(self.many_threshold, self.few_threshold, dict.fromkeys(defaults, "the default"))


@dataclass(frozen=True, kw_only=True)
class EvaluationShotOptions(OptionGroup):
    """Shot groups of an evaluation; a threshold that is ``None`` is that of the model's training."""

    many_threshold: int | None = option(
        _MANY, default=None, decided_by=_OF_THE_MODEL.format(ShotOptions.many_threshold), at_least=0
    )
    few_threshold: int | None = option(
        _FEW, default=None, decided_by=_OF_THE_MODEL.format(ShotOptions.few_threshold), at_least=0
    )
    groups: Literal["thresholds", "terciles"] = option(_GROUPS, default="thresholds")

    def check(self) -> None:
        """Refuse two thresholds in the wrong order."""
        if self.many_threshold is not None and self.few_threshold is not None:
            check_order(self.many_threshold, self.few_threshold, {})


def check_order(many: int, few: int, origins: Mapping[str, str]) -> None:
    """Refuse a few-shot threshold above the many-shot threshold.

    Args:
        many: The many-shot threshold.
        few: The few-shot threshold.
        origins: Where a threshold comes from that the user may not have given, by the name of its option.
    """
    if few > many:
        origin = {name: f" ({origins[name]})" if name in origins else "" for name in THRESHOLDS}
        raise UserError(
            f"few_threshold={few}{origin['few_threshold']} must not exceed many_threshold={many}"
            f"{origin['many_threshold']}: lower one, or raise the other."
        )


BACKBONE_PLUGIN = "your own Python files that register the architecture of the model with timm"
"""Help of the option ``plugin`` where a trained model is used."""


@dataclass(frozen=True, kw_only=True)
class InferenceOptions(OptionGroup):
    """How images are fed to a trained model."""

    plugin: list[str] = option(BACKBONE_PLUGIN, default=[])
    batch_size: int = option("images per step and process", default=128, at_least=1)
    workers: int | None = option(_WORKERS, default=None, decided_by="the machine", at_least=0, below=MAX_PROCESSES)
    image_size: int | None = option(
        "side of the images in pixels", default=None, decided_by="the model", at_least=1, below=4097
    )
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = option(
        "precision of autocast; auto: bf16 if the device supports it", default=None, decided_by="`accelerate config`"
    )
