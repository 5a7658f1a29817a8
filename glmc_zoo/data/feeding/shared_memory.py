"""Check before loader processes start that the batches they load ahead fit into shared memory."""

import math
import os
import shutil
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from glmc_zoo.disk import megabytes
from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

FOLDER = "/dev/shm"  # shared memory on Linux; other systems have no separate limit
AHEAD = 2
"""Batches that each worker loads ahead: torch's default."""


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a batch: the batch itself, or what lists and tuples in it hold. Other values are skipped."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from tensors_in(part)


def check_shared_memory(dataset: Any, sampler: Any, batch_size: int, workers: int) -> None:
    """Refuse workers whose batches do not fit into the shared memory that is free.

    Each worker holds up to `AHEAD` batches, and the training uses one more. This is multiplied by the processes of the
    machine, and by 2 if each image has a partner. The method ``sample()`` of the data set gives one sample of a batch,
    from which the size is computed; without this method nothing is checked.

    Raises:
        UserError: The batches do not fit: the workers would crash in the middle of a run.
    """
    if workers < 1 or not os.path.isdir(FOLDER) or not hasattr(dataset, "sample"):
        return
    sample_bytes = sum(tensor.nbytes for tensor in tensors_in(dataset.sample()))
    if getattr(sampler, "second_weights", None) is not None:
        sample_bytes *= 2  # each image has a partner
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    batches = AHEAD * workers + 1
    if sampler is not None:
        batches = min(batches, math.ceil(len(sampler) / batch_size))
    needed = sample_bytes * batch_size * batches * processes
    free = shutil.disk_usage(FOLDER).free
    if needed > free:
        raise UserError(
            f"With workers={workers}, each worker loads {AHEAD} batches of {counted(batch_size, 'image')} ahead, which "
            f"takes {megabytes(needed)} of shared memory in all, and {FOLDER} has {megabytes(free)} free: give "
            "workers=0, a smaller batch_size=, or more shared memory (--shm-size in Docker)."
        )
