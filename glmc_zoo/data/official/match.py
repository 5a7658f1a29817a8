"""Find the images of a list in a split, and check their classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.official.facts import Naming
from glmc_zoo.data.official.index import SplitIndex, image_keys, list_keys
from glmc_zoo.data.official.lists import SplitList
from glmc_zoo.errors import UserError
from glmc_zoo.text import agree, counted


@dataclass(frozen=True)
class ListedImages:
    """The images of a list that exist: M of its N entries."""

    source: SplitList
    index: SplitIndex
    """The split that holds the images."""
    rows: NDArray[np.int64]
    """Row of each image in the split, shape (M,), in the order of the list."""
    entries: NDArray[np.int64]
    """The entry of the list that each row belongs to, shape (M,)."""

    def path(self, position: int) -> str:
        """The path of an image as the list has it."""
        return str(self.source.paths[int(self.entries[position])])


def match_list(listed: SplitList, index: SplitIndex, naming: Naming, *, skip_missing: bool, where: str) -> ListedImages:
    """Find the image of each entry by its name, whatever folder it lies in; see `image_keys`.

    ``where`` is the folder or Hub id of the images, for messages.

    Raises:
        UserError: An image is missing (with ``skip_missing``: all are), or images have no file name.
    """
    import pyarrow.compute as pc

    if index.names.null_count:
        raise UserError(
            f"{counted(index.names.null_count, 'image')} of the {index.source.name} split "
            f"{agree(index.names.null_count, 'has', 'have')} no file name to compare with the "
            f"list {listed.file}: give the data set in its original form."
        )
    keys = list_keys(listed.paths, naming)
    rows = pc.index_in(keys, value_set=image_keys(index.names, naming))
    rows = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    missing = np.flatnonzero(rows < 0)
    if len(missing) and not (skip_missing and len(missing) < len(rows)):
        advice = "complete the copy, or leave them out with skip_bad_images=True"
        if len(missing) == len(rows):
            advice = "give the data set that the list belongs to"
        raise UserError(
            f"{len(missing):,} of the {counted(len(rows), 'image')} of the list {listed.file} "
            f"{agree(len(missing), 'is', 'are')} not in {where}, the first is "
            f"{listed.paths[int(missing[0])]}: {advice}."
        )
    entries = np.flatnonzero(rows >= 0)
    return ListedImages(listed, index, rows[entries], entries)


def pair_labels(listed: ListedImages, class_names: list[str]) -> dict[int, int]:
    """The class of the data set for each class number of a list, in ascending order; a one-to-one relation."""
    classes = listed.index.classes[listed.rows]
    pairs, counts = np.unique(np.stack([listed.source.labels[listed.entries], classes]), axis=1, return_counts=True)
    labels, classes_of_labels = pairs[:, np.argsort(counts, kind="stable")].tolist()
    # The most frequent pair comes last.
    class_of_label = dict(sorted(dict(zip(labels, classes_of_labels, strict=True)).items()))
    check_labels(listed, class_of_label, class_names)
    label_of: dict[int, int] = {}
    for label, number in class_of_label.items():
        if (other := label_of.setdefault(number, label)) != label:
            raise UserError(
                f"The list {listed.source.file} has the labels {other} and {label} for the one class "
                f"{class_names[number]!r}: give the official list."
            )
    return class_of_label


def check_labels(listed: ListedImages, class_of_label: dict[int, int], class_names: list[str]) -> NDArray[np.int64]:
    """Class of each listed image by its label, checked against the image's folder; shape (M,)."""
    labels = listed.source.labels[listed.entries]
    expected = np.asarray([class_of_label.get(label, -1) for label in labels.tolist()], np.int64)
    actual = listed.index.classes[listed.rows]
    bad = np.flatnonzero(expected < 0)
    if len(bad):
        raise UserError(
            f"{listed.source.line(int(listed.entries[bad[0]]))} has the label {labels[bad[0]]}, which no training "
            "image has: give lists that belong together."
        )
    wrong = np.flatnonzero((actual >= 0) & (expected != actual))
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"{listed.source.line(int(listed.entries[first]))} has the label {labels[first]} "
            f"({class_names[expected[first]]}) for {listed.path(first)}, which is of class "
            f"{class_names[actual[first]]} in the data: give the official list, or move the image to the folder of its "
            "class."
        )
    return expected
