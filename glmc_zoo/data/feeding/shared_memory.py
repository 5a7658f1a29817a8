"""Shared memory: whether the batches that workers load ahead fit into it, before a worker starts."""

import math
import os
import shutil
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from glmc_zoo.disk import megabytes
from glmc_zoo.errors import UserError

FOLDER = "/dev/shm"  # where Linux keeps it; other systems set no limit of their own
AHEAD = 2
"""Batches that each worker loads ahead: torch's default."""


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from tensors_in(part)


def check_shared_memory(dataset: Any, sampler: Any, batch_size: int, workers: int) -> None:
    """Refuse workers whose batches do not fit into the shared memory that is free.

    Each worker holds `AHEAD` batches, and one more is in use, as far as there are so many. Data sets say by their
    method ``sample()`` what one sample of a batch looks like; without it nothing is checked.

    Raises:
        UserError: A full shared memory would end the workers in the middle of a run.
    """
    if workers < 1 or not os.path.isdir(FOLDER) or not hasattr(dataset, "sample"):
        return
    one = sum(tensor.nbytes for tensor in tensors_in(dataset.sample()))
    if getattr(sampler, "second_weights", None) is not None:
        one *= 2  # each image has a partner
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    batches = AHEAD * workers + 1
    if sampler is not None:
        batches = min(batches, math.ceil(len(sampler) / batch_size))
    needed = one * batch_size * batches * processes
    free = shutil.disk_usage(FOLDER).free
    if needed > free:
        raise UserError(
            f"workers={workers} would load {AHEAD} batches of {batch_size} each ahead, which takes "
            f"{megabytes(needed)} of shared memory, and {FOLDER} has {megabytes(free)} free: give workers=0, a "
            "smaller batch_size=, or more shared memory (--shm-size in Docker)."
        )
