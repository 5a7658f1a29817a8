"""Image files with their classes, by split: what reading a folder or a CSV file gives."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.images import FileImages
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.data.reading.split_names import choose_splits, how_decided, split_role
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts
from glmc_zoo.text import counted, escaped

UNUSED_SPLIT = "in a split that is not used"
UNLABELLED = "without a label"
LABEL_MINUS_ONE = "with the label -1, which means no label where the others are 0, 1 and so on"
LINKED_AGAIN = "linking to an image that is read under its own name"


@dataclass
class FileRows:
    """The files of one split, as columns of equal length."""

    paths: list[str] = field(default_factory=list)
    """Relative to the folder of the listing, with ``/``; bytes that are not UTF-8 as surrogate escapes."""
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    """Group of each file; empty without groups."""

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, path: str, label: str, group: str | None = None) -> None:
        """Append one file."""
        self.paths.append(path)
        self.labels.append(label)
        if group is not None:
            self.groups.append(group)

    def select(self, indices: Sequence[int]) -> "FileRows":
        """These files alone, in this order."""
        return FileRows(
            [self.paths[i] for i in indices],
            [self.labels[i] for i in indices],
            [self.groups[i] for i in indices] if self.groups else [],
        )


@dataclass
class FileListing:
    """The image files of a source: each is in exactly one of `splits`, or counted in `left_out`."""

    root: Path
    layout: str
    """How the source holds its images, for the inventory."""
    splits: dict[str, FileRows] = field(default_factory=dict)
    """By the name in the source; a source without splits has one, called ``train``. A split whose files are all left
    out is empty."""
    unsplit: bool = False
    """Whether the source has no splits."""
    bare_splits: list[str] = field(default_factory=list)
    """Splits that have images, but no class for any of them."""
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)
    grouped_by: str | None = None
    """Column of the groups."""
    links: Mapping[str, str] = field(default_factory=dict)
    """The file that an image is a link to, for links in class folders."""


def check_class_level(options: DataOptions, layout: str, source: Path | str) -> None:
    """Refuse ``class_level`` for a source whose ``layout`` has no class folders."""
    if options.class_level is not None and "class folders" not in layout:
        raise UserError(f"class_level={options.class_level} is for class folders, and {source} has none: leave it out.")


def class_name(text: str) -> str:
    """The name of a class in the form in which names are compared: in Unicode NFC, without surrounding spaces.

    macOS writes the names of folders in another Unicode form.
    """
    return unicodedata.normalize("NFC", escaped(text)).strip()


def minus_one_means_none(names: Iterable[str]) -> bool:
    """Whether the label -1 among these names means that an image has no label, as many programs write it.

    It does if there are at least two other names, all of them integers of 0 or more. If -1 and 1 are the only names,
    both are classes.
    """
    others = set(names) - {"-1"}
    return len(others) > 1 and all(name.isascii() and name.isdecimal() for name in others)


def raw_from_listing(listing: FileListing, options: DataOptions) -> RawData:
    """The training and the test split of a listing, with the classes of both."""
    _drop_unusable(listing)
    names = list(listing.splits)
    train, test, notes = choose_splits(names, options.train_split, options.test_split)
    if listing.unsplit:
        notes = []
    for name in names:
        if name not in (train, test):
            rows = listing.splits[name]
            if rows.paths:
                listing.left_out.add(UNUSED_SPLIT, rows.paths[0], len(rows))
    used = [train] if test is None else [train, test]
    classes = sorted({label for name in used for label in listing.splits[name].labels})
    number = {name: index for index, name in enumerate(classes)}

    def split(name: str, split_name: str) -> RawSplit:
        rows = listing.splits[name]
        labels = np.array([number[label] for label in rows.labels], dtype=np.int64)
        source = FileImages(listing.root, rows.paths, split_name)
        groups = np.array(rows.groups) if rows.groups else None
        return RawSplit(source, labels, np.arange(len(labels)), groups)

    requested = {train: options.train_split, test: options.test_split}
    alone = "test" if is_test_alone(train, test, options) else None
    if listing.unsplit and test is None and options.train_split is None:
        alone = "whole"
    return RawData(
        classes,
        split(train, "training"),
        None if test is None else split(test, "test"),
        notes=[*listing.notes, *notes],
        layout=listing.layout,
        left_out=listing.left_out,
        sources=[
            SplitFacts(
                name="train" if name == train else "test",
                source=escaped(name) if not listing.unsplit else ".",
                images=len(listing.splits[name]),
                how="there are no splits" if listing.unsplit else how_decided(name, requested[name]),
            )
            for name in used
        ],
        alone=alone,
        grouped_by=listing.grouped_by,
    )


def listing_tables(listing: FileListing, address: str | None = None) -> Mapping[str, Any]:
    """A ``datasets.Dataset`` for each split, to be streamed; a file name that is not UTF-8 is refused.

    ``address`` replaces the root of the listing in the paths, for files on the Hub.
    """
    import datasets

    _drop_unusable(listing)
    classes = sorted({label for rows in listing.splits.values() for label in rows.labels})
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=classes)})
    number = {name: index for index, name in enumerate(classes)}
    tables = {}
    for name, rows in listing.splits.items():
        for path in rows.paths:
            if escaped(path) != path:
                raise UserError(f"The name {escaped(path)} is not UTF-8: rename it, or leave streaming=True out.")
        columns = {
            "image": [f"{address or listing.root}/{path}" for path in rows.paths],
            "label": [number[label] for label in rows.labels],
        }
        tables[name] = datasets.Dataset.from_dict(columns, features=features)
    return tables


def is_test_alone(first: str, test: str | None, options: DataOptions) -> bool:
    """Whether `choose_splits` returned only one split, and it is a test split by its name or by ``test_split``."""
    means_test = options.test_split is not None or split_role(first) in ("test", "validation")
    return test is None and options.train_split is None and means_test


def _drop_unusable(listing: FileListing) -> None:
    """Remove images without a label, splits without a labelled image, and symbolic links to an image that the same
    split already has in the same class; changes ``listing``.

    Raises:
        UserError: No image is left.
    """
    splits, reasons = {}, {"": UNLABELLED}
    if minus_one_means_none({label for rows in listing.splits.values() for label in rows.labels if label}):
        reasons["-1"] = LABEL_MINUS_ONE
    has_no_image = not any(map(len, listing.splits.values()))
    for name, rows in listing.splits.items():
        if not len(rows):
            listing.notes.append(f"The split {escaped(name)} has no image file and is not used.")
            continue
        labelled = [index for index, label in enumerate(rows.labels) if label not in reasons]
        missing = len(rows) - len(labelled)
        if missing:
            for path, label in zip(rows.paths, rows.labels, strict=True):
                if label in reasons:
                    listing.left_out.add(reasons[label], path)
            what = (
                "no image with a label and is not used"
                if not labelled
                else f"{counted(missing, 'image')} without a label"
            )
            listing.notes.append(f"The split {escaped(name)} has {what}.")
        if labelled:
            splits[name] = _without_repeated_links(rows.select(labelled), listing)
    if has_no_image:
        raise UserError(
            f"No image of {listing.root} can be used, as these are left out: {listing.left_out.text}; correct the "
            "paths of the images."
        )
    if not splits:
        raise UserError(f"No image of {listing.root} has a label: give the classes as folders or in a CSV file.")
    listing.splits = splits


def _without_repeated_links(rows: FileRows, listing: FileListing) -> FileRows:
    """The files of a split without links to other files of the same class, which would count several times."""
    if not listing.links:
        return rows
    pairs = list(zip(rows.paths, rows.labels, strict=True))
    files = {pair for pair in pairs if pair[0] not in listing.links}
    chosen = []
    for index, (path, label) in enumerate(pairs):
        if path in listing.links:
            if (target := (listing.links[path], label)) in files:
                listing.left_out.add(LINKED_AGAIN, path)
                continue
            files.add(target)
        chosen.append(index)
    return rows.select(chosen)
