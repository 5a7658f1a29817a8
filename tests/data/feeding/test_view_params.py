"""Policies and erasing from the transform to the normalised view: order, placement, seeds, and that off is off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glmc_zoo.data import ImageSplit, Normalize, train_loader, train_transform
from glmc_zoo.data.feeding.augmentation import augment_images
from glmc_zoo.data.feeding.erasing import erase_
from glmc_zoo.data.feeding.policies import apply_policy
from glmc_zoo.data.feeding.samplers import SECOND_IMAGE, PairedBatch
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.errors import UserError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NORMALIZE = Normalize(MEAN, STD)
EXTRAS: list[dict[str, Any]] = [
    {"auto_augment": "original"},
    {"auto_augment": "rand-m9-mstd0.5-inc1", "random_erasing": 0.6},
    {"auto_augment": "augmix-m3-w3", "cutout": 5},
    {"random_erasing": 1.0},
    {"cutout": 8},
]


def make_split(count: int = 40, side: int = 16) -> ImageSplit:
    pixels = np.random.RandomState(0).randint(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSplit(ArrayImages(pixels, "training"), np.arange(count), np.arange(count) % 5, "abcde")


def normalised(loader: Any) -> list[torch.Tensor]:
    """Every view that a training step gets, in one epoch."""
    loader.sampler.set_epoch(3)
    views = []
    for batch in loader:
        for images, params in ((batch.first, batch.first_params), (batch.second, batch.second_params)):
            views += [NORMALIZE(*pair) for pair in zip(images, params or [None] * len(images), strict=True)]
    return views


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
@pytest.mark.parametrize("augment", ["crop_flip", "shift"])
def test_images_on_the_device_are_those_of_the_cpu_path_to_the_bit(augment: str, extra: dict[str, Any]) -> None:
    transform, weights = train_transform(augment, 16, **extra), torch.arange(1.0, 41.0)
    plain, resident = (
        normalised(train_loader(make_split(), transform, batch_size=12, second_weights=weights, resident_on=device))
        for device in (None, torch.device("cpu"))
    )
    assert len(plain) == len(resident) == 3 * 4
    assert all(torch.equal(*pair) for pair in zip(plain, resident, strict=True))
    off = normalised(train_loader(make_split(), train_transform(augment, 16), batch_size=12, second_weights=weights))
    assert not any(torch.equal(*pair) for pair in zip(plain, off, strict=True))


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_workers_do_not_matter(augment: str) -> None:
    transform = train_transform(augment, 16, auto_augment="augmix-m3-w3", random_erasing=0.6)
    alone, shared = (
        normalised(train_loader(make_split(), transform, batch_size=12, second_weights=torch.ones(40), workers=workers))
        for workers in (0, 2)
    )
    assert all(torch.equal(*pair) for pair in zip(alone, shared, strict=True))


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_views_and_partners_have_their_own_augmentation(augment: str) -> None:
    transform = train_transform(augment, 16, auto_augment="rand-m9-n2-p1", random_erasing=1.0)
    loader: Any = train_loader(make_split(), transform, batch_size=20, second_weights=torch.ones(40))
    batch, indices = next(iter(loader)), list(loader.sampler)[:20]
    assert isinstance(batch, PairedBatch) and batch.first_params is not None and batch.second_params is not None
    erased = [params.erased for params in (*batch.first_params, *batch.second_params)]
    for number, one in enumerate(erased):
        assert not any(torch.equal(one, other) for other in erased[:number])
    seeds = [index.sample_seed for index in indices]
    for view in range(2):
        for params, changed in ((batch.first_params, 0), (batch.second_params, SECOND_IMAGE)):
            expected = transform.rest.sample_params([seed ^ changed for seed in seeds], 2, 16)
            assert expected is not None
            found_policy, expected_policy = params[view].policy, expected[view].policy
            assert found_policy is not None and expected_policy is not None
            assert found_policy.groups == expected_policy.groups
            assert torch.equal(found_policy.arguments, expected_policy.arguments)
            assert torch.equal(params[view].erased, expected[view].erased)


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_the_order_is_crop_policy_rest_normalisation_erasing(augment: str) -> None:
    images = [Image.fromarray(np.random.RandomState(i).randint(0, 256, (30, 40, 3)).astype(np.uint8)) for i in range(6)]
    transform = train_transform(augment, 16, auto_augment="original", cutout=5)
    plain = train_transform(augment, 16)
    views, without = (one(images, range(6), 2) for one in (transform, plain))
    assert views.params is not None
    for number, (view, params) in enumerate(zip(views.images, views.params, strict=True)):
        assert torch.equal(view, without.images[number])  # nothing of the crop is drawn differently
        assert params.policy is not None and params.erased is not None
        fill = (torch.tensor(MEAN) * 255).round().view(1, 3, 1, 1)
        assert fill.flatten().tolist() == [min(255, round(255 * value)) for value in MEAN]  # as in timm
        expected = apply_policy(view, params.policy, fill)
        if params.augmentation is None:
            expected = (expected / 255 - NORMALIZE.mean) / NORMALIZE.std
        else:
            expected = augment_images(expected, params.augmentation, NORMALIZE.mean, NORMALIZE.std)
        torch.testing.assert_close(NORMALIZE(view, params), erase_(expected, params.erased), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("auto_augment", "jitters"), [("original", False), ("3a", True), (None, True)])
def test_a_policy_replaces_the_jitter_of_large_images(auto_augment: str | None, jitters: bool) -> None:
    images = torch.randint(0, 256, (30, 3, 20, 20), dtype=torch.uint8)
    found = train_transform("large", 16, auto_augment=auto_augment, cutout=4)(images, range(30), 1).params
    expected = train_transform("large", 16)(images, range(30), 1).params
    assert found is not None and expected is not None
    ours, plain = found[0].augmentation, expected[0].augmentation
    assert ours is not None and plain is not None
    for name in ("grey", "blurred", "taps", "flipped"):  # grey, blur and mirroring stay
        assert torch.equal(getattr(ours, name), getattr(plain, name))
    assert torch.equal(ours.colour, plain.colour) == jitters
    if not jitters:
        assert torch.equal(ours.colour, torch.eye(3).expand(30, 3, 3, 3)) and not ours.contrast.any()


def test_zero_is_off() -> None:
    off = train_transform("crop_flip", 16, auto_augment=None, random_erasing=0.0, cutout=0)
    assert off == train_transform("crop_flip", 16)
    assert off(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), [1, 2], 2).params is None


def test_a_square_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UserError, match="cutout=17 exceeds the side of the images, 16 pixels: give less"):
        train_transform("shift", 16, cutout=17)


def test_a_batch_with_a_policy_moves_to_a_device() -> None:
    operations = pytest.importorskip("accelerate.utils.operations")
    transform = train_transform("crop_flip", 16, auto_augment="augmix-m3-w3", cutout=4)
    batch = next(iter(train_loader(make_split(), transform, batch_size=8, second_weights=torch.ones(40))))
    moved = operations.send_to_device(batch, torch.device("meta"), non_blocking=True)
    params = moved.first_params[1]
    assert params.policy.groups == batch.first_params[1].policy.groups
    tensors = (params.policy.positions, params.policy.arguments, params.policy.shares, params.erased)
    assert all(tensor.device.type == "meta" for tensor in tensors)
    # Nothing looks at a value, so nothing waits for a device.
    assert Normalize(MEAN, STD).to("meta")(moved.first[1], params).shape == (8, 3, 16, 16)
