"""The file format that the pictures of a set come in: what was lossily encoded is not what others measured on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from glmc_zoo.data.images import UNREADABLE, ArrowImages, ImageSplit

__all__ = ["image_format"]


def image_format(split: ImageSplit) -> str | None:
    """Format of the first picture of a split, such as ``PNG``, ``JPEG``, ``WebP lossless`` or ``WebP lossy``.

    ``None`` where pictures are arrays and come in no file, or the first one cannot be read.
    """
    if not isinstance(split.source, ArrowImages) or not len(split):
        return None
    [[(_, encoded, path)]] = split.source.cells(np.asarray(split.rows[:1]))
    if encoded is None and not path:
        return None
    try:
        data = bytes(encoded) if encoded is not None else Path(str(path)).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            found = image.format
    except UNREADABLE:
        return None
    if found != "WEBP":
        return found
    # The container's extended header may come first; a lossless picture has this chunk and no other of pixels.
    return "WebP lossless" if b"VP8L" in data[:64] else "WebP lossy"
