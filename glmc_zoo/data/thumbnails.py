"""Small versions of a few images of each class."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from glmc_zoo.data.reading.images import image_name
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.data.reading.spread import evenly_spaced
from glmc_zoo.errors import UserError

SIDE = 96
"""Largest length in pixels of the longer side of a thumbnail."""
MOST_THUMBNAILS = 2000
"""Largest number of images that are decoded for one page."""

_SMALL_SIDE = 48  # JPEG shows artefacts in smaller images, which are saved as PNG


@dataclass(frozen=True)
class Thumbnail:
    """One small image."""

    name: str
    """File of the image, or its row."""
    encoded: bytes | None
    """PNG or JPEG; ``None`` where the image cannot be read."""
    media_type: str = "image/jpeg"

    @property
    def source(self) -> str | None:
        """The image as a data URI; ``None`` where it cannot be read."""
        if self.encoded is None:
            return None
        return f"data:{self.media_type};base64,{base64.b64encode(self.encoded).decode('ascii')}"


def make_thumbnails(splits: Sequence[ImageSplit], classes: Sequence[int], examples: int) -> dict[int, list[Thumbnail]]:
    """Make thumbnails of a few images of each class, from the first split that has images of the class.

    Args:
        splits: Splits with the same classes, the preferred one first.
        classes: Class indices, the most important first. Only the first `MOST_THUMBNAILS` of them get thumbnails.
        examples: Thumbnails per class; fewer if there would be more than `MOST_THUMBNAILS` in all.

    Returns:
        The thumbnails of each class by its index, spread evenly over the images of the class. A class without images
        has no key.
    """
    if not examples or not classes:
        return {}
    each = min(examples, max(1, MOST_THUMBNAILS // len(classes)))
    members = [_members(split) for split in splits]
    thumbnails = {}
    for label in classes[:MOST_THUMBNAILS]:
        for split, of_class in zip(splits, members, strict=True):
            positions = of_class.get(label)
            if positions is not None:
                chosen = positions[evenly_spaced(len(positions), each)]
                thumbnails[label] = [make_thumbnail(split, position) for position in chosen.tolist()]
                break
    return thumbnails


def _members(split: ImageSplit) -> dict[int, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    """Positions of the images of each class; a class without images is missing."""
    order = np.argsort(split.labels, kind="stable")
    labels, starts = np.unique(split.labels[order], return_index=True)
    return dict(zip(labels.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def make_thumbnail(split: ImageSplit, position: int, side: int = SIDE) -> Thumbnail:
    """A small version of the image at a position of a split; its longer side has at most ``side`` pixels."""
    name = image_name(split.source, int(split.rows[position]))
    try:
        (image,) = split.images([position])
    except UserError:
        return Thumbnail(name, None)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    kind, file = "PNG" if max(image.size) <= _SMALL_SIDE else "JPEG", io.BytesIO()
    image.save(file, kind, quality=80)
    return Thumbnail(name, file.getvalue(), Image.MIME[kind])
