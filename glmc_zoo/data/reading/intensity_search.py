"""The one range of intensity of a data set, found in a sample of its images."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.reading.decoding import UnreadableImage, deep_values, is_deep, open_image
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages, ImageSource
from glmc_zoo.data.reading.intensity import Intensity, ValueRange
from glmc_zoo.data.reading.spread import spread

FileSource = ArrowImages | FileImages
_HEADERS = 200
_DECODED = 2000


def find_intensity(splits: Sequence[tuple[ImageSource, NDArray[np.int64]]]) -> Intensity | None:
    """The range of the images of more than 8 bits in these rows of these sources; ``None`` where there are none.

    The headers of 200 images, spread over all, say whether there are any. If so, up to 2000 images are decoded. Images
    that cannot be read are passed over.
    """
    files = [(source, rows) for source, rows in splits if not isinstance(source, ArrayImages)]
    if not any(_is_deep(source, row) for source, row in _sample(files, _HEADERS)):
        return None
    values = ValueRange()
    for source, row in _sample(files, _DECODED):
        _add(values, source, row)
    return values.intensity()


def set_intensity(
    splits: Sequence[tuple[ImageSource, NDArray[np.int64]]], given: tuple[float, float] | None
) -> Intensity | None:
    """Give these sources one range of intensity, that of the user or that of their images, and return it."""
    intensity = find_intensity(splits) if given is None else Intensity(*given, given=True)
    for source, _ in splits:
        if not isinstance(source, ArrayImages):
            source.intensity = intensity
    return intensity


def _sample(splits: Sequence[tuple[FileSource, NDArray[np.int64]]], most: int) -> Iterator[tuple[FileSource, int]]:
    for index, position in spread([len(rows) for _, rows in splits], most):
        source, rows = splits[index]
        yield source, int(rows[position])


def _is_deep(source: FileSource, row: int) -> bool:
    try:
        with source.open(row) as file, open_image(file) as image:
            return is_deep(image)
    except (UnreadableImage, OSError):
        return False


def _add(values: ValueRange, source: FileSource, row: int) -> None:
    try:
        with source.open(row) as file, open_image(file) as image:
            deep = deep_values(image, file)
    except (UnreadableImage, OSError):
        return
    if deep is not None:
        values.add(deep.values, full=deep.full)
