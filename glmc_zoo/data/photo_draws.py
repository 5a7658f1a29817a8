"""Random numbers of the augmentation of photographs: drawn on the CPU, carried with the batch, used on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["GREY", "PhotoDraw", "PhotoDraws", "blur_radius", "crop_box", "draw_views", "stack_draws"]

GREY = (0.2989, 0.587, 0.114)
"""Share of red, green and blue in the grey of a pixel, as in torchvision."""

_SCALE = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_FACTOR = (0.6, 1.4)
_GREY_SHARE = 0.2
_BLUR_SHARE = 0.5
_SIGMA = (0.1, 2.0)
_FLIP_SHARE = 0.5

_TRIES = 10
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
_NUMBERS = 2 * _TRIES + 2 + 1 + 3 + 4


class PhotoDraw(NamedTuple):
    """What is drawn for one view of one picture."""

    box: tuple[int, int, int, int]
    """The crop in pixels of the picture: top, left, height, width."""
    order: tuple[int, int, int]
    """Operation at each place: 0 brightness, 1 contrast, 2 saturation."""
    brightness: float
    contrast: float
    saturation: float
    grey: bool
    sigma: float
    """Of the blur, in pixels of the result; 0 for none."""
    flip: bool


class PhotoDraws(NamedTuple):
    """The draws of one view of a batch, ready for use without a look at their values.

    Which images are blurred and mirrored is held as positions: their number is known without asking the device.
    """

    colour: Tensor
    """Jitter at each of the three places as a matrix on a pixel's colours, float32 of shape (B, 3, 3, 3)."""
    contrast: Tensor
    """Weight of the image's mean colour, which is added to every pixel, at each place; float32 (B, 3, 3)."""
    grey: Tensor
    """Matrix that takes the colour out, or the identity, float32 (B, 3, 3)."""
    blurred: Tensor
    """Positions of the blurred images, int64 of shape (K,), K from 0 to B."""
    taps: Tensor
    """Weights of the blur along one side, float32 of shape (K, 2 * radius + 1); each row sums to 1."""
    flipped: Tensor
    """Positions of the mirrored images, int64."""


def draw_views(stream: int, views: int, height: int, width: int) -> list[PhotoDraw]:
    """Draw ``views`` augmentations of a picture of this size.

    Random resized crop (share of the area .08 to 1, aspect 3/4 to 4/3), brightness, contrast and saturation by .6 to
    1.4 in random order, grey with probability .2, blur with probability .5 and sigma .1 to 2, mirroring with
    probability .5: what GLMC does to large images.

    A view depends on the seed ``stream`` and its own number alone; no other generator is touched.
    """
    generator = torch.Generator().manual_seed(stream)
    rows = torch.rand(views, _NUMBERS, generator=generator, dtype=torch.float64).tolist()
    return [_draw(iter(row), height, width) for row in rows]


def _draw(numbers: Iterator[float], height: int, width: int) -> PhotoDraw:
    def between(bounds: tuple[float, float]) -> float:
        low, high = bounds
        return low + (high - low) * next(numbers)

    tries = [(between(_SCALE), math.exp(between((math.log(_RATIO[0]), math.log(_RATIO[1]))))) for _ in range(_TRIES)]
    box = crop_box(height, width, tries, next(numbers), next(numbers))
    return PhotoDraw(
        box=box,
        order=_ORDERS[int(next(numbers) * len(_ORDERS))],
        brightness=between(_FACTOR),
        contrast=between(_FACTOR),
        saturation=between(_FACTOR),
        grey=next(numbers) < _GREY_SHARE,
        sigma=between(_SIGMA) if next(numbers) < _BLUR_SHARE else 0.0,
        flip=next(numbers) < _FLIP_SHARE,
    )


def crop_box(
    height: int, width: int, tries: Sequence[tuple[float, float]], down: float, along: float
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first of ``tries`` that fits, as torchvision's ``RandomResizedCrop`` has it.

    Args:
        height: of the picture in pixels.
        width: of the picture in pixels.
        tries: share of the area, and width over height.
        down: where the crop lies between top and bottom, from 0 to below 1.
        along: where the crop lies between left and right, from 0 to below 1.

    Returns:
        The crop; where no try fits, the largest one in the centre with an aspect from 3/4 to 4/3.
    """
    for share, aspect in tries:
        area = share * height * width
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            return int(down * (height - high + 1)), int(along * (width - wide + 1)), high, wide
    high, wide = height, width
    if width < _RATIO[0] * height:
        high = round(width / _RATIO[0])
    elif width > _RATIO[1] * height:
        wide = round(height * _RATIO[1])
    return (height - high) // 2, (width - wide) // 2, high, wide


def blur_radius(size: int) -> int:
    """Taps on each side of the blur's centre, for images of ``size`` pixels.

    The paper gives sigma alone. An odd kernel of about a tenth of the side (23 at 224) is taken, without the taps that
    lie more than 4.5 of the largest sigma away: a picture with values from 0 to 1 changes by less than 1e-5 for them.
    """
    kernel = max(3, size // 10 // 2 * 2 + 1)
    return min(kernel // 2, math.ceil(4.5 * _SIGMA[1]))


def stack_draws(draws: Sequence[PhotoDraw], radius: int) -> PhotoDraws:
    """The draws of a batch as tensors on the CPU.

    Args:
        draws: of each image, in the order of the batch.
        radius: taps on each side of the blur's centre, see `blur_radius`.
    """
    order = torch.tensor([draw.order for draw in draws])
    factors = torch.tensor([(draw.brightness, draw.contrast, draw.saturation) for draw in draws], dtype=torch.float64)
    factors = factors.gather(1, order)  # by place
    same, grey = torch.eye(3, dtype=torch.float64), torch.tensor(GREY, dtype=torch.float64)
    # All three keep a share of the pixel. The rest of it is black, or the mean grey of the image, or the pixel's own.
    own_grey = torch.where(order == 2, 1 - factors, 0)
    mean_grey = torch.where(order == 1, 1 - factors, 0)
    without_colour = torch.tensor([draw.grey for draw in draws]).view(-1, 1, 1)
    blurred = [position for position, draw in enumerate(draws) if draw.sigma > 0]
    sigma = torch.tensor([draws[position].sigma for position in blurred], dtype=torch.float64).view(-1, 1)
    distance = torch.arange(-radius, radius + 1)
    return PhotoDraws(
        colour=(factors[..., None, None] * same + own_grey[..., None, None] * grey).float(),
        contrast=(mean_grey[..., None] * grey).float(),
        grey=torch.where(without_colour, grey.expand(3, 3), same).float(),
        blurred=torch.tensor(blurred, dtype=torch.int64),
        taps=torch.softmax(-0.5 * (distance / sigma) ** 2, dim=1).float(),
        flipped=torch.tensor([position for position, draw in enumerate(draws) if draw.flip], dtype=torch.int64),
    )
