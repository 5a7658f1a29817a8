"""How images are fed to the network, and which classes count as many-, medium- and few-shot."""

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


@dataclass(frozen=True, kw_only=True)
class ShotOptions(OptionGroup):
    """Shot groups: which classes count as many-, medium- and few-shot."""

    many_threshold: int = option("classes with more training images than this are many-shot", default=100)
    few_threshold: int = option("classes with fewer training images than this are few-shot", default=20, at_least=0)
    groups: Literal["thresholds", "terciles"] = option(
        "form shot groups by the two thresholds, or of a third of the classes each", default="thresholds"
    )

    def check(self) -> None:
        """Refuse a few-shot threshold above the many-shot threshold."""
        if self.few_threshold > self.many_threshold:
            raise UserError(
                f"few_threshold={self.few_threshold} must not exceed many_threshold={self.many_threshold}: lower one, "
                "or raise the other."
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
