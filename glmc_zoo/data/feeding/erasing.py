"""Erasing part of each image after the normalisation: random erasing as in timm, and Cutout."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from timm.data.random_erasing import RandomErasing as TimmRandomErasing
from torch import Tensor

from glmc_zoo.errors import UserError

_TRIES = 10


class Box(NamedTuple):
    """A rectangle in pixels; ``bottom`` and ``right`` are exclusive. The default is empty."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True)
class RandomErasing:
    """Erase one rectangle with this probability; timm's defaults: share of the area .02 to 1/3, aspect .3 to 1/.3.

    Zhong et al., "Random Erasing Data Augmentation", 2017; timm's mode ``const``.
    """

    probability: float

    def box(self, numbers: random.Random, size: int) -> Box:
        """Choose the rectangle for an image of ``size`` pixels, with random numbers in the order of timm."""
        defaults = TimmRandomErasing(device="cpu")
        if numbers.random() > self.probability:
            return Box()
        for _ in range(_TRIES):
            area = numbers.uniform(defaults.min_area, defaults.max_area) * size * size
            aspect = math.exp(numbers.uniform(*defaults.log_aspect_ratio))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < size and width < size:
                top, left = numbers.randint(0, size - height), numbers.randint(0, size - width)
                return Box(top, left, top + height, left + width)
        return Box()


@dataclass(frozen=True)
class Cutout:
    """Erase a square of ``side`` pixels around a random pixel; parts outside the image are cut off.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    side: int

    def box(self, numbers: random.Random, size: int) -> Box:
        """Choose the square for an image of ``size`` pixels."""
        top, left = (numbers.randrange(size) - self.side // 2 for _ in range(2))
        bottom, right = (min(start + self.side, size) for start in (top, left))
        return Box(max(top, 0), max(left, 0), bottom, right)


Eraser = RandomErasing | Cutout


def make_eraser(random_erasing: float | None, cutout: int | None) -> Eraser | None:
    """What erases part of each image; ``None`` and 0 are off.

    Raises:
        UserError: Both are given, or a value is out of range.
    """
    if random_erasing and cutout:
        raise UserError(
            f"random_erasing={random_erasing} and cutout={cutout} both erase part of each image: set one of them to 0."
        )
    if random_erasing:
        if not 0 < random_erasing <= 1:
            raise UserError(f"random_erasing={random_erasing!r} is not a probability: give a number from 0 to 1.")
        return RandomErasing(random_erasing)
    if cutout:
        if cutout < 0:
            raise UserError(f"cutout={cutout!r} is too small: give 1 pixel or more, or 0 for none.")
        return Cutout(cutout)
    return None


def sample_boxes(eraser: Eraser, sample_seeds: Sequence[int], view: int, size: int) -> Tensor:
    """Rectangles to erase in one view of each image, int64 of shape (B, 4), see `Box`.

    A rectangle depends on the image's seed and the number of the view alone.
    """
    numbers, boxes = random.Random(), []
    for sample_seed in sample_seeds:
        # The 1 keeps these seeds apart from those of the policy, which have a 0 in its place.
        numbers.seed(sample_seed << 16 | 1 << 8 | view)
        boxes.append(eraser.box(numbers, size))
    return torch.tensor(boxes, dtype=torch.int64)


def erase_(images: Tensor, boxes: Tensor) -> Tensor:
    """Set the rectangles of normalised ``images`` (B, C, H, W) to 0, their mean colour; ``boxes`` as `sample_boxes`."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    top, left, bottom, right = boxes[:, :, None, None].unbind(1)
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return images.masked_fill_(inside[:, None], 0)
