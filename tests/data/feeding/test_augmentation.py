"""The device's part of the augmentation against torchvision's, image by image, and the whole by its moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from glmc_zoo.data.feeding.augmentation import (
    AugmentationParams,
    BatchParams,
    augment_images,
    blur_radius,
    sample_params,
    stack_params,
)
from glmc_zoo.data.feeding.transforms import LargeTrainTransform, Normalize
from glmc_zoo.data.feeding.view_params import ViewParams

PLAIN = AugmentationParams((0, 0, 8, 8), (0, 1, 2), 1.0, 1.0, 1.0, False, 0.0, False)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(count: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def apply(images: Tensor, all_params: Sequence[AugmentationParams]) -> Tensor:
    """Augmented to 0..1."""
    stacked = stack_params(all_params, blur_radius(images.shape[-1]))
    return Normalize((0.0,) * 3, (1.0,) * 3)(images, ViewParams(augmentation=stacked))


def by_torchvision(image: Tensor, params: AugmentationParams) -> Tensor:
    """One uint8 image (3, S, S) augmented to 0..1 by torchvision's own operations in the published order."""
    jitter: list[Callable[[Tensor], Tensor]] = [
        lambda x: functional.adjust_brightness(x, params.brightness),
        lambda x: functional.adjust_contrast(x, params.contrast),
        lambda x: functional.adjust_saturation(x, params.saturation),
    ]
    out = functional.to_dtype(image, torch.float32, scale=True)
    for operation in params.order:
        out = jitter[operation](out)
    if params.grey:
        out = functional.rgb_to_grayscale(out, num_output_channels=3)
    if params.sigma:
        kernel = max(3, image.shape[-1] // 10 // 2 * 2 + 1)
        out = functional.gaussian_blur(out, [kernel, kernel], [params.sigma, params.sigma])
    return functional.horizontal_flip(out) if params.flip else out


OPERATIONS: dict[str, list[AugmentationParams]] = {
    **{
        name: [PLAIN._replace(**{name: factor}) for factor in (0.6, 0.83, 1.0, 1.17, 1.4)]
        for name in ("brightness", "contrast", "saturation")
    },
    "grey": [PLAIN, PLAIN._replace(grey=True), PLAIN],
    "blur": [PLAIN._replace(sigma=sigma) for sigma in (0.1, 0.0, 0.5, 1.0, 1.7, 2.0)],
    "flip": [PLAIN, PLAIN._replace(flip=True), PLAIN._replace(flip=True)],
}


@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchvisions(name: str, side: int) -> None:
    all_params = OPERATIONS[name]
    images = noise(len(all_params), side)
    got = apply(images, all_params)
    expected = torch.stack([by_torchvision(image, params) for image, params in zip(images, all_params, strict=True)])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    plain = images.float() / 255
    changed = [not torch.allclose(one, other, atol=1e-3) for one, other in zip(got, plain, strict=True)]
    # A blur of sigma 0.1 moves no pixel by as much.
    assert changed == [params not in (PLAIN, PLAIN._replace(sigma=0.1)) for params in all_params]


def test_edges_of_the_blur_and_its_longest_reach() -> None:
    images = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    images[:, :, :3, 100:] = 255  # a bar at the border, where it is mirrored
    images[:, :, 110:, :1] = 255
    all_params = [PLAIN._replace(sigma=2.0), PLAIN._replace(sigma=1.9)]
    expected = torch.stack([by_torchvision(image, params) for image, params in zip(images, all_params, strict=True)])
    torch.testing.assert_close(apply(images, all_params), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_values_are_clamped_after_each_operation_in_its_order(order: tuple[int, int, int]) -> None:
    params = PLAIN._replace(order=order, brightness=1.4, contrast=1.4, saturation=1.4)
    images = noise(2, 16)
    expected = torch.stack([by_torchvision(image, params) for image in images])
    torch.testing.assert_close(apply(images, [params] * 2), expected, rtol=0, atol=1e-5)
    others = torch.stack([by_torchvision(image, params._replace(order=order[::-1])) for image in images])
    assert (expected - others).abs().max() > 0.01  # the order shows


@pytest.mark.parametrize("count", [1, 4, 5, 13])
def test_the_whole_composition_image_by_image(count: int) -> None:
    images = noise(count, 64)
    all_params = [sample_params(seed, 1, 64, 64)[0] for seed in range(count)]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = [(by_torchvision(image, params) - mean) / std for image, params in zip(images, all_params, strict=True)]
    got = Normalize(MEAN, STD)(images, ViewParams(augmentation=stack_params(all_params, blur_radius(64))))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.stack(expected), rtol=0, atol=1e-5 / min(STD))
    # A batch of thirteen is drawn thirteen times, not once.
    assert len({params[1:] for params in all_params}) == count


def test_the_layout_makes_no_difference_and_the_input_is_left_alone() -> None:
    images = noise(6, 32)
    before = images.clone()
    all_params = [sample_params(seed, 1, 32, 32)[0] for seed in range(6)]
    got = apply(images, all_params)
    assert torch.equal(images, before)
    torch.testing.assert_close(apply(images.contiguous(memory_format=torch.channels_last), all_params), got)
    assert not got.requires_grad


def test_other_images_of_the_batch_have_no_say() -> None:
    images = noise(9, 32)
    all_params = [sample_params(seed, 1, 32, 32)[0] for seed in range(9)]
    whole = apply(images, all_params)
    for position in range(9):
        alone = apply(images[position : position + 1], all_params[position : position + 1])
        torch.testing.assert_close(alone[0], whole[position], rtol=0, atol=1e-6)


@pytest.mark.parametrize("extreme", [PLAIN, PLAIN._replace(sigma=1.0, flip=True, grey=True)])
def test_all_or_none_of_the_batch(extreme: AugmentationParams) -> None:
    images = noise(5, 32)
    expected = torch.stack([by_torchvision(image, extreme) for image in images])
    torch.testing.assert_close(apply(images, [extreme] * 5), expected, rtol=0, atol=1e-5)


def test_nothing_looks_at_values_on_the_device() -> None:
    # Tensors of this device have no values: whatever asks for one, as waiting for a GPU would, fails.
    all_params = stack_params([sample_params(seed, 1, 32, 32)[0] for seed in range(8)], 1)
    meta = BatchParams(*(part.to("meta") for part in all_params))
    mean, std = (torch.empty(1, 3, 1, 1, device="meta") for _ in range(2))
    out = augment_images(noise(8, 32).to("meta"), meta, mean, std)
    assert out.shape == (8, 3, 32, 32)
    assert out.device.type == "meta"


# ------------------------------------------------------------------ against the published pipeline, as distributions
SIDE = 64
SAMPLES = 600


def published(side: int) -> v2.Compose:
    """The published augmentation as torchvision has it; after the crop on float images, which are not rounded."""
    kernel = max(3, side // 10 // 2 * 2 + 1)
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, sigma=(0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToPureTensor(),
        ]
    )


def synthetic(seed: int) -> Image.Image:
    """Colour at all scales, the finer the fainter, as in nature; 160 x 120."""
    rng = np.random.default_rng(seed)
    out = np.full((120, 160, 3), 120.0)
    for cells in (2, 4, 8, 16, 40, 160):
        for channel in range(3):
            coarse = Image.fromarray(rng.normal(size=(cells * 3 // 4 + 1, cells)).astype(np.float32))
            out[..., channel] += 60 / cells**0.4 * np.asarray(coarse.resize((160, 120), Image.Resampling.BICUBIC))
    return Image.fromarray(out.clip(0, 255).astype(np.uint8))


@cache
def scene(name: str) -> Image.Image:
    if name == "marked":  # red on the left, blue on the right, whatever is cropped
        pixels = np.zeros((120, 160, 3), dtype=np.uint8)
        pixels[..., 0] = np.linspace(230, 30, 160)
        pixels[..., 1] = 90
        pixels[..., 2] = np.linspace(30, 230, 160)
        return Image.fromarray(pixels)
    if name == "texture":  # the same everywhere, so that the crop changes little
        blocks = np.random.default_rng(0).integers(60, 190, (12, 16, 3)).astype(np.uint8)
        return Image.fromarray(blocks.repeat(10, 0).repeat(10, 1))
    if name == "photograph":
        from sklearn.datasets import load_sample_image

        return Image.fromarray(load_sample_image("china.jpg")).resize((320, 214), Image.Resampling.BICUBIC)
    return synthetic(int(name.removeprefix("synthetic ")))


def statistics(images: Tensor) -> dict[str, np.ndarray]:
    """Numbers of each image (B, 3, S, S) in 0..1, float64 of shape (B,)."""
    images = images.double()
    grey = (images.amax(1) - images.amin(1)).amax((1, 2)) < 1e-4
    red, green, blue = (plane - plane.mean(1, keepdim=True) for plane in images.flatten(2).unbind(1))

    def correlation(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum(1) / ((one**2).sum(1) * (other**2).sum(1)).sqrt().clamp(min=1e-9)

    inner = images[:, :, 1:-1, 1:-1]
    around = images[:, :, :-2, 1:-1] + images[:, :, 2:, 1:-1] + images[:, :, 1:-1, :-2] + images[:, :, 1:-1, 2:]
    warmth = images[:, 0] - images[:, 2]
    found = {
        "mean": images.mean((1, 2, 3)),
        "red": images[:, 0].mean((1, 2)),
        "blue": images[:, 2].mean((1, 2)),
        "deviation": images.std((1, 2, 3)),
        "deviation over mean": images.std((1, 2, 3)) / images.mean((1, 2, 3)),  # which brightness hardly moves
        "colourfulness": images.std(1).mean((1, 2)),
        "red with green": correlation(red, green),
        "red with blue": correlation(red, blue),
        "fine detail": (around - 4 * inner).abs().mean((1, 2, 3)),
        "black or white": ((images <= 0) | (images >= 1)).double().mean((1, 2, 3)),
        "grey": grey.double(),
        "leans": (warmth[:, :, : SIDE // 2].mean((1, 2)) > warmth[:, :, SIDE // 2 :].mean((1, 2))).double(),
    }
    return {name: values.numpy() for name, values in found.items()}


@cache
def reference(name: str) -> dict[str, np.ndarray]:
    torch.manual_seed(1)
    pipeline = published(SIDE)
    return statistics(torch.stack([pipeline(scene(name)) for _ in range(SAMPLES)]))


def ours(
    name: str, change: Callable[[AugmentationParams], AugmentationParams] = lambda params: params
) -> dict[str, np.ndarray]:
    image = functional.pil_to_tensor(scene(name))
    cut = LargeTrainTransform(SIDE)
    all_params = [params for seed in range(SAMPLES // 2) for params in sample_params(seed, 2, *image.shape[-2:])]
    all_params = [change(params) for params in all_params]
    return statistics(apply(torch.stack([cut.crop(image, params) for params in all_params]), all_params))


def distances(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """How far mean and variance of each number lie apart, in the standard deviations that chance alone gives.

    The yardstick comes from the reference: means of two random halves of its N samples differ by some D. Each half has
    N / 2 samples, so D varies as 2 s / sqrt(N), s being the spread of one; two independent means of N samples differ by
    sqrt(2) s / sqrt(N), that is by D / sqrt(2). D is measured over 200 random halvings.
    """
    rng = np.random.default_rng(0)
    halvings = [rng.permutation(SAMPLES) for _ in range(200)]
    out = {}
    for name, values in theirs.items():
        for power in (1, 2):
            # The variance about the reference's mean, so that it is a mean over samples as well.
            sample, other = ((part - (power - 1) * values.mean()) ** power for part in (values, mine[name]))
            halves = [sample[order[: SAMPLES // 2]].mean() - sample[order[SAMPLES // 2 :]].mean() for order in halvings]
            chance = np.sqrt(np.mean(np.square(halves)) / 2)
            gap = abs(sample.mean() - other.mean())
            out[f"{name} ** {power}"] = gap / chance if chance else (0.0 if gap < 1e-9 else np.inf)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synthetic 0", "synthetic 1", "marked", "texture", "photograph"])
def test_moments_are_those_of_the_published_augmentation(name: str) -> None:
    found = distances(ours(name), reference(name))
    # 24 numbers a image, many of them tied to one another: chance passes 3.5 in about one image of a hundred.
    assert {key: value for key, value in found.items() if value > 3.5} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "name", "shows_in"),
    [
        ({"sigma": 0.0}, "synthetic 0", "fine detail ** 1"),
        ({"grey": False}, "synthetic 0", "grey ** 1"),
        ({"flip": False}, "marked", "leans ** 1"),
        ({"saturation": 1.0}, "marked", "red with green ** 2"),
        ({"brightness": 1.0}, "synthetic 0", "mean ** 2"),
        ({"contrast": 1.0}, "texture", "deviation over mean ** 2"),
        ({"box": (0, 0, 120, 160)}, "marked", "deviation ** 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_missing_operation_would_show(change: dict[str, Any], name: str, shows_in: str) -> None:
    found = distances(ours(name, lambda params: params._replace(**change)), reference(name))
    assert found[shows_in] > 5, found
