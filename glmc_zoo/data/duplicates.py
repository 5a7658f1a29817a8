"""Find training images that are test images too, count them, and take them out of training."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.options import CompareBy
from glmc_zoo.data.reading.content import byte_sizes, content_digests, full_digests, pixel_digest, tail_digests
from glmc_zoo.data.reading.decoding import open_image
from glmc_zoo.data.reading.images import ArrayImages, ImageSource, image_name
from glmc_zoo.data.reading.inventory import MOST_EXAMPLES, name_few
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError

MOST_IMAGES = 50_000
"""Number of image files up to which ``auto`` compares pixels."""
MOST_PIXELS = 300_000_000
"""Number of pixels up to which ``auto`` decodes images; this takes a few seconds."""

DUPLICATE = "the same as a test image"
"""Why an image is left out, for the inventory."""

_THREADS = 4  # Pillow releases the GIL while it decodes

RowValues = Callable[[ImageSource, NDArray[np.int64]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """How many images of a data set are the same as others."""

    images: int | None = None
    """Training images that are the same as a test or validation image; ``None`` where they were not compared."""
    by: str | None = None
    """``bytes``, or ``pixels`` where decoded images were compared as well."""
    examples: list[str] = field(default_factory=list)
    """Up to five, as ``training file = test file``."""
    removed: int = 0
    """Training images that were taken out."""
    contradicting: int = 0
    """Training images that are the same as a training image of another class."""


def take_out_duplicates(raw: RawData, compare: CompareBy, *, allow: bool, published: bool) -> Duplicates:
    """Find the training images that are the same as a test or validation image, and take them out of training.

    Encoded images are compared by their bytes: by size, then by the last 4 KiB, then as a whole. ``pixels`` also
    decodes the images whose width and height occur both in training and in test, and compares their pixels. ``auto``
    compares the pixels of images in memory, and those of up to `MOST_IMAGES` files with up to `MOST_PIXELS` pixels to
    decode. The notes of ``raw`` say what was done.

    With ``auto``, nothing is taken out if most test images are training images. The user then gave the same images
    twice, and the few that would be left are not what they meant to train on.

    Args:
        raw: The data set; its training split loses the duplicates. A class that would lose all its images keeps
            them.
        compare: ``auto``, ``pixels``, ``bytes``, or ``off``.
        allow: Count duplicates, but keep them.
        published: The data set is in the catalogue. Its images are compared only if ``compare`` is not ``auto``, and
            nothing is taken out.
    """
    others = [split for split in (raw.test, raw.val) if split is not None]
    if compare == "off" or (published and compare == "auto") or not others:
        return Duplicates()
    images = _Images([raw.train, *others])
    ids, by = _identities(images, compare, raw.notes)
    size = len(raw.train.rows)
    same = np.isin(ids[:size], ids[size:])
    labels = raw.train.labels[raw.train.rows]
    contradictions = _contradicting(ids[:size], labels)
    contradicting = len(contradictions)
    if contradicting:
        first = contradictions[0]
        other = next(row for row in contradictions if ids[row] == ids[first] and labels[row] != labels[first])
        pair = " = ".join(f"{images.name(row)} ({raw.class_names[labels[row]]})" for row in (first, other))
        raw.notes.append(f"{same_images(contradicting, 'a training image of another class')}, such as {pair}.")
    count = int(same.sum())
    if not count:
        return Duplicates(images=0, by=by, contradicting=contradicting)
    examples = _examples(images, ids, np.flatnonzero(same)[:MOST_EXAMPLES])
    what = f"{same_images(count, by=by)}, such as {examples[0]}"
    overlap = np.isin(ids[size:], ids[:size]).mean()
    mostly_same = compare == "auto" and overlap > 0.5
    if allow or published:
        raw.notes.append(f"{what}; they are trained on.")
    elif mostly_same:
        raw.notes.append(
            f"{what}; {100 * overlap:.0f} % of the test images are training images, so the scores measure memory: "
            "give a test split of other images, or duplicates='pixels' to take them out of training."
        )
    if allow or published or mostly_same:
        return Duplicates(images=count, by=by, examples=examples, contradicting=contradicting)
    removed = same & ~_in_lost_classes(raw, labels, same)
    for position in np.flatnonzero(removed).tolist():
        raw.left_out.add(DUPLICATE, images.name(position))
    were = "1 was" if removed.sum() == 1 else f"{removed.sum():,} were"
    raw.train.rows = raw.train.rows[~removed]
    raw.notes.append(f"{what}; {were} taken out of the training split.")
    return Duplicates(
        images=count, by=by, examples=examples, removed=int(removed.sum()), contradicting=contradicting
    )  # fmt: skip


def same_images(number: int, other: str = "a test image", by: str | None = None) -> str:
    """A phrase: how many training images are the same as ``other``, by their ``bytes`` or ``pixels``."""
    images, their = ("1 training image is", "its") if number == 1 else (f"{number:,} training images are", "their")
    return f"{images} the same as {other}{'' if by is None else f' by {their} {by}'}"


class _Images:
    """The images of several splits one after the other, the training split first."""

    def __init__(self, splits: Sequence[RawSplit]) -> None:
        self.splits = splits
        self.starts = np.cumsum([0, *(len(split.rows) for split in splits)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def compute(self, values: RowValues, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Apply ``values`` to the images at these positions, which must rise; the result has shape (N, ...)."""
        values_of_splits = []
        for split, start, end in zip(self.splits, self.starts, self.starts[1:], strict=False):
            inside = positions[(positions >= start) & (positions < end)] - start
            values_of_splits.append(values(split.source, split.rows[inside]))
        return np.concatenate(values_of_splits)

    def name(self, position: int) -> str:
        """The file of an image, or its row if it does not come from a file."""
        index = int(np.searchsorted(self.starts, position, side="right")) - 1
        split = self.splits[index]
        return image_name(split.source, int(split.rows[position - self.starts[index]]))


def _identities(images: _Images, compare: CompareBy, notes: list[str]) -> tuple[NDArray[np.int64], str]:
    """An id for each image, int64 (N,), and what was compared. Equal images have the same id."""
    everything = np.arange(len(images))
    if all(isinstance(split.source, ArrayImages) for split in images.splits):
        return _row_ids(images.compute(content_digests, everything)), "pixels"
    ids = _by_bytes(images)
    if compare == "bytes":
        return ids, "bytes"
    if compare == "auto" and len(images) > MOST_IMAGES:
        notes.append(f"The {len(images)} images were compared by their bytes, as pixels of so many take long.")
        return ids, "bytes"
    sides = images.compute(_sides, everything)
    kinds, size = _row_ids(sides), len(images.splits[0].rows)
    in_both = np.isin(kinds, np.intersect1d(kinds[:size], kinds[size:])) & (sides > 0).all(axis=1)
    pixels = int(sides[in_both].prod(axis=1).sum())
    if compare == "auto" and pixels > MOST_PIXELS:
        notes.append(f"The images were compared by their bytes, as {pixels / 1e6:.0f} million pixels take long.")
        return ids, "bytes"
    positions = np.flatnonzero(in_both)
    digests = images.compute(_decoded, positions)
    readable = digests.any(axis=1)
    ids[positions[readable]] = ids.max(initial=0) + 1 + _row_ids(digests[readable])
    return ids, "pixels"


def _by_bytes(images: _Images) -> NDArray[np.int64]:
    sizes = images.compute(byte_sizes, np.arange(len(images)))
    sizes[sizes < 0] = -1 - np.flatnonzero(sizes < 0)  # an unreadable file equals no other
    ids = _row_ids(sizes[:, None])
    for digests in (tail_digests, full_digests):
        repeated = np.flatnonzero(np.bincount(ids)[ids] > 1)
        if len(repeated):
            within = np.column_stack([ids[repeated, None].view(np.uint8), images.compute(digests, repeated)])
            ids[repeated] = len(ids) + ids.max() + _row_ids(within)
            ids = _row_ids(ids[:, None])
    return ids


def _row_ids(values: NDArray[Any]) -> NDArray[np.int64]:
    """An id for each row of ``values`` (N, K), int64 (N,); rows with the same bytes have the same id."""
    if not len(values):
        return np.empty(0, dtype=np.int64)
    rows = np.ascontiguousarray(values)
    cells = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    ids: NDArray[np.int64] = np.unique(cells, return_inverse=True)[1]
    return ids


def _sides(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shorter and longer side of each image by its header, of shape (N, 2); 0 where it cannot be read."""
    if isinstance(source, ArrayImages):
        return np.tile(np.sort(np.asarray(source.pixels.shape[1:3], dtype=np.int64)), (len(rows), 1))

    def sides(row: int) -> list[int]:
        try:
            with source.open(row) as file, open_image(file) as image:
                return sorted(image.size)  # sorted, as EXIF may rotate the image
        except (OSError, ValueError):
            return [0, 0]

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.asarray(list(pool.map(sides, rows.tolist())), dtype=np.int64).reshape(-1, 2)


def _decoded(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A digest of the pixels of each image, of shape (N, 16); 0 where it cannot be read."""

    def digest(row: int) -> bytes:
        try:
            (image,) = source.read(np.asarray([row]))
        except UserError:
            return bytes(16)
        return pixel_digest(np.asarray(image))

    with ThreadPoolExecutor(_THREADS) as pool:
        digests = b"".join(pool.map(digest, rows.tolist()))
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16)


def _contradicting(ids: NDArray[np.int64], labels: NDArray[np.int64]) -> list[int]:
    """Positions of the training images that are the same as one of another class."""
    pairs = np.unique(np.column_stack([ids, labels]), axis=0)
    contents, classes = np.unique(pairs[:, 0], return_counts=True)
    positions: list[int] = np.flatnonzero(np.isin(ids, contents[classes > 1])).tolist()
    return positions


def _in_lost_classes(raw: RawData, labels: NDArray[np.int64], same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which training images are of a class that would lose all its images; a note names these classes."""
    lost = np.setdiff1d(labels, labels[~same])
    if len(lost):
        names = name_few([raw.class_names[label] for label in lost], 10)
        raw.notes.append(
            f"These classes keep training images that are test images too, as they have no others: {names}."
        )
    return np.isin(labels, lost)


def _examples(images: _Images, ids: NDArray[np.int64], positions: NDArray[np.int64]) -> list[str]:
    size = len(images.splits[0].rows)
    examples = []
    for position in positions.tolist():
        other = size + int(np.flatnonzero(ids[size:] == ids[position])[0])
        examples.append(f"{images.name(position)} = {images.name(other)}")
    return examples
