"""Loaders: batches of two views whose content no worker can change, and of pictures to evaluate on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.resident import ResidentTrainDataset
from glmc_zoo.data.sampling import SECOND_IMAGE, EpochSampler, PairedBatch, PairIndex, SingleBatch
from glmc_zoo.data.stream_split import StreamSplit
from glmc_zoo.data.transforms import CropTrainTransform, Images, Views
from glmc_zoo.errors import UserError

__all__ = [
    "EpochSampler",
    "EvalDataset",
    "PairIndex",
    "PairedBatch",
    "SingleBatch",
    "TrainDataset",
    "eval_loader",
    "train_loader",
]

_Batch = TypeVar("_Batch")


class TrainDataset(Dataset[PairedBatch | SingleBatch]):
    """Augmented training batches, made a whole batch at a time (``DataLoader`` calls ``__getitems__``).

    Args:
        split: the training part.
        transform: called with pictures, a seed for each, and the number of views; see ``build_transforms``.
        views: independent augmentations of each image, all from one decode.
    """

    def __init__(self, split: ImageSplit, transform: Callable[..., Views], views: int = 2) -> None:
        self.split = split
        self.transform = transform
        self.views = views

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: PairIndex) -> PairedBatch | SingleBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[PairIndex]) -> PairedBatch | SingleBatch:
        """The batch of these samples: a `SingleBatch` with one view and no partners, else a `PairedBatch`.

        Raises:
            UserError: a picture cannot be read.
        """
        streams = [index.stream for index in indices]
        first, targets = self._part([index.first for index in indices], streams)
        if indices[0].second >= 0:
            positions = [index.second for index in indices]
            second, second_targets = self._part(positions, [stream ^ SECOND_IMAGE for stream in streams])
            return PairedBatch(first.images, targets, second.images, second_targets, first.draws, second.draws)
        if self.views == 1:
            return SingleBatch(first.images[0], targets, None if first.draws is None else first.draws[0])
        return PairedBatch(first.images, targets, None, None, first.draws)

    def _part(self, positions: list[int], streams: list[int]) -> tuple[Views, Tensor]:
        images = _pictures(self.split, positions)
        return self.transform(images, streams, self.views), torch.from_numpy(self.split.labels[positions])


class EvalDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Evaluation batches ``(images, targets, positions)``, made a whole batch at a time."""

    def __init__(self, split: ImageSplit, transform: Callable[[Images], Tensor]) -> None:
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 images (B, 3, S, S), int64 targets (B,) and int64 positions in the split (B,).

        Raises:
            UserError: a picture cannot be read.
        """
        positions = list(indices)
        images = self.transform(_pictures(self.split, positions))
        return images, torch.from_numpy(self.split.labels[positions]), torch.tensor(positions)


class StreamEvalDataset(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """The batches of `EvalDataset` from a stream; each worker reads a share of its own."""

    def __init__(self, split: StreamSplit, transform: Callable[[Images], Tensor], batch_size: int) -> None:
        self.split = split
        self.transform = transform
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        worker, share = get_worker_info(), self.split
        if worker is not None:
            share = share.shard(share.rank * worker.num_workers + worker.id, share.world_size * worker.num_workers)
        for pictures, labels, positions in share.batches(self.batch_size):
            yield self.transform(pictures), torch.from_numpy(labels), torch.from_numpy(positions)


def train_loader(
    split: ImageSplit,
    transform: Callable[..., Views],
    *,
    batch_size: int,
    second_weights: Tensor | None = None,
    views: int = 2,
    seed: int = 0,
    workers: int = 0,
    drop_last: bool = True,
    resident_on: torch.device | None = None,
) -> DataLoader[Any]:
    """Batches of one epoch of training; call ``loader.sampler.set_epoch(epoch)`` before each.

    A batch depends on seed, epoch and its place alone: not on the workers, nor on torch's global generators, which are
    left as they are. With ``resident_on`` the pictures lie on that device, and the batches, of the same values, too;
    no workers are started then. `resident_bytes` says whether that can be done.

    Raises:
        UserError: a batch larger than the split, a number of workers below 0, or a split that is a stream.
    """
    if isinstance(split, StreamSplit):
        raise UserError(
            "A stream cannot be trained on, for training shuffles the whole set and draws images by class: load it by "
            "load_data, which downloads it once."
        )
    if batch_size > len(split):
        raise UserError(
            f"A batch of {batch_size} is larger than the training part of {len(split)} images: "
            f"give --batch-size {len(split)} or less."
        )
    sampler = EpochSampler(len(split), second_weights=second_weights, seed=seed)
    if resident_on is not None:
        assert isinstance(transform, CropTrainTransform)
        dataset: Dataset[Any] = ResidentTrainDataset(split, transform, views, resident_on)
        return _loader(dataset, sampler, batch_size, 0, drop_last)
    return _loader(TrainDataset(split, transform, views), sampler, batch_size, workers, drop_last)


def eval_loader(
    split: ImageSplit | StreamSplit,
    transform: Callable[[Images], Tensor],
    *,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Any]:
    """Batches ``(images, targets, positions)`` of this rank's own share: every image on exactly one rank, none twice.

    A stream is shared between processes and workers by whole files where there are enough of them; of workers that
    would have none to themselves, and so read what others read, no more than one a process is started.

    Raises:
        UserError: a batch size below 1, or a number of workers below 0.
    """
    if isinstance(split, StreamSplit):
        dataset = StreamEvalDataset(split.shard(rank, world_size), transform, batch_size)
        useful = max(1, split.num_shards // world_size)
        return _loader(dataset, None, batch_size, min(workers, useful), False)
    return _loader(EvalDataset(split, transform), range(rank, len(split), world_size), batch_size, workers, False)


def _loader(dataset: Dataset[Any], sampler: Any, batch_size: int, workers: int, drop_last: bool) -> DataLoader[Any]:
    if batch_size < 1:
        raise UserError(f"A batch size of {batch_size} is not possible: give 1 or more.")
    if workers < 0:
        raise UserError(f"The number of workers is {workers}: give 0 (load in the main process) or more.")
    return DataLoader(
        dataset,
        batch_size=None if isinstance(dataset, StreamEvalDataset) else batch_size,  # a stream comes in batches
        sampler=sampler,
        num_workers=workers,
        collate_fn=_as_is,
        drop_last=drop_last,
        # Every iteration draws a seed for the workers. Out of the global generator, that would make a resumed run
        # differ.
        generator=torch.Generator().manual_seed(0),
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available() and not isinstance(dataset, ResidentTrainDataset),
    )


def _as_is(batch: _Batch) -> _Batch:
    return batch


def _pictures(split: ImageSplit, positions: list[int]) -> Images:
    if split.pixels is None:
        return split.images(positions)
    return torch.from_numpy(split.pixels[positions]).permute(0, 3, 1, 2)
