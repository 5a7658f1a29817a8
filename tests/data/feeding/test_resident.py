from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from glmc_zoo.data import ImageSplit, Normalize, train_loader, train_transform
from glmc_zoo.data.feeding.resident import ResidentImages, free_memory, resident_bytes
from glmc_zoo.data.feeding.transforms import CropTrainTransform
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.errors import UserError

CPU = torch.device("cpu")


def make_split(count: int = 40, side: int = 16, seed: int = 0) -> ImageSplit:
    pixels = np.random.RandomState(seed).randint(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSplit(ArrayImages(pixels, "training"), np.arange(count), np.arange(count) % 5, "abcde")


def crops(augment: str, size: int) -> CropTrainTransform:
    transform = train_transform(augment, size)
    assert isinstance(transform, CropTrainTransform)
    return transform


def tensors(batch: Any) -> list[torch.Tensor]:
    parts = [part for part in batch if part is not None]
    return [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]


def test_a_crop_is_the_padded_image_cropped_and_mirrored_one_by_one() -> None:
    split, transform = make_split(), crops("crop_flip", 16)
    count = 64
    positions = torch.randint(0, 40, (count,), generator=torch.Generator().manual_seed(1))
    params = transform.sample_params([1] * count, 1)[0]
    found, labels = ResidentImages(split, transform, CPU).crop(positions, params)
    assert found.dtype == torch.uint8 and found.shape == (count, 3, 16, 16)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [int(position) % 5 for position in positions]
    assert split.pixels is not None
    corners = {(int(top), int(left)) for top, left in zip(params.top, params.left, strict=True)}
    assert {0, 4} <= {side for corner in corners for side in corner} and params.flip.any() and not params.flip.all()
    for index, position in enumerate(positions):
        image = functional.pad(torch.from_numpy(split.pixels[int(position)]).permute(2, 0, 1), [2, 2, 2, 2])
        expected = functional.crop(image, int(params.top[index]), int(params.left[index]), 16, 16)
        if params.flip[index]:
            expected = functional.horizontal_flip(expected)
        assert torch.equal(found[index], expected)


@pytest.mark.parametrize(
    ("augment", "size", "views", "partners"),
    [
        ("crop_flip", 16, 2, True),
        ("shift", 16, 2, True),
        ("crop_flip", 24, 2, True),  # enlarged
        ("crop_flip", 16, 1, False),
        ("shift", 12, 2, False),
    ],
)
def test_the_same_batches_as_without(augment: str, size: int, views: int, partners: bool) -> None:
    split = make_split()
    weights = torch.arange(1.0, 41.0) if partners else None
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    plain, resident = (
        train_loader(
            split, crops(augment, size), batch_size=12, second_weights=weights, views=views, seed=5, resident_on=device
        )
        for device in (None, CPU)
    )
    for loader in (plain, resident):
        loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    for one, other in zip(plain, resident, strict=True):
        assert type(one) is type(other)
        pairs = list(zip(tensors(one), tensors(other), strict=True))
        assert len(pairs) == (views + 1) * (1 + partners)
        for expected, found in pairs:
            assert found.dtype == expected.dtype and torch.equal(found, expected)
            if found.ndim == 4:  # normalised in another layout, to the same bits
                assert torch.equal(normalize(found), normalize(expected))


def test_values_are_normalised_as_torchvision_does_in_both_layouts() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    normalize = Normalize(mean, std)
    expected = functional.normalize(images.double() / 255, list(mean), list(std))
    for layout in (torch.contiguous_format, torch.channels_last):
        for side in (6, 4):  # the kept tiles follow the size
            part = images[..., :side, :side].contiguous(memory_format=layout)
            found = normalize(part)
            assert found.dtype == torch.float32 and found.is_contiguous(memory_format=layout)
            torch.testing.assert_close(found.double(), expected[..., :side, :side], rtol=0, atol=1e-6)


def test_workers_are_not_started_for_images_on_the_device() -> None:
    loader = train_loader(make_split(), crops("shift", 16), batch_size=8, workers=2, resident_on=CPU)
    assert loader.num_workers == 0 and not loader.pin_memory


@pytest.mark.parametrize(("augment", "copies"), [("crop_flip", 2), ("shift", 1)])
def test_bytes_are_those_that_are_taken(augment: str, copies: int) -> None:
    split, transform = make_split(), crops(augment, 16)
    images = ResidentImages(split, transform, CPU)
    assert resident_bytes(split, transform) == images._windows.untyped_storage().nbytes() == copies * 40 * 20 * 20 * 3


def test_large_images_cannot_stay() -> None:
    split = make_split()
    assert resident_bytes(split, train_transform("large", 16)) is None
    split.pixels = None
    assert resident_bytes(split, crops("shift", 16)) is None


def test_free_memory_is_what_the_system_says() -> None:
    def available() -> int:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))

    # Other processes take and free memory between the two looks.
    assert any(abs(free_memory(CPU) - available()) < 2**30 for _ in range(20))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_pixels() -> None:
    split, transform, count = make_split(), crops("crop_flip", 16), 64
    params = transform.sample_params([1] * count, 1)[0]
    positions = torch.arange(count) % 40
    expected = ResidentImages(split, transform, CPU).crop(positions, params)
    resident = ResidentImages(split, transform, torch.device("cuda"))
    with torch.cuda.device(0):
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = resident.crop(positions, params)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(one.cpu(), other) for one, other in zip(found, expected, strict=True))


def test_images_that_cannot_stay_on_the_device() -> None:
    """The sentence names the argument of `train_loader`."""
    transform: Any = train_transform("large", 16)
    with pytest.raises(UserError, match=r"^resident_on= needs decoded images .* crops and mirrors: leave it out\.$"):
        train_loader(make_split(), transform, batch_size=8, resident_on=CPU)
    assert train_loader(make_split(), transform, batch_size=8).dataset is not None
