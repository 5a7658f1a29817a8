"""Which pictures a list means: from its lines to rows of the set, with every class checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glmc_zoo.data.lists import SplitList
from glmc_zoo.data.names import list_keys, picture_keys
from glmc_zoo.data.picture_index import SplitIndex
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glmc_zoo.data.official import Naming

__all__ = ["LabelMap", "Listed", "check_labels", "match_list", "pair_labels"]


@dataclass(frozen=True)
class Listed:
    """The pictures that a list means."""

    rows: NDArray[np.int64]
    """Row of each picture in the split, shape (M,), in the order of the list."""
    entries: NDArray[np.int64]
    """The entry of the list that each row belongs to, shape (M,)."""
    labels: NDArray[np.int64]
    """What the list calls the class of each row, shape (M,)."""
    missing: int
    """Entries without a picture, left out."""
    twice: int
    """Entries that name a picture again which an earlier one has."""


@dataclass(frozen=True)
class LabelMap:
    """How a list numbers its classes, and the set its own."""

    labels: NDArray[np.int64]
    """Every class number of the list, ascending, shape (C,)."""
    classes: NDArray[np.int64]
    """The set's own class of each, shape (C,)."""

    def to_position(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each list label among ``labels``; -1 for one that is not there."""
        place = np.searchsorted(self.labels, labels).clip(max=len(self.labels) - 1)
        return np.where(self.labels[place] == labels, place, -1)

    def of_classes(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each class of the set among ``labels``; -1 for one that the list does not have, or unknown."""
        positions = np.full(max(int(self.classes.max()), int(classes.max(initial=0))) + 2, -1, dtype=np.int64)
        positions[self.classes] = np.arange(len(self.classes))
        return positions[classes]  # -1 reads the last place, which is none


def match_list(found: SplitList, index: SplitIndex, naming: Naming, *, skip_missing: bool, where: str) -> Listed:
    """Find the picture of each entry by its name, whatever the folders.

    Args:
        found: the list.
        index: the split that its pictures are in.
        naming: what names are compared by, see `picture_keys`.
        skip_missing: leave out entries without a picture.
        where: folder or Hub id of the pictures, for messages.

    Raises:
        UserError: pictures without names, or missing ones.
    """
    import pyarrow.compute as pc

    if index.names.null_count:
        raise UserError(
            f"{index.names.null_count} pictures of the {index.source.name} split have no file name, which the list "
            f"{found.file} tells them by: give the set in its original form."
        )
    keys = list_keys(found.paths, naming)
    rows = pc.index_in(keys, value_set=picture_keys(index.names, naming))
    rows = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    missing = np.flatnonzero(rows < 0)
    if len(missing) and not (skip_missing and len(missing) < len(rows)):
        first = int(missing[0])
        raise UserError(
            f"{len(missing):,} of the {len(rows):,} pictures of the list {found.file} are not in {where}, the first is "
            f"{found.paths[first]}: complete the copy, or leave them out with --skip-bad-images."
        )
    entries = np.flatnonzero(rows >= 0)
    rows = rows[entries]
    return Listed(rows, entries, found.labels[entries], len(missing), len(rows) - len(np.unique(rows)))


def pair_labels(found: SplitList, listed: Listed, index: SplitIndex, class_names: list[str]) -> LabelMap:
    """The class of the set that each class number of a list means; they must go together one to one.

    Raises:
        UserError: a picture whose label contradicts its own place, or two labels for one class.
    """
    classes = index.classes[listed.rows]
    labels, positions = np.unique(listed.labels, return_inverse=True)
    meant = np.empty(len(labels), dtype=np.int64)
    pairs, counts = np.unique(np.stack([positions, classes]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    meant[pairs[0, order]] = pairs[1, order]  # the most frequent comes last
    wrong = np.flatnonzero(meant[positions] != classes)
    if len(wrong):
        _refuse(found, listed, int(wrong[0]), class_names[classes[wrong[0]]], class_names[meant[positions[wrong[0]]]])
    named, first = np.unique(meant, return_index=True)
    if len(named) < len(meant):
        again = int(np.setdiff1d(np.arange(len(meant)), first)[0])
        other = labels[first[np.searchsorted(named, meant[again])]]
        raise UserError(
            f"The list {found.file} has the labels {other} and {labels[again]} for the one class "
            f"{class_names[meant[again]]!r}: give the official list."
        )
    return LabelMap(labels, meant)


def check_labels(
    found: SplitList, listed: Listed, index: SplitIndex, known: LabelMap, class_names: list[str]
) -> NDArray[np.int64]:
    """Place of each listed picture's label in ``known``, checked against where the picture lies.

    Raises:
        UserError: a label that ``known`` does not have, or one that contradicts the picture's own place.
    """
    positions = known.to_position(listed.labels)
    if (positions < 0).any():
        bad = int(np.argmax(positions < 0))
        raise UserError(
            f"{found.place(int(listed.entries[bad]))} has the label {listed.labels[bad]}, which no training picture "
            "has: give lists that belong together."
        )
    classes = index.classes[listed.rows]
    wrong = np.flatnonzero((classes >= 0) & (known.classes[positions] != classes))
    if len(wrong):
        bad = int(wrong[0])
        _refuse(found, listed, bad, class_names[classes[bad]], class_names[known.classes[positions[bad]]])
    return positions


def _refuse(found: SplitList, listed: Listed, entry: int, own: str, meant: str) -> None:
    at = int(listed.entries[entry])
    raise UserError(
        f"{found.place(at)} has the label {listed.labels[entry]} ({meant}) for {found.paths[at]}, which is of class "
        f"{own} in the data: give the official list, or put the picture where it belongs."
    )
