"""The range of values that scales all images of more than 8 bits in a data set, from a sample of its images."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.reading.decoding import UnreadableImage, deep_values, is_deep, open_image
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages, ImageSource
from glmc_zoo.data.reading.intensity import Intensity, ValueRange
from glmc_zoo.data.reading.spread import spread

FileSource = ArrowImages | FileImages
_HEADERS = 200  # images whose headers are read
_DECODED = 2000  # images that are decoded


def find_intensity(splits: Sequence[tuple[ImageSource, NDArray[np.int64]]]) -> Intensity | None:
    """The range of values of the images of more than 8 bits; ``None`` if there are none.

    At first the headers of up to 200 images are read, spread evenly over all. If one of these images has more than 8
    bits, up to 2000 images are decoded, and the range covers their values. Images that cannot be read are skipped.

    Args:
        splits: The images of each split: their source, and their rows in it, int64 of shape (N,).
    """
    files = [(source, rows) for source, rows in splits if not isinstance(source, ArrayImages)]
    if not any(_is_deep(source, row) for source, row in _sample(files, _HEADERS)):
        return None
    values = ValueRange()
    for source, row in _sample(files, _DECODED):
        _add(values, source, row)
    return values.intensity()


def set_intensity(
    splits: Sequence[tuple[ImageSource, NDArray[np.int64]]], limits: tuple[float, float] | None
) -> Intensity | None:
    """Set one range of values for all these sources, and return it; ``None`` if no image has more than 8 bits.

    Args:
        splits: As for `find_intensity`.
        limits: The values that become black and white, if the user sets them. Otherwise `find_intensity` is used.
    """
    intensity = find_intensity(splits) if limits is None else Intensity(*limits, by_user=True)
    for source, _ in splits:
        if not isinstance(source, ArrayImages):
            source.intensity = intensity
    return intensity


def _sample(
    splits: Sequence[tuple[FileSource, NDArray[np.int64]]], max_images: int
) -> Iterator[tuple[FileSource, int]]:
    """Source and row of at most ``max_images`` images, spread evenly over all."""
    for index, position in spread([len(rows) for _, rows in splits], max_images):
        source, rows = splits[index]
        yield source, int(rows[position])


def _is_deep(source: FileSource, row: int) -> bool:
    """Whether an image has more than 8 bits by its header; false for one that cannot be read."""
    try:
        with source.open(row) as file, open_image(file) as image:
            return is_deep(image)
    except (UnreadableImage, OSError):
        return False


def _add(values: ValueRange, source: FileSource, row: int) -> None:
    """Widen the range by the values of one image, if it has more than 8 bits and can be read."""
    try:
        with source.open(row) as file, open_image(file) as image:
            pixels = deep_values(image, file)
    except (UnreadableImage, OSError):
        return
    if pixels is not None:
        values.add(pixels.values, full=pixels.full)
