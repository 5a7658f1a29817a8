"""The preprocessing of every evaluation and prediction: timm's own evaluation transform."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

_NAMES = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")  # timm fills borders with the mean


class Preprocessing:
    """timm's evaluation transform of a model without the normalisation, which follows on the device.

    Args:
        data_config: The result of ``timm.data.resolve_model_data_config`` for the model.
    """

    def __init__(self, data_config: Mapping[str, Any]) -> None:
        config = {name: data_config[name] for name in _NAMES}
        self._transform = create_transform(**config, is_training=False, use_prefetcher=True)
        # The transform does not change decoded images of this size.
        self._unchanged_size = tuple(config["input_size"][1:]) if config["crop_pct"] == 1.0 else None

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Preprocess images, given as uint8 (B, 3, h, w) or as PIL RGB images, to uint8 (B, 3, H, W)."""
        if isinstance(images, Tensor):
            if tuple(images.shape[-2:]) == self._unchanged_size:
                return images
            images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        return torch.stack([self._transform(image) for image in images])
