"""The files of a split's pictures in memory as they are, read once: JPEG stays JPEG, and is decoded from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glmc_zoo.data.images import EMPTY_CELL, UNREADABLE, ArrowImages, Cell, ImageSplit
from glmc_zoo.data.resident import free_memory
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EncodedImages", "check_encoded_fits", "keep_encoded"]

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
        start, end = self.ends[position : position + 2].tolist()
        return self.data.numpy()[start:end].data


def check_encoded_fits(split: ImageSplit, copies: int = 1) -> None:
    """Refuse what `keep_encoded` could not do on this machine, before any picture is read.

    Args:
        split: whose files are to be kept.
        copies: processes of this machine that keep them, each for itself.

    Raises:
        UserError: the pictures are decoded already, a file is not there, or the files take more than the memory that
            is available.
    """
    needed = int(_sizes(_files_of(split), split.rows).sum()) * copies
    free = free_memory(torch.device("cpu"))
    if needed > free:
        where = f" in {copies} processes" if copies > 1 else ""
        raise UserError(
            f"--images-in-memory needs {needed / 2**20:,.0f} MiB{where} for the files of {len(split):,} training "
            f"images, and {free / 2**20:,.0f} MiB of memory are available: leave it out."
        )


def keep_encoded(split: ImageSplit, *, progress: bool = False) -> None:
    """Read the files of the split's pictures into ``split.encoded``; none of them is opened again.

    Args:
        split: of files, or of a table that holds their bytes.
        progress: show a bar where the error stream is a terminal.

    Raises:
        UserError: the pictures are decoded already, or one cannot be read; the sentence has its row and path.
    """
    from tqdm.auto import tqdm

    source = _files_of(split)
    ends = np.concatenate(([0], np.cumsum(_sizes(source, split.rows))))
    data = torch.empty(int(ends[-1]), dtype=torch.uint8)
    buffer = data.numpy()

    def read(cell: Cell) -> None:
        place, encoded, path = cell
        target = buffer[ends[place] : ends[place + 1]]
        if encoded is not None:
            target[:] = np.frombuffer(encoded, dtype=np.uint8)
        else:
            _read_file(str(path), target.data)

    with tqdm(total=len(split), desc="reading images", leave=False, disable=None if progress else True) as bar:
        for cells in _for_each(read, source, split.rows):
            bar.update(len(cells))
    split.encoded = EncodedImages(data, torch.from_numpy(ends))


def _files_of(split: ImageSplit) -> ArrowImages:
    if split.pixels is not None:
        raise UserError(
            "--images-in-memory keeps files as they are, and these pictures are so small that they lie in memory "
            "decoded already: leave it out."
        )
    assert isinstance(split.source, ArrowImages)
    return split.source


def _sizes(source: ArrowImages, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of each picture, encoded."""
    sizes = np.zeros(len(rows), dtype=np.int64)

    def size(cell: Cell) -> None:
        place, encoded, path = cell
        if encoded is None and not path:
            raise ValueError(EMPTY_CELL)
        sizes[place] = os.stat(str(path)).st_size if encoded is None else encoded.size

    for _ in _for_each(size, source, rows):
        pass
    return sizes


def _for_each(do: Callable[[Cell], None], source: ArrowImages, rows: NDArray[np.int64]) -> Iterator[list[Cell]]:
    """Call ``do`` with every cell, in threads; yields the cells that are done."""

    def named(cell: Cell) -> None:
        try:
            do(cell)
        except UNREADABLE as error:
            raise source.unreadable(int(rows[cell[0]]), cell[2], error) from error

    with ThreadPoolExecutor(_THREADS) as threads:
        for cells in source.cells(rows):
            for _ in threads.map(named, cells):
                pass
            yield cells


def _read_file(path: str, target: memoryview) -> None:
    with open(path, "rb") as file:
        if file.readinto(target) != len(target) or file.read(1):
            raise OSError("its size changed while it was read")
