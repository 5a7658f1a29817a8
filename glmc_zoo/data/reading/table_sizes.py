"""Limits on what a packed file may become: a list or a table is read in pieces, and refused before it fills memory."""

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError

MOST_LIST_BYTES = 2**29
"""Bytes of text in a list: the largest official one, unpacked, has a third of them."""
_MOST_TIMES = 100
"""A table is refused if it becomes more than this many times as large as its file and exceeds `_ALWAYS_ALLOWED`."""
_ALWAYS_ALLOWED = 2**28
"""Bytes that every table may take."""
_SMALL_FILE = 2**26  # a larger file would have to be read twice, and is large already
_PIECE = 2**29


def read_packed(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is packed by gzip.

    Raises:
        UserError: It holds more than `MOST_LIST_BYTES`.
        OSError, EOFError, zlib.error: It cannot be read, or is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        unpacked: Any = gzip.GzipFile(fileobj=file) if packed else file
        content = io.BytesIO()
        while block := unpacked.read(2**20):
            content.write(block)
            if content.tell() > MOST_LIST_BYTES:
                raise UserError(
                    f"The list {path} holds more than {MOST_LIST_BYTES >> 20} MB of text: give a list of images."
                )
    return content.getvalue()


def list_batches(path: Path) -> Iterator[Any]:
    """The rows of a parquet file that lists images, as Arrow record batches whose texts are dictionaries.

    Raises:
        UserError: Its texts take more than `MOST_LIST_BYTES`: a file of a few kilobytes can say so by repetition.
        OSError, ValueError: It cannot be read.
    """
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    texts = [field.name for field in schema if _is_text(field.type)]
    size = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=8192):
            size += sum(map(_decoded_bytes, batch.columns))
            if size > MOST_LIST_BYTES:
                raise UserError(
                    f"The list {path} holds more than {MOST_LIST_BYTES >> 20} MB of text: give a list of images."
                )
            yield batch


def check_expansion(path: Path) -> None:
    """Refuse a small parquet file that becomes a large table: one row, repeated a million times, takes a kilobyte.

    Raises:
        UserError: It becomes more than 100 times as large, and more than 256 MB.
        OSError, ValueError: It cannot be read.
    """
    import pyarrow.parquet

    packed = os.path.getsize(path)
    if packed > _SMALL_FILE:
        return
    limit = max(_ALWAYS_ALLOWED, _MOST_TIMES * packed)
    with pyarrow.parquet.ParquetFile(path) as file:
        # No value is larger than the part of the file that it stands in, unpacked: a batch stays below the limit.
        parts = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        columns = [part.column(i) for part in parts for i in range(part.num_columns)]
        largest = max((column.total_uncompressed_size for column in columns), default=1)
        size = 0
        for batch in file.iter_batches(batch_size=max(1, min(1024, _PIECE // max(largest, 1)))):
            size += batch.nbytes
            if size > limit:
                raise UserError(
                    f"The table {path} has {packed:,} bytes and becomes more than {limit >> 20} MB of images: it "
                    "repeats a few values, and is refused; give a table of different images."
                )


def _is_text(kind: Any) -> bool:
    import pyarrow.types

    tests = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_binary)
    return any(test(kind) for test in tests)


def _decoded_bytes(column: Any) -> int:
    """Bytes of a column of a batch, with each text written out."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pyarrow.compute.binary_length(column.dictionary)
    return int(pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0)
