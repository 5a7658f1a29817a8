"""Folders of images: which folders are splits, which is the class, and where the reading stops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.layout import BESIDE_CLASSES, BESIDE_SPLITS, list_class_folders
from glmc_zoo.data.reading.listing import UNLABELLED, FileListing
from glmc_zoo.data.reading.walk import Walk
from glmc_zoo.errors import UserError


def listing(paths: Iterable[str], root: str = "/set", bare: Iterable[str] = (), **options: Any) -> FileListing:
    """What is read from these paths; no file exists."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder or ".", []).append(name)
    walk = Walk(Path(root), dict(sorted(folders.items(), key=lambda item: item[0].split("/"))), sorted(bare))
    return list_class_folders(walk, DataOptions(**options))


def classes(read: FileListing) -> dict[str, dict[str, int]]:
    """Images of each class of each split."""
    return {name: {one: rows.labels.count(one) for one in rows.labels} for name, rows in read.splits.items()}


def images(*folders: str, count: int = 2) -> list[str]:
    return [f"{folder}/{index}.png" for folder in folders for index in range(count)]


def below(tops: Iterable[str], names: Iterable[str] = ("ant", "bee")) -> list[str]:
    return [path for top in tops for path in images(*(f"{top}/{name}" for name in names))]


TWO = {"ant": 2, "bee": 2}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("training_set", "test_set"),
        ("TRAIN", "TEST"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/train", "test"),
        ("train/images", "val/images"),
        ("pets/train", "pets/valid"),
        ("dataset/images/train", "dataset/images/test"),
        ("set/set/Training", "set/set/Testing"),
        ("a/b/c/train2017", "a/b/c/val2017"),
    ],
)
def test_splits_by_name_and_deeper(train: str, test: str) -> None:
    read = listing(below([train, test]))
    assert list(classes(read).values()) == [TWO, TWO] and not read.unsplit
    first = next(iter(part for part in train.split("/") if "rain" in part.lower()))
    assert first in read.splits


def test_class_folders_without_splits() -> None:
    read = listing(images("ant", "bee/2020/may", "bee/2021"))
    assert classes(read) == {"train": {"ant": 2, "bee": 4}} and read.unsplit
    assert classes(listing(below(["images"]))) == {"train": TWO}
    assert classes(listing(below(["pets"]), root="/data/pets")) == {"train": TWO}  # unpacked into its own name
    assert classes(listing(images("train", "tram"))) == {"train": {"train": 2, "tram": 2}}
    assert classes(listing(images("Ant", "ant"))) == {"train": {"Ant": 2, "ant": 2}}
    assert classes(listing(images("images", "ant"))) == {"train": {"images": 2, "ant": 2}}
    assert classes(listing(images("ant ", "cafe\u0301", "caf\u00e9"))) == {"train": {"ant": 2, "caf\u00e9": 4}}


def test_the_class_is_the_first_folder_however_deep() -> None:
    paths = below(["train/ant", "train/bee"], ["2019", "2020"]) + images("test/ant", "test/bee/cam1/may")
    assert classes(listing(paths)) == {"test": TWO, "train": {"ant": 4, "bee": 4}}
    same = below(["ant", "bee", "cat"], ["cam1", "cam2", "night"])
    assert classes(listing(same)) == {"train": {"ant": 6, "bee": 6, "cat": 6}}


@pytest.mark.parametrize("split", ["", "train/"])
@pytest.mark.parametrize(
    ("inner", "parts"),
    [
        ({"cam1": ["ant", "bee"], "cam2": ["ant", "bee"]}, ["cam1, cam2", "ant, bee"]),
        ({"cam1": ["ant", "bee"], "cam2": ["bee"]}, ["cam1, cam2", "bee"]),
        ({"2020": ["ant"], "2021": ["ant"], "2022": ["bee"]}, ["2020, 2021, 2022", "ant"]),
        (
            {"north": ["ant", "bee", "cat"], "south": ["ant", "bee"], "west": ["ant"]},
            ["north, south, west", "ant, bee"],
        ),
        ({"red": ["big", "small"], "green": ["big", "small"]}, ["green, red", "big, small"]),
    ],
)
def test_first_folders_that_hold_the_same_folders(split: str, inner: dict[str, list[str]], parts: list[str]) -> None:
    paths = [path for top, names in inner.items() for path in below([f"{split}{top}"], names)]
    with pytest.raises(UserError) as caught:
        listing(paths)
    assert str(caught.value) == (
        f"The folders {parts[0]} hold the same folders, {parts[1]}: give class_level=1 if the former are the classes, "
        "class_level=2 if the latter are, or train_split= and test_split= if the former are splits."
    )
    assert set(classes(listing(paths, class_level=1))["train"]) == set(inner)
    expected = {name for names in inner.values() for name in names}
    assert set(classes(listing(paths, class_level=2))["train"]) == expected


def test_years_that_differ_between_splits() -> None:
    with pytest.raises(UserError, match=r"^The folders 2020, 2021 hold the same folders, ant, bee: "):
        listing(below(["train/2020", "test/2021"]))


def test_images_in_the_first_folders_make_them_the_classes() -> None:
    paths = below(["north", "south"]) + images("north", "south")
    assert classes(listing(paths)) == {"train": {"north": 6, "south": 6}}


def test_splits_that_the_user_names() -> None:
    paths = below(["north", "south", "west"])
    read = listing(paths, train_split="north", test_split="south")
    assert classes(read) == {"north": TWO, "south": TWO} and read.left_out.count(BESIDE_SPLITS) == 4
    assert classes(listing(images("train/ant", "extra/bee"), train_split="train")) == {"train": {"ant": 2}}


@pytest.mark.parametrize(
    ("paths", "name", "others"),
    [
        (below(["eval"]) + images("ant"), "eval", "ant beside it is not a split"),
        (images("validation", "valley", "valid"), "valid", "valley beside it is not a split"),
        (below(["train"]) + images("ant", "bee"), "train", "ant, bee beside it are not splits"),
    ],
)
def test_a_split_or_a_class(paths: list[str], name: str, others: str) -> None:
    with pytest.raises(UserError) as caught:
        listing(paths)
    assert str(caught.value) == (
        f"The folder {name} may be a split or a class, as {others}: give train_split= or test_split= with its "
        "name if it is a split, or class_level=1 if it is a class."
    )
    assert listing(paths, class_level=1).unsplit


def test_folders_and_images_beside_the_splits_are_counted() -> None:
    read = listing([*below(["train", "test"]), *images("docs"), "preview.png"])
    assert classes(read) == {"test": TWO, "train": TWO} and read.left_out.count(BESIDE_SPLITS) == 3
    many = below([f"pets/{split}" for split in ("train", "test")], [f"class_{i}" for i in range(20)])
    read = listing([*many, *images("docs"), "preview.png"])
    assert set(read.splits) == {"train", "test"} and read.left_out.count(BESIDE_SPLITS) == 3
    assert read.notes == ["The images lie in the inner folder pets."]
    read = listing([*below(["train/train", "test"]), "train/preview.png"])
    assert classes(read) == {"test": TWO, "train": TWO} and read.left_out.count(BESIDE_CLASSES) == 1


@pytest.mark.parametrize("flat", ["test", "test/images", "test/test"])
def test_a_flat_test_folder_has_no_labels(flat: str) -> None:
    read = listing(below(["train"]) + images(flat, count=3))
    assert classes(read) == {"train": TWO} and read.left_out.count(UNLABELLED) == 3
    assert read.notes == ["The split test has no class folders and is not used."]
    # A class may be called images where another split has that class.
    read = listing(images("train/ant", "train/images", "test/images"))
    assert classes(read) == {"test": {"images": 2}, "train": {"ant": 2, "images": 2}}


def test_a_flat_training_folder_is_not_replaced_by_the_test_split() -> None:
    with pytest.raises(UserError) as caught:
        listing(below(["test"]) + images("train"))
    assert str(caught.value) == (
        "The training split train of /set has images but no class folders, and the split test has them: sort its "
        "images into class folders, or list them in a CSV file."
    )


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (
            below(["ant", "bee"], ["train", "test"]),
            "The folders ant, bee hold the splits test, train: put the split first, as in test/ant, or list the images "
            "in a CSV file with a column split.",
        ),
        (
            images("ant/train", "ant/val") + images("bee", count=40),
            "The folder ant holds the splits train, val: put the split first, as in train/ant, or list the images in a "
            "CSV file with a column split.",
        ),
        (
            below(["train/train", "train/test"]),
            "The folder train has the name of a split and holds others, test, train: give that folder as the data, or "
            "move its folders up.",
        ),
        (
            images("ant/2020/test", "bee/2020"),
            "The folder test of ant/2020/test/0.png looks like a test split, but lies inside a class of training "
            "images: put the split first (test/CLASS/*.jpg), or rename the folder.",
        ),
        (
            below(["pets"]),
            "The folder /set holds only the folder pets: give that folder as the data if its folders are the classes, "
            "or add the folders of the other classes if it is a class.",
        ),
        (
            ["1.png", "2.png"],
            "The folder /set has images but no class folders: make one folder for each class (CLASS/*.jpg, or "
            "train/CLASS/*.jpg with test/CLASS/*.jpg), or list the images with their classes in a CSV file.",
        ),
        (
            [*images("ant"), "1.png", "2.png", "3.png"],
            "3 images, such as 1.png, lie beside the class folders and so have no class: move each into the folder of "
            "its class, or list them in a CSV file.",
        ),
    ],
)
def test_refusals(paths: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        listing(paths)
    assert str(caught.value) == sentence == caught.value.sentence


def test_flat_images_in_one_filler_folder_have_no_class() -> None:
    with pytest.raises(UserError, match="has images but no class folders"):
        listing(images("images"))
    with pytest.raises(UserError, match="has images but no class folders"):
        listing(images("train", "test"))


def test_folders_without_an_image_are_named() -> None:
    read = listing(below(["train", "test"]), bare=["train/cat", "test/cat", "train/ant/2020", "docs"])
    assert read.notes == ["The folders of these classes have no image: cat."]
    read = listing(images("ant", "bee"), bare=["cat", "dog", "ant/2020"])
    assert read.notes == ["The folders of these classes have no image: cat, dog."]
    read = listing(images("train/ant", "train/bee"), bare=["test", "test/ant", "docs"])
    assert read.notes == ["The folder test has the name of a split and has no image."]
    read = listing(images("ant", "bee"), bare=["val", "cat"])
    assert read.notes == [
        "The folder val has the name of a split and has no image.",
        "The folders of these classes have no image: cat.",
    ]


@pytest.mark.parametrize("name", ["image_column", "label_column", "split_column"])
def test_columns_are_for_tables(name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}='x' is for tables, and /set has class folders: leave it out\.$"):
        listing(images("ant", "bee"), **{name: "x"})


def test_names_that_are_not_utf8() -> None:
    read = listing(below(["train", "test"], ["ant", "caf\udce9"]))
    assert classes(read)["train"] == {"ant": 2, "caf\\xe9": 2}
    assert read.splits["train"].paths[2] == "train/caf\udce9/0.png"
    read = listing([*images("ant"), "\udcff.png"])
    assert read.left_out.facts()[0].examples == ["\\xff.png"]
