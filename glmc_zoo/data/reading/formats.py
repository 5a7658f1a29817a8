"""Which files are images: the formats that Pillow reads, by suffix or by the first bytes of a file."""

import os
import stat
import struct
import zlib
from typing import Any, BinaryIO

from PIL import Image, ImageFile

# What Pillow and its plug-ins raise for files that are cut short, damaged, of another kind, or absurdly large.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(RuntimeError, AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)

# Documents and films, which Pillow identifies but does not decode, or only with another program.
_NOT_IMAGES = frozenset({"EPS", "MPEG", "PDF"})
# Formats of plain text: their first bytes also begin source code or lists of labels.
_TEXT = frozenset({"XBM", "XPM"})
_PLAIN_PPM = (b"P1", b"P2", b"P3")
# Files with these suffixes count as images even if the library that reads them is missing, so that none is left out
# silently.
_OPTIONAL_SUFFIXES = frozenset({".webp", ".avif", ".heic", ".heif", ".hif"})
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NEEDS_HEIC = "HEIC images need another package: pip install 'glmc_zoo[heic]'"
_PREFIX = 16  # bytes by which Pillow's plug-ins recognise their format


def _register() -> tuple[str, ...]:
    """Load all plug-ins of Pillow, and return the formats that they can decode.

    Formats that no first bytes identify come last. Their plug-ins have to parse the file, which is slow, and may
    mistake another format for their own.
    """
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    names = [name for name in Image.ID if name not in _NOT_IMAGES and not _is_stub(Image.OPEN[name][0])]
    return tuple(sorted(names, key=lambda name: Image.OPEN[name][1] is None))


def _is_stub(factory: Any) -> bool:
    """Whether Pillow identifies the format, but has no decoder for it."""
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


FORMATS = _register()
"""Formats that can be decoded, by their names in Pillow."""

IMAGE_SUFFIXES = _OPTIONAL_SUFFIXES.union(
    suffix for suffix, name in Image.registered_extensions().items() if name in {*FORMATS, "MPO"}
)
"""Suffixes of image files, in lower case."""

_BY_CONTENT = [(name, Image.OPEN[name][1]) for name in FORMATS if name not in _TEXT and Image.OPEN[name][1]]


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading; `OSError` for anything else, such as a pipe, without waiting for its content."""
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def looks_like_image(path: str) -> bool:
    """Whether a file is an image by its content, whatever its name is; false for a file that cannot be read.

    For most files the first bytes decide. Formats of plain text, and formats that no first bytes identify (such as
    TGA), are not recognised here, only by their suffix.
    """
    try:
        prefix = _first_bytes(path)
        formats = _accepted(prefix) if prefix else []
        if not formats:
            return why_unidentified(prefix) is not None
        with open_regular(path) as file, Image.open(file, formats=formats):
            return True
    except UNREADABLE:
        return False


def _first_bytes(path: str) -> bytes:
    descriptor = _open_without_waiting(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(descriptor, _PREFIX)
    finally:
        os.close(descriptor)


def _accepted(prefix: bytes) -> list[str]:
    """Names of the formats whose files may begin with these bytes."""
    if prefix.startswith(_PLAIN_PPM):
        return []
    prefix = prefix.ljust(_PREFIX, b"\0")  # some plug-ins fail on fewer bytes
    return [name for name, accept in _BY_CONTENT if accept is not None and accept(prefix) is True]


def why_unidentified(prefix: bytes) -> str | None:
    """Why Pillow cannot read an image file that begins with these bytes; ``None`` if its format is not known."""
    if "HEIF" not in FORMATS and prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIC_BRANDS:
        return _NEEDS_HEIC
    prefix = prefix.ljust(_PREFIX, b"\0")
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        # If the library of a plug-in is missing, ``accept`` returns the reason as text instead of true or false.
        if accept is not None and isinstance(reason := accept(prefix), str):
            return reason
    return None
