"""The content of images as short digests: nothing is decoded, and an image that cannot be read is not an error.

Equal images have equal digests, wherever they lie and whatever they are called. The same bytes count as equal in a file
and in a table; decoded images count as equal when their pixels are.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages, ImageSource
from glmc_zoo.data.reading.table_paths import OutsideFolder

_DIGEST = 16
"""Bytes of a digest."""
_END = 1 << 16
"""Bytes that are read at the start of a file, and at its end."""
_TAIL = 1 << 12
"""Bytes at the end of a file; different images of equal size usually differ there."""
_BLOCK = 1 << 20
"""Bytes of a whole file that are read at a time."""
_ROWS = 512
"""Rows of a table at a time."""
_THREADS = 8  # the threads mostly wait for the disk
_ROWS_OF_A_THREAD = 64

Encoded = bytes | str | None
"""An image file as bytes, or as a path to open; ``None`` for an empty cell."""


def content_digests(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A digest of the content of each of these rows, uint8 of shape (N, 16).

    It covers the number of bytes, the first 64 KiB and the last 64 KiB; of decoded images, all pixels. Two images that
    differ only between these parts have the same digest. A file that cannot be read has the digest of its path.
    """
    return _digests(source, rows, _ends)


def unit_interval(values: Iterable[bytes], salt: str) -> NDArray[np.float64]:
    """A hash of each value as a number in [0, 1), of shape (N,); another ``salt`` gives unrelated numbers."""
    key = salt.encode()
    hashes = b"".join(hashlib.blake2b(value, digest_size=8, key=key).digest() for value in values)
    numbers: NDArray[np.float64] = (np.frombuffer(hashes, dtype="<u8") >> np.uint64(11)) * 2.0**-53
    return numbers


def tail_digests(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """As `content_digests`, but over the last 4 KiB alone: images with different digests differ."""
    return _digests(source, rows, _tail)


def full_digests(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """As `content_digests`, but over every byte: images with one digest are the same."""
    return _digests(source, rows, _everything)


def pixel_digest(pixels: NDArray[np.uint8]) -> bytes:
    """A digest of the pixels and the shape of one decoded image (H, W, 3), of 16 bytes."""
    return _hash((repr(pixels.shape).encode(), pixels.tobytes()))


def byte_sizes(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of each encoded image, of shape (N,); -1 where a file cannot be read, and for decoded images."""
    if isinstance(source, ArrayImages):
        return np.full(len(rows), -1, dtype=np.int64)
    if isinstance(source, FileImages):
        sizes = [file_size(source.file(int(row))) for row in rows]
    else:
        sizes = [
            _table_file_size(source, path) if length is None else length
            for data, paths in _columns(source, rows)
            for length, path in zip(_lengths(data), paths, strict=True)
        ]
    return np.asarray(sizes, dtype=np.int64)


def _digests(
    source: ImageSource, rows: NDArray[np.int64], digest: Callable[[BinaryIO | bytes, int], bytes]
) -> NDArray[np.uint8]:
    if isinstance(source, ArrayImages):
        return _as_array([pixel_digest(source.pixels[row]) for row in rows])

    def digests_of(pairs: list[tuple[int, Encoded]]) -> list[bytes]:
        return [_image_digest(source, row, encoded, digest) for row, encoded in pairs]

    with ThreadPoolExecutor(_THREADS) as pool:
        digests: list[bytes] = []
        for pairs in _records(source, rows):
            shares = [pairs[start : start + _ROWS_OF_A_THREAD] for start in range(0, len(pairs), _ROWS_OF_A_THREAD)]
            digests += chain.from_iterable(pool.map(digests_of, shares))
    return _as_array(digests)


def _as_array(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), _DIGEST)


def _image_digest(
    source: ArrowImages | FileImages, row: int, encoded: Encoded, digest: Callable[[BinaryIO | bytes, int], bytes]
) -> bytes:
    """``digest`` of the bytes of one image, which are in the table or in a file.

    All empty cells have the same digest. A file that cannot be read has the digest of its path.
    """
    if encoded is None:
        return _hash((b"empty",))
    if isinstance(encoded, bytes):
        return digest(encoded, len(encoded))
    try:
        with source.open_path(encoded) as file:
            return digest(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        (name,) = source.paths(np.asarray([row]))
        return _hash((b"path\n", os.fsencode(name or encoded)))


def _records(source: ArrowImages | FileImages, rows: NDArray[np.int64]) -> Iterator[list[tuple[int, Encoded]]]:
    """Row and image of each of these rows, some rows at a time."""
    if isinstance(source, FileImages):
        for start in range(0, len(rows), _ROWS):
            yield [(int(row), source.file(int(row))) for row in rows[start : start + _ROWS]]
        return
    position = 0
    for data, paths in _columns(source, rows):
        values = [value or path for value, path in zip(data.to_pylist(), paths, strict=True)]
        yield [(int(row), value or None) for row, value in zip(rows[position:], values, strict=False)]
        position += len(values)


def _columns(source: ArrowImages, rows: NDArray[np.int64]) -> Iterator[tuple[Any, list[str | None]]]:
    """The encoded images (Arrow binary, null where a row gives a path alone) and the paths, some rows at a time."""
    import pyarrow
    import pyarrow.compute

    table = source.dataset.with_format("arrow")
    for start in range(0, len(rows), _ROWS):
        chosen = rows[start : start + _ROWS]
        # Arrow cuts a slice out without a copy, but not single rows.
        is_slice = (np.diff(chosen) == 1).all()
        cells = table[slice(int(chosen[0]), int(chosen[-1]) + 1) if is_slice else chosen.tolist()]
        column = cells.column(source.column).combine_chunks()
        nothing = pyarrow.nulls(len(chosen), pyarrow.binary())
        if pyarrow.types.is_struct(column.type):
            data, paths = (
                pyarrow.compute.struct_field(column, name) if column.type.get_field_index(name) >= 0 else nothing
                for name in ("bytes", "path")
            )
        else:
            is_path = pyarrow.types.is_string(column.type)
            data, paths = (nothing, column) if is_path else (column, nothing)
        yield data, paths.to_pylist()


def _lengths(data: Any) -> list[int | None]:
    import pyarrow.compute

    lengths: list[int | None] = pyarrow.compute.binary_length(data).to_pylist()
    return lengths


def _hash(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _ends(image: BinaryIO | bytes, size: int) -> bytes:
    if size <= 2 * _END:
        return _everything(image, size)
    return _hash((b"%d\n" % size, _read(image, 0, _END), _read(image, size - _END, _END)))


def _tail(image: BinaryIO | bytes, size: int) -> bytes:
    return _hash((_read(image, max(size - _TAIL, 0), _TAIL),))


def _everything(image: BinaryIO | bytes, size: int) -> bytes:
    blocks = (_read(image, start, _BLOCK) for start in range(0, size, _BLOCK))
    return _hash(chain((b"%d\n" % size,), blocks))


def _read(image: BinaryIO | bytes, start: int, length: int) -> bytes:
    if isinstance(image, bytes):
        return image[start : start + length]
    image.seek(start)
    return image.read(length)


def _table_file_size(source: ArrowImages, path: str | None) -> int:
    try:
        return -1 if path is None else file_size(source.table_paths.locate(path))
    except OutsideFolder:
        return -1


def file_size(path: str | None) -> int:
    """Size of a file in bytes; -1 for ``None``, or if the size cannot be read."""
    try:
        return -1 if path is None else os.stat(path).st_size
    except (OSError, ValueError):
        return -1
