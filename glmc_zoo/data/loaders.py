"""Loaders: shuffled and re-balanced index pairs, and batches of two views whose content no worker can change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.photo_draws import PhotoDraws
from glmc_zoo.data.stream_split import StreamSplit
from glmc_zoo.data.transforms import Images, Views
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

# Added to a stream by exclusive or: the re-balanced image of a pair is augmented by numbers of its own.
_SECOND_IMAGE = 0x2545F4914F6CDD1D


class PairIndex(NamedTuple):
    """One training sample."""

    first: int
    """Position in the split, of the plain shuffle."""
    second: int
    """Position of the partner from the re-balanced sampler, or -1."""
    stream: int
    """Seed of the sample's augmentation, 63 bits."""


class PairedBatch(NamedTuple):
    """A batch for GLMC. A view is uint8 of shape (B, 3, S, S); targets are int64 of shape (B,)."""

    first: tuple[Tensor, ...]
    """The views of the plainly shuffled images."""
    first_targets: Tensor
    second: tuple[Tensor, ...] | None
    """The views of the re-balanced images; ``None`` without a re-balanced sampler."""
    second_targets: Tensor | None
    first_draws: tuple[PhotoDraws, ...] | None = None
    """The augmentation that each view of ``first`` still needs, see `Normalize`; ``None`` for none."""
    second_draws: tuple[PhotoDraws, ...] | None = None


class SingleBatch(NamedTuple):
    """A batch for plain training: one view, uint8 of shape (B, 3, S, S), and int64 targets of shape (B,)."""

    images: Tensor
    targets: Tensor
    draws: PhotoDraws | None = None
    """The augmentation that the view still needs, see `Normalize`; ``None`` for none."""


class EpochSampler(Sampler[PairIndex]):
    """A permutation of the split, each image with a partner drawn with replacement, both fixed by (seed, epoch) alone.

    The order depends on nothing that was drawn before, so a run that resumes in any epoch sees what it would have seen.

    Args:
        num_samples: images in the split.
        second_weights: weight of each image in the re-balanced draw, shape (num_samples,); ``None`` draws no partners.
        seed: of the order, 0 or more; the same on every rank.

    Raises:
        UserError: weights that do not fit the split or cannot be drawn from, or a negative seed.
    """

    def __init__(self, num_samples: int, *, second_weights: Tensor | None, seed: int) -> None:
        if seed < 0:
            raise UserError(f"The seed {seed} is negative: give 0 or more.")
        if second_weights is not None:
            second_weights = torch.as_tensor(second_weights, dtype=torch.float64).cpu()
            if second_weights.shape != (num_samples,):
                raise UserError(
                    f"Sampling weights of shape {tuple(second_weights.shape)} do not fit {num_samples} images: "
                    "give one for each image."
                )
            if not (torch.isfinite(second_weights).all() and (second_weights >= 0).all() and second_weights.sum() > 0):
                raise UserError(
                    "The sampling weights cannot be drawn from: give finite numbers of 0 or more, not all 0."
                )
        self.num_samples = num_samples
        self.second_weights = second_weights
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[PairIndex]:
        words = np.random.SeedSequence([self.seed, self.epoch]).generate_state(self.num_samples + 2, np.uint64) >> 1
        order_seed, pair_seed, *streams = words.tolist()
        first = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(order_seed)).tolist()
        if self.second_weights is None:
            second = [-1] * self.num_samples
        else:
            generator = torch.Generator().manual_seed(pair_seed)
            second = torch.multinomial(self.second_weights, self.num_samples, True, generator=generator).tolist()
        yield from map(PairIndex, first, second, streams)


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
            second, second_targets = self._part(positions, [stream ^ _SECOND_IMAGE for stream in streams])
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
) -> DataLoader[Any]:
    """Batches of one epoch of training; call ``loader.sampler.set_epoch(epoch)`` before each.

    A batch depends on seed, epoch and its place alone: not on the workers, nor on torch's global generators, which are
    left as they are.

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
        pin_memory=torch.cuda.is_available(),
    )


def _as_is(batch: _Batch) -> _Batch:
    return batch


def _pictures(split: ImageSplit, positions: list[int]) -> Images:
    if split.pixels is None:
        return split.images(positions)
    return torch.from_numpy(split.pixels[positions]).permute(0, 3, 1, 2)
