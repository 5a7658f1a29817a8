"""The parts of a large set by its official lists, or, without them, the parts that the original has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glmc_zoo.data.list_match import LabelMap, Listed, check_labels, match_list, pair_labels
from glmc_zoo.data.list_search import FoundLists
from glmc_zoo.data.lists import SplitList, counts_digest, differences, read_list
from glmc_zoo.data.names import folder_classes
from glmc_zoo.data.picture_index import PictureIndex, SplitIndex
from glmc_zoo.data.raw import RawData, RawSplit
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glmc_zoo.data.official import ListFacts, OfficialSplit

__all__ = ["OfficialParts", "is_official", "split_by_lists", "split_without_lists"]


@dataclass
class OfficialParts:
    """A large set in its parts, and how they were told."""

    raw: RawData
    split_file: dict[str, str] | None
    """``name`` and ``sha256`` of the list that made the training part; ``None`` without one."""
    missing: int = 0
    """Listed pictures that are not there and were left out."""


@dataclass
class _Reader:
    """Reads and matches the lists of one set, and gathers what is to be said about them."""

    official: OfficialSplit
    index: PictureIndex
    where: str
    skip_missing: bool
    notes: list[str] = field(default_factory=list)
    missing: int = 0

    def read(self, path: Path, facts: ListFacts, split: SplitIndex) -> tuple[SplitList, Listed]:
        found = read_list(path)
        self.notes += differences(found, facts)
        listed = match_list(found, split, self.official.naming, skip_missing=self.skip_missing, where=self.where)
        if listed.missing:
            self.notes.append(f"{listed.missing} pictures of {found.file} are not there and were left out.")
        if listed.twice:
            self.notes.append(f"{listed.twice} lines of {found.file} name a picture again and count again.")
        self.missing += listed.missing
        return found, listed


def is_official(counts: list[int], facts: ListFacts) -> bool:
    """Whether class counts are those of an official list, class by class."""
    return counts_digest(counts) == facts.counts_sha256


def split_by_lists(
    official: OfficialSplit,
    index: PictureIndex,
    lists: FoundLists,
    *,
    official_val: bool,
    skip_missing: bool,
    where: str,
) -> OfficialParts:
    """Training, test and (on request) validation part as the lists say.

    Classes stand in the order of the list's labels. Without a test list the test part is every validation picture of
    the original; where training and validation pictures lie in one folder, one list leaves the other part.

    Raises:
        UserError: a list that cannot be read, that does not fit the pictures, or that is needed and not there.
    """
    reader = _Reader(official, index, where, skip_missing)
    if lists.train is not None:
        found, listed = reader.read(lists.train, official.train, index.train)
        known = pair_labels(found, listed, index.train, index.class_names)
        train = _part(index.train, listed.rows, known.to_position(listed.labels))
        test = _test_part(reader, lists, known, listed.rows)
    else:
        assert lists.test is not None and index.in_one
        found, listed = reader.read(lists.test, official.test, index.test)
        known = pair_labels(found, listed, index.test, index.class_names)
        test = _part(index.test, listed.rows, known.to_position(listed.labels))
        train = _rest(reader, index.train, known, "training", listed.rows)
        reader.notes.append(f"The training part is every picture that {found.file} leaves out.")
    val = None
    if official_val:
        val = _val_part(reader, lists, known, train.rows)
    names = [index.class_names[own] for own in known.classes]
    raw = RawData(names, train, test, notes=reader.notes, val=val)
    return OfficialParts(raw, {"name": found.file, "sha256": found.sha256}, reader.missing)


def split_without_lists(
    official: OfficialSplit, index: PictureIndex, lists: FoundLists, *, where: str
) -> OfficialParts:
    """The original's training and validation pictures, with the classes that their folders or the Hub give.

    Raises:
        UserError: nothing tells training from validation pictures, or the classes of the latter.
    """
    if index.in_one:
        raise UserError(
            f"The training and validation pictures in {where} lie in the same folders, and no list tells them apart: "
            f"put {' or '.join(filter(None, (official.train.file, (official.annotations or ('',))[0])))} beside them, "
            "or give it as --split-file."
        )
    classes = index.test.classes
    if (classes < 0).any():
        classes = _classes_by_list(official, index, lists, where)
    rows = np.flatnonzero(classes >= 0)
    train = RawSplit(index.train.source, index.train.classes, np.arange(len(index.train.classes)))
    return OfficialParts(RawData(index.class_names, train, RawSplit(index.test.source, classes, rows)), None)


def _classes_by_list(official: OfficialSplit, index: PictureIndex, lists: FoundLists, where: str) -> NDArray[np.int64]:
    """Class of each validation picture by the test list; -1 for one that is not on it.

    What its labels mean is told by the training list, or by the folders that it names itself.
    """
    if lists.test is None:
        raise _needs_test_list(official, where)
    found = read_list(lists.test)
    listed = match_list(found, index.test, official.naming, skip_missing=False, where=where)
    classes = np.full(len(index.test.classes), -1, dtype=np.int64)
    if lists.train is not None:
        train = read_list(lists.train)
        matched = match_list(train, index.train, official.naming, skip_missing=True, where=where)
        known = pair_labels(train, matched, index.train, index.class_names)
        positions = check_labels(found, listed, index.test, known, index.class_names)
        classes[listed.rows] = known.classes[positions]
        return classes
    number = {name: place for place, name in enumerate(index.class_names)}
    named = folder_classes(found.paths, official.naming).take(listed.entries).to_pylist()
    unknown = next((name for name in named if name not in number), None)
    if unknown is not None:
        raise UserError(
            f"The list {found.file} names {f'the folder {unknown!r}, which is' if unknown else 'no folder, and so'} no "
            f"class of {where}: put {official.train.file} beside it."
        )
    classes[listed.rows] = [number[name] for name in named]
    return classes


def _part(split: SplitIndex, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> RawSplit:
    """Rows of a split with the labels that a list gives them; every other row has none."""
    every = np.full(len(split.classes), -1, dtype=np.int64)
    every[rows] = labels
    return RawSplit(split.source, every, rows)


def _test_part(reader: _Reader, lists: FoundLists, known: LabelMap, train_rows: NDArray[np.int64]) -> RawSplit:
    split, official = reader.index.test, reader.official
    if lists.test is not None:
        found, listed = reader.read(lists.test, official.test, split)
        if reader.index.in_one:
            _refuse_overlap(found, listed, train_rows)
        return _part(split, listed.rows, check_labels(found, listed, split, known, reader.index.class_names))
    if reader.index.in_one:
        reader.notes.append(f"There is no {official.test.file}: the test part is every picture that is not trained on.")
        return _rest(reader, split, known, "test", train_rows)
    if (split.classes < 0).any():
        raise _needs_test_list(official, reader.where)
    part = _rest(reader, split, known, "test", np.empty(0, np.int64))
    reader.notes.append(f"There is no {official.test.file}: the test part is all {len(part.rows):,} validation images.")
    return part


def _val_part(reader: _Reader, lists: FoundLists, known: LabelMap, train_rows: NDArray[np.int64]) -> RawSplit:
    facts, split = reader.official.val, reader.index.train
    assert facts is not None
    if lists.val is None:
        raise UserError(
            f"--official-val needs {facts.file} beside the training list, and it is not there: put it there, or hold "
            "images out with --val-fraction."
        )
    found, listed = reader.read(lists.val, facts, split)
    _refuse_overlap(found, listed, train_rows)
    return _part(split, listed.rows, check_labels(found, listed, split, known, reader.index.class_names))


def _rest(reader: _Reader, split: SplitIndex, known: LabelMap, kind: str, taken: NDArray[np.int64]) -> RawSplit:
    """Every picture that is not ``taken``, of the classes that the list has."""
    labels = known.of_classes(split.classes)
    free = np.ones(len(labels), dtype=bool)
    free[taken] = False
    other = int((free & (labels < 0)).sum())
    if other:
        reader.notes.append(f"{other:,} {kind} images are of classes that the list does not have, and were left out.")
    return RawSplit(split.source, labels, np.flatnonzero(free & (labels >= 0)))


def _refuse_overlap(found: SplitList, listed: Listed, train_rows: NDArray[np.int64]) -> None:
    both = np.flatnonzero(np.isin(listed.rows, train_rows))
    if len(both):
        at = int(listed.entries[both[0]])
        raise UserError(
            f"{len(both)} pictures of {found.file} are training pictures as well, the first is {found.paths[at]}: give "
            "lists that belong together."
        )


def _needs_test_list(official: OfficialSplit, where: str) -> UserError:
    return UserError(
        f"The validation pictures in {where} lie in no folders of classes, so their classes must come from "
        f"{official.test.file}: put it beside the training list."
    )
