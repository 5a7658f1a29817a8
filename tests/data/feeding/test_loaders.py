from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from glmc_zoo.data.feeding import loaders
from glmc_zoo.data.feeding.augmentation import sample_params, stack_params
from glmc_zoo.data.feeding.loaders import TrainDataset, eval_loader, train_loader
from glmc_zoo.data.feeding.samplers import SECOND_IMAGE, PairedBatch, PairIndex, SingleBatch
from glmc_zoo.data.feeding.transforms import train_transform
from glmc_zoo.data.feeding.view_params import ViewParams
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError


def make_split(count: int = 50, side: int = 16) -> ImageSplit:
    pixels = np.random.RandomState(0).randint(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSplit(ArrayImages(pixels, "training"), np.arange(count), np.arange(count) % 5, "abcde")


class CountedImages:
    """A source that decodes when asked, and counts how often."""

    name = "training"

    def __init__(self, bad: int | None = None) -> None:
        self.bad = bad
        self.reads = 0

    def read(self, rows: np.ndarray) -> list[Image.Image]:
        self.reads += len(rows)
        if self.bad in rows.tolist():
            raise UserError(f"image {self.bad} of the training split cannot be read: broken; remove it")
        return [Image.new("RGB", (20 + int(row), 30), (int(row), 0, 0)) for row in rows]


def as_tensors(images: torch.Tensor | list[Image.Image]) -> torch.Tensor:
    return images if isinstance(images, torch.Tensor) else torch.stack([pil_to_tensor(image) for image in images])


def flat(batch: PairedBatch) -> list[torch.Tensor]:
    assert batch.second is not None
    assert batch.second_targets is not None
    params = parts((batch.first_params, batch.second_params))
    return [*batch.first, batch.first_targets, *batch.second, batch.second_targets, *params]


def parts(batch: Any) -> list[torch.Tensor]:
    """Every tensor of a batch or a part of it."""
    if isinstance(batch, torch.Tensor):
        return [batch]
    return [tensor for part in batch for tensor in parts(part)] if isinstance(batch, tuple) else []


def test_a_paired_batch_holds_the_images_of_its_indices() -> None:
    split = make_split()
    loader = train_loader(split, train_transform("crop_flip", 16), batch_size=8, second_weights=torch.ones(50), seed=1)
    assert len(loader) == 6
    pairs = list(loader.sampler)
    for number, batch in enumerate(loader):
        chunk = pairs[number * 8 : number * 8 + 8]
        assert isinstance(batch, PairedBatch)
        assert batch.first_targets.tolist() == [p.first % 5 for p in chunk]
        assert batch.second_targets.tolist() == [p.second % 5 for p in chunk]
        assert batch.first_targets.dtype == torch.int64
        for view in (*batch.first, *batch.second):
            assert view.shape == (8, 3, 16, 16)
            assert view.dtype == torch.uint8
        assert batch.first_params is None and batch.second_params is None


def test_params_of_large_images_travel_with_their_views() -> None:
    split = make_split()
    transform = train_transform("large", 16)
    loader = train_loader(split, transform, batch_size=8, second_weights=torch.ones(50), seed=1)
    pairs = list(loader.sampler)
    for number, batch in enumerate(loader):
        chunk = pairs[number * 8 : number * 8 + 8]
        assert split.pixels is not None and batch.first_params is not None and batch.second_params is not None
        for position, pair in enumerate(chunk):
            for row, seed, views, params in (
                (pair.first, pair.sample_seed, batch.first, batch.first_params),
                (pair.second, pair.sample_seed ^ SECOND_IMAGE, batch.second, batch.second_params),
            ):
                expected = sample_params(seed, 2, 16, 16)
                image = torch.from_numpy(split.pixels[row]).permute(2, 0, 1)
                for view in range(2):
                    assert torch.equal(views[view][position], transform.crop(image, expected[view]))
                    alone = stack_params(expected[view : view + 1], 1)
                    large = params[view].augmentation
                    assert large is not None
                    assert torch.equal(large.colour[position], alone.colour[0])
                    assert torch.equal(large.contrast[position], alone.contrast[0])
                    assert torch.equal(large.grey[position], alone.grey[0])
                    assert (position in large.flipped) == expected[view].flip
                    assert (position in large.blurred) == (expected[view].sigma > 0)
    # Four independent augmentations of a pair: brightness and the like differ in all of them.
    colours = [params.augmentation.colour for params in (*batch.first_params, *batch.second_params)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(colours, 2))


def test_four_augmentations_of_one_image_are_independent() -> None:
    # The image says where a pixel came from: row number in red, column number in green; no zero but the padding.
    pixels = np.zeros((64, 32, 32, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(1, 33)[:, None]
    pixels[..., 1] = np.arange(1, 33)
    split = ImageSplit(ArrayImages(pixels, "training"), np.arange(64), np.zeros(64, dtype=np.int64), "a")
    loader = train_loader(split, train_transform("crop_flip", 32), batch_size=64, second_weights=torch.ones(64))
    batch = next(iter(loader))
    # The middle of a shifted image is never padding, so its row number is the vertical shift.
    shifts = [view[:, 0, 16, 16].double() for view in (*batch.first, *batch.second)]
    for one, other in itertools.combinations(shifts, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.4
    assert all(len(shift.unique()) == 9 for shift in shifts)


def test_one_view_without_partners_is_a_single_batch() -> None:
    split = make_split()
    loader = train_loader(split, train_transform("shift", 16), batch_size=20, views=1, drop_last=False)
    batches = list(loader)
    assert [len(batch.images) for batch in batches] == [20, 20, 10]
    assert all(isinstance(batch, SingleBatch) for batch in batches)
    assert torch.cat([batch.targets for batch in batches]).bincount().tolist() == [10] * 5
    assert all(batch.params is None for batch in batches)
    loader = train_loader(split, train_transform("large", 16), batch_size=20, views=1, drop_last=False)
    assert [len(batch.params.augmentation.colour) for batch in loader] == [20, 20, 10]


def test_two_views_without_partners() -> None:
    batch = next(iter(train_loader(make_split(), train_transform("shift", 16), batch_size=20)))
    assert isinstance(batch, PairedBatch)
    assert len(batch.first) == 2
    assert batch.second is None
    assert batch.second_targets is None


@pytest.mark.parametrize("augment", ["crop_flip", "large"])
def test_batches_do_not_depend_on_workers_or_global_generators(augment: str) -> None:
    split = make_split()
    transform = train_transform(augment, 16)

    def epoch(workers: int, number: int) -> list[torch.Tensor]:
        loader = train_loader(split, transform, batch_size=16, second_weights=torch.arange(50), seed=2, workers=workers)
        loader.sampler.set_epoch(number)
        return [tensor for batch in loader for tensor in flat(batch)]

    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = epoch(0, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    second = epoch(2, 3)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, epoch(0, 4), strict=True))


def test_persistent_workers_follow_the_epoch() -> None:
    transform = train_transform("shift", 16)
    loaders = [
        train_loader(make_split(), transform, batch_size=16, second_weights=torch.ones(50), workers=w) for w in (0, 1)
    ]
    for number in (0, 1, 0):
        for loader in loaders:
            loader.sampler.set_epoch(number)
        for one, other in zip(*loaders, strict=True):
            assert all(torch.equal(*pair) for pair in zip(flat(one), flat(other), strict=True))


def test_one_decode_serves_both_views() -> None:
    source = CountedImages()
    split = ImageSplit(source, np.arange(10), np.zeros(10, dtype=np.int64), "a")
    dataset = TrainDataset(split, train_transform("large", 16))
    batch = dataset.__getitems__([PairIndex(0, 5, 1), PairIndex(1, 6, 2)])
    assert isinstance(batch, PairedBatch)
    assert source.reads == 4
    assert dataset.__getitems__([PairIndex(3, -1, 1)]).first_targets.tolist() == [0]
    assert len(dataset) == 10


@pytest.mark.parametrize("workers", [0, 1])
def test_the_sentence_of_an_error_survives_a_worker(workers: int) -> None:
    split = ImageSplit(CountedImages(bad=7), np.arange(10), np.zeros(10, dtype=np.int64), "a")
    loader = train_loader(split, train_transform("large", 16), batch_size=5, workers=workers)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert caught.value.sentence == "Image 7 of the training split cannot be read: broken; remove it."


@pytest.mark.parametrize("world_size", [1, 3, 4])
def test_ranks_share_the_evaluation_without_overlap(world_size: int) -> None:
    split = make_split()
    assert split.pixels is not None
    seen: list[int] = []
    for rank in range(world_size):
        loader = eval_loader(split, as_tensors, batch_size=7, rank=rank, world_size=world_size)
        for images, targets, positions in loader:
            assert torch.equal(images, torch.from_numpy(split.pixels[positions.numpy()]).permute(0, 3, 1, 2))
            assert torch.equal(targets, positions % 5)
            seen += positions.tolist()
    assert sorted(seen) == list(range(50))


def test_evaluation_with_workers_keeps_order_and_generators() -> None:
    state = torch.get_rng_state()
    loader = eval_loader(make_split(), as_tensors, batch_size=8, workers=2)
    assert torch.cat([positions for _, _, positions in loader]).tolist() == list(range(50))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"batch_size": 51}, ["batch_size=51", "50 images", "give 50 or less"]),
        ({"batch_size": 0}, ["0", "1 or more"]),
        ({"batch_size": 5, "workers": -1}, ["workers=-1"]),
    ],
)
def test_bad_loader_options(options: dict, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        train_loader(make_split(), train_transform("shift", 16), **options)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


@pytest.mark.parametrize("augment", ["shift", "large"])
def test_accelerate_keeps_the_sampler_and_the_batches(augment: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    transform = train_transform(augment, 16)
    expected = train_loader(make_split(), transform, batch_size=16, second_weights=torch.ones(50))
    expected.sampler.set_epoch(2)
    accelerator = accelerate.Accelerator(cpu=True)
    loader = accelerator.prepare(train_loader(make_split(), transform, batch_size=16, second_weights=torch.ones(50)))
    loader.set_epoch(2)
    for one, other in zip(loader, expected, strict=True):
        assert isinstance(one, PairedBatch)
        assert len(flat(one)) == len(flat(other)) == (6 if augment == "shift" else 30)
        assert all(torch.equal(*pair) for pair in zip(flat(one), flat(other), strict=True))
    loader.set_epoch(2)
    skipped = accelerator.skip_first_batches(loader, 1)
    skipped.set_epoch(2)
    for one, other in zip(flat(next(iter(skipped))), flat(list(expected)[1]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("augment", ["shift", "large"])
@pytest.mark.parametrize("views", [1, 2])
def test_a_whole_batch_moves_to_a_device(augment: str, views: int) -> None:
    operations = pytest.importorskip("accelerate.utils.operations")
    weights = torch.ones(50) if views == 2 else None
    loader = train_loader(
        make_split(), train_transform(augment, 16), batch_size=16, second_weights=weights, views=views
    )
    batch = next(iter(loader))
    moved = operations.send_to_device(batch, torch.device("meta"), non_blocking=True)
    assert type(moved) is type(batch)
    assert {tensor.device.type for tensor in parts(moved)} == {"meta"}
    params = moved.params if views == 1 else moved.first_params and moved.first_params[1]
    assert isinstance(params, ViewParams) if augment == "large" else params is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for a GPU alone")
@pytest.mark.parametrize("augment", ["shift", "large"])
def test_batches_are_pinned(augment: str) -> None:
    loader = train_loader(make_split(), train_transform(augment, 16), batch_size=16, second_weights=torch.ones(50))
    assert all(tensor.is_pinned() for tensor in flat(next(iter(loader))))


def test_batches_of_workers_have_the_values_of_batches_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether their tensors are moved to shared memory or not."""
    batch = PairedBatch((torch.ones(2, 3),), torch.arange(2), None, None)
    moved = list[torch.Tensor]()
    monkeypatch.setattr(torch.Tensor, "share_memory_", lambda tensor: moved.append(tensor))
    assert loaders._shared(batch) is batch and not moved
    monkeypatch.setattr(loaders, "get_worker_info", object)
    assert loaders._shared(batch) is batch and [part.shape for part in moved] == [(2, 3), (2,)]
    assert loaders._shared((batch, [torch.zeros(1)], "text", None))[0] is batch and len(moved) == 5
