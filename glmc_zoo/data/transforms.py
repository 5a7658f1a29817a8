"""Training and evaluation transforms, from pictures to uint8 batches; the rest is done on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from glmc_zoo.data.photo_augment import augment_photos
from glmc_zoo.data.photo_draws import PhotoDraw, PhotoDraws, blur_radius, draw_views, stack_draws
from glmc_zoo.errors import UserError

__all__ = [
    "AUGMENTATIONS",
    "BatchCrop",
    "CropDraw",
    "CropTrainTransform",
    "EvalTransform",
    "Images",
    "LargeTrainTransform",
    "Normalize",
    "Views",
    "build_transforms",
]

AUGMENTATIONS = ("crop_flip", "shift", "large")
_INTERPOLATIONS = ("bicubic", "bilinear", "nearest")

Images = Tensor | Sequence[Image.Image]
"""Decoded pictures, uint8 of shape (B, 3, H, W), or PIL RGB pictures of any size."""


class Views(NamedTuple):
    """Augmentations of a batch of images, so far as they are made before the batch goes to the device."""

    images: tuple[Tensor, ...]
    """Each view, uint8 of shape (B, 3, S, S)."""
    draws: tuple[PhotoDraws, ...] | None = None
    """What `Normalize` is still to do to each view; ``None`` for nothing."""


class Normalize(nn.Module):
    """uint8 (B, 3, H, W) to float32 ``(x / 255 - mean) / std``, on the device of the images.

    Photographs are augmented on the way, each by its own draws.

    Args:
        mean: of each channel, in fractions of 1.
        std: of each channel, in fractions of 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: they belong to the data, and the exported model carries them in its configuration.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self._tiles: tuple[Tensor, ...] | None = None

    def forward(self, images: Tensor, draws: PhotoDraws | None = None) -> Tensor:
        """Normalise a batch, after the rest of its augmentation where it comes with ``draws`` (`augment_photos`).

        Raises:
            TypeError: the images are not uint8 (they would be scaled twice).
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"Normalize takes uint8 images, got {images.dtype}")
        if draws is not None:
            return augment_photos(images, draws, self.mean, self.std)
        mean, std = self._statistics(images)
        return images.float().div_(255).sub_(mean).div_(std)

    def _statistics(self, images: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation, laid out as the images are."""
        if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
            return self.mean, self.std
        # With a pixel's three colours side by side, each operation would go through memory three values at a time.
        size = images.shape[-2:]
        if self._tiles is None or self._tiles[0].shape[-2:] != size or self._tiles[0].device != images.device:
            self._tiles = tuple(
                value.expand(1, -1, *size).contiguous(memory_format=torch.channels_last)
                for value in (self.mean, self.std)
            )
        return self._tiles


class CropDraw(NamedTuple):
    """Where each image of a batch is cropped, and whether it is mirrored; all of shape (B,)."""

    top: Tensor
    left: Tensor
    flip: Tensor


class BatchCrop:
    """Random crop out of the zero-padded image, and mirroring, drawn for each image and applied as one gather.

    The same as torchvision's ``RandomCrop(size, padding)`` and ``RandomHorizontalFlip()`` on each image by itself.

    Args:
        size: side of the result in pixels; images of another size are resized to it first.
        padding: pixels of zeros on each side.
        flip: mirror left and right with probability a half.
        interpolation: of the resizing (antialiased): ``bicubic``, ``bilinear`` or ``nearest``.
    """

    def __init__(self, size: int, padding: int, flip: bool = True, interpolation: str = "bicubic") -> None:
        self.size = size
        self.padding = padding
        self.flip = flip
        self.interpolation = _interpolation(interpolation)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Augment uint8 images (B, C, H, W) to (B, C, size, size); the generator is on the CPU."""
        return self.apply(images, self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator | None = None) -> CropDraw:
        """Draw the crops of ``count`` images, on the CPU."""
        top, left = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator)
        flip = torch.rand(count, generator=generator) < 0.5 if self.flip else torch.zeros(count, dtype=torch.bool)
        return CropDraw(top, left, flip)

    def apply(self, images: Tensor, draw: CropDraw) -> Tensor:
        """Crop and mirror (B, C, H, W) as drawn; the draws may lie on another device than the images."""
        images = _resized(images, self.size, self.interpolation)
        count, channels, side, pad = len(images), images.shape[1], self.size, self.padding
        top, left, flip = (part.to(images.device, non_blocking=True) for part in draw)
        padded = nn.functional.pad(images, [pad] * 4)
        steps = torch.arange(side, device=images.device)
        rows = top[:, None] + steps
        columns = left[:, None] + torch.where(flip[:, None], steps.flip(0), steps)
        cells = rows[:, :, None] * (side + 2 * pad) + columns[:, None, :]
        index = cells.flatten(1)[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(count, channels, side, side)


class CropTrainTransform:
    """Random crop (padding an eighth of the side) and, with ``flip``, mirroring: for small pictures."""

    def __init__(self, size: int, flip: bool, interpolation: str = "bicubic") -> None:
        self.size = size
        self.crop = BatchCrop(size, size // 8, flip, interpolation)
        self._fit = EvalTransform(size, size, interpolation)

    def __call__(self, images: Images, streams: Sequence[int], views: int = 2) -> Views:
        """``views`` independent augmentations of each image, uint8 of shape (B, 3, size, size) each.

        Args:
            images: decoded or PIL pictures.
            streams: a seed for each image; the first seeds the draws of the batch.
            views: how many augmentations of each image.
        """
        batch = self.fit(images)
        return Views(tuple(self.crop.apply(batch, draw) for draw in self.draw(streams, views)))

    def fit(self, images: Images) -> Tensor:
        """The whole pictures at the size of the crops, uint8 of shape (B, 3, size, size)."""
        return self._fit(images)

    def draw(self, streams: Sequence[int], views: int) -> list[CropDraw]:
        """The draws of each view of a batch whose images have these seeds."""
        generator = torch.Generator().manual_seed(streams[0])
        return [self.crop.draw(len(streams), generator) for _ in range(views)]


class LargeTrainTransform:
    """The augmentation of photographs, of which only the random resized crop is done here (GLMC, large data).

    Decoded once, cut twice: the rest, which `Normalize` does on the device, travels with the views as their draws.

    Args:
        size: side of the views in pixels.
        interpolation: of the crop's resizing (antialiased): ``bicubic``, ``bilinear`` or ``nearest``.
    """

    def __init__(self, size: int, interpolation: str = "bicubic") -> None:
        self.size = size
        self.interpolation = _interpolation(interpolation)
        self._radius = blur_radius(size)

    def __call__(self, images: Images, streams: Sequence[int], views: int = 2) -> Views:
        """``views`` independent crops of each image, and what else is drawn for them.

        The draws of an image depend on its own seed in ``streams`` only; torch's global generator is left as it was.
        """
        cut = [torch.empty(len(images), 3, self.size, self.size, dtype=torch.uint8) for _ in range(views)]
        draws: list[list[PhotoDraw]] = [[] for _ in range(views)]
        for position, (image, stream) in enumerate(zip(images, streams, strict=True)):
            pixels = _as_tensor(image)
            for view, draw in enumerate(draw_views(stream, views, *pixels.shape[-2:])):
                cut[view][position] = self.crop(pixels, draw)
                draws[view].append(draw)
        return Views(tuple(cut), tuple(stack_draws(view, self._radius) for view in draws))

    def crop(self, image: Tensor, draw: PhotoDraw) -> Tensor:
        """The crop of one image (3, H, W), uint8 of shape (3, size, size); pixels outside of it have no part in it."""
        from torchvision.transforms.v2 import functional

        # Not PIL's resizing, which takes five times as long for the same pixels but for a rounding here and there.
        return functional.resized_crop(
            image, *draw.box, size=[self.size, self.size], interpolation=self.interpolation, antialias=True
        )


class EvalTransform:
    """Resize the shorter side to ``resize`` pixels and cut the centre square of ``size`` pixels; nothing is random.

    Args:
        size: side of the result in pixels.
        resize: shorter side before the cut, at least ``size``.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``; antialiased.
    """

    def __init__(self, size: int, resize: int, interpolation: str = "bicubic") -> None:
        self.size = size
        self.resize = resize
        self.interpolation = _interpolation(interpolation)

    def __call__(self, images: Images) -> Tensor:
        """uint8 of shape (B, 3, size, size), in the order of ``images``."""
        if isinstance(images, Tensor):
            return self._cut(images)
        return torch.stack([self._cut(_as_tensor(image)) for image in images])

    def _cut(self, images: Tensor) -> Tensor:
        from torchvision.transforms.v2 import functional

        if min(images.shape[-2:]) != self.resize:
            images = functional.resize(images, [self.resize], interpolation=self.interpolation, antialias=True)
        if images.shape[-2:] != (self.size, self.size):
            images = functional.center_crop(images, [self.size, self.size])
        return images.contiguous()


def build_transforms(
    augment: str, image_size: int, *, interpolation: str = "bicubic", crop_pct: float = 0.875
) -> tuple[CropTrainTransform | LargeTrainTransform, EvalTransform]:
    """The training augmentation and the evaluation transform of one run.

    Kinds: ``crop_flip`` (padding of an eighth of the side, random crop, mirroring; 4 pixels at 32), ``shift`` (the same
    without mirroring, for writing) and ``large`` (photographs: evaluation resizes the shorter side to
    ``floor(image_size / crop_pct)`` and cuts the centre). Evaluation of the first two resizes pictures of another size
    and cuts no border off.

    Raises:
        UserError: an unknown kind or interpolation, or a size or share that makes no picture.
    """
    if augment not in AUGMENTATIONS:
        raise UserError(f"The augmentation {augment!r} is unknown: choose one of {', '.join(AUGMENTATIONS)}.")
    if image_size < 8:
        raise UserError(f"An image size of {image_size} pixels is too small: give 8 or more.")
    if not 0 < crop_pct <= 1:
        raise UserError(f"The centre crop share {crop_pct} is not possible: give a number above 0 and up to 1.")
    if augment == "large":
        resize = math.floor(image_size / crop_pct)  # as timm does, so that an exported model is fed the same pixels
        return LargeTrainTransform(image_size, interpolation), EvalTransform(image_size, resize, interpolation)
    train = CropTrainTransform(image_size, flip=augment == "crop_flip", interpolation=interpolation)
    return train, EvalTransform(image_size, image_size, interpolation)


def _interpolation(name: str) -> Any:
    from torchvision.transforms import InterpolationMode

    if name not in _INTERPOLATIONS:
        raise UserError(f"The interpolation {name!r} is unknown: choose one of {', '.join(_INTERPOLATIONS)}.")
    return InterpolationMode(name)


def _as_tensor(image: Tensor | Image.Image) -> Tensor:
    """The image as (3, H, W), as its pixels lie in memory."""
    if isinstance(image, Tensor):
        return image
    from torchvision.transforms.v2 import functional

    return functional.pil_to_tensor(image)


def _resized(images: Tensor, size: int, interpolation: Any) -> Tensor:
    if images.shape[-2:] == (size, size):
        return images
    from torchvision.transforms.v2 import functional

    return functional.resize(images, [size, size], interpolation=interpolation, antialias=True)
