"""What a data set holds: the splits that training would use, the headers of its images, and a few of the images."""

import warnings
from collections import Counter
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.inventory import make_inventory
from glmc_zoo.data.load import split_to_train
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.decoding import open_image
from glmc_zoo.data.reading.formats import UNREADABLE
from glmc_zoo.data.reading.images import ArrayImages, ImageSource, image_name
from glmc_zoo.data.reading.inventory import MOST_EXAMPLES
from glmc_zoo.data.reading.split import ImageSplit, RawData
from glmc_zoo.data.reading.spread import spread
from glmc_zoo.data.sources import check_options, open_source, source_facts
from glmc_zoo.errors import UserError
from glmc_zoo.facts import Inventory, SplitFacts

MOST_HEADERS = 2000
"""Number of headers that are read at most; in a larger data set they are spread evenly."""


@dataclass(frozen=True, kw_only=True)
class DataContents:
    """A data set as training would use it. If training refuses it, the splits are as they were read."""

    name: str
    inventory: Inventory
    class_names: list[str]
    splits: dict[str, ImageSplit]
    """``train``, ``validation`` and ``test``, those that exist."""
    notes: list[str]
    refusal: str | None
    """Why training would refuse the data set, in one sentence; ``None`` if it accepts it."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the headers of images say. ``formats`` and ``modes`` count images, the most frequent first."""

    images: int
    """Images whose header was looked at, with those that cannot be read."""
    total: int
    """Images of the data set."""
    formats: dict[str, int]
    """As Pillow calls them; ``decoded`` for images that are in memory."""
    modes: dict[str, int]
    """As Pillow calls them: ``RGB``, ``L``, ``I;16``, ..."""
    widths: tuple[int, int, int] | None = None
    """Smallest, median and largest, in pixels, as stored; ``None`` where no header can be read."""
    heights: tuple[int, int, int] | None = None
    unreadable: int = 0
    """Images whose header cannot be read."""
    unreadable_examples: list[str] = field(default_factory=list)


def read_contents(options: DataOptions) -> DataContents:
    """Read a data set and make the splits that training would use.

    If training would refuse the data set, the splits are as they were read, and ``refusal`` says why.

    Raises:
        UserError: The data set cannot be read, or an option does not fit it.
    """
    entry = list_data().get(options.data)
    check_options(options, entry)
    raw = open_source(options, entry)
    original = _copy(raw)
    try:
        data = split_to_train(raw, options, entry, cache_bytes=0)
    except UserError as error:
        original.intensity = raw.intensity
        return _unsplit_contents(original, options, entry, error.sentence)
    splits = {"train": data.train, "validation": data.val, "test": data.test}
    used = {name: split for name, split in splits.items() if split is not None and len(split)}
    inventory = data.facts.inventory or _catalogue_inventory(used, data.class_names)
    return DataContents(
        name=data.name,
        inventory=inventory,
        class_names=data.class_names,
        splits=used,
        notes=data.notes,
        refusal=None,
    )


def _copy(raw: RawData) -> RawData:
    """A copy that does not change when the original is split."""
    train, test, val = (None if split is None else copy(split) for split in (raw.train, raw.test, raw.val))
    assert train is not None
    return replace(raw, train=train, test=test, val=val, notes=list(raw.notes), left_out=deepcopy(raw.left_out))


def _unsplit_contents(raw: RawData, options: DataOptions, entry: DataEntry | None, refusal: str) -> DataContents:
    if raw.alone == "test":
        raw.sources = [replace(source, name="test") for source in raw.sources]
        splits = {"test": raw.train.images(raw.class_names)}
    else:
        existing = {"train": raw.train, "validation": raw.val, "test": raw.test}
        splits = {name: split.images(raw.class_names) for name, split in existing.items() if split is not None}
    inventory = make_inventory(raw, dict(splits)) or _catalogue_inventory(splits, raw.class_names)
    return DataContents(
        name=source_facts(options, entry, raw.license)["name"],
        inventory=inventory,
        class_names=raw.class_names,
        splits=splits,
        notes=raw.notes,
        refusal=refusal,
    )


def _catalogue_inventory(splits: dict[str, ImageSplit], class_names: Sequence[str]) -> Inventory:
    """The inventory of a data set whose splits a library or an official list defines."""
    how = "as the catalogue defines it"
    facts = [SplitFacts(name=name, source="", images=len(split), how=how) for name, split in splits.items()]
    return Inventory(layout="data set of the catalogue", splits=facts, classes=len(class_names))


def read_headers(splits: Sequence[ImageSplit], max_images: int = MOST_HEADERS) -> ImageFacts:
    """Read format, mode and size from the headers of at most ``max_images`` images, spread evenly over the splits.

    An image whose header cannot be read is counted in ``unreadable``; nothing is raised.
    """
    formats, modes, sizes = Counter[str](), Counter[str](), list[tuple[int, int]]()
    unreadable, examples = 0, list[str]()
    for index, position in spread([len(split) for split in splits], max_images):
        source, row = splits[index].source, int(splits[index].rows[position])
        try:
            name, mode, size = _header(source, row)
        except UNREADABLE:
            unreadable += 1
            if len(examples) < MOST_EXAMPLES:
                examples.append(image_name(source, row))
            continue
        formats[name] += 1
        modes[mode] += 1
        sizes.append(size)
    sides = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    return ImageFacts(
        images=len(sizes) + unreadable,
        total=sum(map(len, splits)),
        formats=dict(formats.most_common()),
        modes=dict(modes.most_common()),
        widths=_range(sides[:, 0]),
        heights=_range(sides[:, 1]),
        unreadable=unreadable,
        unreadable_examples=examples,
    )


def _header(source: ImageSource, row: int) -> tuple[str, str, tuple[int, int]]:
    """Format, mode and size (width, height) of an image."""
    if isinstance(source, ArrayImages):
        height, width = source.pixels.shape[1:3]
        return "decoded", "RGB", (width, height)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only the header is read
        with source.open(row) as file, open_image(file) as image:
            return image.format or "unknown", image.mode, image.size


def _range(values: NDArray[np.int64]) -> tuple[int, int, int] | None:
    if not len(values):
        return None
    return int(values.min()), int(np.median(values)), int(values.max())
