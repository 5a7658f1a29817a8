"""The pixels are timm's own, whatever the configuration; decoded images of the right size pass through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms.v2 import functional

from glmc_zoo.scoring.preprocessing import Preprocessing


def configured(**changes: Any) -> dict[str, Any]:
    """A data configuration as ``resolve_model_data_config`` gives it; with this std, timm's output is easily undone."""
    config = {"input_size": (3, 64, 64), "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center"}
    return {**config, "mean": (0.2, 0.4, 0.6), "std": (1.0,) * 3, **changes}


def decoded(width: int, height: int, number: int = 2) -> torch.Tensor:
    """Images of noise, uint8 of shape (number, 3, height, width)."""
    pixels = np.random.default_rng(0).integers(0, 256, (number, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def as_pil(images: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def timm_pixels(images: list[Image.Image], config: dict[str, Any]) -> torch.Tensor:
    """What timm feeds a network, in 0 to 255 again."""
    transform: Any = create_transform(**config, is_training=False)
    mean = torch.tensor(config["mean"]).view(3, 1, 1)
    return torch.stack([((transform(image) + mean) * 255).round() for image in images])


def check(images: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    """PIL images and decoded ones give timm's pixels, which are returned."""
    preprocessing, expected = Preprocessing(config), timm_pixels(as_pil(images), config)
    for given in (as_pil(images), images):
        pixels = preprocessing(given)
        assert pixels.dtype == torch.uint8 and pixels.shape[1:] == config["input_size"]
        torch.testing.assert_close(pixels.float(), expected, rtol=0, atol=0)
    return expected


@pytest.mark.parametrize("size", [(200, 150), (32, 32), (70, 90), (64, 64)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0, 0.95])
def test_pixels_are_those_of_timm(size: tuple[int, int], crop_mode: str, crop_pct: float) -> None:
    for interpolation in ("bicubic", "bilinear", "nearest"):
        check(decoded(*size), configured(interpolation=interpolation, crop_mode=crop_mode, crop_pct=crop_pct))


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (90, 70), (33, 200)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_inputs_that_are_not_square(size: tuple[int, int], crop_mode: str) -> None:
    for crop_pct in (1.0, 0.9):
        check(decoded(*size), configured(input_size=(3, 48, 64), crop_mode=crop_mode, crop_pct=crop_pct))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("side", [(32, 32), (48, 64)])
def test_decoded_images_of_the_right_size_are_passed_on(
    interpolation: str, crop_mode: str, side: tuple[int, int]
) -> None:
    """The shortcut is taken, and timm would have changed nothing either."""
    images = decoded(side[1], side[0])
    config = configured(input_size=(3, *side), interpolation=interpolation, crop_mode=crop_mode, crop_pct=1.0)
    assert Preprocessing(config)(images) is images
    torch.testing.assert_close(check(images, config), images.float(), rtol=0, atol=0)


def test_decoded_images_of_the_right_size_are_cropped_where_the_configuration_crops() -> None:
    images = decoded(64, 64)
    assert not torch.equal(check(images, configured(crop_pct=0.875)), images.float())


def test_resizing_a_tensor_would_give_other_pixels() -> None:
    """PIL and torchvision round differently, so that scores would too: there must be one way only."""
    images = decoded(90, 70)
    expected = timm_pixels(as_pil(images), configured(crop_pct=1.0))
    resized = functional.resize(images, [64], interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    difference = (functional.center_crop(resized, [64, 64]).float() - expected).abs()
    assert 0 < difference.max() <= 1
