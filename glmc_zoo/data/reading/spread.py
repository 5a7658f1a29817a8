"""Choose a few of many images, spread evenly over all of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(total: int, max_images: int) -> NDArray[np.int64]:
    """Evenly spaced positions from 0 to ``total - 1``, at most ``max_images`` of them, int64 of shape (N,).

    The first and the last position are included; with ``max_images=1`` only the first.
    """
    positions: NDArray[np.int64] = np.linspace(0, max(total - 1, 0), min(total, max_images)).round().astype(np.int64)
    return positions


def spread(sizes: Sequence[int], max_images: int) -> Iterator[tuple[int, int]]:
    """Choose at most ``max_images`` images, evenly spaced over several splits that follow each other.

    Args:
        sizes: Number of images of each split.
        max_images: Number of images to choose, if there are as many.

    Yields:
        For each image the index of its split, and its position in the split.
    """
    ends = np.cumsum(sizes)
    for position in evenly_spaced(sum(sizes), max_images).tolist():
        index = int(np.searchsorted(ends, position, side="right"))
        yield index, position - int(ends[index]) + sizes[index]
