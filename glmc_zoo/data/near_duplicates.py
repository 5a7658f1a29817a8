"""Images that look alike, by a perceptual hash: the same scene, resized, recompressed or a little changed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError, missing_packages

_THREADS = 4  # Pillow releases the GIL while it decodes
_BLOCK = 512
"""Number of hashes that are compared with all others in one step."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that look alike."""

    first: tuple[str, int]
    """Split and position in it."""
    second: tuple[str, int]
    distance: int
    """Bits in which the two hashes of 64 bits differ."""


@dataclass(frozen=True)
class NearDuplicates:
    """What `near_duplicates` finds."""

    pairs: list[NearDuplicate]
    """The nearest first."""
    total: int
    """Number of all pairs; ``pairs`` has at most ``limit`` of them."""
    unreadable: int
    """Images that cannot be read and were not compared."""


def near_duplicates(splits: Mapping[str, ImageSplit], *, distance: int = 4, limit: int = 1000) -> NearDuplicates:
    """Pairs of images, within and across splits, whose perceptual hashes (pHash of ``imagehash``) differ little.

    If several images have the same hash, the first one is paired with each of the others, and only the first one is
    compared with further images. Images of a single colour have similar hashes. 20,000 small images take
    about a minute, most of it for decoding.

    Args:
        splits: The images, by the name of their split. Put the training split first: it then stands first in pairs.
        distance: Largest number of different bits, from 0 to 64. Re-saved and resized images are within 4; from 10 on,
            most pairs are unrelated.
        limit: Largest number of pairs to return.

    Raises:
        UserError: ``imagehash`` is not installed.
    """
    names = [(name, position) for name, split in splits.items() for position in range(len(split))]
    hashes, is_readable = np.empty(0, dtype=np.uint64), np.empty(0, dtype=bool)
    for split in splits.values():
        more, readable_here = _hashes(split)
        hashes, is_readable = np.concatenate([hashes, more]), np.concatenate([is_readable, readable_here])
    readable = np.flatnonzero(is_readable)
    distinct, first, group = np.unique(hashes[readable], return_index=True, return_inverse=True)
    first = readable[first]
    same = readable[first[group] != readable]
    pairs = np.column_stack([np.zeros(len(same), dtype=np.int64), first[group][first[group] != readable], same])
    total = len(pairs)
    for start in range(0, len(distinct), _BLOCK):
        near = _near(distinct, start, distance)
        total += len(near)
        ends = np.sort(first[near[:, 1:]], axis=1)
        pairs = np.concatenate([pairs, np.column_stack([near[:, 0], ends])])
        if len(pairs) > limit:
            pairs = _nearest(pairs, limit)
    nearest = [NearDuplicate(names[one], names[other], bits) for bits, one, other in _nearest(pairs, limit).tolist()]
    return NearDuplicates(nearest, total, len(names) - len(readable))


def _hashes(split: ImageSplit) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The perceptual hash of each image, and whether it can be read, each of shape (N,)."""
    try:
        from imagehash import phash
    except ImportError as error:
        raise missing_packages("near_duplicates=", ["imagehash"], extra="inspect") from error

    def hash_bytes(position: int) -> bytes | None:
        try:
            (image,) = split.images([position])
        except UserError:
            return None
        return np.packbits(phash(image).hash).tobytes()

    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(hash_bytes, range(len(split))))
    values = np.frombuffer(b"".join(value or bytes(8) for value in hashes), dtype=np.uint64)
    return values, np.asarray([value is not None for value in hashes], dtype=bool)


def _near(hashes: NDArray[np.uint64], start: int, distance: int) -> NDArray[np.int64]:
    """Distance and both indices of near pairs, of shape (N, 3).

    The block at ``start`` is compared with itself and with all hashes behind it.
    """
    block = hashes[start : start + _BLOCK]
    different = block[:, None] ^ hashes[start:]
    bits = _BITS[different.view(np.uint16)].reshape(*different.shape, 4).sum(axis=2, dtype=np.uint8)
    one, other = np.nonzero(bits <= distance)
    later = other > one
    one, other = one[later], other[later]
    return np.column_stack([bits[one, other].astype(np.int64), start + one, start + other])


def _nearest(pairs: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    return pairs[np.lexsort((pairs[:, 2], pairs[:, 1], pairs[:, 0]))[:limit]]


_BITS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(
    axis=1, dtype=np.uint8
)
"""Number of set bits in each 16-bit number."""
