"""Which split a name means, and which of several splits are used."""

import re
from collections.abc import Mapping
from typing import Literal

from glmc_zoo.errors import UserError

Role = Literal["train", "test", "validation"]

_NAMES: Mapping[Role, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "trainval"}),
    "test": frozenset({"test", "testing", "tst", "eval", "evaluation", "holdout"}),
    "validation": frozenset({"validation", "val", "valid", "validate", "dev"}),
}
_ROLE: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names}
# Words beside the name of a split that do not change its meaning: seg_train, test_set, images_val, TrainData.
_FILLERS = ("set", "sets", "seg", "data", "dataset", "images", "image", "imgs", "img", "split", "folder", "jpg", "png")
_WRAPPED = re.compile(rf"^(?:{'|'.join(_FILLERS)})?(.+?)(?:{'|'.join(_FILLERS)})?$")
_EVALUATIONS = ("eval", "evaluation", "holdout")


def split_role(name: str) -> Role | None:
    """The split that a folder, a table or a cell of a column means by its name; ``None`` for any other name.

    ``train``, ``Training``, ``training_set``, ``seg_train``, ``train2017`` and ``TrainData`` are all the training
    split; ``test tube`` and ``training shoes`` are no split.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", name.lower())]
    words = [word for word in words if word and word not in _FILLERS]
    if words in (["train", "val"], ["train", "valid"]):
        return "train"
    if len(words) != 1:
        return None
    (word,) = words
    inner = _WRAPPED.match(word)
    return _ROLE.get(word) or (_ROLE.get(inner[1]) if inner else None)


def is_filler(name: str) -> bool:
    """Whether a folder's name says nothing of its images: ``images``, ``data``, ``jpg``."""
    return name.lower() in _FILLERS


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
            if split_role(train) != "test":
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
