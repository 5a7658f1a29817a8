"""The input of the network: image size, normalisation and interpolation, from options, data set and backbone."""

from dataclasses import dataclass
from typing import Any

from glmc_zoo.data import LongTailData
from glmc_zoo.method import backbone_config
from glmc_zoo.options.images import ImageOptions

LARGE_SIDES = 4
"""From this multiple of the backbone's own image size on, a note says what the images cost."""


@dataclass(frozen=True)
class InputSpec:
    """The input of the network."""

    size: int
    """Side of the square images in pixels."""
    mean: tuple[float, float, float]
    """Mean of each channel, for values of 0 to 1."""
    std: tuple[float, float, float]
    """Standard deviation of each channel, for values of 0 to 1."""
    interpolation: str
    """Name of the interpolation, as timm takes it."""
    crop_pct: float
    """Side of the centre crop over the shorter side of the image, in evaluation."""
    augment: str
    """Kind of the augmentation, such as ``crop_flip``."""

    @property
    def data_config(self) -> dict[str, Any]:
        """timm's configuration of the same input, for its evaluation transform and the exported model."""
        return {
            "input_size": (3, self.size, self.size),
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": "center",
        }


def input_spec(
    images: ImageOptions, data: LongTailData, backbone: str, *, pretrained: bool, use_model_size: bool
) -> InputSpec:
    """The input of a run: from its options, else the data set, else the backbone's configuration.

    Args:
        images: Image options of the run.
        data: The data set.
        backbone: Name of the timm model.
        pretrained: Whether the weights are trained. Then they need the mean, standard deviation and interpolation that
            they were trained with; from scratch those of the data set are better.
        use_model_size: Whether the backbone's image size overrides that of the data set.
    """
    config = backbone_config(backbone)
    mean, std = (config["mean"], config["std"]) if pretrained else (data.mean, data.std)
    interpolation = (None if pretrained else data.interpolation) or config["interpolation"]
    if interpolation == "random":  # a setting for training, which timm cannot evaluate with
        interpolation = "bicubic"
    native = config["input_size"][-1]
    augment = images.augment or data.augment
    return InputSpec(
        size=images.image_size or (native if use_model_size else data.image_size or native),
        mean=tuple(mean),
        std=tuple(std),
        interpolation=interpolation,
        crop_pct=0.875 if augment == "large" else 1.0,
        augment=augment,
    )


def image_size_notes(images: ImageOptions, backbone: str) -> list[str]:
    """A note on an ``image_size`` that is far above the backbone's own, which is often a mistake; else none."""
    native = backbone_config(backbone)["input_size"][-1]
    if images.image_size is None or images.image_size < LARGE_SIDES * native:
        return []
    ratio = images.image_size / native
    return [
        f"image_size={images.image_size} is {ratio:.1f} times the {native} pixels that {backbone!r} is made for: each "
        f"image takes about {ratio**2:.0f} times the time and memory."
    ]
