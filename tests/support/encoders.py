"""PNG, TIFF and PSD files of kinds that Pillow reads, but cannot write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

# Samples of a pixel for each colour type of PNG.
_GREY, _COLOUR, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 4, 6
_PNG_TYPE = {1: _GREY, 3: _COLOUR, 2: _GREY_ALPHA, 4: _COLOUR_ALPHA}


def pil(image: Image.Image, format: str, **options: Any) -> bytes:
    """The file of an image as Pillow writes it."""
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def png16(values: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG file of 16 bits from uint16 (H, W, samples); ``transparent`` is the colour that is transparent."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, samples = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_TYPE[samples], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    transparency = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    body = chunk(b"IHDR", header) + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(
    values: np.ndarray,
    *,
    big: bool = False,
    deflate: bool = False,
    extra: int | None = None,
    planes: bool = False,
    orientation: int = 1,
) -> bytes:
    """A TIFF file of grey or RGB from ``values`` (H, W, samples) in their type.

    Args:
        values: The samples.
        big: Whether numbers are big-endian.
        deflate: Whether the strips are compressed.
        extra: Value of the tag ExtraSamples, for one more sample than grey or RGB has.
        planes: Whether each sample has a plane of its own.
        orientation: Value of the tag Orientation.
    """
    order = ">" if big else "<"
    height, width, samples = values.shape
    parts = [values[..., k] for k in range(samples)] if planes else [values]
    strips = [part.astype(values.dtype.newbyteorder(order)).tobytes() for part in parts]
    strips = [zlib.compress(strip) if deflate else strip for strip in strips]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * values.dtype.itemsize] * samples),
        (259, "H", [8 if deflate else 1]),
        (262, "H", [2 if samples >= 3 else 1]),
        (273, "I", [0] * len(strips)),
        (274, "H", [orientation]),
        (277, "H", [samples]),
        (278, "I", [height]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planes else 1]),
        *([] if extra is None else [(338, "H", [extra])]),
        (339, "H", [kind] * samples),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    long = b"".join(struct.pack(f"{order}{len(v)}{t}", *v) for _, t, v in tags if len(v) * struct.calcsize(t) > 4)
    at = start + len(long)
    offsets = [at + sum(map(len, strips[:k])) for k in range(len(strips))]
    tags = [(tag, t, offsets if tag == 273 else v) for tag, t, v in tags]
    entries, tail = b"", b""
    for tag, t, v in tags:
        data = struct.pack(f"{order}{len(v)}{t}", *v)
        if len(data) > 4:
            data, tail = struct.pack(f"{order}I", start + len(tail)), tail + data
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[t], len(v)) + data.ljust(4, b"\0")
    head = struct.pack(f"{order}2sHIH", b"MM" if big else b"II", 42, 8, len(tags))
    return head + entries + bytes(4) + tail + b"".join(strips)


def psd(pixels: np.ndarray) -> bytes:
    """A PSD file of 8-bit RGB without layers or compression, from uint8 (H, W, 3)."""
    height, width, _ = pixels.shape
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3)
    return header + bytes(12) + bytes(2) + pixels.transpose(2, 0, 1).tobytes()


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block with these entries of tag, type, count and value."""
    offset, directory, data = 8 + 2 + 12 * len(entries) + 4, struct.pack(">H", len(entries)), b""
    for tag, kind, count, value in entries:
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(">I", offset + len(data))
        data += value if len(value) > 4 else b""
        directory += struct.pack(">HHI", tag, kind, count) + field
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + directory + bytes(4) + data


def orientation(value: int) -> tuple[int, int, int, bytes]:
    """The EXIF entry of an orientation."""
    return (0x0112, 3, 1, struct.pack(">H", value))
