"""Random erasing against timm's, and Cutout against its definition."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from timm.data.random_erasing import RandomErasing as TimmRandomErasing

from glmc_zoo.data.feeding.erasing import Box, Cutout, RandomErasing, erase_, make_eraser, sample_boxes
from glmc_zoo.errors import UserError


@pytest.mark.parametrize("probability", [0.3, 1.0])
@pytest.mark.parametrize("side", [16, 33])
def test_random_erasing_is_timms_from_the_same_numbers(probability: float, side: int) -> None:
    images = torch.randn(200, 3, side, side, generator=torch.Generator().manual_seed(0))
    boxes = sample_boxes(RandomErasing(probability), range(200), 1, side)
    found = erase_(images.clone(), boxes)
    theirs = TimmRandomErasing(probability, device="cpu")
    for seed in range(200):
        random.seed(seed << 16 | 1 << 8 | 1)
        assert torch.equal(found[seed], theirs(images[seed].clone()))
    share = (found != images).flatten(1).any(1).double().mean()
    assert abs(share - probability) < 0.08


def test_cutout_is_a_square_cut_off_at_the_border() -> None:
    side, square = 32, 16
    boxes = sample_boxes(Cutout(square), range(5000), 0, side).numpy()
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() == 0 and boxes.max() == side and sizes.max() == square and sizes.min() == square // 2
    # The centre is any pixel, so that each side has its full length with probability 17 of 32.
    full = (sizes == square).mean(0)
    np.testing.assert_allclose(full, 17 / 32, atol=0.03)
    # Published: rows from y - 8 to y + 8, clipped to the image, y from 0 to 31.
    starts = np.clip(np.arange(side) - square // 2, 0, side)
    ends = np.clip(np.arange(side) + square // 2, 0, side)
    assert set(map(tuple, boxes[:, [0, 2]])) == set(zip(starts.tolist(), ends.tolist(), strict=True))


def test_an_odd_square_has_its_full_side() -> None:
    boxes = sample_boxes(Cutout(5), range(200), 0, 16)
    assert (boxes[:, 2:] - boxes[:, :2]).max() == 5


@pytest.mark.parametrize("eraser", [RandomErasing(0.9), Cutout(7)])
def test_boxes_depend_on_seed_and_view_alone(eraser: RandomErasing | Cutout) -> None:
    random.seed(1)
    state = random.getstate()
    seeds = [2**62 + row for row in range(20)]
    first, second = (sample_boxes(eraser, seeds, view, 16) for view in range(2))
    assert torch.equal(sample_boxes(eraser, seeds[::-1], 0, 16), first.flip(0))
    assert not torch.equal(first, second)
    assert random.getstate() == state


def test_erased_pixels_are_zero_and_others_stay_in_every_layout() -> None:
    images = torch.rand(3, 3, 8, 8) + 1
    boxes = torch.tensor([Box(1, 2, 4, 8), Box(), Box(0, 0, 8, 8)])
    expected = images.clone()
    expected[0, :, 1:4, 2:8] = 0
    expected[2] = 0
    for layout in (torch.contiguous_format, torch.channels_last):
        found = erase_(images.clone(memory_format=layout), boxes)
        assert torch.equal(found, expected) and found.is_contiguous(memory_format=layout)


def test_what_is_chosen() -> None:
    assert make_eraser(None, None) is None and make_eraser(0.0, 0) is None
    assert make_eraser(0.25, 0) == RandomErasing(0.25) and make_eraser(0.0, 16) == Cutout(16)
    for values, sentence in (
        ((0.5, 8), "random_erasing=0.5 and cutout=8 both erase part of each image: set one of them to 0."),
        ((1.5, None), "random_erasing=1.5 is not a probability: give a number from 0 to 1."),
        ((None, -3), "cutout=-3 is too small: give 1 pixel or more, or 0 for none."),
    ):
        with pytest.raises(UserError) as caught:
            make_eraser(*values)
        assert str(caught.value) == sentence
