"""Which names mean a split, and which of several splits are used."""

from __future__ import annotations

import unicodedata

import pytest

from glmc_zoo.data.reading.split_names import choose_splits, column_key, find_split_column, split_cells, split_role
from glmc_zoo.errors import UserError

TRAIN = "train training trn Train TRAIN training_set seg_train train2017 TrainData trainset Training-Set images.train"
TEST = "test testing Test_Set seg_test eval evaluation EVAL test2 tst holdout hold_out held-out images_test TestImages"
VALIDATION = "val valid validation dev Val val2017 valid_images seg_val dev_set validate validationset"


@pytest.mark.parametrize(
    ("names", "role"), [(TRAIN + " trainval train_val", "train"), (TEST, "test"), (VALIDATION, "validation")]
)
def test_names_of_splits(names: str, role: str) -> None:
    assert {name: split_role(name) for name in names.split()} == dict.fromkeys(names.split(), role)
    assert split_role("Training Images" if role == "train" else f"{role} set") == role


@pytest.mark.parametrize(
    "name",
    [
        *("test tube", "training shoes", "trainers", "train station", "evaluation board", "testudo", "valley", "devil"),
        *("validator", "contest", "latest", "train_mini", "cat", "2017", "", "images", "data set", "testé", "évaltest"),
        *("测试test", "invalid", "ground_test_truth", "val id", "test/train"),
    ],
)
def test_other_names(name: str) -> None:
    assert split_role(name) is None
    assert split_role(unicodedata.normalize("NFD", name)) is None


def test_an_accent_does_not_end_a_word() -> None:
    assert split_role(unicodedata.normalize("NFD", "traiń")) is None
    assert split_role(unicodedata.normalize("NFD", "vaĺ")) is None


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["train", "test"], (None, None), ("train", "test", [])),
        (["Training", "seg_test", "val"], (None, None), ("Training", "seg_test", ["The split val is not used: "])),
        (["train", "valid"], (None, None), ("train", "valid", ["There is no test split: the split valid is used"])),
        (["train", "eval", "test"], (None, None), ("train", "test", ["The split eval is not used."])),
        (["train", "evaluation"], (None, None), ("train", "evaluation", [])),
        (["north", "south"], ("north", "south"), ("north", "south", [])),
        (["train", "val", "test"], (None, "validation"), ("train", "val", ["The split test is not used."])),
        (["test"], (None, None), ("test", None, [])),
        (["val"], (None, None), ("val", None, [])),
        (["birds"], (None, None), ("birds", None, ["The split birds is used as the training split."])),
    ],
)
def test_which_splits_are_used(names: list[str], given: tuple, expected: tuple) -> None:
    train, test, notes = choose_splits(names, *given)
    assert (train, test) == expected[:2]
    assert len(notes) == len(expected[2])
    assert all(note.startswith(start) for note, start in zip(notes, expected[2], strict=True))


@pytest.mark.parametrize(
    ("names", "given", "sentence"),
    [
        (["a", "b"], (None, None), "None of the splits a, b is called train: name one with train_split=."),
        (["a", "test"], (None, None), "None of the splits a, test is called train: name one with train_split=."),
        (
            ["train", "training_set"],
            (None, None),
            None,
        ),
        (
            ["Train", "TRAIN"],
            (None, None),
            "The splits Train and TRAIN may each be the train split: name one with train_split=.",
        ),
        (["train", "x"], (None, "y"), "test_split='y' is not a split: give one of train, x."),
        (
            ["train"],
            ("train", "train"),
            "test_split='train' cannot be both training and test split: name another with test_split=.",
        ),
    ],
)
def test_splits_that_are_not_clear(names: list[str], given: tuple, sentence: str | None) -> None:
    if sentence is None:  # the plain name is preferred, and the other is noted
        assert choose_splits(names, *given)[2] == ["The split training_set is not used."]
        return
    with pytest.raises(UserError) as caught:
        choose_splits(names, *given)
    assert str(caught.value) == sentence


def test_the_cells_of_a_split_column() -> None:
    def cells(column: str, values: list[str], given: bool = False, train: str | None = None) -> list[str] | None:
        return split_cells(column, values, named_by_user=given, train_split=train)

    assert cells("split", ["train", "Test", "TRAIN ", "test"]) == ["train", "Test", "train", "Test"]
    assert cells("subset", ["train", "test"]) == ["train", "test"]
    assert cells("subset", ["winter", "summer"]) is None
    assert cells("dataset", ["train", "train"]) is None
    assert cells("subset", ["winter", "summer"], True, "winter") == ["winter", "summer"]
    assert cells("split", ["", ""]) is None
    with pytest.raises(UserError, match=r"^split_column='part' is empty in every row: name the column that holds "):
        cells("part", ["", " "], given=True)
    with pytest.raises(UserError, match=r"^The column split is empty in 2 rows: write the split of each image"):
        cells("split", ["train", "", " "])
    with pytest.raises(UserError, match=r"^The column split holds 0, 1, and none of them is called train: name the"):
        cells("split", ["0", "1", "0"])


def test_names_of_columns_are_compared_loosely() -> None:
    assert [column_key(name) for name in ("Data Set", "file-name ", "Label")] == ["data_set", "file_name", "label"]


def test_a_split_column_is_known_by_its_cells() -> None:
    def column(**columns: list[str]) -> str | None:
        return find_split_column(list(columns), lambda name: columns[name])

    train_test, colours = ["train", "Testing", "train"], ["red", "blue", "red"]
    assert column(phase=train_test, colour=colours) == "phase"
    assert column(usage=["Training", "PublicTest", "Training"]) == "usage"
    assert column(split=colours, phase=train_test) == "split"  # it is refused later
    assert column(set=colours, phase=train_test) == "phase"
    assert column(set=colours) == "set"  # and then not used
    assert column(phase=["train", "train"], colour=colours) is None
    assert column(phase=["train", "red"]) is None
    assert column(phase=["train", "", "test"]) == "phase"  # the empty cell is refused later
    assert column(phase=train_test, mode=["test", "train", "val"], split=train_test) == "split"
    assert column(phase=train_test, again=train_test) == "phase"
    with pytest.raises(
        UserError, match=r"columns phase and mode may each name the split of an image: .* split_column="
    ):
        column(phase=train_test, mode=["test", "train", "train"])


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("is_train", ["1", "0", "1"], ["train", "test", "train"]),
        ("isTest", ["True", "False", "False"], ["test", "train", "train"]),
        ("is_val", ["no", "yes", "no"], ["train", "validation", "train"]),
        ("is_training_image", ["0", "1"], ["test", "train"]),
        ("train", ["1", "0", "1"], None),  # a vehicle, perhaps
        ("is_cat", ["1", "0", "1"], None),
        ("is_train", ["1", "1", "1"], None),
        ("is_train", ["1", "0", "2"], None),
    ],
)
def test_a_column_of_yes_and_no_says_the_split(name: str, cells: list[str], expected: list[str] | None) -> None:
    assert find_split_column([name], lambda _: cells) == (name if expected else None)
    if expected:
        assert split_cells(name, cells, named_by_user=False, train_split=None) == expected


def test_test_and_validation_images_alone() -> None:
    assert choose_splits(["test", "val"], None, None) == ("test", None, ["The split val is not used."])
    assert choose_splits(["test", "val"], None, "val") == ("val", None, ["The split test is not used."])
    assert choose_splits(["test", "val"], "val", None)[:2] == ("val", "test")
