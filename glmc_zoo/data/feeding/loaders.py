"""Loaders for training and evaluation; the content of a batch does not depend on the number of workers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from glmc_zoo.data.feeding.datasets import EvalDataset, StreamEvalDataset, TrainDataset
from glmc_zoo.data.feeding.resident import ResidentImages
from glmc_zoo.data.feeding.samplers import EpochSampler
from glmc_zoo.data.feeding.shared_memory import check_shared_memory, tensors_in
from glmc_zoo.data.feeding.transforms import Images, Views
from glmc_zoo.data.feeding.worker import loader_context
from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.data.streaming import StreamSplit
from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

LONGEST_WAIT = 600
"""Seconds to wait for a batch of a worker, far longer than a batch takes."""


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

    A batch depends only on seed, epoch and its index. It does not depend on the workers or on torch's global
    generators, whose state is not changed.

    Args:
        transform: See `train_transform`.
        second_weights: Weight of each image for the re-balanced partners; ``None``: no partners.
        views: Independent augmentations of each image.
        seed: Seed of order, partners and augmentation.
        workers: Processes that load images; 0 loads in this process.
        drop_last: Leave out a last batch that is not full.
        resident_on: Keep the images on this device and make the batches there, without workers; the values are the
            same. Possible if `resident_bytes` is not ``None``.

    Raises:
        UserError: ``split`` is a stream, ``batch_size`` is below 1 or exceeds the images, a batch does not fit into
            shared memory, or ``resident_on`` is not possible.
    """
    if isinstance(split, StreamSplit):
        raise UserError("A stream cannot be trained on, as training needs all images at hand: use load_data.")
    count = len(split)
    if batch_size > count:
        raise UserError(
            f"batch_size={batch_size!r} exceeds the {counted(count, 'image')} to train on: give {count} or less."
        )
    resident = None
    if resident_on is not None:
        resident, workers = ResidentImages(split, transform, resident_on), 0
    sampler = EpochSampler(count, second_weights=second_weights, seed=seed)
    dataset = TrainDataset(split, transform, views, resident)
    return batch_loader(dataset, sampler, batch_size, workers, drop_last=drop_last, pin_memory=resident is None)


def eval_loader(
    split: ImageSplit | StreamSplit,
    transform: Callable[[Images], Tensor],
    *,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Any]:
    """Batches ``(images, targets, positions)`` of this process's share: every image in exactly one process.

    Processes and workers share a stream by whole files if there are enough files. Otherwise each process starts at most
    one worker, as more would read the same files again. With 0 workers, this process loads the images.

    ``transform`` turns images (PIL RGB images, or decoded uint8 (B, 3, H, W)) into uint8 (B, 3, S, S).
    """
    if isinstance(split, StreamSplit):
        dataset = StreamEvalDataset(split.shard(rank, world_size), transform, batch_size)
        return batch_loader(dataset, None, batch_size, min(workers, max(1, split.num_shards // world_size)))
    return batch_loader(EvalDataset(split, transform), range(rank, len(split), world_size), batch_size, workers)


def batch_loader(
    dataset: Dataset[Any],
    sampler: Any,
    batch_size: int,
    workers: int,
    *,
    drop_last: bool = False,
    pin_memory: bool = True,
) -> DataLoader[Any]:
    """Batches that ``dataset`` makes whole, as they are; see `train_loader` for the arguments.

    Batches that do not fit into shared memory raise `UserError`, if possible before a worker starts. If a worker gives
    no batch for `LONGEST_WAIT` seconds, torch raises ``RuntimeError``.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size!r} is not possible: give 1 or more.")
    if workers < 0:
        raise UserError(f"workers={workers!r} is not possible: give 0 (load in the main process) or more.")
    check_shared_memory(dataset, sampler, batch_size, workers)
    return DataLoader(
        dataset,
        batch_size=None if isinstance(dataset, StreamEvalDataset) else batch_size,  # a stream comes in batches
        sampler=sampler,
        num_workers=workers,
        collate_fn=_shared,
        multiprocessing_context=loader_context() if workers else None,
        drop_last=drop_last,
        # Each iteration takes a seed for the workers. Taken from the global generator, it would change resumed runs.
        generator=torch.Generator().manual_seed(0),
        persistent_workers=workers > 0,
        pin_memory=pin_memory and torch.cuda.is_available(),
        timeout=LONGEST_WAIT if workers else 0,
    )


def _shared(batch: Any) -> Any:
    """Return the batch; in a worker, move its tensors to shared memory first.

    torch would move them in a thread of the worker. If ``/dev/shm`` is full, that thread loses the batch, and the main
    process waits until the time-out.
    """
    if get_worker_info() is not None:
        try:
            for tensor in tensors_in(batch):
                tensor.share_memory_()
        except RuntimeError as error:
            raise UserError(
                f"A batch cannot be passed on by the process that loaded it ({one_line(error)}): give a smaller "
                "batch_size=, workers=0, or more shared memory (/dev/shm; --shm-size in Docker)."
            ) from error
    return batch
