"""One data set, ready to train on: read, thinned to a long tail, and split."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.catalogue import IMAGENET_MEAN, IMAGENET_STD, DataEntry, Statistics, list_data
from glmc_zoo.data.duplicates import take_out_duplicates
from glmc_zoo.data.groups import read_groups
from glmc_zoo.data.inventory import make_inventory
from glmc_zoo.data.options import DataOptions, data_options
from glmc_zoo.data.reading.intensity_search import set_intensity
from glmc_zoo.data.reading.split import ImageSplit, RawData, RawSplit, decode_small
from glmc_zoo.data.sources import check_options, open_source, source_facts, with_long_tail
from glmc_zoo.data.splits import (
    CONTENT_RULE,
    hold_out,
    leave_test_out,
    make_test_split,
    settle_classes,
    skip_unreadable,
    support_notes,
    thin,
)
from glmc_zoo.errors import UserError
from glmc_zoo.results import DataFacts
from glmc_zoo.text import agree, counted

_SMALL_SIDE = 64


@dataclass
class LongTailData:
    """A data set as `load_data` returns it."""

    train: ImageSplit
    test: ImageSplit
    """Empty with ``no_test``."""
    val: ImageSplit | None
    """Held out of the training split, to choose an epoch; ``None`` without ``val_fraction`` and ``official_val``."""
    class_names: list[str]
    class_counts: list[int]
    """Training images of each class, without those held out in ``val``."""
    mean: Statistics
    std: Statistics
    interpolation: str | None
    """How images are resized to train from scratch, as in `DataEntry`."""
    image_size: int | None
    """Side in pixels to train at by default; ``None`` where images are large or of many sizes."""
    augment: str
    """Kind of training augmentation, for `train_transform`."""
    facts: DataFacts
    """What a run stores with its results."""
    groups: NDArray[np.str_] | None = None
    """Group of each training image, of shape (N,); ``None`` where images are not grouped."""

    @property
    def name(self) -> str:
        """Catalogue name, Hub id, or the last part of the folder's path."""
        return self.facts.name

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def notes(self) -> list[str]:
        """Decisions taken on the user's behalf, one sentence each."""
        return list(self.facts.notes)

    @property
    def grouped_by(self) -> str | None:
        """The column or the path pattern that groups the training images; ``None`` without groups."""
        inventory = self.facts.inventory
        return None if self.groups is None or inventory is None else inventory.grouped_by


def load_data(name_or_path: str | PathLike[str], *, cache_bytes: int = 1 << 30, **options: Any) -> LongTailData:
    """Load a long-tailed data set.

    - A catalogue data set is thinned by its formula, or split by its official lists. If a list is missing, the data set
      is thinned to a Pareto curve (iNaturalist 2018 is used as it is). ``facts.official_split`` is true if lists made
      the splits and all class counts are the official ones.
    - Any other data set is used as it is. With ``imbalance_factor`` it is thinned in the order of its classes.
    - A class with fewer images than a formula asks for keeps all of them. For a catalogue data set that a formula makes
      from a balanced one, this is an error.
    - Without a test split, about a fifth of the images is set aside, chosen by their content or in whole groups. With
      ``no_test`` none is set aside, and a test split that exists is not used.
    - Training images that are the same as a test image are left out, except for catalogue data sets.

    Each of these decisions is a sentence in ``notes``.

    Args:
        name_or_path: A name in `list_data`, a folder (images, parquet files, or saved by ``datasets``), a CSV file
            with paths and labels, or a Hub id.
        cache_bytes: Images of one size, up to 64 pixels a side, are decoded into memory if they fit into these bytes.
        options: The fields of `DataOptions`: ``imbalance_factor``, ``data_dir``, ``val_fraction`` and so on.

    Raises:
        UserError: An option is unknown, has no effect or does not fit the data, or an image cannot be read.

    Example:
        >>> data = load_data("digits_lt", imbalance_factor=10)
        >>> data.class_counts[0], data.class_counts[-1]
        (100, 10)
    """
    return load_split_data(data_options(name_or_path, options), cache_bytes=cache_bytes)


def load_split_data(options: DataOptions, *, cache_bytes: int = 1 << 30) -> LongTailData:
    """`load_data` with its options as one object."""
    entry = list_data().get(options.data)
    check_options(options, entry)
    return split_to_train(open_source(options, entry), options, entry, cache_bytes=cache_bytes)


def split_to_train(raw: RawData, options: DataOptions, entry: DataEntry | None, *, cache_bytes: int) -> LongTailData:
    """`split_source` for training: a data set with only test images is refused."""
    if raw.alone == "test":
        left_out = f"; left out: {raw.left_out.text}" if raw.left_out.files else ""
        raise UserError(
            f"{options.data} has only test images ({raw.sources[0].source}{left_out}): add training images, or give "
            "train_split= to train on these."
        )
    return split_source(raw, options, entry, cache_bytes=cache_bytes)


def split_source(raw: RawData, options: DataOptions, entry: DataEntry | None, *, cache_bytes: int) -> LongTailData:
    """The splits of a data set that was read: thinned, with the test and validation images that the options ask for."""
    scale_deep_images(raw, options)
    options = with_long_tail(options, entry, by_list=raw.split_file is not None)
    if options.no_test:
        leave_test_out(raw)
    skipped = raw.missing + (skip_unreadable(raw) if options.skip_bad_images else 0)
    settle_classes(raw)
    groups, reads_test = read_groups(raw, options.split_by), raw.test is not None
    if not options.no_test:
        make_test_split(raw)
    duplicates = take_out_duplicates(
        raw, options.duplicates, allow=options.allow_duplicates, published=entry is not None
    )
    thin(raw, options, strict=entry is not None and entry.official is None)
    hold_out(raw, options.val_fraction, options.data_seed)
    if raw.test is None and raw.val is not None:  # the scores are those of the validation split
        raw.notes += support_notes(raw.class_names, raw.val.counts(len(raw.class_names)).tolist(), "validation")

    train, val = raw.train.images(raw.class_names), None if raw.val is None else raw.val.images(raw.class_names)
    no_images = RawSplit(raw.train.source, raw.train.labels, raw.train.rows[:0])
    test = (no_images if raw.test is None else raw.test).images(raw.class_names)
    splits = [train, test] if val is None else [train, test, val]
    if train.pixels is None:
        decode_small(splits, cache_bytes)
    set_aside = (raw.val is not None and bool(options.val_fraction)) or not (options.no_test or reads_test)
    rule = CONTENT_RULE if groups is None else f"groups by {raw.grouped_by}"
    facts = _describe(options, entry, raw, splits, skipped)
    used = {"train": train, "validation": val, "test": None if options.no_test else test}
    inventory = make_inventory(raw, used, groups, duplicates)
    native = None if train.pixels is None else min(train.pixels.shape[1:3])
    size = native if entry is None else entry.image_size
    return LongTailData(
        train=train,
        test=test,
        val=val,
        class_names=raw.class_names,
        class_counts=train.class_counts,
        mean=entry.mean if entry else IMAGENET_MEAN,
        std=entry.std if entry else IMAGENET_STD,
        interpolation=entry.interpolation if entry else None,
        image_size=size,
        augment=entry.augment if entry else "large" if size is None or size >= _SMALL_SIDE else "crop_flip",
        facts=replace(facts, split_rule=rule if set_aside else None, inventory=inventory),
        groups=None if groups is None or raw.train.groups is None else raw.train.groups[raw.train.rows],
    )


def scale_deep_images(raw: RawData, options: DataOptions) -> None:
    """Find the range of values of images of more than 8 bits in all splits, and scale all images by it."""
    raw.intensity = set_intensity([(split.source, split.rows) for split in raw.splits], options.intensity_limits)
    if raw.intensity is not None and not raw.layout:  # there is no inventory that shows it
        raw.notes.append(raw.intensity.note)


def _describe(
    options: DataOptions, entry: DataEntry | None, raw: RawData, splits: list[ImageSplit], skipped: int
) -> DataFacts:
    train, test, *val = splits
    thinned = options.imbalance_factor is not None
    return DataFacts(
        **source_facts(options, entry, raw.license),
        **_official_facts(options, entry, raw),
        imbalance_factor=options.imbalance_factor,
        effective_imbalance_factor=max(train.class_counts) / min(train.class_counts),
        imbalance_type=options.imbalance_type if thinned else None,
        selection=options.selection if thinned else None,
        data_seed=options.data_seed,
        train_images=len(train),
        test_images=None if options.no_test else len(test),
        no_test=options.no_test,
        val_images=sum(map(len, val)),
        skipped_images=skipped,
        image_format=train.image_format(),
        **({} if raw.intensity is None else raw.intensity.facts()),
        notes=raw.notes,
    )


def _official_facts(options: DataOptions, entry: DataEntry | None, raw: RawData) -> dict[str, Any]:
    """Whether official lists made the splits and every class count agrees; empty for a data set without lists."""
    if entry is None or entry.official is None:
        return {}
    train = raw.train.counts(len(raw.class_names))
    # A test split that is left out cannot differ from the official one.
    same_test = raw.test is None or entry.official.test.has_counts(raw.test.counts(len(raw.class_names)))
    held_out = 0
    if options.val_fraction and raw.val is not None:
        held_out = len(raw.val.rows)
        train = train + raw.val.counts(len(raw.class_names))
    by_list = raw.split_file is not None and options.imbalance_factor is None
    official = by_list and entry.official.train.has_counts(train) and same_test
    if official and held_out:
        raw.notes.append(
            f"{counted(held_out, 'image')} {agree(held_out, 'is', 'are')} held out of the official training list: "
            "what is left is not the official split."
        )
    return {"official_split": official and not held_out, "split_file": raw.split_file}
