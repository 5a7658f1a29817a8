"""The files of a split's pictures in memory as they are, read once: JPEG stays JPEG, and is decoded from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from glmc_zoo.data.images import ArrowImages, ImageSplit
from glmc_zoo.data.resident import free_memory
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EncodedImages", "check_encoded_fits", "keep_encoded"]

_CHUNK = 1024
# Files are waited for, not computed with: many at a time keep a disk or a network file system busy.
_THREADS = 16


class EncodedImages:
    """Encoded pictures one after the other in a single buffer.

    Forked workers read the buffer of their parent. To spawned ones torch hands it over as shared memory; a NumPy array
    would be copied into each of them.

    Args:
        data: uint8 of shape (bytes of all pictures,).
        ends: int64 of shape (N + 1,): picture ``i`` lies in ``data[ends[i]:ends[i + 1]]``.
    """

    def __init__(self, data: Tensor, ends: Tensor) -> None:
        self.data = data
        self.ends = ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, position: int) -> memoryview:
        """The encoded bytes of one picture; they are not copied."""
        return self.data[self.ends[position] : self.ends[position + 1]].numpy().data


def check_encoded_fits(split: ImageSplit, copies: int = 1) -> None:
    """Refuse what `keep_encoded` could not do on this machine, before anything is read.

    Args:
        split: whose files are to be kept.
        copies: processes of this machine that each keep them.

    Raises:
        UserError: the pictures are decoded already, a file is missing, or the files take more than the memory that is
            available.
    """
    needed = int(_sizes(_source(split), split.rows).sum()) * copies
    free = free_memory(torch.device("cpu"))
    if needed > free:
        each = f" in {copies} processes" if copies > 1 else ""
        raise UserError(
            f"--images-in-memory needs {needed / 2**20:,.0f} MiB{each} for the files of {len(split):,} training "
            f"images, and {free / 2**20:,.0f} MiB of memory are available: leave it out."
        )


def keep_encoded(split: ImageSplit, *, progress: bool = False) -> None:
    """Read the files of the split's pictures into ``split.encoded``; none of them is opened again.

    Args:
        split: of files, or of a table that holds their bytes.
        progress: show a bar.

    Raises:
        UserError: the pictures are decoded already, or a file cannot be read.
    """
    source = _source(split)
    sizes = _sizes(source, split.rows)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    data = torch.empty(int(ends[-1]), dtype=torch.uint8)
    buffer = memoryview(data.numpy())
    with (
        ThreadPoolExecutor(_THREADS) as threads,
        tqdm(total=len(split), desc="reading images", leave=False, disable=None if progress else True) as bar,
    ):

        def read(position: int, record: Any) -> None:
            place = buffer[ends[position] : ends[position + 1]]
            if record.as_buffer is not None
