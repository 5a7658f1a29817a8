"""The network's input: from options, the data set and the backbone's own configuration."""

from dataclasses import dataclass
from typing import Any

from glmc_zoo.data import LongTailData
from glmc_zoo.method import backbone_config
from glmc_zoo.options.images import ImageOptions


@dataclass(frozen=True)
class InputSpec:
    """The network's input: side in pixels, statistics of the three channels in 0 to 1, how images are resized."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float
    augment: str

    @property
    def data_config(self) -> dict[str, Any]:
        """The same for timm's evaluation transform, which the exported model is used with."""
        return {
            "input_size": (3, self.size, self.size),
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": "center",
        }


def input_spec(
    images: ImageOptions, data: LongTailData, backbone: str, *, pretrained: bool, own_size: bool
) -> InputSpec:
    """Size, statistics and interpolation: from the options, else the data set, else the backbone's configuration.

    Trained weights (``pretrained``) expect the statistics and the interpolation that they were trained with; from
    scratch the data set's own are better. With ``own_size`` the backbone's own size overrides the data set's.
    """
    config = backbone_config(backbone)
    mean, std = (config["mean"], config["std"]) if pretrained else (data.mean, data.std)
    interpolation = None if pretrained else data.interpolation
    native = config["input_size"][-1]
    augment = images.augment or data.augment
    return InputSpec(
        size=images.image_size or (native if own_size else data.image_size or native),
        mean=tuple(mean),
        std=tuple(std),
        interpolation=interpolation or str(config.get("interpolation") or "bicubic"),
        crop_pct=0.875 if augment == "large" else 1.0,
        augment=augment,
    )
