"""Pictures of any kind as 8-bit RGB, and a split of a data set as labels plus pictures."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glmc_zoo.data.encoded import EncodedImages

__all__ = [
    "EMPTY_CELL",
    "IMAGE_SUFFIXES",
    "UNREADABLE",
    "ArrayImages",
    "ArrowImages",
    "Cell",
    "ImageSource",
    "ImageSplit",
    "decode_small",
    "readable_rows",
    "to_rgb",
]

# Of files that are taken for pictures, in lower case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"})

# What PIL raises on files that are cut short, damaged, of another kind, or absurdly large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

EMPTY_CELL = "the cell is empty"

Cell = tuple[int, Any, str | None]
"""Place among the rows asked for, encoded bytes as a ``pyarrow.Buffer`` (``None``: in a file), and path."""

_LARGEST_SMALL_SIDE = 64
_CHUNK = 1024


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL image as 8-bit RGB.

    Transparent pictures are laid on white. 16-bit and 32-bit integer grey is scaled from 0..65535 to 0..255 (PIL itself
    would clip); floating-point grey is taken as 0..1 when it stays there, else as 0..255. The EXIF orientation is
    applied.
    """
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if grey.size and grey.max() <= 1 else 1.0
        return Image.fromarray((grey * scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


class ImageSource(Protocol):
    """Where the pictures of one split lie, addressed by row."""

    name: str

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The pictures of these rows, RGB."""
        ...


class ArrayImages:
    """Pictures already decoded: uint8 of shape (N, H, W, 3)."""

    def __init__(self, pixels: NDArray[np.uint8], name: str) -> None:
        self.pixels = pixels
        self.name = name

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The pictures of these rows, RGB."""
        return [Image.fromarray(self.pixels[row]) for row in rows]


class ArrowImages:
    """Pictures in a column of a ``datasets.Dataset``, decoded here so that an unreadable one can be named.

    Args:
        dataset: a ``datasets.Dataset``.
        column: of feature type ``Image``, or binary, or a struct of ``bytes`` and ``path``.
        name: of the split, for messages: "training" or "test".
        folder: messages give paths below it.
    """

    def __init__(self, dataset: Any, column: str, name: str, folder: Path | None = None) -> None:
        from datasets import Image as ImageFeature

        dataset = dataset.with_format(None).select_columns([column])
        if isinstance(dataset.features[column], ImageFeature):
            dataset = dataset.cast_column(column, ImageFeature(decode=False))
        self.dataset = dataset
        self.column = column
        self.name = name
        self.folder = folder

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The pictures of these rows, RGB.

        Raises:
            UserError: a picture cannot be read; the sentence has its row, and its path where there is one.
        """
        records = self.dataset[rows.tolist()][self.column]
        return [self._decode(record, int(row)) for record, row in zip(records, rows, strict=True)]

    def _decode(self, record: Any, row: int) -> Image.Image:
        data, path = (record.get("bytes"), record.get("path")) if isinstance(record, dict) else (record, None)
        try:
            if data is None and not path:
                raise ValueError(EMPTY_CELL)
            return _opened(path if data is None else io.BytesIO(data))
        except UNREADABLE as error:
            raise self.unreadable(row, path, error) from error

    def decode(self, encoded: memoryview, row: int) -> Image.Image:
        """The picture, RGB, whose encoded bytes were read from this row before.

        Raises:
            UserError: they cannot be read; the sentence is that of `read`.
        """
        try:
            return _opened(io.BytesIO(encoded))
        except UNREADABLE as error:
            [[(_, _, path)]] = self.cells(np.array([row]))
            raise self.unreadable(row, path, error) from error

    def unreadable(self, row: int, path: str | None, error: Exception) -> UserError:
        """What is to be raised for a picture that met this error."""
        reason = (
            "not an image"
            if isinstance(error, Image.UnidentifiedImageError)
            else " ".join(str(error).split()).rstrip(".")
        )
        return UserError(
            f"Image {row} of the {self.name} split{self._shown(path)} cannot be read: {reason}; "
            "remove it or pass --skip-bad-images."
        )

    def cells(self, rows: NDArray[np.int64]) -> Iterator[list[Cell]]:
        """What the column holds in these rows, as far as they lie together, in the order of the table.

        Bytes are neither copied nor, from a file that is mapped into memory, read: their length alone costs nothing.
        """
        order = np.argsort(rows, kind="stable")
        table, ascending = self.dataset.with_format("arrow"), rows[order]
        for group in np.split(order, np.flatnonzero(np.diff(ascending // _CHUNK)) + 1):
            first = int(rows[group[0]]) // _CHUNK * _CHUNK
            found: list[Cell] = []
            # One piece after the other: what joins them copies them.
            for piece in table[first : first + _CHUNK].column(self.column).chunks:
                low, high = np.searchsorted(rows[group], (first, first + len(piece)))
                found += _cells_of(piece, group[low:high], rows[group[low:high]] - first)
                first += len(piece)
            yield found

    def paths(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The file of each of these rows, below the data set's folder; of one elsewhere its last part alone.

        ``None`` for a picture that is no file.
        """
        import pyarrow

        table, found = self.dataset.with_format("arrow"), []
        for start in range(0, len(rows), _CHUNK):
            column = table[rows[start : start + _CHUNK].tolist()].column(self.column).combine_chunks()
            if not pyarrow.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
                return [None] * len(rows)
            found += column.field("path").to_pylist()
        return [self._below(path) for path in found]

    def _below(self, path: str | None) -> str | None:
        if path is None or not Path(path).is_absolute():
            return path
        if self.folder is not None and Path(path).is_relative_to(self.folder):
            return Path(path).relative_to(self.folder).as_posix()
        return Path(path).name

    def _shown(self, path: str | None) -> str:
        if not path:
            return ""
        if self.folder is not None and Path(path).is_relative_to(self.folder):
            path = Path(path).relative_to(self.folder).as_posix()
        return f" ({path})"


def _opened(file: Any) -> Image.Image:
    with Image.open(file) as image:
        image.load()
        return to_rgb(image)


def _cells_of(piece: Any, places: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Cell]:
    """The cells of these rows of an Arrow array, with the places they are asked for at."""
    import pyarrow

    data, paths = piece, None
    if pyarrow.types.is_struct(piece.type):
        fields = {piece.type.field(i).name: column for i, column in enumerate(piece.flatten())}
        data, paths = fields["bytes"], fields.get("path")
    return [
        (place, data[row].as_buffer(), None if paths is None else paths[row].as_py())
        for place, row in zip(places.tolist(), rows.tolist(), strict=True)
    ]


class ImageSplit:
    """Labels and pictures of one part (training, validation or test) of a data set.

    Args:
        source: where the pictures lie; an attribute, like ``rows``.
        rows: row of each image in ``source``, int64 of shape (N,).
        labels: class of each image, int64 of shape (N,).

    Attributes:
        labels: class of each image, int64 of shape (N,).
        pixels: the decoded pictures, uint8 of shape (N, H, W, 3), where the set is small; else ``None``.
        encoded: the pictures' files in memory, where `keep_encoded` read them; else ``None``.
    """

    def __init__(self, source: ImageSource, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self.source = source
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.pixels: NDArray[np.uint8] | None = source.pixels[self.rows] if isinstance(source, ArrayImages) else None
        self.encoded: EncodedImages | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Image.Image]:
        """The pictures at these positions of the split, as PIL RGB.

        Raises:
            UserError: a picture cannot be read.
        """
        positions = np.asarray(indices, dtype=np.int64)
        if self.pixels is not None:
            return [Image.fromarray(self.pixels[position]) for position in positions]
        if self.encoded is not None:
            assert isinstance(self.source, ArrowImages)
            return [self.source.decode(self.encoded[position], int(self.rows[position])) for position in positions]
        return self.source.read(self.rows[positions])

    def paths(self) -> list[str | None] | None:
        """The file of each picture, below the data set's folder; ``None`` where the pictures are no files."""
        found = self.source.paths(self.rows) if isinstance(self.source, ArrowImages) else []
        return found if any(found) else None


def readable_rows(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Decode every picture once and return the rows, of those given, that can be read."""
    good = []
    for row in rows:
        try:
            source.read(row.reshape(1))
        except UserError:
            continue
        good.append(row)
    return np.asarray(good, dtype=np.int64)


def decode_small(splits: Sequence[ImageSplit], cache_bytes: int) -> None:
    """Decode the splits into their ``pixels``, if all pictures have one size of at most 64 pixels a side.

    Nothing is decoded where the pixels of all splits together would pass ``cache_bytes``.
    """
    first = splits[0].images([0])[0]
    if max(first.size) > _LARGEST_SMALL_SIDE:
        return
    if sum(map(len, splits)) * first.width * first.height * 3 > cache_bytes:
        return
    decoded: list[NDArray[np.uint8]] = []
    for split in splits:
        pixels = np.empty((len(split), first.height, first.width, 3), dtype=np.uint8)
        for start in range(0, len(split), _CHUNK):
            positions = np.arange(start, min(start + _CHUNK, len(split)))
            for position, image in zip(positions, split.images(positions), strict=True):
                if image.size != first.size:
                    return
                pixels[position] = np.asarray(image)
        decoded.append(pixels)
    for split, pixels in zip(splits, decoded, strict=True):
        split.pixels = pixels
