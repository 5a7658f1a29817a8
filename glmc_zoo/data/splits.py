"""Make the splits of a data set that was read: its classes, test split, long tail and held-out images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.groups import choose_groups
from glmc_zoo.data.longtail import longtail_counts, longtail_indices
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.content import content_digests, unit_interval
from glmc_zoo.data.reading.images import image_name
from glmc_zoo.data.reading.inventory import name_few
from glmc_zoo.data.reading.listing import UNUSED_SPLIT
from glmc_zoo.data.reading.split import RawData, RawSplit, readable_rows
from glmc_zoo.errors import UserError
from glmc_zoo.facts import FEW_TEST_IMAGES
from glmc_zoo.text import agree, counted

CONTENT_RULE = "content"
"""Name in the results of the rule that sets images aside by their content."""

UNREADABLE_IMAGE = "that cannot be read"
"""Reason in the inventory why an image is left out."""

_TEST_FRACTION = 0.2


def skip_unreadable(raw: RawData) -> int:
    """Leave unreadable images out of every split, before images are counted; return their number.

    Raises:
        UserError: No image of a split can be read.
    """
    skipped = 0
    for split, name in ((raw.train, "training"), (raw.test, "test"), (raw.val, "validation")):
        if split is None or not len(split.rows):
            continue
        good = readable_rows(split.source, split.rows)
        if not len(good):
            raise UserError(f"No image of the {name} split can be read: check that the files are images.")
        for row in np.setdiff1d(split.rows, good).tolist():
            raw.left_out.add(UNREADABLE_IMAGE, image_name(split.source, row))
        skipped += len(split.rows) - len(good)
        split.rows = good
    return skipped


def settle_classes(raw: RawData) -> None:
    """Drop class names without any image, and note the classes without test images or with only a few.

    Raises:
        UserError: A class has test images and no training image, or there is only one class.
    """
    train = raw.train.counts(len(raw.class_names))
    if raw.test is not None:
        test = raw.test.counts(len(raw.class_names))
        _refuse(raw, (train == 0) & (test > 0), "no training image: add some, or remove it from the test split.")
        trained = np.flatnonzero(train > 0)
        raw.notes += support_notes([raw.class_names[label] for label in trained], test[trained].tolist())
    unused = [name for name, count in zip(raw.class_names, train, strict=True) if count == 0]
    if unused:
        raw.notes.append(unused_classes(unused))
        raw.select_classes(np.flatnonzero(train > 0))
    check_several_classes(raw.class_names)


def support_notes(class_names: Sequence[str], counts: Sequence[int], split: str = "test") -> list[str]:
    """Notes about classes without an image to score, and about classes with at most `FEW_TEST_IMAGES` of them.

    Args:
        class_names: Classes that have training images.
        counts: Images of each class in the split that is scored.
        split: ``test`` or ``validation``.
    """
    untested = [name for name, images in zip(class_names, counts, strict=True) if images == 0]
    few = [name for name, images in zip(class_names, counts, strict=True) if 0 < images <= FEW_TEST_IMAGES]
    notes, unknown = list[str](), f"no {split} image ({name_few(untested, 10)})"
    if len(untested) == 1:
        notes.append(f"1 class has {unknown}: its recall is not known, and no mean includes it.")
    elif untested:
        notes.append(
            f"{len(untested):,} classes have {unknown}: their recalls are not known, and no mean includes them."
        )
    if len(few) == 1:
        images = counts[list(class_names).index(few[0])]
        has, steps = counted(images, f"{split} image"), f"{100 / images:.0f} points"
        notes.append(f"1 class has only {has} ({name_few(few)}): its recall moves in steps of {steps}.")
    elif few:
        have = f"{len(few):,} classes have only 1 to {FEW_TEST_IMAGES} {split} images ({name_few(few, 10)})"
        notes.append(f"{have}: their recalls move in steps of {100 // FEW_TEST_IMAGES} points or more.")
    return notes


def whole_as_test(raw: RawData) -> None:
    """Make all images of a data set with one split the test split; the training split is then empty."""
    rows = raw.train.rows
    raw.test, raw.train = raw.train, RawSplit(raw.train.source, raw.train.labels, rows[:0])
    raw.sources = [replace(split, name="test") for split in raw.sources]


def leave_test_out(raw: RawData) -> None:
    """Do not use the test split, if there is one, and count its images as left out."""
    if raw.test is None:
        return
    images = len(raw.test.rows)
    raw.notes.append(f"The test split of {counted(images, 'image')} is not used, as no_test=True asks for.")
    raw.left_out.add(
        UNUSED_SPLIT, next((split.source for split in raw.sources if split.name == "test"), "test"), images
    )
    raw.test, raw.sources = None, [split for split in raw.sources if split.name != "test"]


def unused_classes(names: list[str]) -> str:
    """The note about class names without any image."""
    first_names = name_few(names, 10)
    if len(names) == 1:
        return f"1 class has no image and was left out: {first_names}."
    return f"{len(names)} classes have no image and were left out: {first_names}."


def check_several_classes(names: list[str]) -> None:
    """Refuse a data set with a single class."""
    if len(names) < 2:
        raise UserError(f"The data set has only one class ({names[0]}): give a data set with at least two.")


def make_test_split(raw: RawData) -> None:
    """Set about a fifth of the training images aside if there is no test split; no other option changes the choice."""
    if raw.test is not None:
        return
    raw.test, groups = _set_aside(raw.train, _TEST_FRACTION, "test"), raw.train.groups
    images = len(raw.test.rows)
    if not images:
        problem = f"There is no test split, and none of {counted(len(raw.train.rows), 'image')}"
        raise UserError(f"{problem} can be set aside: give a test split, more images, or no_test=True.")
    how = "about a fifth, chosen by their content" if groups is None else "about a fifth, in whole groups"
    verb = "was" if images == 1 else "were"
    raw.notes.append(f"There is no test split: {counted(images, 'image')} ({how}) {verb} set aside as the test split.")
    raw.notes += support_notes(raw.class_names, raw.test.counts(len(raw.class_names)).tolist())


def tail_counts(available: Sequence[int], options: DataOptions) -> list[int]:
    """Class counts of the long tail that the options ask for; ``available`` without ``imbalance_factor``."""
    if options.imbalance_factor is None:
        return list(available)
    largest, shape = options.max_count or max(available), options.imbalance_type or "exp"
    return longtail_counts(len(available), largest, options.imbalance_factor, shape)


def thin(raw: RawData, options: DataOptions, *, strict: bool) -> None:
    """Thin the training split to the long tail that the options ask for, in the order of the classes.

    A class with fewer images than the long tail needs is refused with ``strict``. Otherwise it keeps all its images,
    and a note says so.
    """
    if options.imbalance_factor is None:
        return
    available = raw.train.counts(len(raw.class_names)).tolist()
    counts = tail_counts(available, options)
    for name, count, images in zip(raw.class_names, counts, available, strict=True):
        if strict and count > images:
            # The imbalance factor does not change the count of the largest classes.
            larger = "a larger imbalance_factor= or " if count < counts[0] else ""
            advice = f"give {larger}a smaller max_count="
            raise UserError(
                f"Class {name!r} has {counted(images, 'image')} but a long tail of factor "
                f"{options.imbalance_factor:g} from "
                f"{counts[0]} needs {count}: {advice}."
            )
    short = sum(count > images for count, images in zip(counts, available, strict=True))
    if short:
        have = agree(
            short,
            "has fewer images than the long tail asks for and keeps all it has",
            "have fewer images than the long tail asks for and keep all they have",
        )
        raw.notes.append(f"{counted(short, 'class')} {have}.")
        counts = [min(pair) for pair in zip(counts, available, strict=True)]
    labels = raw.train.labels[raw.train.rows]
    chosen = longtail_indices(labels, counts, seed=options.data_seed, selection=options.selection)
    raw.train.rows = raw.train.rows[chosen]


def hold_out(raw: RawData, fraction: float, seed: int) -> None:
    """Move a share of the training images to the validation split; ``seed`` chooses which images."""
    if not fraction:
        return
    raw.val = _set_aside(raw.train, fraction, f"validation {seed}")
    if not len(raw.val.rows):
        number = f"none of {counted(len(raw.train.rows), 'training image')}"
        raise UserError(f"val_fraction={fraction!r} holds out {number}: give a larger share, or leave it out.")


def _refuse(raw: RawData, bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        more = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        raise UserError(f"Class {raw.class_names[int(np.argmax(bad))]!r}{more} has {problem}")


def _set_aside(split: RawSplit, fraction: float, salt: str) -> RawSplit:
    """Move about ``fraction`` of the images to a new split, by the content of each image alone, or by whole groups.

    An image is moved when the hash of its content, a number in [0, 1), is below the fraction. So a
    new image does not move any other, and equal images stay together. There are two exceptions. If all images of a
    class would be moved, the one with the largest hash stays. If no image at all would be moved, because the data set
    is small, the image with the smallest hash of each class is moved.
    """
    labels = split.labels[split.rows]
    if split.groups is not None:
        held = choose_groups(split.groups[split.rows], labels, fraction, salt)
    else:
        hashes = unit_interval(map(bytes, content_digests(split.source, split.rows)), salt)
        held = hashes < fraction
        if not held.any():
            for label in np.unique(labels):
                members = np.flatnonzero(labels == label)
                held[members[hashes[members] == hashes[members].min()]] = True
        images = np.bincount(labels)
        for label in np.flatnonzero((images > 0) & (np.bincount(labels[held], minlength=len(images)) == images)):
            members = np.flatnonzero(labels == label)
            held[members[hashes[members] == hashes[members].max()]] = False
    moved = RawSplit(split.source, split.labels, split.rows[held], split.groups)
    split.rows = split.rows[~held]
    return moved
