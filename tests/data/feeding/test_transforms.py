from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from glmc_zoo.data.feeding.augmentation import augment_images, sample_params
from glmc_zoo.data.feeding.transforms import CropTrainTransform, Normalize, train_transform
from glmc_zoo.errors import UserError


def batch(count: int = 8, side: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def large_images(count: int = 3) -> list[Image.Image]:
    sizes = [(90, 60), (50, 120), (64, 64)]
    return [
        Image.fromarray(np.random.RandomState(index).randint(0, 256, (*sizes[index % 3], 3)).astype(np.uint8))
        for index in range(count)
    ]


def test_normalize_is_the_formula() -> None:
    images = batch()
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.1])
    expected = (images.numpy().astype(np.float64) / 255 - mean[:, None, None]) / std[:, None, None]
    got = Normalize(mean.tolist(), std.tolist())(images)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_normalize_equals_the_golden_numbers(shared: Path, name: str) -> None:
    from glmc_zoo.data.catalogue import list_data

    golden = np.load(shared / "reference" / "glmc_step.npz")
    expected = golden[f"org_raw_normalised_{name}"]
    entry = list_data()[f"{name}_lt"]
    raw = torch.from_numpy(golden["org_raw_uint8"][: len(expected)]).permute(0, 3, 1, 2)
    np.testing.assert_allclose(Normalize(entry.mean, entry.std)(raw).numpy(), expected, atol=1e-5)


def test_normalize_has_no_state_to_store_and_takes_bytes_only() -> None:
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    assert normalize.state_dict() == {}
    with pytest.raises(TypeError, match="uint8"):
        normalize(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("size", [7, 16, 32])
def test_crops_equal_torchvision_image_by_image(size: int) -> None:
    images = batch(16, side=size)
    transform = CropTrainTransform(size, flip=True)
    padding = size // 8
    (params,) = transform.sample_params([3] * 16, 1)
    got = transform.crop(images, params)
    for index, image in enumerate(images):
        padded = functional.pad(image, [padding])
        expected = functional.crop(padded, int(params.top[index]), int(params.left[index]), size, size)
        expected = functional.horizontal_flip(expected) if params.flip[index] else expected
        assert torch.equal(got[index], expected)
    assert 0 < params.flip.sum() < 16


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_are_resized_antialiased_first(interpolation: str) -> None:
    images = batch(4, side=48)
    transform = train_transform("crop_flip", 16, interpolation=interpolation)
    mode = functional.InterpolationMode(interpolation)
    small = functional.resize(images, [16, 16], interpolation=mode, antialias=True)
    assert torch.equal(transform.fit(images), small)
    assert torch.equal(transform(images, range(4), 1).images[0], transform(small, range(4), 1).images[0])


def test_fitting_keeps_the_aspect() -> None:
    wide = torch.zeros(1, 3, 10, 30, dtype=torch.uint8)
    wide[..., 10:20] = 200
    nearest = CropTrainTransform(20, flip=True, interpolation=functional.InterpolationMode.NEAREST)
    assert (nearest.fit(wide) == 200).all()


def test_fitting_images_of_the_right_size_changes_nothing() -> None:
    transform = train_transform("crop_flip", 32)
    assert torch.equal(transform.fit(batch()), batch())
    assert torch.equal(transform.fit([Image.fromarray(batch()[0].permute(1, 2, 0).numpy())])[0], batch()[0])


def test_params_cover_every_offset_evenly() -> None:
    (params,) = CropTrainTransform(32, flip=True).sample_params([0] * 90_000, 1)
    for offsets in (params.top, params.left):
        counts = torch.bincount(offsets, minlength=9)
        # Chi-square with 8 degrees of freedom: above 26 once in a thousand.
        assert len(counts) == 9
        assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 26
    assert abs(params.flip.float().mean() - 0.5) < 0.01
    assert abs(np.corrcoef(params.top, params.left)[0, 1]) < 0.02


def test_crops_leave_their_input_and_the_global_generator_alone() -> None:
    images, transform = batch(), CropTrainTransform(32, flip=True)
    before, state = images.clone(), torch.get_rng_state()
    (out,) = transform(images, range(8), 1).images
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    (other,) = transform(images.contiguous(memory_format=torch.channels_last), range(8), 1).images
    assert torch.equal(out, other)


@pytest.mark.parametrize("augment", ["crop_flip", "shift", "large"])
@pytest.mark.parametrize("decoded", [True, False])
def test_every_kind_gives_uint8_views(augment: str, decoded: bool) -> None:
    train = train_transform(augment, 32)
    images = batch(3, side=40) if decoded else large_images(3)
    state = torch.get_rng_state()
    views, params = train(images, [5, 6, 7], 2)
    assert [view.shape for view in views] == [(3, 3, 32, 32)] * 2
    assert all(view.dtype == torch.uint8 and view.is_contiguous() for view in views)
    assert not torch.equal(*views)
    assert all(torch.equal(*pair) for pair in zip(views, train(images, [5, 6, 7], 2).images, strict=True))
    assert not torch.equal(views[0], train(images, [8, 9, 10], 1).images[0])
    assert (params is not None) == (augment == "large")
    assert params is None or [view.augmentation and len(view.augmentation.colour) for view in params] == [3, 3]
    assert torch.equal(torch.get_rng_state(), state)


def test_shift_never_mirrors() -> None:
    train = train_transform("shift", 16)
    assert not train.sample_params(range(1000), 1)[0].flip.any()
    assert train.padding == 2
    assert train_transform("crop_flip", 32).padding == 4


def test_large_depends_on_the_images_own_seed_alone() -> None:
    train = train_transform("large", 32)
    images = large_images(3)
    whole = train(images, [11, 12, 13], 2)
    alone = train(images[1:2], [12], 2)
    assert whole.params is not None and alone.params is not None
    for view in range(2):
        assert torch.equal(whole.images[view][1], alone.images[view][0])
        together, single = whole.params[view].augmentation, alone.params[view].augmentation
        assert together is not None and single is not None
        assert torch.equal(together.colour[1], single.colour[0])
        assert (1 in together.flipped) == bool(len(single.flipped))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_crop_is_pils_of_the_same_box(interpolation: str) -> None:
    # PIL is what the published pipeline resizes with. Pixels beyond the box must have no part in either.
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (37, 50, 3)).astype(np.uint8))
    image = image.resize((500, 375), Image.Resampling.BICUBIC)
    train = train_transform("large", 224, interpolation=interpolation)
    for seed in range(10):
        (params,) = sample_params(seed, 1, 375, 500)
        top, left, height, width = params.box
        theirs = image.crop((left, top, left + width, top + height)).resize(
            (224, 224), Image.Resampling[interpolation.upper()]
        )
        got = train([image], [seed], 1).images[0][0].permute(1, 2, 0).numpy().astype(int)
        apart = np.abs(got - np.asarray(theirs))
        assert apart.max() <= 2  # of 255: both round between their two passes
        assert apart.mean() < 0.1


def test_the_device_finishes_what_the_params_say() -> None:
    train = train_transform("large", 32)
    views = train(large_images(3), [1, 2, 3], 2)
    assert views.params is not None
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    for image, params in zip(views.images, views.params, strict=True):
        expected = augment_images(image, params.augmentation, normalize.mean, normalize.std)
        assert torch.equal(normalize(image, params), expected)
        assert not torch.allclose(normalize(image), expected, atol=0.1)


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_transforms_travel_to_workers(augment: str) -> None:
    train = train_transform(augment, 16)
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy(batch(2), [1, 2], 1).images[0], train(batch(2), [1, 2], 1).images[0])


@pytest.mark.parametrize(
    ("arguments", "options", "parts"),
    [
        (("huge", 32), {}, ["'huge'", "crop_flip, shift, large"]),
        (("large", 4), {}, ["image_size=4", "8 pixels or more"]),
        (("shift", 32), {"interpolation": "lanczos"}, ["'lanczos'", "bicubic, bilinear, nearest"]),
    ],
)
def test_bad_options(arguments: tuple, options: dict, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        train_transform(*arguments, **options)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence
