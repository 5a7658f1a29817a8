"""Splits of images and classes: as they were read, and as a torch ``Dataset``."""

import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from glmc_zoo.data.reading.content import byte_sizes
from glmc_zoo.data.reading.formats import FORMATS, UNREADABLE
from glmc_zoo.data.reading.images import ArrayImages, ImageSource
from glmc_zoo.data.reading.intensity import Intensity
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts

_LARGEST_SMALL_SIDE = 64
_CHUNK = 1024


class ImageSplit(Dataset[tuple[Any, int]]):
    """Images and classes of one split; ``split[i]`` is ``(image, label)``, for any loader of torch datasets.

    The image is a PIL image in RGB, or what `transform` makes of it where one is set; timm's ``create_loader`` sets it.

    Attributes:
        source: Where the images lie.
        rows: Row of each image in ``source``, int64 of shape (N,).
        labels: Class of each image, int64 of shape (N,).
        class_names: Name of each class.
        pixels: The decoded images, uint8 of shape (N, H, W, 3), where they are small; else ``None``.
        transform: Applied to the image of ``split[i]``; ``None`` leaves it as it is.
    """

    def __init__(
        self, source: ImageSource, rows: NDArray[np.int64], labels: NDArray[np.int64], class_names: Sequence[str]
    ) -> None:
        self.source = source
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names = list(class_names)
        self.pixels: NDArray[np.uint8] | None = source.pixels[self.rows] if isinstance(source, ArrayImages) else None
        self.transform: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Image and class at a position; `IndexError` outside the split, `UserError` if the image is unreadable."""
        label = int(self.labels[index])
        (image,) = self.images([index])
        return image if self.transform is None else self.transform(image), label

    @property
    def class_counts(self) -> list[int]:
        """Images of each class in this split."""
        counts: list[int] = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return counts

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> list[Image.Image]:
        """The images at these positions of the split, as PIL images in RGB; `UserError` if one cannot be read."""
        positions = np.asarray(indices, dtype=np.int64)
        if self.pixels is not None:
            return [Image.fromarray(self.pixels[position]) for position in positions]
        return self.source.read(self.rows[positions])

    def with_intensity(self, intensity: Intensity) -> "ImageSplit":
        """The same split with another range for images of more than 8 bits, which are then decoded anew."""
        if isinstance(self.source, ArrayImages) or self.source.intensity in (None, intensity):
            return self  # without a range of their own, the images have 8 bits
        source = copy.copy(self.source)
        source.intensity = intensity
        return ImageSplit(source, self.rows, self.labels, self.class_names)

    def paths(self) -> list[str | None] | None:
        """The file of each image, relative to the data set's folder; ``None`` where images do not come in files."""
        paths = [] if isinstance(self.source, ArrayImages) else self.source.paths(self.rows)
        return paths if any(paths) else None

    def image_format(self) -> str | None:
        """File format of the first image, such as ``PNG``, ``JPEG``, ``WebP lossless`` or ``WebP lossy``.

        Scores on lossily encoded images differ from published ones. ``None`` where images do not come in files, or
        the first one cannot be read.
        """
        if isinstance(self.source, ArrayImages) or not len(self):
            return None
        try:
            with self.source.open(int(self.rows[0])) as file:
                data = file.read()
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                name: str | None = image.format
        except UNREADABLE:
            return None
        if name != "WEBP":
            return name
        # The container's extended header may come first; only a lossless image has this chunk.
        return "WebP lossless" if b"VP8L" in data[:64] else "WebP lossy"


@dataclass
class RawSplit:
    """Images and classes of one split."""

    source: ImageSource
    labels: NDArray[np.int64]
    """Class of every row of ``source``, shape (rows,)."""
    rows: NDArray[np.int64]
    """The rows of ``source`` that belong to the split."""
    groups: NDArray[Any] | None = None
    """Group of every row of ``source``, as text or integers of shape (rows,); an empty text stands for no group.

    Images of one group stay together wherever a split is made."""

    def images(self, class_names: Sequence[str]) -> ImageSplit:
        """The split as a torch ``Dataset``."""
        return ImageSplit(self.source, self.rows, self.labels[self.rows], class_names)

    def counts(self, num_classes: int) -> NDArray[np.int64]:
        """Images of each class, shape (num_classes,)."""
        return np.bincount(self.labels[self.rows], minlength=num_classes)


@dataclass
class RawData:
    """A data set as it was read; `glmc_zoo.data.splits` turns it into the splits that are used."""

    class_names: list[str]
    train: RawSplit
    test: RawSplit | None
    license: str = "unknown"
    notes: list[str] = field(default_factory=list)
    """Decisions taken on the user's behalf, one sentence each."""
    val: RawSplit | None = None
    """Held-out images; ``None`` before images are held out."""
    split_file: dict[str, str] | None = None
    """``name`` and ``sha256`` of the official list that made the training split; ``None`` without one."""
    intensity: Intensity | None = None
    """The range of images of more than 8 bits; ``None`` where there are none."""
    missing: int = 0
    """Listed images that are missing and were left out."""
    layout: str = ""
    """How the source holds its images, for the inventory; empty where a library or official lists decide it."""
    left_out: LeftOut = field(default_factory=LeftOut)
    sources: list[SplitFacts] = field(default_factory=list)
    """Where each split comes from, as it was read."""
    alone: str | None = None
    """Set if ``train`` is the only split: ``whole`` if the data set names no splits, ``test`` if its name says test."""
    grouped_by: str | None = None
    """Column or pattern of the groups."""

    @property
    def splits(self) -> list[RawSplit]:
        """The splits that exist."""
        return [split for split in (self.train, self.test, self.val) if split is not None]

    def select_classes(self, classes: Sequence[int] | NDArray[np.int64]) -> None:
        """Number the classes anew: these, in this order; images of any other class, or of none, get -1."""
        position = np.full(len(self.class_names) + 1, -1, dtype=np.int64)  # the last stands for images of no class
        position[classes] = np.arange(len(classes))
        self.class_names = [self.class_names[index] for index in classes]
        for split in self.splits:
            split.labels = position[split.labels]


def readable_rows(source: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Decode every image once and return those of the given rows that can be read.

    Empty files are known by their size: 200,000 of them take a second, and not minutes.
    """
    good = []
    for row in rows[byte_sizes(source, rows) != 0]:
        try:
            source.read(row.reshape(1))
        except UserError:
            continue
        good.append(row)
    return np.asarray(good, dtype=np.int64)


def decode_small(splits: Sequence[ImageSplit], cache_bytes: int) -> None:
    """Decode all images, if they are small, and set `ImageSplit.pixels` of each split, uint8 (N, H, W, 3).

    This is done if all images of all splits have the same size, no side is longer than 64 pixels, and the pixels take
    at most ``cache_bytes`` together. Otherwise no split is changed. The first split must not be empty.

    Raises:
        UserError: An image cannot be read.
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
