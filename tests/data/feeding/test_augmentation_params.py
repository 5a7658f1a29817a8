"""Parameters of the augmentation: distributed as torchvision's, and dependent on the sample seed alone."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from glmc_zoo.data.feeding.augmentation import AugmentationParams, blur_radius, crop_box, sample_params, stack_params

PLAIN = AugmentationParams((0, 0, 8, 8), (0, 1, 2), 1.0, 1.0, 1.0, False, 0.0, False)


def many(count: int, height: int = 375, width: int = 500) -> list[AugmentationParams]:
    return [params for seed in range(count) for params in sample_params(seed, 2, height, width)]


def two_sample_chi_square(one: np.ndarray, other: np.ndarray) -> float:
    """Chi-square of two histograms with equal totals, as a distance from its mean in standard deviations."""
    freedom = len(one) - 1
    return (((one - other) ** 2 / np.maximum(one + other, 1)).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (90, 320)])
def test_crops_are_distributed_as_those_of_random_resized_crop(height: int, width: int) -> None:
    count = 3000
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(2 * count)]
    ours = [params.box for params in many(count, height, width)]
    assert all(top >= 0 and left >= 0 and top + h <= height and left + w <= width for top, left, h, w in ours)

    def parts(boxes: list[tuple[int, int, int, int]]) -> dict[str, np.ndarray]:
        top, left, high, wide = np.array(boxes, dtype=np.float64).T
        return {
            "area": high * wide / (height * width),
            "aspect": np.log(wide / high),
            "down": top / np.maximum(height - high, 1),
            "along": left / np.maximum(width - wide, 1),
        }

    mine, reference = parts(ours), parts(theirs)
    for name, values in reference.items():
        # Equally filled bins of both together; ties (a crop as high as the image) fall into one.
        edges = np.unique(np.quantile(np.concatenate([values, mine[name]]), np.linspace(0, 1, 13)))
        histograms = [np.histogram(sample, edges)[0] for sample in (mine[name], values)]
        # Four standard deviations of a chi-square of 11 degrees of freedom: about once in a thousand.
        assert two_sample_chi_square(*histograms) < 4, name
    assert (
        abs(np.corrcoef(mine["area"], mine["aspect"])[0, 1] - np.corrcoef(*list(reference.values())[:2])[0, 1]) < 0.06
    )


@pytest.mark.parametrize(("height", "width"), [(10, 300), (300, 10), (1, 1), (40, 1000)])
def test_images_that_no_try_fits_are_cut_in_the_centre(height: int, width: int) -> None:
    # Shares so near to 1 that no crop of an allowed aspect fits into images this long.
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), [0.999, 1.0], [3 / 4, 4 / 3])
    assert crop_box(height, width, [(0.999, 3 / 4), (1.0, 4 / 3)], 0.3, 0.3) == theirs


def test_the_first_try_that_fits_is_taken_and_its_place_reaches_both_ends() -> None:
    tries = [(1.0, 4 / 3), (0.25, 1.0), (0.5, 1.0)]
    assert crop_box(100, 100, tries, 0.0, 0.0) == (0, 0, 50, 50)
    last = math.nextafter(1.0, 0.0)
    assert crop_box(100, 100, tries, last, last) == (50, 50, 50, 50)


def test_shares_and_ranges_are_the_published_ones() -> None:
    all_params = many(5000)  # 10,000 of them: a share's standard deviation is at most half a percent
    assert abs(np.mean([params.grey for params in all_params]) - 0.2) < 0.016
    assert abs(np.mean([params.sigma > 0 for params in all_params]) - 0.5) < 0.02
    assert abs(np.mean([params.flip for params in all_params]) - 0.5) < 0.02
    uniform = {
        **{name: [getattr(params, name) for params in all_params] for name in ("brightness", "contrast", "saturation")},
        "sigma": [params.sigma for params in all_params if params.sigma],
    }
    for name, values in uniform.items():
        low, high = (0.1, 2.0) if name == "sigma" else (0.6, 1.4)
        assert low <= min(values) and max(values) < high
        counts = np.histogram(values, 10, (low, high))[0]
        expected = len(values) / 10
        # Chi-square with 9 degrees of freedom: above 28 once in a thousand.
        assert ((counts - expected) ** 2 / expected).sum() < 28, name
    orders = Counter(params.order for params in all_params)
    assert len(orders) == 6
    # Chi-square with 5 degrees of freedom: above 20.5 once in a thousand.
    assert sum((n - 10_000 / 6) ** 2 / (10_000 / 6) for n in orders.values()) < 20.5


def test_params_are_independent_of_each_other_and_between_views() -> None:
    all_params = many(3000)
    table = np.array(
        [[*p.box, *p.order[:1], *p[2:5], p.grey, p.sigma > 0, p.flip] for p in all_params],
    )
    one, other = table[0::2], table[1::2]
    assert np.abs(np.corrcoef(one.T, other.T)[11:, :11]).max() < 0.075  # 121 numbers of standard deviation 0.018
    within = np.corrcoef(table[:, 4:].T) - np.eye(7)
    assert np.abs(within).max() < 0.05  # 21 numbers of standard deviation 0.013


def test_a_view_depends_on_stream_and_number_alone() -> None:
    state = torch.get_rng_state()
    assert sample_params(7, 1, 60, 80) == sample_params(7, 2, 60, 80)[:1] == sample_params(7, 3, 60, 80)[:1]
    assert sample_params(7, 3, 60, 80)[1] == sample_params(7, 2, 60, 80)[1]
    assert sample_params(8, 1, 60, 80) != sample_params(7, 1, 60, 80)
    # Of another image only the crop is another.
    assert sample_params(7, 1, 90, 80)[0][1:] == sample_params(7, 1, 60, 80)[0][1:]
    assert torch.equal(torch.get_rng_state(), state)
    assert sample_params(2**63 - 1, 1, 60, 80)


@pytest.mark.parametrize(("size", "radius"), [(8, 1), (32, 1), (64, 3), (112, 5), (224, 9), (384, 9)])
def test_the_blur_is_a_tenth_of_the_side_but_no_wider_than_sigma_needs(size: int, radius: int) -> None:
    assert blur_radius(size) == radius


def test_stacked_params_hold_what_each_image_needs() -> None:
    all_params = [
        PLAIN,
        PLAIN._replace(grey=True, flip=True),
        PLAIN._replace(brightness=0.7, contrast=1.2, saturation=0.9, order=(2, 0, 1), sigma=1.5),
        PLAIN._replace(flip=True, sigma=0.1),
    ]
    stacked = stack_params(all_params, 4)
    assert stacked.blurred.tolist() == [2, 3]
    assert stacked.flipped.tolist() == [1, 3]
    assert torch.equal(stacked.colour[0], torch.eye(3).expand(3, 3, 3))
    assert not stacked.contrast[[0, 1, 3]].any()
    assert torch.equal(stacked.grey[0], torch.eye(3))
    weights = torch.tensor([0.2989, 0.587, 0.114])
    assert torch.equal(stacked.grey[1], weights.expand(3, 3))
    saturation, brightness, contrast = stacked.colour[2]
    torch.testing.assert_close(saturation, 0.9 * torch.eye(3) + 0.1 * weights)
    torch.testing.assert_close(brightness, 0.7 * torch.eye(3))
    torch.testing.assert_close(contrast, 1.2 * torch.eye(3))
    torch.testing.assert_close(stacked.contrast[2], torch.stack([weights * 0, weights * 0, -0.2 * weights]))
    torch.testing.assert_close(stacked.taps.sum(1), torch.ones(2))
    expected = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * 1.5**2))
    torch.testing.assert_close(stacked.taps[0], expected / expected.sum())
    assert all(part.dtype == torch.float32 for part in (stacked.colour, stacked.contrast, stacked.grey, stacked.taps))


def test_nothing_to_blur_or_mirror_is_an_empty_list() -> None:
    stacked = stack_params([PLAIN] * 3, 2)
    assert stacked.blurred.shape == stacked.flipped.shape == (0,)
    assert stacked.taps.shape == (0, 5)
    assert stacked.blurred.dtype == stacked.flipped.dtype == torch.int64
