"""The splits of a large data set by its official lists, or, without them, the splits of the original."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.official.facts import ListFacts, OfficialSplit
from glmc_zoo.data.official.index import ImageIndex, SplitIndex, folder_classes
from glmc_zoo.data.official.lists import ListFiles, differences, read_list
from glmc_zoo.data.official.match import ListedImages, check_labels, match_list, pair_labels
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError
from glmc_zoo.text import agree, counted


@dataclass
class _Lists:
    """Reads and matches the lists of one data set, and collects notes about them."""

    official: OfficialSplit
    index: ImageIndex
    files: ListFiles
    where: str
    skip_missing: bool
    notes: list[str] = field(default_factory=list)
    missing: int = 0

    def read(self, path: Path, facts: ListFacts, split: SplitIndex) -> ListedImages:
        content = read_list(path)
        self.notes += differences(content, facts)
        listed = match_list(content, split, self.official.naming, skip_missing=self.skip_missing, where=self.where)
        missing = len(content.labels) - len(listed.rows)
        repeated = len(listed.rows) - len(np.unique(listed.rows))
        if missing:
            self.notes.append(
                f"{counted(missing, 'image')} of {content.file} "
                f"{agree(missing, 'is missing and was', 'are missing and were')} left out."
            )
        if repeated:
            self.notes.append(
                f"{counted(repeated, 'line')} of {content.file} {agree(repeated, 'repeats', 'repeat')} an image, "
                "which then counts again."
            )
        self.missing += missing
        return listed

    def listed_split(self, listed: ListedImages, class_of_label: dict[int, int]) -> RawSplit:
        """The images of a list, with the classes that its labels mean; every other image has none."""
        classes = np.full(len(listed.index.classes), -1, dtype=np.int64)
        classes[listed.rows] = check_labels(listed, class_of_label, self.index.class_names)
        return RawSplit(listed.index.source, classes, listed.rows)

    def other_images(
        self, split: SplitIndex, class_of_label: dict[int, int], kind: str, used_rows: NDArray[np.int64]
    ) -> RawSplit:
        """Every image outside of ``used_rows`` whose class is in the list."""
        free = np.ones(len(split.classes), dtype=bool)
        free[used_rows] = False
        usable = np.isin(split.classes, list(class_of_label.values()))
        other = int((free & ~usable).sum())
        if other:
            be, were = agree(other, "is", "are"), agree(other, "was", "were")
            self.notes.append(
                f"{counted(other, f'{kind} image')} {be} of classes that the list does not have, and {were} left out."
            )
        return RawSplit(split.source, split.classes, np.flatnonzero(free & usable))


def split_by_lists(
    official: OfficialSplit, index: ImageIndex, files: ListFiles, *, official_val: bool, skip_missing: bool, where: str
) -> RawData:
    """Training, test and (on request) validation split as the lists define them.

    Classes are in the order of the list's labels. Without a test list, the test split is every validation image of the
    original. If training and validation images lie in one folder, the images outside the one list are the other split.
    ``skip_missing`` leaves out listed images that are missing; ``where``, the folder or Hub id of the images, is for
    messages.
    """
    lists = _Lists(official, index, files, where, skip_missing)
    if files.train is not None:
        listed = lists.read(files.train, official.train, index.train)
        class_of_label = pair_labels(listed, index.class_names)
        train, test = lists.listed_split(listed, class_of_label), _test_split(lists, class_of_label, listed.rows)
    else:
        assert files.test is not None
        listed = lists.read(files.test, official.test, index.test)
        class_of_label = pair_labels(listed, index.class_names)
        test = lists.listed_split(listed, class_of_label)
        train = lists.other_images(index.train, class_of_label, "training", listed.rows)
        lists.notes.append(f"The training split is every image that {listed.source.file} leaves out.")
    raw = RawData(
        class_names=index.class_names,
        train=train,
        test=test,
        val=_val_split(lists, class_of_label, train.rows) if official_val else None,
        notes=lists.notes,
        split_file={"name": listed.source.file, "sha256": listed.source.sha256},
        missing=lists.missing,
    )
    raw.select_classes(list(class_of_label.values()))
    return raw


def split_without_lists(official: OfficialSplit, index: ImageIndex, files: ListFiles, *, where: str) -> RawData:
    """The original's training and validation images, with the classes that their folders or the Hub give."""
    if index.shared:
        names = " or ".join([official.train.file, *(official.annotations or ())[:1]])
        raise UserError(
            f"The training and validation images in {where} lie in the same folders, and no list tells them apart: put "
            f"{names} beside them, or give it as split_file=."
        )
    classes = index.test.classes
    if (classes < 0).any():
        classes = _classes_by_list(official, index, files, where)
    train = RawSplit(index.train.source, index.train.classes, np.arange(len(index.train.classes)))
    return RawData(index.class_names, train, RawSplit(index.test.source, classes, np.flatnonzero(classes >= 0)))


def _classes_by_list(official: OfficialSplit, index: ImageIndex, files: ListFiles, where: str) -> NDArray[np.int64]:
    """Class of each validation image by the test list; -1 for one that it does not name.

    The classes of its labels come from the training list, or from the folders in the test list.
    """
    if files.test is None:
        raise _needs_test_list(official, where)
    content = read_list(files.test)
    listed = match_list(content, index.test, official.naming, skip_missing=False, where=where)
    classes = np.full(len(index.test.classes), -1, dtype=np.int64)
    if files.train is not None:
        train = match_list(read_list(files.train), index.train, official.naming, skip_missing=True, where=where)
        classes[listed.rows] = check_labels(listed, pair_labels(train, index.class_names), index.class_names)
        return classes
    number = {name: position for position, name in enumerate(index.class_names)}
    folders = folder_classes(content.paths, official.naming).take(listed.entries).to_pylist()
    unknown = next((name for name in folders if name not in number), None)
    if unknown is not None:
        problem = f"the folder {unknown!r}, which is not a class" if unknown else "no folder, and so no class"
        raise UserError(f"The list {content.file} names {problem} of {where}: put {official.train.file} beside it.")
    classes[listed.rows] = [number[name] for name in folders]
    return classes


def _test_split(lists: _Lists, class_of_label: dict[int, int], train_rows: NDArray[np.int64]) -> RawSplit:
    index, facts = lists.index, lists.official.test
    if lists.files.test is not None:
        listed = lists.read(lists.files.test, facts, index.test)
        if index.shared:
            _refuse_overlap(listed, train_rows)
        return lists.listed_split(listed, class_of_label)
    if index.shared:
        lists.notes.append(f"There is no {facts.file}: the test split is every image that is not trained on.")
        return lists.other_images(index.test, class_of_label, "test", train_rows)
    if (index.test.classes < 0).any():
        raise _needs_test_list(lists.official, lists.where)
    test = lists.other_images(index.test, class_of_label, "test", np.empty(0, np.int64))
    lists.notes.append(
        f"There is no {facts.file}: the test split is the {counted(len(test.rows), 'validation image')}."
    )
    return test


def _val_split(lists: _Lists, class_of_label: dict[int, int], train_rows: NDArray[np.int64]) -> RawSplit:
    """The validation split of the official list, whose images are among the training images of the original.

    Raises:
        UserError: There is no validation list, or one of its images is also in ``train_rows``.
    """
    facts = lists.official.val
    if facts is None or lists.files.val is None:
        file = "a validation list" if facts is None else facts.file
        raise UserError(f"official_val=True needs {file} beside the training list: put it there, or leave it out.")
    listed = lists.read(lists.files.val, facts, lists.index.train)
    _refuse_overlap(listed, train_rows)
    return lists.listed_split(listed, class_of_label)


def _refuse_overlap(listed: ListedImages, train_rows: NDArray[np.int64]) -> None:
    both = np.flatnonzero(np.isin(listed.rows, train_rows))
    if len(both):
        raise UserError(
            f"{counted(len(both), 'image')} of {listed.source.file} {agree(len(both), 'is', 'are')} also in the "
            "training split, the first is "
            f"{listed.path(both[0])}: give lists that belong together."
        )


def _needs_test_list(official: OfficialSplit, where: str) -> UserError:
    return UserError(
        f"The validation images in {where} are not in class folders, so their classes must come from "
        f"{official.test.file}: put it beside the training list."
    )
