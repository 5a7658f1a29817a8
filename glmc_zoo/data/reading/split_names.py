"""Which split a name means, and which of several splits are used."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from glmc_zoo.data.reading.inventory import name_few
from glmc_zoo.errors import UserError

Role = Literal["train", "test", "validation"]

_NAMES: Mapping[Role, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "trainval", "trainvalid"}),
    "test": frozenset({"test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"}),
    "validation": frozenset({"validation", "val", "valid", "validate", "dev"}),
}
_ROLE: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names}
# Words beside the name of a split that do not change its meaning: seg_train, test_set, images_val, TrainData.
_FILLERS = ("set", "sets", "seg", "data", "dataset", "images", "image", "imgs", "img", "split", "folder", "jpg", "png")
_WRAPPED = re.compile(rf"^(?:{'|'.join(_FILLERS)})?(.+?)(?:{'|'.join(_FILLERS)})?$")
# Names in several words. Other words are not joined, so that "test tube" and "val id" are not splits.
_SEVERAL_WORDS = frozenset({"train val", "train valid", "hold out", "held out"})
# The end of train-00000-of-00002, train_1 or train.2: files of one name but for it hold the same split.
_SHARD = re.compile(r"[-_.]\d+(?:[-_.]of[-_.]\d+)?$")
_EVALUATIONS = ("eval", "evaluation", "holdout", "heldout", "hold", "held")

SPLIT_COLUMN = "split"
# Other names of the column that says the split. They may also stand for something else.
SPLIT_COLUMNS = (SPLIT_COLUMN, "subset", "partition", "set", "data_set", "dataset")


def split_role(name: str) -> Role | None:
    """The split that a folder, a table or a cell of a column means by its name; ``None`` for any other name.

    ``train``, ``Training``, ``training_set``, ``seg_train``, ``train2017`` and ``TrainData`` are all the training
    split; ``test tube`` and ``training shoes`` are not splits.
    """
    # Letters of every alphabet belong to a word: "testé" is not "test".
    text = unicodedata.normalize("NFC", name).lower()
    words = [word.strip("0123456789") for word in re.split(r"[\W_]+", text)]
    words = [word for word in words if word and word not in _FILLERS]
    if " ".join(words) in _SEVERAL_WORDS:
        words = ["".join(words)]
    if len(words) != 1:
        return None
    (word,) = words
    inner = _WRAPPED.match(word)
    return _ROLE.get(word) or (_ROLE.get(inner[1]) if inner else None)


def is_filler(name: str) -> bool:
    """Whether a folder's name says nothing of its images: ``images``, ``data``, ``jpg``."""
    return name.lower() in _FILLERS


def without_shard(name: str) -> str:
    """A file's name, given without its suffix, without the number of a shard: ``train-00000-of-00002`` is ``train``."""
    return _SHARD.sub("", name)


def find_split_column(names: Iterable[str]) -> str | None:
    """The column with a usual name for the split, the most usual first; ``None`` without one."""
    named = {column_key(name): name for name in reversed(list(names))}
    return next((named[usual] for usual in SPLIT_COLUMNS if usual in named), None)


def column_key(name: str) -> str:
    """The name of a column as it is compared with usual names: ``Data Set`` is ``data_set``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def split_cells(column: str, values: Sequence[str], *, given: bool, train: str | None) -> list[str] | None:
    """The split of each row by the cells of a column; ``None`` where a column that was not given means another thing.

    Spellings that differ in case or in spaces around them are one split.

    Args:
        column: Name of the column, for messages.
        values: Its cells as text.
        given: Whether the user names the column; else its name looks like that of a split column.
        train: Name of the training split, if the user gives it.

    Raises:
        UserError: A cell is empty, or no cell of a column called ``split`` names a split.
    """
    spelling: dict[str, str] = {}
    cells = [spelling.setdefault(value.strip().casefold(), value.strip()) for value in values]
    names = [name for name in spelling.values() if name]
    roles = {split_role(name) for name in names}
    named = bool(roles & {"test", "validation"}) or "train" in roles
    if not given and column_key(column) != SPLIT_COLUMN and (None in roles or not roles & {"test", "validation"}):
        return None
    if "" in spelling and names:
        raise UserError(
            f"The column {column} is empty in {cells.count(''):,} rows: write the split of each image, such as train "
            "or test."
        )
    if not names:
        return None
    if not named and train is None and len(names) > 1:
        raise UserError(
            f"The column {column} holds {name_few(names)}, and none of them is called train: name the splits with "
            "train_split= and test_split=, or rename the column if it is of something else."
        )
    return cells


def choose_splits(names: list[str], train: str | None, test: str | None) -> tuple[str, str | None, list[str]]:
    """Training split, test split (``None`` where there is none), and what was decided for the user.

    A single split comes first, whatever its name, with no test split. ``train`` and ``test`` are names that the user
    gives.
    """
    notes = []
    train, test = _given(names, train, "train_split"), _given(names, test, "test_split")
    if train is None and names == [test]:  # all there is, for an evaluation
        return names[0], None, []
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
        reason = ": validation images are held out of the training split" if split_role(name) == "validation" else ""
        notes.append(f"The split {name} is not used{reason}.")
    return train, test, notes


def _given(names: list[str], wanted: str | None, option: str) -> str | None:
    """The split that the user names: ``validation`` also means a folder called ``val``."""
    if wanted is None or wanted in names:
        return wanted
    meant = [name for name in names if split_role(name) == wanted]
    if len(meant) != 1:
        raise UserError(f"{option}={wanted!r} is not a split: give one of {', '.join(names)}.")
    return meant[0]


def how_decided(name: str, given: str | None) -> str:
    """One phrase for the inventory: why a split has its role."""
    return "named by the user" if name == given else f"it is called {name}"


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
