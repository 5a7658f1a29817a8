"""Which split a name stands for, and which of several splits are used."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from glmc_zoo.data.reading.inventory import name_few
from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

Role = Literal["train", "test", "validation"]

_NAMES: Mapping[Role, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "trainval", "trainvalid"}),
    "test": frozenset({"test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"}),
    "validation": frozenset({"validation", "val", "valid", "validate", "dev"}),
}
_ROLE: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names}
# Words beside the name of a split that do not change its meaning: seg_train, test_set, images_val, TrainData.
_FILLERS = ("set", "sets", "seg", "data", "dataset", "images", "image", "imgs", "img", "split", "folder", "jpg", "png")
_AFFIXES = (*_FILLERS, "public", "private")  # PublicTest, private_test
_WITH_AFFIXES = re.compile(rf"^(?:{'|'.join(_AFFIXES)})?(.+?)(?:{'|'.join(_FILLERS)})?$")
# Names in several words. Other words are not joined, so that "test tube" and "val id" are not splits.
_SEVERAL_WORDS = frozenset({"train val", "train valid", "hold out", "held out"})
# The end of train-00000-of-00002, train_1 or train.2: files of one name but for it hold the same split.
_SHARD = re.compile(r"[-_.]\d+(?:[-_.]of[-_.]\d+)?$")
NAMED_IN_OPTIONS, NAMED_IN_CATALOGUE = "named in the options", "named in the catalogue"
_EVALUATIONS = ("eval", "evaluation", "holdout", "heldout", "hold", "held")

SPLIT_COLUMN = "split"
# Other names of the column with the split of each image. They may also stand for something else.
SPLIT_COLUMNS = (SPLIT_COLUMN, "subset", "partition", "set", "data_set", "dataset")
_YES, _NO = frozenset({"1", "true", "yes", "t", "y"}), frozenset({"0", "false", "no", "f", "n"})


def split_role(name: str) -> Role | None:
    """The split that a name stands for; ``None`` if the name is not that of a split.

    The name is that of a folder or a table, or a value in a split column.

    ``train``, ``Training``, ``training_set``, ``seg_train``, ``train2017`` and ``TrainData`` are all the training
    split; ``test tube`` and ``training shoes`` are not splits.
    """
    # NFC joins a letter and its accent into one character. Without it the accent would end the word, and a decomposed
    # "traiń" would be read as "train".
    text = unicodedata.normalize("NFC", name).lower()
    words = [word.strip("0123456789") for word in re.split(r"[\W_]+", text)]
    words = [word for word in words if word and word not in _AFFIXES]
    if " ".join(words) in _SEVERAL_WORDS:
        words = ["".join(words)]
    if len(words) != 1:
        return None
    (word,) = words
    match = _WITH_AFFIXES.match(word)
    return _ROLE.get(word) or (_ROLE.get(match[1]) if match else None)


def is_filler(name: str) -> bool:
    """Whether the name of a folder says nothing about its images: ``images``, ``data``, ``jpg``."""
    return name.lower() in _FILLERS


def without_shard(name: str) -> str:
    """A file's name, given without its suffix, without the number of a shard: ``train-00000-of-00002`` is ``train``."""
    return _SHARD.sub("", name)


def column_key(name: str) -> str:
    """The name of a column as it is compared with usual names: ``Data Set`` is ``data_set``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def find_split_column(names: Sequence[str], cells: Callable[[str], Sequence[str]]) -> str | None:
    """The column that names the split of each image, by its usual name or else by its cells; ``None`` without one.

    A column counts if all its cells that are not empty name splits, the training split and another one among them. A
    column called ``is_train`` or ``is_test`` counts if it holds yes and no. Looking at the cells keeps test images out
    of training even if their column has an unusual name.

    Args:
        names: Names of the columns that are neither of images nor of classes.
        cells: Gives the cells of a column as text.

    Raises:
        UserError: Two columns give an image different splits.
    """
    usual = [name for key in SPLIT_COLUMNS for name in names if column_key(name) == key]
    for name in usual:
        if column_key(name) == SPLIT_COLUMN or _says_split(cells(name)):
            return name
    splits_by_column = {name: _split_of_cells(name, cells(name)) for name in names if name not in usual}
    named_splits = {name: splits for name, splits in splits_by_column.items() if splits is not None}
    if len(set(map(tuple, named_splits.values()))) > 1:
        raise UserError(
            f"The columns {' and '.join(named_splits)} may each name the split of an image: choose one with "
            "split_column=."
        )
    return next(iter(named_splits), usual[0] if usual else None)


def _says_split(values: Sequence[str]) -> bool:
    """Whether all cells that are not empty name splits, the training split and another one among them."""
    first_name = next((value for value in values if value.strip()), "")
    if split_role(first_name) is None:  # most columns end here, so that only one of their cells is looked at
        return False
    names = {value.strip() for value in values} - {""}
    roles = {split_role(name) for name in names}
    return None not in roles and "train" in roles and len(roles) > 1


def _split_of_cells(column: str, values: Sequence[str]) -> list[Role | None] | None:
    if _says_split(values):
        return [split_role(value) for value in values]
    answers = _answers(column, values)
    return None if answers is None else [split_role(answer) for answer in answers]


def _answers(column: str, values: Sequence[str]) -> list[str] | None:
    """The split of each row by a column that holds yes and no, such as ``is_train``; ``None`` for any other column."""
    key = column_key(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column))
    role = split_role(key.removeprefix("is_")) if key.startswith("is_") else None
    if role is None:
        return None
    cells = [value.strip().lower() for value in values]
    if not set(cells) <= _YES | _NO or len(set(cells)) < 2:
        return None
    other = "test" if role == "train" else "train"
    return [role if value in _YES else other for value in cells]


def split_cells(
    column: str, values: Sequence[str], *, named_by_user: bool, train_split: str | None
) -> list[str] | None:
    """The split of each row, from the cells of a column; ``None`` if the column does not hold splits.

    A column that the user names, or that is called ``split``, is taken as it is. Any other must hold names of splits, a
    test or validation split among them, or yes and no under a name like ``is_train``. A column that is empty in all
    rows does not hold splits. Spellings that differ in case or in surrounding spaces are one split.

    Args:
        column: Name of the column.
        values: Its cells as text.
        named_by_user: Whether the user names the column with ``split_column``. Otherwise `find_split_column` chose it.
        train_split: Name of the training split, if the user names it.

    Raises:
        UserError: Some cells are empty; all cells are empty and the user names the column; or the cells name several
            splits, none of them has a usual name, and the user does not name the training split.
    """
    if (answers := _answers(column, values)) is not None:
        return answers
    first_spelling: dict[str, str] = {}
    cells = [first_spelling.setdefault(value.strip().casefold(), value.strip()) for value in values]
    names = [name for name in first_spelling.values() if name]
    if named_by_user and cells and not names:
        raise UserError(
            f"split_column={column!r} is empty in every row: name the column that holds the split of each image, or "
            "leave it out."
        )
    roles = {split_role(name) for name in names}
    taken_as_it_is = named_by_user or column_key(column) == SPLIT_COLUMN
    if not taken_as_it_is and (None in roles or not roles & {"test", "validation"}):
        return None
    if "" in first_spelling and names:
        raise UserError(
            f"The column {column} is empty in {counted(cells.count(''), 'row')}: write the split of each image, such "
            "as train or test."
        )
    if not names:
        return None
    if roles == {None} and train_split is None and len(names) > 1:
        raise UserError(
            f"The column {column} holds {name_few(names)}, and none of them is called train: name the splits with "
            "train_split= and test_split=, or rename the column if it does not hold splits."
        )
    return cells


def choose_splits(names: list[str], train: str | None, test: str | None) -> tuple[str, str | None, list[str]]:
    """Training split, test split (``None`` where there is none), and what was decided for the user.

    A single split is returned as the training split, whatever its name. So is the test split if all of several splits
    are test or validation splits. In both cases there is no test split.

    Args:
        names: Names of all splits.
        train: Name of the training split, if the user names it.
        test: Name of the test split, if the user names it.

    Raises:
        UserError: A name of the user is not a split, or it is not clear which split is the training or the test split.
    """
    notes = []
    train, test = _split_of_user(names, train, "train_split"), _split_of_user(names, test, "test_split")
    if train is None and names == [test]:  # all there is, for an evaluation
        return names[0], None, []
    if train is None and len(names) > 1 and {split_role(name) for name in names} <= {"test", "validation"}:
        test = test or _only(names, "test") or _only(names, "validation")
        assert test is not None
        return test, None, [f"The split {name} is not used." for name in names if name != test]
    if train is None:
        usable = [name for name in names if name != test]
        train = _only(usable, "train")
        if train is None:
            if len(usable) != 1:
                raise UserError(f"None of the splits {', '.join(names)} is called train: name one with train_split=.")
            train = usable[0]
            if split_role(train) is None:  # another is scored, and not trained on
                notes.append(f"The split {train} is used as the training split.")
    if test == train:
        raise UserError(f"test_split={test!r} cannot be both training and test split: name another with test_split=.")
    if test is None:
        usable = [name for name in names if name != train]
        test = _only(usable, "test")
        if test is None and (test := _only(usable, "validation")) is not None:
            notes.append(f"There is no test split: the split {test} is used as the test split.")
    for name in names:
        if name in (train, test):
            continue
        reason = ": val_fraction= holds validation images out of the training split instead"
        notes.append(f"The split {name} is not used{reason if split_role(name) == 'validation' else ''}.")
    return train, test, notes


def _split_of_user(names: list[str], name_of_user: str | None, option: str) -> str | None:
    """The split that the user names: ``validation`` also means a folder called ``val``."""
    if name_of_user is None or name_of_user in names:
        return name_of_user
    matches = [name for name in names if split_role(name) == name_of_user]
    if len(matches) != 1:
        raise UserError(f"{option}={name_of_user!r} is not a split: give one of {', '.join(names)}.")
    return matches[0]


def how_decided(name: str, requested: str | None) -> str:
    """One phrase for the inventory: why a split has its role; ``requested`` is what the user called it."""
    return f"it is called {name}" if requested is None else NAMED_IN_OPTIONS


def _only(names: list[str], role: Role) -> str | None:
    """The one split of a role; of ``test`` and ``eval`` the first."""
    matching = [name for name in names if split_role(name) == role]
    exact = [name for name in matching if name.lower() == role]
    if len(matching) > 1 and role == "test":
        matching = [name for name in matching if not any(word in name.lower() for word in _EVALUATIONS)] or matching
    if len(exact) == 1:
        return exact[0]
    if len(matching) > 1:
        option = "train_split=" if role == "train" else "test_split="
        raise UserError(f"The splits {' and '.join(matching)} may each be the {role} split: name one with {option}.")
    return matching[0] if matching else None
