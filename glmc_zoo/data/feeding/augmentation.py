"""The augmentation of large images after the crop: parameters chosen on the CPU, applied to a batch on the device."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

GREY = (0.2989, 0.587, 0.114)
"""Share of red, green and blue in the grey of a pixel, as in torchvision."""
_SCALE = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_FACTOR = (0.6, 1.4)
_GREY_PROBABILITY = 0.2
_BLUR_PROBABILITY = 0.5
_SIGMA = (0.1, 2.0)
_FLIP_PROBABILITY = 0.5
_TRIES = 10  # crops that are tried, as in torchvision
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
# Random numbers of a view: tried crops, position of the crop, order and factors of the jitter, then grey, blur, sigma
# and mirroring.
_NUMBERS = 2 * _TRIES + 2 + 1 + 3 + 4
_CPU_IMAGES = 4  # images per step on a CPU, so that they stay in its cache


class AugmentationParams(NamedTuple):
    """The augmentation of one view of one image."""

    box: tuple[int, int, int, int]
    """The crop in pixels of the image: top, left, height, width."""
    order: tuple[int, int, int]
    """Operations of the colour jitter in turn: 0 brightness, 1 contrast, 2 saturation."""
    brightness: float
    contrast: float
    saturation: float
    grey: bool
    sigma: float
    """Width of the blur, in pixels of the result; 0 for none."""
    flip: bool


class BatchParams(NamedTuple):
    """The augmentation of one view of a batch, as tensors.

    The blurred and the mirrored images are stored as positions, so their number is known without waiting for the
    device.
    """

    colour: Tensor
    """The three jitter operations in order, each a matrix on the colours of a pixel, float32 of shape (B, 3, 3, 3)."""
    contrast: Tensor
    """Weight of the image's mean colour, which each operation adds to every pixel; float32 (B, 3, 3)."""
    grey: Tensor
    """Matrix that removes the colour, or the identity, float32 (B, 3, 3)."""
    blurred: Tensor
    """Positions of the blurred images, int64 of shape (K,), K from 0 to B."""
    taps: Tensor
    """Weights of the blur along one side, float32 of shape (K, 2 * radius + 1); each row sums to 1."""
    flipped: Tensor
    """Positions of the mirrored images, int64."""


def sample_params(sample_seed: int, views: int, height: int, width: int) -> list[AugmentationParams]:
    """Choose the augmentation of ``views`` views of an image of this size at random.

    Random resized crop (share of the area .08 to 1, aspect 3/4 to 4/3), brightness, contrast and saturation by .6 to
    1.4 in random order, grey with probability .2, blur with probability .5 and sigma .1 to 2, mirroring with
    probability .5: the augmentation of GLMC for large images.

    A view depends only on ``sample_seed`` and its own number; torch's global generator is not used.
    """
    generator = torch.Generator().manual_seed(sample_seed)
    rows = torch.rand(views, _NUMBERS, generator=generator, dtype=torch.float64).tolist()
    return [_params(iter(row), height, width) for row in rows]


def _params(random_numbers: Iterator[float], height: int, width: int) -> AugmentationParams:
    """The augmentation of one view, from at most `_NUMBERS` random numbers in [0, 1).

    The numbers are used one after the other, so another order of the lines below gives another augmentation.
    """

    def uniform(bounds: tuple[float, float]) -> float:
        low, high = bounds
        return low + (high - low) * next(random_numbers)

    log_ratio = math.log(_RATIO[0]), math.log(_RATIO[1])
    tries = [(uniform(_SCALE), math.exp(uniform(log_ratio))) for _ in range(_TRIES)]
    box = crop_box(height, width, tries, next(random_numbers), next(random_numbers))
    return AugmentationParams(
        box=box,
        order=_ORDERS[int(next(random_numbers) * len(_ORDERS))],
        brightness=uniform(_FACTOR),
        contrast=uniform(_FACTOR),
        saturation=uniform(_FACTOR),
        grey=next(random_numbers) < _GREY_PROBABILITY,
        sigma=uniform(_SIGMA) if next(random_numbers) < _BLUR_PROBABILITY else 0.0,
        flip=next(random_numbers) < _FLIP_PROBABILITY,
    )


def crop_box(
    height: int, width: int, tries: Sequence[tuple[float, float]], down: float, along: float
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first crop in ``tries`` that fits, as in torchvision's ``RandomResizedCrop``.

    If none fits, the crop is the largest one in the centre with an aspect ratio from 3/4 to 4/3.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        tries: For each tried crop its area over that of the image (``scale`` in torchvision), and its width over its
            height (``ratio``).
        down: Position of the crop from the top (0) to the bottom (1, excluded).
        along: Position of the crop from the left (0) to the right (1, excluded).
    """
    for scale, ratio in tries:
        area = scale * height * width
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top, left = int(down * (height - crop_height + 1)), int(along * (width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_height, crop_width = height, width
    if width < _RATIO[0] * height:
        crop_height = round(width / _RATIO[0])
    elif width > _RATIO[1] * height:
        crop_width = round(height * _RATIO[1])
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def blur_radius(size: int) -> int:
    """Taps on each side of the blur's centre, for images of ``size`` pixels.

    The paper gives sigma alone. The kernel is odd and about a tenth of the side (23 at 224). Taps farther than
    4.5 times the largest sigma are left out: they change an image with values from 0 to 1 by less than 1e-5.
    """
    kernel = max(3, size // 10 // 2 * 2 + 1)
    return min(kernel // 2, math.ceil(4.5 * _SIGMA[1]))


def stack_params(params: Sequence[AugmentationParams], radius: int) -> BatchParams:
    """The parameters of a batch as tensors on the CPU; ``radius`` is that of the blur, see `blur_radius`."""
    order = torch.tensor([image.order for image in params])
    by_kind = torch.tensor([(p.brightness, p.contrast, p.saturation) for p in params], dtype=torch.float64)
    factors = by_kind.gather(1, order)
    same, grey = torch.eye(3, dtype=torch.float64), torch.tensor(GREY, dtype=torch.float64)
    # Each operation keeps a share of the pixel. The rest is black, the mean grey of the image, or the pixel's own grey.
    pixel_grey = torch.where(order == 2, 1 - factors, 0)
    mean_grey = torch.where(order == 1, 1 - factors, 0)
    without_colour = torch.tensor([image.grey for image in params]).view(-1, 1, 1)
    blurred = [position for position, image in enumerate(params) if image.sigma > 0]
    sigma = torch.tensor([params[position].sigma for position in blurred], dtype=torch.float64).view(-1, 1)
    distance = torch.arange(-radius, radius + 1)
    return BatchParams(
        colour=(factors[..., None, None] * same + pixel_grey[..., None, None] * grey).float(),
        contrast=(mean_grey[..., None] * grey).float(),
        grey=torch.where(without_colour, grey.expand(3, 3), same).float(),
        blurred=torch.tensor(blurred, dtype=torch.int64),
        taps=torch.softmax(-0.5 * (distance / sigma) ** 2, dim=1).float(),
        flipped=torch.tensor([position for position, image in enumerate(params) if image.flip], dtype=torch.int64),
    )


def augment_images(images: Tensor, params: BatchParams, mean: Tensor, std: Tensor) -> Tensor:
    """Colour jitter, grey, blur, mirroring and normalisation of one view of a batch.

    Equals torchvision's ``ColorJitter(.4, .4, .4)``, ``RandomGrayscale``, ``GaussianBlur`` and
    ``RandomHorizontalFlip`` on float images from 0 to 1, one image at a time; values are clamped to 0 to 1 after each
    operation of the jitter. The CPU does not wait for the device.

    ``images``, uint8 of shape (B, 3, H, W) in any layout, are not changed; H and W are larger than the blur's radius.
    ``mean`` and ``std`` of each channel, in fractions of 1, have the shape (1, 3, 1, 1). All lie on one device. Returns
    float32 ``(augmented - mean) / std`` of shape (B, 3, H, W).
    """
    at_once = _CPU_IMAGES if images.device.type == "cpu" else max(len(images), 1)
    out = _recolour(images, params, mean, std, at_once)
    # Blurring after the normalisation gives the same result, because the weights of the blur sum to 1.
    for start in range(0, len(params.blurred), at_once):
        positions, taps = (values[start : start + at_once] for values in (params.blurred, params.taps))
        out.index_copy_(0, positions, blur_images(out.index_select(0, positions), taps, "reflect"))
    for start in range(0, len(params.flipped), at_once):
        positions = params.flipped[start : start + at_once]
        out.index_copy_(0, positions, out.index_select(0, positions).flip(-1))
    return out


def _recolour(images: Tensor, params: BatchParams, mean: Tensor, std: Tensor, at_once: int) -> Tensor:
    """Jitter, grey and normalisation: matrices on the colours of each pixel, with a clamp between them."""
    count, channels, height, width = images.shape
    last, shift = params.grey / std.view(1, -1, 1), (-mean / std).view(1, -1, 1)
    out = torch.empty(count, channels, height * width, device=images.device)
    for start in range(0, count, at_once):
        chunk = slice(start, start + at_once)
        pixels = images[chunk].float().div_(255).reshape(-1, channels, height * width)
        for turn in range(params.colour.shape[1]):
            added = (pixels.mean(2) * params.contrast[chunk, turn]).sum(1).view(-1, 1, 1)
            pixels = added.baddbmm(params.colour[chunk, turn], pixels).clamp_(0, 1)
        torch.baddbmm(shift, last[chunk], pixels, out=out[chunk])
    return out.view(images.shape)


def blur_images(images: Tensor, taps: Tensor, padding: str) -> Tensor:
    """Blur float images (B, C, H, W), each by its own row of ``taps`` (B, 2 * radius + 1), along both sides.

    ``padding`` says how an image goes on beyond its edges: ``reflect`` or ``replicate``.
    """
    count, channels = images.shape[:2]
    radius = taps.shape[1] // 2
    # Each plane becomes a channel with its own filter, so one grouped convolution blurs all planes.
    planes = functional.pad(images, [radius] * 4, mode=padding).flatten(0, 1)[None]
    weights = taps[:, None].expand(-1, channels, -1).flatten(0, 1)
    planes = functional.conv2d(planes, weights[:, None, None, :], groups=count * channels)
    planes = functional.conv2d(planes, weights[:, None, :, None], groups=count * channels)
    return planes.view(images.shape)
