"""The operations of timm's augmentation policies, on batches of uint8 images; each image has its own arguments.

timm applies them to one PIL image at a time. Here one call handles a batch on any device, and the CPU does not wait.
The values are those of Pillow, except for the differences that `OPERATIONS` states.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from glmc_zoo.data.feeding.augmentation import blur_images

BLUR_RADIUS = 2
"""Taps on each side of a box filter's centre, enough for the largest sigma of timm's policies, 2 pixels."""

_ARGUMENTS = 6


class Step(NamedTuple):
    """One operation on one image."""

    operation: str
    """Its name in `OPERATIONS`."""
    arguments: tuple[float, ...]
    """Six numbers: a matrix for ``affine``, else one number and zeros."""


def make_step(function: str, value: float, size: int) -> Step:
    """The step for a function of ``timm.data.auto_augment`` and its argument, on images of ``size`` pixels.

    Functions that move pixels become a matrix, so that different ones can be applied to a batch at once.
    """
    if function in _MATRICES:
        return Step("affine", _MATRICES[function](value, size))
    if function == "desaturate":
        function, value = "color", min(1.0, max(0.0, 1.0 - value))
    return Step(function, (value, *(0.0,) * (_ARGUMENTS - 1)))


def has_step(function: str) -> bool:
    """Whether `make_step` knows this function of timm."""
    return function in OPERATIONS or function in _MATRICES or function == "desaturate"


def apply_operation(images: Tensor, step: str, arguments: Tensor, fill: Tensor, interpolation: str) -> Tensor:
    """One operation on a batch.

    Args:
        images: uint8 of shape (B, 3, H, W), contiguous; they are not changed.
        step: Name of the operation.
        arguments: float32 of shape (B, 6), see `Step`.
        fill: Colour that comes in at the border, float32 of shape (1, 3, 1, 1), from 0 to 255.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``, where pixels are moved.

    Returns:
        uint8 of the same shape.
    """
    if step == "affine":
        return _affine(images, arguments, fill, interpolation)
    return OPERATIONS[step](images, arguments[:, :1, None, None])


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """``first + share * (second - first)`` as uint8, cut off as Pillow does; shares outside 0 to 1 extrapolate."""
    difference = second.to(torch.float32) - first
    return (first + share * difference).clamp_(0, 255).to(torch.uint8)


# ---------------------------------------------------------------- pixels that move
def _rotation(degrees: float, size: int) -> tuple[float, ...]:
    angle, centre = -math.radians(degrees), size / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return cos, sin, centre - (cos + sin) * centre, -sin, cos, centre - (cos - sin) * centre


# Two rows (a, b, c) and (d, e, f): pixel (x, y) of the result comes from (a x + b y + c, d x + e y + f).
_MATRICES: dict[str, Callable[[float, int], tuple[float, ...]]] = {
    "shear_x": lambda factor, size: (1, factor, 0, 0, 1, 0),
    "shear_y": lambda factor, size: (1, 0, 0, factor, 1, 0),
    "translate_x_rel": lambda share, size: (1, 0, share * size, 0, 1, 0),
    "translate_y_rel": lambda share, size: (1, 0, 0, 0, 1, share * size),
    "translate_x_abs": lambda pixels, size: (1, 0, pixels, 0, 1, 0),
    "translate_y_abs": lambda pixels, size: (1, 0, 0, 0, 1, pixels),
    "rotate": _rotation,
}


def _affine(images: Tensor, matrices: Tensor, fill: Tensor, interpolation: str) -> Tensor:
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device)[:, None] + 0.5
    # Written out, because matrix products of some GPUs are too imprecise for coordinates.
    a, b, c, d, e, f = matrices[:, :, None, None].unbind(1)
    across, down = a * x + b * y + c, d * x + e * y + f
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    grid = torch.stack((across * (2 / width) - 1, down * (2 / height) - 1), dim=-1)
    moved = functional.grid_sample(images.float(), grid, mode=interpolation, padding_mode="border", align_corners=False)
    # Pillow cuts the fraction off. The small addition keeps 9.9999 at 10.
    moved = moved.add_(1e-3).clamp_(0, 255)
    return torch.where(inside[:, None], moved, fill).to(torch.uint8)


# ---------------------------------------------------------------- values that change
def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    mask = 256 - torch.exp2(8 - bits.clamp(0, 8))
    return images & mask.to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < threshold, images, 255 - images)


def _solarize_add(images: Tensor, added: Tensor) -> Tensor:
    brighter = (images + added).clamp_(0, 255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _grey(images: Tensor) -> Tensor:
    """Pillow's conversion to grey values, int32 of shape (B, 1, H, W)."""
    red, green, blue = images.int().split(1, dim=1)
    grey: Tensor = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return grey


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return blend(_grey(images), images, factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    grey = _grey(images)
    pixels = grey.shape[-2] * grey.shape[-1]
    total = grey.sum(dim=(1, 2, 3), keepdim=True)
    return blend((2 * total + pixels) // (2 * pixels), images, factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return blend(torch.zeros_like(images[:, :1, :1, :1]), images, factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed over 3 x 3 pixels; pixels at the border do not change."""
    values = images.int()
    sums = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    sums = sums[..., :-2] + sums[..., 1:-1] + sums[..., 2:] + 4 * values[..., 1:-1, 1:-1]
    values[..., 1:-1, 1:-1] = (2 * sums + 13) // 26  # a thirteenth, rounded
    return blend(values, images, factor)


def _gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Pillow's blur: three box filters whose variances sum to that of the Gaussian, with replicated edges."""
    variance = (sigma.view(-1, 1) ** 2) / 3
    whole = ((12 * variance + 1).sqrt() - 1).div(2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    distance = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device).abs()
    # The two pixels at the ends of a box count in part.
    box = (whole + part + 1 - distance).clamp(0, 1) / (2 * (whole + part) + 1)
    out = images.float()
    for _ in range(3):
        out = blur_images(out, box, "replicate")
    return out.add_(0.5).clamp_(0, 255).to(torch.uint8)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "auto_contrast": lambda images, _: transforms.autocontrast(images),
    "equalize": lambda images, _: transforms.equalize(images),
    "invert": lambda images, _: 255 - images,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "gaussian_blur": _gaussian_blur,
}
"""Operations that change values, by the name of timm's function, from images (B, 3, H, W) and arguments (B, 1, 1, 1).

All but two are Pillow's bit for bit: ``auto_contrast`` and ``gaussian_blur`` round differently, by up to 3 of 255.
Images moved by ``affine`` are Pillow's up to rounding with ``bilinear``; torch's ``bicubic`` is a little softer
than Pillow's.
"""
