"""Training transforms: from images to uint8 views on the CPU; `Normalize` does the rest on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from glmc_zoo.data.feeding.augmentation import (
    AugmentationParams,
    augment_images,
    blur_radius,
    sample_params,
    stack_params,
)
from glmc_zoo.data.feeding.erasing import erase_
from glmc_zoo.data.feeding.policies import apply_policy
from glmc_zoo.data.feeding.view_params import NO_MORE, ViewAugmentation, ViewParams, make_view_augmentation
from glmc_zoo.errors import UserError
from glmc_zoo.fields import convert

_Augmentation = Literal["crop_flip", "shift", "large"]
_Interpolation = Literal["bicubic", "bilinear", "nearest"]
Images = Tensor | Sequence[Image.Image]
"""Decoded images, uint8 of shape (B, 3, H, W), or PIL RGB images of any size."""


class Views(NamedTuple):
    """Views of a batch of images before the batch goes to the device."""

    images: tuple[Tensor, ...]
    """Each view, uint8 of shape (B, 3, S, S)."""
    params: tuple[ViewParams, ...] | None = None
    """The augmentation that `Normalize` still applies to each view; ``None`` for none."""


class Normalize(nn.Module):
    """uint8 (B, 3, H, W) to float32 ``(x / 255 - mean) / std``, on the device of the images.

    ``mean`` and ``std`` are those of each channel, in fractions of 1. The rest of the augmentation is applied at the
    same time, to each image by its own parameters.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: they are part of the data set, and an exported model has them in its configuration.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self._tiles: tuple[Tensor, ...] | None = None

    def forward(self, images: Tensor, params: ViewParams | None = None) -> Tensor:
        """Normalise a batch; with ``params``, also apply the rest of its augmentation in the order of `ViewParams`."""
        if images.dtype != torch.uint8:  # float images would be scaled twice
            raise TypeError(f"Normalize takes uint8 images, got {images.dtype}")
        policy, augmentation, erased = params or ViewParams()
        if policy is not None:
            images = apply_policy(images, policy, fill=(self.mean * 255).round())
        if augmentation is not None:
            out = augment_images(images, augmentation, self.mean, self.std)
        else:
            mean, std = self._statistics(images)
            out = images.float().div_(255).sub_(mean).div_(std)
        return out if erased is None else erase_(out, erased)

    def _statistics(self, images: Tensor) -> tuple[Tensor, ...]:
        """Mean and standard deviation, in the memory layout of the images."""
        if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
            return self.mean, self.std
        # In the layout channels_last, broadcasting (1, 3, 1, 1) is slow: it handles three values at a time.
        size = images.shape[-2:]
        if self._tiles is None or self._tiles[0].shape[-2:] != size or self._tiles[0].device != images.device:
            self._tiles = tuple(
                value.expand(1, -1, *size).contiguous(memory_format=torch.channels_last)
                for value in (self.mean, self.std)
            )
        return self._tiles


class CropParams(NamedTuple):
    """Where each image of a batch is cropped, and whether it is mirrored; all of shape (B,)."""

    top: Tensor
    left: Tensor
    flip: Tensor


@dataclass(frozen=True)
class CropTrainTransform:
    """Random crop out of the zero-padded image, and mirroring: the augmentation of small images.

    Equals torchvision's ``RandomCrop(size, size // 8)`` and, with ``flip``, ``RandomHorizontalFlip()`` on each image.
    Here one gather does it for a batch.
    """

    size: int
    flip: bool
    interpolation: Any = InterpolationMode.BICUBIC
    rest: ViewAugmentation = NO_MORE
    """What `Normalize` still does to each view."""

    @property
    def padding(self) -> int:
        """Pixels that are added on each side."""
        return self.size // 8

    def __call__(self, images: Images, sample_seeds: Sequence[int], views: int = 2) -> Views:
        """``views`` independent augmentations of each image; the seed of the first image decides all crops."""
        batch = self.fit(images)
        crops = tuple(self.crop(batch, params) for params in self.sample_params(sample_seeds, views))
        return Views(crops, self.rest.sample_params(sample_seeds, views, self.size))

    def fit(self, images: Images) -> Tensor:
        """Resize the shorter side to the size of the crops, and cut the centre out: uint8 (B, 3, size, size)."""
        if not isinstance(images, Tensor):
            return torch.stack([self.fit(_as_tensor(image)) for image in images])
        fitted: Tensor = images
        if min(fitted.shape[-2:]) != self.size:
            fitted = functional.resize(fitted, [self.size], interpolation=self.interpolation, antialias=True)
        if fitted.shape[-2:] != (self.size, self.size):
            fitted = functional.center_crop(fitted, [self.size, self.size])
        return fitted.contiguous()

    def sample_params(self, sample_seeds: Sequence[int], views: int) -> list[CropParams]:
        """Choose the crops of each view of a batch whose images have these seeds, on the CPU."""
        generator, count = torch.Generator().manual_seed(sample_seeds[0]), len(sample_seeds)
        chosen = []
        for _ in range(views):
            top, left = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator)
            flip = torch.rand(count, generator=generator) < 0.5 if self.flip else torch.zeros(count, dtype=torch.bool)
            chosen.append(CropParams(top, left, flip))
        return chosen

    def crop(self, images: Tensor, params: CropParams) -> Tensor:
        """Crop and mirror (B, C, size, size); the parameters may lie on another device than the images."""
        count, channels, side, pad = len(images), images.shape[1], self.size, self.padding
        top, left, flip = (values.to(images.device, non_blocking=True) for values in params)
        padded = nn.functional.pad(images, [pad] * 4)
        steps = torch.arange(side, device=images.device)
        rows = top[:, None] + steps
        columns = left[:, None] + torch.where(flip[:, None], steps.flip(0), steps)
        cells = rows[:, :, None] * (side + 2 * pad) + columns[:, None, :]
        index = cells.flatten(1)[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(count, channels, side, side)


@dataclass(frozen=True)
class LargeTrainTransform:
    """The random resized crop of the augmentation for large images (GLMC).

    An image is decoded once and cropped for each view. `Normalize` does the rest on the device, with the parameters in
    `Views`.
    """

    size: int
    interpolation: Any = InterpolationMode.BICUBIC
    rest: ViewAugmentation = NO_MORE
    """What `Normalize` does to each view in addition; a policy replaces the colour jitter."""

    def __call__(self, images: Images, sample_seeds: Sequence[int], views: int = 2) -> Views:
        """``views`` independent crops of each image, and the parameters of the rest of their augmentation.

        The augmentation of an image depends on its own seed only; torch's global generator is left as it was.
        """
        crops = [torch.empty(len(images), 3, self.size, self.size, dtype=torch.uint8) for _ in range(views)]
        chosen: list[list[AugmentationParams]] = [[] for _ in range(views)]
        for position, (image, sample_seed) in enumerate(zip(images, sample_seeds, strict=True)):
            pixels = _as_tensor(image)
            for view, params in enumerate(sample_params(sample_seed, views, *pixels.shape[-2:])):
                crops[view][position] = self.crop(pixels, params)
                chosen[view].append(params if self._jitters else _without_jitter(params))
        augmentation = [stack_params(view, blur_radius(self.size)) for view in chosen]
        return Views(tuple(crops), self.rest.sample_params(sample_seeds, views, self.size, augmentation))

    @property
    def _jitters(self) -> bool:
        return self.rest.policy is None or self.rest.policy.keeps_jitter

    def crop(self, image: Tensor, params: AugmentationParams) -> Tensor:
        """The crop of one image (3, H, W), uint8 of shape (3, size, size); pixels outside the box have no effect."""
        # PIL's resizing gives the same pixels up to rounding, but takes five times as long.
        crop: Tensor = functional.resized_crop(
            image, *params.box, size=[self.size, self.size], interpolation=self.interpolation, antialias=True
        )
        return crop


TrainTransform = CropTrainTransform | LargeTrainTransform


def train_transform(
    augment: str,
    image_size: int,
    *,
    interpolation: str = "bicubic",
    auto_augment: str | None = None,
    random_erasing: float | None = None,
    cutout: int | None = None,
) -> TrainTransform:
    """The training transform of a run.

    The order is that of timm's training transform: crop and mirroring, policy, colour jitter, grey and blur,
    normalisation, erasing. Large images are mirrored after the blur. The result is the same, because these operations
    treat left and right alike.

    Args:
        augment: ``crop_flip`` (padding of an eighth of the side, random crop, mirroring; 4 pixels at 32), ``shift``
            (the same without mirroring, for writing) or ``large`` (see `LargeTrainTransform`).
        image_size: Side of the views in pixels, 8 or more.
        interpolation: How images are resized (antialiased) and moved: ``bicubic``, ``bilinear`` or ``nearest``.
        auto_augment: Configuration string of a policy of timm; see `make_policy`. It replaces the colour jitter of
            large images, except with 3-Augment, as in timm.
        random_erasing: Probability that one rectangle of a view is erased (`RandomErasing`).
        cutout: Side of the square that is erased in each view, in pixels (`Cutout`).

    Raises:
        UserError: A value is unknown or out of range, or ``random_erasing`` and ``cutout`` are both given.
    """
    convert("augment", augment, _Augmentation)
    if image_size < 8:
        raise UserError(f"image_size={image_size!r} is too small: give 8 pixels or more.")
    mode = InterpolationMode(convert("interpolation", interpolation, _Interpolation))
    if cutout and cutout > image_size:
        raise UserError(f"cutout={cutout} exceeds the side of the images, {image_size} pixels: give less.")
    rest = make_view_augmentation(
        image_size,
        interpolation=interpolation,
        auto_augment=auto_augment,
        random_erasing=random_erasing,
        cutout=cutout,
    )
    if augment == "large":
        return LargeTrainTransform(image_size, mode, rest)
    return CropTrainTransform(image_size, augment == "crop_flip", mode, rest)


def _without_jitter(params: AugmentationParams) -> AugmentationParams:
    return params._replace(brightness=1.0, contrast=1.0, saturation=1.0)


def _as_tensor(image: Tensor | Image.Image) -> Tensor:
    """The image as a tensor (3, H, W)."""
    tensor: Tensor = image if isinstance(image, Tensor) else functional.pil_to_tensor(image)
    return tensor
