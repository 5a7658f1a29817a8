"""The images of a split by row: in memory, in a column of a table, or in files below a folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glmc_zoo.data.reading.decoding import decode_record, open_record
from glmc_zoo.data.reading.formats import open_regular
from glmc_zoo.data.reading.intensity import Intensity
from glmc_zoo.data.reading.table_paths import TablePaths
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped, printable

_CHUNK = 1024


def stray_image(name: str, root: Path) -> UserError:
    """The error for an image of ``root`` that lies beside the class folders and not in one of them."""
    return UserError(f"The image {name} lies in {root} itself and so has no class: move it into a folder of its class.")


@dataclass(eq=False)
class ArrayImages:
    """Decoded images: uint8 of shape (N, H, W, 3)."""

    pixels: NDArray[np.uint8]
    name: str

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The images of these rows, RGB."""
        return [Image.fromarray(self.pixels[row]) for row in rows]


class ArrowImages:
    """Images in a column of a ``datasets.Dataset``, decoded here so that an error can name the image.

    Attributes:
        dataset: The table, with the image column alone.
        column: The image column. Its feature type is ``Image``, binary, or a struct of ``bytes`` and ``path``.
        name: Name of the split for messages: "training" or "test".
        folder: The data set's folder, which paths in messages are relative to; ``None`` without one.
        table_paths: Which files the paths in the column may name. By default these are the files below ``folder``, or
            without a folder the files that ``datasets`` downloaded.
        intensity: The range of values of images of more than 8 bits; ``None`` scales each image by its own range.
    """

    def __init__(
        self,
        dataset: Any,
        column: str,
        name: str,
        folder: Path | None = None,
        table_paths: TablePaths | None = None,
    ) -> None:
        from datasets import Image as ImageFeature

        dataset = dataset.with_format(None).select_columns([column])
        if isinstance(dataset.features[column], ImageFeature):
            dataset = dataset.cast_column(column, ImageFeature(decode=False))
        self.dataset = dataset
        self.column = column
        self.name = name
        self.folder = folder
        if table_paths is None:
            table_paths = TablePaths.cached() if folder is None else TablePaths.below(folder)
        self.table_paths = table_paths
        self.intensity: Intensity | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def open_path(self, path: str) -> BinaryIO:
        """The file that a cell names, open for reading; `OutsideFolder` if `table_paths` does not allow it."""
        return self.table_paths.open(path)

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The images of these rows, RGB."""
        return _decoded(self, self.dataset[rows.tolist()][self.column], rows)

    def open(self, row: int) -> BinaryIO:
        """The image file of one row, open for reading."""
        return open_record(self.dataset[row][self.column], self.open_path)

    def paths(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The file of each of these rows, relative to the data set's folder; only its name if it lies elsewhere.

        ``None`` for an image that is not in a file of its own.
        """
        table = self.dataset.with_format("arrow")
        paths: list[str | None] = []
        for start in range(0, len(rows), _CHUNK):
            column = table[rows[start : start + _CHUNK].tolist()].column(self.column)
            paths += _path_field(column).to_pylist()
        return [path and escaped(below(path, self.folder)) for path in paths]

    def names(self) -> Any:
        """The path in every row, as Arrow strings; null for a row without one. The images are not read."""
        return _path_field(self.dataset.data.column(self.column))

    def relative(self, path: str) -> str:
        """``path`` relative to the data set's folder, or as it is if it lies elsewhere; as text that can be printed."""
        if self.folder is None or not Path(path).is_relative_to(self.folder):
            return escaped(path)
        return escaped(Path(path).relative_to(self.folder).as_posix())


class FileImages:
    """Image files below a folder, decoded here so that an error can name the image.

    Args:
        root: The data set's folder.
        names: Path of each image relative to ``root``, with ``/``; bytes that are not UTF-8 as surrogate escapes.
        name: Name of the split for messages: "training" or "test".

    Attributes:
        intensity: The range of values of images of more than 8 bits; ``None`` scales each image by its own range.
    """

    def __init__(self, root: Path, names: Sequence[str], name: str) -> None:
        self.root = root
        # One block of bytes, because each loading worker would copy a list of half a million strings.
        encoded = [os.fsencode(name) for name in names]
        self._names = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self.name = name
        self.intensity: Intensity | None = None

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _name(self, row: int) -> str:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return os.fsdecode(self._names[self._ends[row] : self._ends[row + 1]].tobytes())

    def open_path(self, path: str) -> BinaryIO:
        """A regular file, open for reading; `OSError` for a pipe or a device."""
        return open_regular(path)

    def file(self, row: int) -> str:
        """The path of the file of one row, for ``open``."""
        return os.path.join(self.root, self._name(row))

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The images of these rows, RGB."""
        return _decoded(self, [{"path": self.file(row)} for row in rows.tolist()], rows)

    def open(self, row: int) -> BinaryIO:
        """The image file of one row, open for reading."""
        return open_regular(self.file(row))

    def paths(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The file of each of these rows, relative to the data set's folder, as text that can be printed."""
        return [escaped(self._name(row)) for row in rows.tolist()]

    def relative(self, path: str) -> str:
        """``path`` relative to the data set's folder, as text that can be printed."""
        return escaped(os.path.relpath(path, self.root))


ImageSource = ArrayImages | ArrowImages | FileImages
"""The images of one split, addressed by row."""


def below(path: str, folder: Path | None) -> str:
    """``path`` relative to the data set's folder. An absolute path outside of it is shortened to its file name."""
    if folder is not None and Path(path).is_relative_to(folder):
        return Path(path).relative_to(folder).as_posix()
    return Path(path).name if Path(path).is_absolute() else path


def image_name(source: ImageSource, row: int) -> str:
    """The file of an image as text that can be printed, or its row if it is not in a file of its own."""
    path = None if isinstance(source, ArrayImages) else source.paths(np.asarray([row]))[0]
    return printable(path) if path else f"image {row} of the {source.name} split"


def _decoded(source: ArrowImages | FileImages, records: Sequence[Any], rows: NDArray[np.int64]) -> list[Image.Image]:
    """The images in these cells of a source, RGB; `UserError` names the row of one that cannot be read."""
    return [
        decode_record(
            record,
            f"Image {row} of the {source.name} split",
            "remove it or pass skip_bad_images=True",
            intensity=source.intensity,
            open_path=source.open_path,
            display_path=source.relative,
        )
        for record, row in zip(records, rows, strict=True)
    ]


def _path_field(column: Any) -> Any:
    """The paths in an Arrow column of images; all null if the column has no field ``path``."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return pyarrow.nulls(len(column), pyarrow.string())
    return pyarrow.compute.struct_field(column, "path").combine_chunks()
