"""Images of any kind as 8-bit RGB."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from glmc_zoo.data.reading.formats import FORMATS, UNREADABLE, open_regular, why_unidentified
from glmc_zoo.data.reading.intensity import Intensity, image_intensity
from glmc_zoo.errors import UserError

# Resizing the shorter side of a thinner image to that of a network's input would take gigabytes.
_MOST_TIMES_LONGER = 200

# How an image is turned upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow gives the upper byte of each value of 16-bit colour images. It gives the lower one when it is told that the
# bytes of each value stand in the other order.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}
_COLOURS = ("RGB", "RGBA", "RGBX", "R")  # the last for a file with a plane for each channel
# Formats whose values Pillow scales to 0..65535 by the depth that the file states.
_SCALED_BY_PILLOW = frozenset({"PPM", "JPEG2000"})


class UnreadableImage(ValueError):
    """An image that cannot be decoded; its text is the reason."""


class DeepValues(NamedTuple):
    """The values of an image of more than 8 bits a channel."""

    values: NDArray[Any]
    """Grey of shape (H, W), or colour of shape (H, W, 3); integers or floats."""
    opacity: NDArray[np.uint8] | None
    """(H, W), where the image has transparency."""
    full: bool
    """Whether its format has scaled the values to 0..65535 already."""


def read_image(path: str, intensity: Intensity | None = None) -> Image.Image:
    """The first image of a file as 8-bit RGB, upright; `UnreadableImage` with the reason where there is none."""
    with _reasons(), open_regular(path) as file:
        return decode(file, intensity)


def decode(file: BinaryIO, intensity: Intensity | None = None) -> Image.Image:
    """`read_image` for an open file, which must be seekable."""
    with open_image(file) as image:
        raw_pixels = deep_values(image, file)
        with _reasons():
            image.load()
            rgb = to_rgb(image, intensity) if raw_pixels is None else _deep_rgb(raw_pixels, intensity)
            return rgb if raw_pixels is None else _turned(rgb, _orientation(image))


def open_image(file: BinaryIO) -> Image.Image:
    """The image in a file, identified but not decoded; thin and absurdly large ones are refused."""
    with _reasons():
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            file.seek(0)
            raise UnreadableImage(why_unidentified(file.read(16)) or "not an image") from error
        width, height = image.size
        if max(width, height) > _MOST_TIMES_LONGER * min(width, height):
            image.close()
            limit = f"the longer side may be {_MOST_TIMES_LONGER} times the shorter"
            raise UnreadableImage(f"{width} x {height} pixels are too thin: {limit}")
        return image


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn an error of Pillow about a file into `UnreadableImage`."""
    try:
        yield
    except UnreadableImage:
        raise
    except UNREADABLE as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    # The caller adds the name of the file.
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)


def to_rgb(image: Image.Image, intensity: Intensity | None = None) -> Image.Image:
    """Convert any PIL image to upright 8-bit RGB.

    The EXIF orientation is applied, and transparent images are laid on white. Grey images of more than 8 bits, and
    those of floats, are scaled from the range ``intensity``; without one, from the `image_intensity` of this image.
    Pillow has reduced colour of 16 bits to 8 before; `decode` keeps its depth.

    Raises:
        OSError: The image cannot be decoded. Damaged files can also raise other errors of Pillow.
    """
    image.load()  # before is_deep, which takes a 16-bit colour image that is not decoded yet for a deep one
    turn = _orientation(image)
    if is_deep(image):
        return _turned(_deep_rgb(_grey_values(image), intensity), turn)
    if image.mode == "RGB" and "transparency" not in image.info:
        return _turned(image, turn)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return _turned(_on_white(image), turn)
    return _turned(image.convert("RGB"), turn)


def is_deep(image: Image.Image) -> bool:
    """Whether a PIL image has more than 8 bits a channel; of colour images, before they are decoded."""
    return image.mode.startswith(("I", "F")) or _byte_modes(image) is not None


def deep_values(image: Image.Image, file: BinaryIO) -> DeepValues | None:
    """The values of an image of more than 8 bits, which `open_image` gave for this file; ``None`` for any other."""
    modes = _byte_modes(image)
    with _reasons():
        if modes is not None:
            return _colour_values(image, file, modes)
        if is_deep(image):
            image.load()
            return _grey_values(image)
    return None


def _byte_modes(image: Image.Image) -> tuple[str, str] | None:
    """The raw modes that give the upper and the lower byte of 16-bit colour; ``None`` for any other image."""
    tiles = getattr(image, "tile", None)
    if not tiles or image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA"):
        return None
    raw = _raw_mode(tiles[0])
    if raw == "LA;16B":  # PNG: grey and opacity, four bytes a pixel
        return "RGBA", "RGBA"
    if raw == "R" and (order := _order_of_planes(image)):
        raw = f"R;16{order}"
    channels, _, order = raw.partition(";16")
    if channels not in _COLOURS or order not in _OTHER_ORDER:
        return None
    return raw, f"{channels};16{_OTHER_ORDER[order]}"


def _order_of_planes(image: Any) -> str | None:
    """The byte order of a TIFF with a plane of 16 bits for each channel, which Pillow reads as 8 bits by mistake."""
    bits, compression = image.tag_v2.get(258), image.tag_v2.get(259, 1)
    if not bits or set(bits) != {16} or compression != 1:
        return None
    return "L" if image.tag_v2.prefix == b"II" else "B"


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _pixels(image: Any, raw: str) -> NDArray[np.uint16]:
    """The pixels of an image that is not decoded yet, with another raw mode."""
    tiles = []
    for tile in image.tile:
        channel = _raw_mode(tile)[:1]
        mode = channel + raw[1:] if raw.startswith("R;") else raw  # of planes, each keeps its channel
        arguments = (mode, *tile[3][1:]) if isinstance(tile[3], tuple) else mode
        changed = (*tile[:3], arguments)
        tiles.append(tile._make(changed) if hasattr(tile, "_make") else changed)
    image.tile = tiles
    image.load()  # numpy would hide an error
    return np.asarray(image, dtype=np.uint16)


def _colour_values(image: Any, file: BinaryIO, modes: tuple[str, str]) -> DeepValues:
    if image.format == "TIFF" and image.tile[0][0] == "libtiff" and image.tag_v2.get(284) == 2:
        # Pillow gives the upper bytes alone.
        raise UnreadableImage("16-bit colour in compressed planes: save it with the channels of a pixel side by side")
    upper = _pixels(image, modes[0])
    if modes[0] == modes[1]:
        return DeepValues(upper[..., 0] << 8 | upper[..., 1], upper[..., 2].astype(np.uint8), False)
    file.seek(0)
    with Image.open(file, formats=[str(image.format)]) as other:
        lower = _pixels(other, modes[1])
    values = (upper << 8 | lower)[..., :3]
    opacity = upper[..., 3].astype(np.uint8) if image.mode == "RGBA" else None
    return DeepValues(values, _opacity(values, image.info.get("transparency")) if opacity is None else opacity, False)


def _grey_values(image: Image.Image) -> DeepValues:
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    opacity = _opacity(values, image.info.get("transparency"))
    return DeepValues(values, opacity, image.format in _SCALED_BY_PILLOW and image.mode != "F")


def _opacity(values: NDArray[Any], transparent: Any) -> NDArray[np.uint8] | None:
    """Opacity (H, W) of an image in which one value or colour means full transparency; ``None`` for any other."""
    if not isinstance(transparent, int | tuple):
        return None
    same = values == np.asarray(transparent)
    return np.where(same.all(axis=-1) if values.ndim == 3 else same, 0, 255).astype(np.uint8)


def _deep_rgb(pixels: DeepValues, intensity: Intensity | None) -> Image.Image:
    if intensity is None:
        intensity = image_intensity(pixels.values, full=pixels.full)
    image = Image.fromarray(intensity.scale(pixels.values)).convert("RGB")
    if pixels.opacity is None:
        return image
    image.putalpha(Image.fromarray(pixels.opacity))
    return _on_white(image)


def _on_white(image: Image.Image) -> Image.Image:
    """An RGBA image laid on white, as RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image that is decoded; 1, upright, where its EXIF cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _bytes_and_path(record: Any) -> tuple[bytes | None, str | None]:
    """Encoded bytes and path of one cell of an image column, of which at least one is given."""
    data, path = (record.get("bytes"), record.get("path")) if isinstance(record, dict) else (record, None)
    if data is None and not path:
        raise UnreadableImage("the cell is empty")
    return data, path


def open_record(record: Any, open_path: Callable[[str], BinaryIO]) -> BinaryIO:
    """The file in one cell of an image column: its bytes, or its path, which ``open_path`` opens."""
    data, path = _bytes_and_path(record)
    return io.BytesIO(data) if data is not None else open_path(str(path))


def decode_record(
    record: Any,
    where: str,
    advice: str,
    *,
    intensity: Intensity | None,
    open_path: Callable[[str], BinaryIO],
    display_path: Callable[[str], str],
) -> Image.Image:
    """The image in one cell of an image column (encoded bytes, or a struct of ``bytes`` and ``path``), as 8-bit RGB.

    Raises:
        UserError: The image cannot be read. The sentence has ``where``, the path as ``display_path`` shows it, the
            reason and the ``advice``.
    """
    try:
        with _reasons(), open_record(record, open_path) as file:
            return decode(file, intensity)
    except UnreadableImage as error:
        path = record.get("path") if isinstance(record, dict) else None
        file_name = f" ({display_path(path)})" if path else ""
        raise UserError(f"{where}{file_name} cannot be read: {error}; {advice}.") from error


def one_line(error: BaseException) -> str:
    """The text of an error on one line, of at most 200 characters."""
    return shortened(" ".join(str(error).split()).rstrip(".") or type(error).__name__)


def shortened(text: str, max_length: int = 200) -> str:
    """The text, or its beginning and dots where it is longer than ``max_length`` characters."""
    return text if len(text) <= max_length else text[: max_length - 3] + "..."
