"""Choose a few of many images, spread evenly over all of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(total: int, most: int) -> NDArray[np.int64]:
    """Evenly spaced positions from 0 to ``total - 1``, at most ``most`` of them, int64 of shape (N,).

    The first and the last position are included; with ``most=1`` only the first.
    """
    positions: NDArray[np.int64] = np.linspace(0, max(total - 1, 0), min(total, most)).round().astype(np.int64)
    return positions


def spread(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """At most ``most`` images of several splits of these sizes: the index of the split, and the position in it."""
    ends = np.cumsum(sizes)
    for position in evenly_spaced(sum(sizes), most).tolist():
        index = int(np.searchsorted(ends, position, side="right"))
        yield index, position - int(ends[index]) + sizes[index]
