"""The augmentation of photographs after the crop: a whole batch at once, on the device, each image by its own draws."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from glmc_zoo.data.photo_draws import PhotoDraws

__all__ = ["augment_photos"]

_CPU_IMAGES = 4  # gone through at a time on a CPU: they stay in its cache


def augment_photos(images: Tensor, draws: PhotoDraws, mean: Tensor, std: Tensor) -> Tensor:
    """Colour jitter, grey, blur, mirroring and normalisation of one view of a batch.

    The same as torchvision's ``ColorJitter(.4, .4, .4)``, ``RandomGrayscale``, ``GaussianBlur`` and
    ``RandomHorizontalFlip`` on float images from 0 to 1, one image at a time; values are clamped to 0 to 1 after each
    operation of the jitter. Nothing waits for the device.

    Args:
        images: uint8 of shape (B, 3, H, W), in any layout; not changed. H and W are larger than the blur's radius.
        draws: of this view, on the device of the images.
        mean: of each channel, in fractions of 1, shape (1, 3, 1, 1).
        std: of each channel, in fractions of 1, shape (1, 3, 1, 1).

    Returns:
        float32 ``(augmented - mean) / std`` of shape (B, 3, H, W).
    """
    at_once = _CPU_IMAGES if images.device.type == "cpu" else max(len(images), 1)
    out = _recoloured(images, draws, mean, std, at_once)
    # After the normalisation, and that makes no difference: the weights of the blur sum to 1.
    if len(draws.blurred):
        for positions, taps in zip(draws.blurred.split(at_once), draws.taps.split(at_once), strict=True):
            out.index_copy_(0, positions, _blurred(out.index_select(0, positions), taps))
    if len(draws.flipped):
        for positions in draws.flipped.split(at_once):
            out.index_copy_(0, positions, out.index_select(0, positions).flip(-1))
    return out


def _recoloured(images: Tensor, draws: PhotoDraws, mean: Tensor, std: Tensor, at_once: int) -> Tensor:
    """Jitter, grey and normalisation: matrices on the colours of each pixel, with a clamp between them."""
    count, channels, height, width = images.shape
    last, shift = draws.grey / std.view(1, -1, 1), (-mean / std).view(1, -1, 1)
    out = torch.empty(count, channels, height * width, device=images.device)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        pixels = images[part].float().div_(255).reshape(-1, channels, height * width)
        for place in range(draws.colour.shape[1]):
            added = (pixels.mean(2) * draws.contrast[part, place]).sum(1).view(-1, 1, 1)
            pixels = added.baddbmm(draws.colour[part, place], pixels).clamp_(0, 1)
        torch.baddbmm(shift, last[part], pixels, out=out[part])
    return out.view(images.shape)


def _blurred(images: Tensor, taps: Tensor) -> Tensor:
    """Gaussian blur, each image by its own row of ``taps``; edges are mirrored."""
    count, channels = images.shape[:2]
    radius = taps.shape[1] // 2
    # Every plane is a channel with a filter of its own, so that one convolution does them all.
    planes = functional.pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    weights = taps[:, None].expand(-1, channels, -1).flatten(0, 1)
    planes = functional.conv2d(planes, weights[:, None, None, :], groups=count * channels)
    planes = functional.conv2d(planes, weights[:, None, :, None], groups=count * channels)
    return planes.view(images.shape)
