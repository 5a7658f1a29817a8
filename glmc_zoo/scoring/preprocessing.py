"""timm's own evaluation transform: what every model here is scored, evaluated and used with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

_NAMES = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")  # a border is filled with the mean


class Preprocessing:
    """timm's evaluation transform of a model, up to uint8; normalisation follows on the device.

    Args:
        data_config: What ``timm.data.resolve_model_data_config`` gives for the model.
    """

    def __init__(self, data_config: Mapping[str, Any]) -> None:
        config = {name: data_config[name] for name in _NAMES}
        self._transform = create_transform(**config, is_training=False, use_prefetcher=True)
        # Decoded images of this size pass through the transform unchanged.
        self._unchanged = tuple(config["input_size"][1:]) if config["crop_pct"] == 1.0 else None

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """uint8 of shape (B, 3, H, W), in the order of ``images``: decoded uint8 (B, 3, h, w), or PIL RGB images."""
        if isinstance(images, Tensor):
            if tuple(images.shape[-2:]) == self._unchanged:
                return images
            images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        return torch.stack([self._transform(image) for image in images])
