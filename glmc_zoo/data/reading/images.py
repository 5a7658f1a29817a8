"""Images of any kind as 8-bit RGB, and where the images of a split lie."""

import io
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from glmc_zoo.data.reading.inventory import escaped
from glmc_zoo.errors import UserError

# Suffixes of image files, in lower case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"})

# What PIL raises for files that are cut short, damaged, of another kind, or absurdly large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

_CHUNK = 1024


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL image as 8-bit RGB.

    Transparent images are laid on white. 16-bit and 32-bit integer grey is scaled from 0..65535 to 0..255 (PIL itself
    would clip); floating-point grey is taken as 0..1 when all values lie in that range, else as 0..255. The EXIF
    orientation is applied.
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


def looks_like_image(path: str) -> bool:
    """Whether the content of a file is an image that Pillow reads, whatever its name says."""
    try:
        with Image.open(path):
            return True
    except UNREADABLE:
        return False


def _bytes_and_path(record: Any) -> tuple[bytes | None, str | None]:
    """Encoded bytes and path of one cell of an image column, of which at least one is given."""
    data, path = (record.get("bytes"), record.get("path")) if isinstance(record, dict) else (record, None)
    if data is None and not path:
        raise ValueError("the cell is empty")
    return data, path


def decode_record(
    record: Any,
    where: str,
    advice: str,
    *,
    open_file: Callable[[str, str], Any] = open,
    shown: Callable[[str], str] = str,
) -> Image.Image:
    """The image in one cell of an image column (encoded bytes, or a struct of ``bytes`` and ``path``), as 8-bit RGB.

    An error names the image by ``where`` and its path as ``shown``, and gives the reason and the ``advice``.
    """
    path = None
    try:
        data, path = _bytes_and_path(record)
        with (
            io.BytesIO(data) if data is not None else open_file(str(path), "rb") as file,
            Image.open(file) as image,
        ):
            image.load()
            return to_rgb(image)
    except UNREADABLE as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error)
        file_name = f" ({shown(path)})" if path else ""
        raise UserError(f"{where}{file_name} cannot be read: {reason}; {advice}.") from error


def one_line(error: Exception) -> str:
    """The text of an error on one line, of at most 200 characters."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def stray_image(name: str, root: Path) -> UserError:
    """The error for an image that lies beside the class folders."""
    return UserError(f"The image {name} lies in {root} itself and so has no class: move it into a folder of its class.")


@dataclass(eq=False)
class ArrayImages:
    """Decoded images: uint8 of shape (N, H, W, 3)."""

    pixels: NDArray[np.uint8]
    name: str

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The images of these rows, RGB."""
        return [Image.fromarray(self.pixels[row]) for row in rows]


class ArrowImages:
    """Images in a column of a ``datasets.Dataset``, decoded here so that an error can name the image.

    The column has the feature type ``Image``, or is binary, or a struct of ``bytes`` and ``path``. Messages call the
    split by ``name``: "training" or "test". Paths are given relative to ``folder``, that of the data set.
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
        """The images of these rows, RGB."""
        advice = "remove it or pass skip_bad_images=True"
        return [
            decode_record(record, f"Image {row} of the {self.name} split", advice, shown=self._relative)
            for record, row in zip(self.dataset[rows.tolist()][self.column], rows, strict=True)
        ]

    def encoded(self, row: int) -> bytes:
        """The image file of one row."""
        data, path = _bytes_and_path(self.dataset[row][self.column])
        return Path(str(path)).read_bytes() if data is None else data

    def paths(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The file of each of these rows, relative to the data set's folder, or its name where it lies elsewhere.

        ``None`` for an image that does not come in a file.
        """
        table = self.dataset.with_format("arrow")
        paths: list[str | None] = []
        for start in range(0, len(rows), _CHUNK):
            column = table[rows[start : start + _CHUNK].tolist()].column(self.column)
            paths += _path_field(column).to_pylist()
        relative = [path and self._relative(path) for path in paths]
        # No path tells a folder of this machine.
        return [Path(path).name if path and Path(path).is_absolute() else path for path in relative]

    def names(self) -> Any:
        """File name or path of the image of every row, as Arrow strings; null without one. Nothing else is read."""
        return _path_field(self.dataset.data.column(self.column))

    def _relative(self, path: str) -> str:
        """``path`` relative to the data set's folder, or as it is where it lies elsewhere."""
        if self.folder is None or not Path(path).is_relative_to(self.folder):
            return path
        return Path(path).relative_to(self.folder).as_posix()


class FileImages:
    """Image files below a folder, decoded here so that an error can name the image.

    Args:
        root: The data set's folder.
        names: Path of each image relative to ``root``, with ``/``; bytes that are not UTF-8 as surrogate escapes.
        name: Name of the split for messages: "training" or "test".
    """

    def __init__(self, root: Path, names: Sequence[str], name: str) -> None:
        self.root = root
        # One block of bytes: a list of half a million texts would be copied into every loading worker.
        self._names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self.name = name

    def __len__(self) -> int:
        return len(self._names)

    def file(self, row: int) -> str:
        """The file of one row, for ``open``."""
        return os.path.join(self.root, os.fsdecode(bytes(self._names[row])))

    def read(self, rows: NDArray[np.int64]) -> list[Image.Image]:
        """The images of these rows, RGB."""
        advice = "remove it or pass skip_bad_images=True"
        return [
            decode_record(
                {"path": self.file(int(row))}, f"Image {row} of the {self.name} split", advice, shown=self._relative
            )
            for row in rows
        ]

    def encoded(self, row: int) -> bytes:
        """The image file of one row."""
        return Path(self.file(row)).read_bytes()

    def paths(self, rows: NDArray[np.int64]) -> list[str | None]:
        """The file of each of these rows, relative to the data set's folder, as text that can be printed."""
        return [escaped(os.fsdecode(bytes(self._names[row]))) for row in rows]

    def _relative(self, path: str) -> str:
        return escaped(os.path.relpath(path, self.root))


ImageSource = ArrayImages | ArrowImages | FileImages
"""The images of one split, addressed by row."""


def _path_field(column: Any) -> Any:
    """The paths in an Arrow column of images; null without any."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return pyarrow.nulls(len(column), pyarrow.string())
    return pyarrow.compute.struct_field(column, "path").combine_chunks()
