"""The fingerprint of a data set: keys of the images of each class and split, to notice a change when a run resumes."""

import base64
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.load import LongTailData
from glmc_zoo.data.reading.content import file_size
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages, ImageSource, below
from glmc_zoo.data.reading.split import ImageSplit, readable_rows
from glmc_zoo.text import counted

_KEY_BYTES = 8
_READ_WHOLE = 8192  # bytes; reading every larger image of a table would read the whole data set
_MOST_CHANGES = 4


@dataclass(frozen=True)
class DataFingerprint:
    """Keys of the images in each class of each split.

    The key of an image file is a hash of its path below the data set's folder and its size. The key of an image in a
    table is a hash of its path and its size, and of its content where it has no more than 8 KiB. The key of a decoded
    image is a hash of its pixels. Times of files and the path of the folder do not count: a copy is the same data set.
    """

    class_names: tuple[str, ...]
    splits: dict[str, tuple[bytes, ...]]
    """For ``train``, ``validation`` and ``test``: for each class the sorted keys of its images, 8 bytes each."""

    def counts(self, split: str) -> list[int]:
        """Images of each class in a split; all 0 for a split that does not exist."""
        return [len(keys) // _KEY_BYTES for keys in self._keys(split)]

    def keys(self, split: str, label: int) -> Counter[bytes]:
        """The keys of one class in a split, with the number of images of each key."""
        return _counted(self._keys(split)[label])

    def _keys(self, split: str) -> tuple[bytes, ...]:
        return self.splits.get(split, (b"",) * len(self.class_names))

    def to_json(self) -> dict[str, Any]:
        """The fingerprint in plain JSON types; the keys of a class are one text in base 64."""
        splits = {name: [base64.b64encode(keys).decode() for keys in classes] for name, classes in self.splits.items()}
        return {"class_names": list(self.class_names), "splits": splits}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DataFingerprint":
        """The fingerprint from the result of `to_json`."""
        splits = {name: tuple(map(base64.b64decode, classes)) for name, classes in values["splits"].items()}
        return cls(tuple(values["class_names"]), splits)


@dataclass(frozen=True)
class DataChange:
    """How a data set differs from its earlier fingerprint."""

    text: str
    """What changed, such as ``class bee has 13 training images instead of 12``; at most four changes are named."""
    same_classes: bool
    """Whether the classes have the same names in the same order."""
    removed: frozenset[bytes]
    """Keys of images that are no longer in their class and split."""
    only_removed: bool
    """Whether images were only removed: none is new or in another class or split."""
    moved_to_test: int
    """Test images that were training or validation images before."""


def fingerprint(data: LongTailData) -> DataFingerprint:
    """The fingerprint of a data set. No image file is opened: 437,000 files take seconds."""
    return DataFingerprint(
        tuple(data.class_names),
        {name: _class_keys(split, len(data.class_names)) for name, split in _splits(data).items()},
    )


def ordered_digest(split: ImageSplit) -> str:
    """A digest of the images of a split in order, as hexadecimal text; it does not depend on their classes."""
    digest = hashlib.blake2b(digest_size=16)
    for key in _keys(split.source, split.rows):
        digest.update(key)
    return digest.hexdigest()


def compare(before: DataFingerprint, now: DataFingerprint) -> DataChange | None:
    """What changed between two fingerprints; ``None`` where nothing did."""
    if before == now:
        return None
    if before.class_names != now.class_names:
        return DataChange(_shortened(_class_changes(before, now)), False, frozenset(), False, 0)
    items, removed, added = [], Counter[bytes](), Counter[bytes]()
    for split, split_name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        for label, name in enumerate(now.class_names):
            old, new = before.keys(split, label), now.keys(split, label)
            if old != new:
                gone, fresh = old - new, new - old
                items.append(_class_change(name, split_name, old.total(), new.total(), gone.total(), fresh.total()))
                removed.update(gone)
                added.update(fresh)
    trained = _all_keys(before, "train") | _all_keys(before, "validation")
    in_test = sum(number for key, number in _all_keys(now, "test").items() if key in trained)
    in_test -= sum(number for key, number in _all_keys(before, "test").items() if key in trained)
    return DataChange(_shortened(items), True, frozenset(removed), not added, max(in_test, 0))


def all_unreadable(data: LongTailData, keys: frozenset[bytes]) -> bool:
    """Whether all these keys belong to images that ``data`` left out because they cannot be read."""
    unmatched = set(keys)
    for source, unused in _unused_rows(data):
        rows = [int(row) for row, key in zip(unused, _keys(source, unused), strict=True) if key in unmatched]
        positions = np.asarray(rows, dtype=np.int64)
        if len(readable_rows(source, positions)):
            return False
        unmatched -= set(_keys(source, positions))
    return not unmatched


def _splits(data: LongTailData) -> dict[str, ImageSplit]:
    splits = {"train": data.train, "validation": data.val, "test": data.test}
    return {name: split for name, split in splits.items() if split is not None}


def _unused_rows(data: LongTailData) -> Iterator[tuple[ImageSource, NDArray[np.int64]]]:
    """Each source of images with its rows that are in no split."""
    sources = {id(split.source): split.source for split in _splits(data).values()}
    for number, source in sources.items():
        used = [split.rows for split in _splits(data).values() if id(split.source) == number]
        yield source, np.setdiff1d(np.arange(len(source), dtype=np.int64), np.concatenate(used))


def _class_keys(split: ImageSplit, num_classes: int) -> tuple[bytes, ...]:
    keys = np.array(list(_keys(split.source, split.rows)), dtype=f"V{_KEY_BYTES}")
    # NumPy cannot sort raw bytes, so they are sorted as numbers.
    numbers = keys.view(">u8")
    return tuple(np.sort(numbers[split.labels == label]).tobytes() for label in range(num_classes))


def _keys(source: ImageSource, rows: NDArray[np.int64]) -> Iterator[bytes]:
    """The key of each of these rows."""
    if isinstance(source, ArrayImages):
        for row in rows:
            yield _hash(source.pixels[row].tobytes())
    elif isinstance(source, FileImages):
        for row, path in zip(rows, source.paths(rows), strict=True):
            yield _key(path, file_size(source.file(int(row))))
    else:
        yield from _table_keys(source, rows)


def _table_keys(source: ArrowImages, rows: NDArray[np.int64]) -> Iterator[bytes]:
    """The keys of rows of a table; paths and sizes come from Arrow's columns, and no large image is read."""
    import pyarrow
    import pyarrow.compute

    if source.dataset._indices is not None:  # the table was filtered or shuffled
        rows = source.dataset._indices.column(0).take(rows).to_numpy()
    column = source.dataset.data.column(source.column)
    content = pyarrow.compute.struct_field(column, "bytes") if pyarrow.types.is_struct(column.type) else column
    sizes = pyarrow.compute.binary_length(content).take(rows).to_pylist()
    paths = source.names().take(rows).to_pylist()
    for row, size, path in zip(rows.tolist(), sizes, paths, strict=True):
        name = path and below(path, source.folder)
        if size is None:
            yield _key(name, file_size(path))
        else:
            yield _key(name, size, content[row].as_buffer() if size <= _READ_WHOLE else b"")


def _key(path: str | None, size: int, content: Any = b"") -> bytes:
    # File systems store names in different Unicode forms. With one form, a copy has the same keys.
    name = unicodedata.normalize("NFC", path or "").encode("utf-8", "surrogateescape")
    return _hash(name + b"\0%d\0" % size, content)


def _hash(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _counted(keys: bytes) -> Counter[bytes]:
    return Counter(keys[start : start + _KEY_BYTES] for start in range(0, len(keys), _KEY_BYTES))


def _all_keys(data: DataFingerprint, split: str) -> Counter[bytes]:
    return _counted(b"".join(data.splits.get(split, ())))


def _class_changes(before: DataFingerprint, now: DataFingerprint) -> list[str]:
    """Which classes are new or gone."""
    counts = dict(zip(now.class_names, now.counts("train"), strict=True))
    gone = [name for name in before.class_names if name not in now.class_names]
    new = [name for name in now.class_names if name not in before.class_names]
    items = [f"class {name} is new ({counted(counts[name], 'training image')})" for name in new]
    items += [f"class {name} is gone" for name in gone]
    return items or ["the classes are in another order"]


def _class_change(name: str, split: str, old: int, new: int, gone: int, fresh: int) -> str:
    if old == new:
        return f"{counted(gone, f'{split} image')} of class {name} {'was' if gone == 1 else 'were'} replaced"
    both = f" ({gone} removed, {fresh} new)" if gone and fresh else ""
    return f"class {name} has {counted(new, f'{split} image')} instead of {old}{both}"


def _shortened(items: Iterable[str]) -> str:
    first, more = list(items)[:_MOST_CHANGES], list(items)[_MOST_CHANGES:]
    return "; ".join(first) + (f"; and {len(more)} more" if more else "")
