"""Lists and images of the large sets that do not fit each other, and requests that cannot be met."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import miniature
import pytest
from miniature import LISTED, Miniature, check_images, class_of
from PIL import Image

from glmc_zoo.data.load import load_data
from glmc_zoo.errors import UserError

Make = Callable[[Path], Miniature]


def test_missing_images_are_named_or_left_out(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    mini.write_lists(mini.folder)
    gone = [*[path for path, label in mini.lists["train"] if label == 1][:3], mini.lists["test"][0][0]]
    for path in gone:
        (mini.folder / path).unlink()
    with pytest.raises(UserError) as caught:
        load_data("imagenet_lt", data_dir=mini.folder)
    assert f"3 of the 60 images of the list ImageNet_LT_train.txt are not in {mini.folder}, the first" in str(
        caught.value
    )
    assert f"is {gone[0]}: complete the copy, or leave them out with skip_bad_images=True." in str(caught.value)
    (mini.folder / mini.lists["train"][0][0]).write_bytes(b"no image")
    data = load_data("imagenet_lt", data_dir=mini.folder, skip_bad_images=True)
    assert data.class_counts == [8, 27, 2, 14, 5]
    assert (data.facts.skipped_images, len(data.test)) == (5, 9)
    assert "3 images of ImageNet_LT_train.txt are missing and were left out." in data.notes
    check_images(data)


def test_labels_that_contradict_the_images(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    lists = mini.write_lists(tmp_path / "lists")
    train = lists / "ImageNet_LT_train.txt"
    lines = train.read_text().splitlines()
    train.write_text("\n".join([*lines[:4], lines[4].replace(" 0", " 3"), *lines[5:]]))
    with pytest.raises(UserError) as caught:
        load_data("imagenet_lt", data_dir=mini.folder, split_file=lists)
    assert f"ImageNet_LT_train.txt, line 5 has the label 3 (n01491361) for {lines[4].split()[0]}" in str(caught.value)
    assert "which is of class n01440764 in the data" in str(caught.value)
    train.write_text("\n".join([*lines[:4], lines[4].replace(" 0", " 77"), *lines[5:]]))
    with pytest.raises(UserError, match=r"has the labels 0 and 77 for the one class 'n01440764'"):
        load_data("imagenet_lt", data_dir=mini.folder, split_file=lists)
    train.write_text("\n".join(lines))
    test = lists / "ImageNet_LT_test.txt"
    lines = test.read_text().splitlines()
    for label, words in ((4, "line 1 has the label 4 (n01494475)"), (9, "line 1 has the label 9, which no training")):
        test.write_text("\n".join([lines[0].replace(" 0", f" {label}"), *lines[1:]]))
        with pytest.raises(UserError) as caught:
            load_data("imagenet_lt", data_dir=mini.folder, split_file=lists)
        assert f"ImageNet_LT_test.txt, {words}" in str(caught.value)
    test.write_text("\n".join([lines[0], "no label here"]))
    with pytest.raises(UserError, match=r"^Line 2 of the list ImageNet_LT_test.txt is 'no label here'"):
        load_data("imagenet_lt", data_dir=mini.folder, split_file=lists)


def test_labels_may_be_numbered_otherwise_and_lines_may_come_twice(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    renumbered = "".join(f"{path} {40 - 10 * label}\n" for path, label in mini.lists["train"])
    (tmp_path / "mine.txt").write_text(renumbered + renumbered.split("\n")[0])
    data = load_data("imagenet_lt", data_dir=mini.folder, split_file=tmp_path / "mine.txt")
    assert data.class_names == mini.class_names[::-1]
    assert data.class_counts == [*LISTED[:0:-1], LISTED[0] + 1]
    assert "1 line of mine.txt repeats an image, which then counts again." in data.notes
    for split in (data.train, data.test):
        assert [4 - class_of(image) for image in split.images(range(len(split)))] == split.labels.tolist()


def test_validation_lists_that_overlap_the_training_list(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set", lists=tmp_path / "set")
    shutil.copy(mini.folder / "ImageNet_LT_train.txt", mini.folder / "ImageNet_LT_val.txt")
    with pytest.raises(UserError, match=r"^60 images of ImageNet_LT_val.txt are also in the training split"):
        load_data("imagenet_lt", data_dir=mini.folder, official_val=True)
    mini = miniature.inat18(tmp_path / "inat")
    shutil.copy(mini.folder / "train2018.json", mini.folder / "val2018.json")
    with pytest.raises(UserError, match=r"^60 images of val2018.json are also in the training split"):
        load_data("inat18", data_dir=mini.folder)


def test_flat_validation_images_need_the_test_list(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "top" / "set", flat_val=True)
    for options in ({}, {"split_file": mini.write_lists(tmp_path / "lists", which=["train"])}):
        with pytest.raises(UserError, match=r"not in class folders, .* from ImageNet_LT_test.txt: put it beside"):
            load_data("imagenet_lt", data_dir=mini.folder, **options)


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("digits_lt", {"split_file": "x.txt"}, ["split_file='x.txt'", "imagenet_lt, inat18, places_lt", "digits_lt"]),
        (
            "cifar10_lt",
            {"official_val": True},
            ["official_val=True", "(imagenet_lt, places_lt)", "cifar10_lt has none"],
        ),
        ("inat18", {"official_val": True}, ["official_val=True", "inat18 has none", "val_fraction="]),
        ("imagenet_lt", {"official_val": True, "val_fraction": 0.1}, ["val_fraction=0.1", "give one of them"]),
        ("inat18", {}, ["inat18 are not on the Hub", "data_dir=", "train_val2018"]),
        ("places_lt", {}, ["places_lt are not on the Hub", "Places_LT_train.txt"]),
        ("places_lt", {"data_dir": "nowhere"}, ["nowhere", "does not exist", "data_256/a/airfield"]),
        ("imagenet_lt", {}, ["ILSVRC/imagenet-1k", "Hugging Face Hub", "data_dir="]),
        ("imagenet_lt", {"data_dir": "set", "split_file": "no.txt"}, ["split_file='no.txt' does not exist"]),
        ("imagenet_lt", {"data_dir": "set", "split_file": "a" * 300}, ["does not exist: give the training list"]),
        (
            "imagenet_lt",
            {"data_dir": "set", "split_file": "nobody/none"},
            ["split_file='nobody/none' is neither a file nor"],
        ),
        (
            "imagenet_lt",
            {"data_dir": "set", "split_file": "set"},
            ["split_file='set' is a folder without ImageNet_LT_train.txt"],
        ),
        ("imagenet_lt", {"data_dir": "set", "official_val": True}, ["official_val=True", "no ImageNet_LT_train.txt"]),
        ("imagenet_lt", {"data_dir": "set", "test_split": "val"}, ["test_split='val' has no effect", "leave it out"]),
        ("places_lt", {"data_dir": "empty"}, ["empty", "does not have a layout of places_lt"]),
        ("places_lt", {"data_dir": "pets"}, ["pets does not have a layout of places_lt", "val_256/*.jpg"]),
    ],
)
def test_bad_requests(
    name: str, options: dict, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if options.get("data_dir") == "set":
        miniature.imagenet(tmp_path / "set")
    if options.get("data_dir") == "pets":
        (tmp_path / "pets" / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / "cat" / "1.png")
    with pytest.raises(UserError) as caught:
        load_data(name, **options)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert str(caught.value) == caught.value.sentence


def test_a_table_without_file_names(tmp_path: Path) -> None:
    import datasets

    mini = miniature.imagenet_hub(tmp_path / "set")
    lists = mini.write_lists(tmp_path / "lists")
    for file in (mini.folder / "data").glob("*.parquet"):
        table = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
        rows = [{"image": {"bytes": row["image"]["bytes"], "path": None}, "label": row["label"]}
                for row in table.cast_column("image", datasets.Image(decode=False))]  # fmt: skip
        datasets.Dataset.from_list(rows, features=table.features).to_parquet(str(file))
    with pytest.raises(UserError, match="180 images of the training split have no file name to compare with the list"):
        load_data("imagenet_lt", data_dir=mini.folder, split_file=lists)


def test_list_of_another_data_set_is_not_answered_with_leaving_all_out(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    mini.write_lists(mini.folder)
    file = mini.folder / "ImageNet_LT_train.txt"
    file.write_text("train/n1/none_1.JPEG 0\ntrain/n2/none_2.JPEG 1\n")
    with pytest.raises(UserError, match=r"give the data set that the list belongs to\.$"):
        load_data("imagenet_lt", data_dir=mini.folder, skip_bad_images=True)
