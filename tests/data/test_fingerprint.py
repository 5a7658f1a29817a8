"""The fingerprint of a data set: the same for a copy, another one for each kind of change, and what it says of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data import LongTailData, load_data
from glmc_zoo.data.fingerprint import DataFingerprint, all_unreadable, compare, fingerprint


@pytest.fixture
def folder(lab: Any, tmp_path: Path) -> Path:
    """12 ants, 8 bees and 4 cats for training, 5 test images of each; too large to be decoded ahead."""
    images: Path = lab.images(tmp_path / "data", size=70)
    return images


def of(folder: Path, **options: Any) -> DataFingerprint:
    return fingerprint(load_data(folder, **options))


def image(path: Path, size: int = 70) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), 99, np.uint8)).save(path)


def test_it_counts_the_images_and_survives_json(folder: Path) -> None:
    one = of(folder)
    assert one.class_names == ("ant", "bee", "cat")
    assert (one.counts("train"), one.counts("test"), one.counts("validation")) == ([12, 8, 4], [5, 5, 5], [0, 0, 0])
    again = DataFingerprint.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one and compare(one, again) is None


def test_a_copy_elsewhere_with_other_times_is_the_same(folder: Path, tmp_path: Path) -> None:
    one = of(folder)
    copy = shutil.copytree(folder, tmp_path / "other" / "name", copy_function=shutil.copyfile)
    os.utime(copy / "train" / "ant" / "000.png", (1, 1))
    assert of(copy) == one


def add(folder: Path) -> None:
    image(folder / "train" / "bee" / "new.png")


def remove(folder: Path) -> None:
    (folder / "train" / "ant" / "003.png").unlink()


def replace(folder: Path) -> None:
    for name in ("001", "002", "003"):
        image(folder / "train" / "ant" / f"{name}.png", size=80)


def move(folder: Path) -> None:
    (folder / "train" / "ant" / "003.png").rename(folder / "train" / "bee" / "003_ant.png")


def change_the_test_split(folder: Path) -> None:
    (folder / "test" / "cat" / "000.png").unlink()


def remove_and_add(folder: Path) -> None:
    remove(folder)
    image(folder / "train" / "ant" / "x.png")
    image(folder / "train" / "ant" / "y.png")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (add, "class bee has 9 training images instead of 8"),
        (remove, "class ant has 11 training images instead of 12"),
        (replace, "3 training images of class ant were replaced"),
        (move, "class ant has 11 training images instead of 12; class bee has 9 training images instead of 8"),
        (change_the_test_split, "class cat has 4 test images instead of 5"),
        (remove_and_add, "class ant has 13 training images instead of 12 (1 removed, 2 new)"),
    ],
)
def test_what_changed_is_said(folder: Path, change: Callable[[Path], None], text: str) -> None:
    before = of(folder)
    change(folder)
    now = of(folder)
    difference = compare(before, now)
    assert difference is not None and difference.text == text and difference.same_classes
    assert difference.only_removed == (change in (remove, change_the_test_split))
    assert not difference.moved_to_test


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (["ant", "bee", "cat", "cow"], "class cow is new (4 training images)"),
        (["ant", "bee"], "class cat is gone"),
        (["ant", "bee", "dog"], "class dog is new (4 training images); class cat is gone"),
        (["ant", "cat", "bee"], "the classes are in another order"),
    ],
)
def test_other_classes_are_named(new: list[str], text: str) -> None:
    def of_classes(names: list[str]) -> DataFingerprint:
        return DataFingerprint(tuple(names), {"train": tuple(bytes(8 * 4) for _ in names)})

    difference = compare(of_classes(["ant", "bee", "cat"]), of_classes(new))
    assert difference is not None and difference.text == text and not difference.same_classes


def test_a_long_list_of_changes_is_cut() -> None:
    names = tuple("abcdef")
    before = DataFingerprint(names, {"train": (b"12345678",) * 6})
    now = DataFingerprint(names, {"train": (b"abcdefgh",) * 6})
    difference = compare(before, now)
    assert difference is not None
    assert difference.text.startswith("1 training image of class a was replaced; ")
    assert difference.text.endswith("1 training image of class d was replaced; and 2 more")


def test_training_images_that_are_tested_now_are_counted() -> None:
    names = ("a", "b")

    def of_keys(train: bytes, test: bytes) -> DataFingerprint:
        return DataFingerprint(names, {"train": (train, b"-" * 8), "test": (test, b"." * 8)})

    one, two, three = b"1" * 8, b"2" * 8, b"3" * 8
    difference = compare(of_keys(one + two, three), of_keys(one, two + three))
    assert difference is not None and difference.moved_to_test == 1
    # A duplicate that was in both splits from the start is nothing new.
    difference = compare(of_keys(one + two, two), of_keys(one, two))
    assert difference is not None and difference.moved_to_test == 0


def test_held_out_images_are_a_split_of_their_own(folder: Path) -> None:
    before, now = of(folder, val_fraction=0.25), of(folder, val_fraction=0.25, data_seed=1)
    counts = [before.counts(name) for name in ("validation", "train")]
    assert [sum(pair) for pair in zip(*counts, strict=True)] == [12, 8, 4]
    difference = compare(before, now)
    assert difference is not None and "validation image" in difference.text


def test_unreadable_images_are_told_from_removed_ones(folder: Path) -> None:
    before = of(folder)
    bad = folder / "train" / "ant" / "003.png"
    size = bad.stat().st_size
    bad.write_bytes(bytes(size))  # of the same size: the file is what it was when the run began
    data = load_data(folder, skip_bad_images=True)
    difference = compare(before, fingerprint(data))
    assert difference is not None and difference.only_removed and all_unreadable(data, difference.removed)
    (folder / "train" / "bee" / "001.png").unlink()
    data = load_data(folder, skip_bad_images=True)
    difference = compare(before, fingerprint(data))
    assert difference is not None and difference.only_removed and not all_unreadable(data, difference.removed)


def test_images_that_are_thinned_out_are_not_unreadable(folder: Path) -> None:
    before = of(folder)
    data = load_data(folder, imbalance_factor=4)
    difference = compare(before, fingerprint(data))
    assert difference is not None and difference.only_removed and not all_unreadable(data, difference.removed)


# ------------------------------------------------------------------------------------------------- tables and arrays
def table(folder: Path, images: list[bytes], labels: list[int], paths: list[str | None] | None = None) -> LongTailData:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    cells = [{"bytes": data, "path": path} for data, path in zip(images, paths or [None] * len(images), strict=True)]
    split = datasets.Dataset.from_dict({"image": cells, "label": labels}, features=features)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(str(folder))
    return load_data(folder)


def encoded(value: int, side: int = 20, tail: bytes = b"") -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, "BMP")
    return file.getvalue() + tail


def test_images_in_a_table_count_by_their_content(tmp_path: Path) -> None:
    images = [encoded(value) for value in range(6)]  # all of one size
    one = fingerprint(table(tmp_path / "a", images, [0, 0, 0, 1, 1, 1]))
    order = [5, 2, 0, 1, 4, 3]
    shuffled = fingerprint(table(tmp_path / "b", [images[i] for i in order], [[0, 0, 0, 1, 1, 1][i] for i in order]))
    assert shuffled == one  # the order of the rows is no part of it
    other = fingerprint(table(tmp_path / "c", [*images[:5], encoded(77)], [0, 0, 0, 1, 1, 1]))
    difference = compare(one, other)
    assert difference is not None
    assert difference.text == "1 training image of class bee was replaced; 1 test image of class bee was replaced"
    relabelled = compare(one, fingerprint(table(tmp_path / "d", images, [0, 0, 1, 1, 1, 1])))
    assert relabelled is not None and "class bee has 4 training images instead of 3" in relabelled.text


def test_large_images_in_a_table_count_by_path_and_size(tmp_path: Path) -> None:
    images, paths = [encoded(value, side=70) for value in range(4)], ["a.bmp", "b.bmp", "c.bmp", "d.bmp"]
    one = fingerprint(table(tmp_path / "a", images, [0, 0, 1, 1], paths))
    longer = fingerprint(table(tmp_path / "b", [*images[:3], encoded(3, 70, b"x")], [0, 0, 1, 1], paths))
    renamed = fingerprint(table(tmp_path / "c", images, [0, 0, 1, 1], [*paths[:3], "e.bmp"]))
    for other in (longer, renamed):
        difference = compare(one, other)
        assert difference is not None and "1 training image of class bee was replaced" in difference.text


def test_a_shuffled_table_is_read_by_its_index(tmp_path: Path) -> None:
    data = table(tmp_path / "a", [encoded(value) for value in range(6)], [0, 0, 0, 1, 1, 1])
    one = fingerprint(data)
    source: Any = data.train.source
    order = [3, 5, 1, 0, 4, 2]
    source.dataset = source.dataset.select(order)
    data.train.labels = data.train.labels[order]
    data.test.source = data.train.source
    data.test.labels = data.train.labels
    assert fingerprint(data) == one


def test_pixels_of_arrays_count() -> None:
    data = load_data("digits_lt", imbalance_factor=20)
    one = fingerprint(data)
    assert fingerprint(load_data("digits_lt", imbalance_factor=20)) == one
    source: Any = data.train.source
    source.pixels[data.train.rows[0], 0, 0, 0] ^= 1
    difference = compare(one, fingerprint(data))
    assert difference is not None and "1 training image of class 0 was replaced" in difference.text


@pytest.mark.slow
def test_a_real_table(shared: Path, own_cache: None) -> None:
    data = load_data("cifar10_lt", data_dir=shared / "data" / "cifar10", imbalance_factor=1)
    one = fingerprint(data)
    assert one.counts("train") == [5000] * 10 and one.counts("test") == [1000] * 10
