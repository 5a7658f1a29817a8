"""What a data set holds: as training would use it, or as it was read where training refuses it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.data.contents import read_contents, read_headers
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.thumbnails import MOST_THUMBNAILS, SIDE, make_thumbnails
from glmc_zoo.errors import UserError

Write = Callable[..., Path]


def contents(path: Path | str, **options: Any) -> Any:
    return read_contents(DataOptions(data=str(path), **options))


def test_the_splits_are_those_of_training(tmp_path: Path, write_images: Write) -> None:
    folder = write_images(tmp_path / "data", [40, 20])
    shown, used = contents(folder, val_fraction=0.3), load_data(folder, val_fraction=0.3)
    assert shown.refusal is None and shown.class_names == used.class_names
    assert list(shown.splits) == ["train", "validation", "test"] and used.val is not None
    for name, split in zip(shown.splits, (used.train, used.val, used.test), strict=True):
        assert shown.splits[name].paths() == split.paths(), name
    assert shown.inventory == used.facts.inventory and shown.notes == used.notes


def test_a_catalogue_data_set_has_an_inventory_too() -> None:
    shown = contents("digits_lt")
    assert shown.inventory.classes == 10 and [split.images for split in shown.inventory.splits] == [335, 600]
    facts = read_headers(list(shown.splits.values()))
    assert (facts.formats, facts.modes, facts.widths, facts.heights) == (
        {"decoded": 935}, {"RGB": 935}, (8, 8, 8), (8, 8, 8)
    )  # fmt: skip


def test_what_training_refuses_is_shown_with_the_reason(tmp_path: Path, write_images: Write) -> None:
    one = write_images(tmp_path / "one" / "train", [5])
    write_images(tmp_path / "one" / "test", [2])
    shown = contents(one.parent)
    assert shown.refusal is not None and "only one class (class_0)" in shown.refusal
    assert {name: split.class_counts for name, split in shown.splits.items()} == {"train": [5], "test": [2]}
    assert [(split.name, split.images) for split in shown.inventory.splits] == [("train", 5), ("test", 2)]

    write_images(tmp_path / "more" / "train", [5, 3])
    write_images(tmp_path / "more" / "test", [2, 2, 1])
    shown = contents(tmp_path / "more")
    assert shown.refusal is not None and "'class_2' has no training image" in shown.refusal
    assert shown.splits["train"].class_counts == [5, 3, 0] and shown.splits["test"].class_counts == [2, 2, 1]


def test_a_test_split_alone_is_not_called_a_training_split(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "test", [1, 1])
    shown = contents(tmp_path)
    assert shown.refusal is not None and "has only test images (test)" in shown.refusal
    assert list(shown.splits) == ["test"] and shown.splits["test"].class_counts == [1, 1]
    assert [(split.name, split.images, split.source) for split in shown.inventory.splits] == [("test", 2, "test")]


def test_without_a_test_split_there_is_no_empty_one(tmp_path: Path, write_images: Write) -> None:
    shown = contents(write_images(tmp_path, [4, 3]), no_test=True)
    assert {name: split.class_counts for name, split in shown.splits.items()} == {"train": [4, 3]}


def test_what_reading_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no images"):
        contents(tmp_path)
    with pytest.raises(UserError, match="max_count=5 shapes a long tail"):
        contents(tmp_path, max_count=5)


def test_headers_of_every_format(tmp_path: Path, write_images: Write) -> None:
    folder = write_images(tmp_path, [6, 6])
    Image.new("L", (30, 20)).save(folder / "class_0" / "grey.jpg")
    Image.new("RGBA", (7, 90)).save(folder / "class_1" / "clear.webp")
    (folder / "class_1" / "broken.png").write_text("no image")
    facts = read_headers(list(contents(folder).splits.values()))
    assert (facts.images, facts.total) == (15, 15)
    assert facts.formats == {"PNG": 12, "JPEG": 1, "WEBP": 1} and facts.modes == {"RGB": 12, "L": 1, "RGBA": 1}
    assert facts.widths == (7, 16, 30) and facts.heights == (16, 16, 90)
    assert (facts.unreadable, facts.unreadable_examples) == (1, ["class_1/broken.png"])


def test_a_large_data_set_is_sampled_over_all_splits(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "train", [40, 20])
    for name in ("class_0", "class_1"):
        (tmp_path / "test" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (5, 5), index).save(tmp_path / "test" / name / f"{index}.bmp")
    splits = list(contents(tmp_path, duplicates="off").splits.values())
    facts = read_headers(splits, max_images=8)
    assert (facts.images, facts.total) == (8, 80) and facts.formats == {"PNG": 6, "BMP": 2}


def test_thumbnails(tmp_path: Path, write_images: Write) -> None:
    sizes = [(300, 200), (8, 8)]
    folder = write_images(tmp_path, [9, 9], draw=lambda seed: Image.new("RGB", sizes[seed >= 9], (seed, 0, 0)))
    (folder / "class_1" / "zz.png").write_text("no image")
    splits = list(contents(folder).splits.values())
    made = make_thumbnails(splits, [1, 0], 3)
    assert list(made) == [1, 0] and [len(images) for images in made.values()] == [3, 3]
    assert [one.encoded is None for one in made[1]] == [False, False, True] and made[1][2].name == "class_1/zz.png"
    for label, side, kind in ((0, SIDE, "JPEG"), (1, 8, "PNG")):
        for one in made[label]:
            if one.encoded is not None:
                (tmp_path / "out").write_bytes(one.encoded)
                with Image.open(tmp_path / "out") as image:
                    assert max(image.size) == side and image.format == kind
    assert make_thumbnails(splits, [0, 1], 0) == {}


def test_a_page_decodes_a_limited_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmc_zoo.data.thumbnails.MOST_THUMBNAILS", 25)
    splits = list(contents("digits_lt").splits.values())
    assert [len(images) for images in make_thumbnails(splits, range(10), 8).values()] == [2] * 10
    monkeypatch.setattr("glmc_zoo.data.thumbnails.MOST_THUMBNAILS", 4)
    assert list(make_thumbnails(splits, range(10), 8)) == [0, 1, 2, 3]
    assert MOST_THUMBNAILS == 2000


def test_a_class_without_training_images_shows_test_images(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "train", [5, 0, 5])
    write_images(tmp_path / "test", [2, 2, 2])
    shown = contents(tmp_path)
    made = make_thumbnails(list(shown.splits.values()), [0, 1, 2], 1)
    assert [made[label][0].name.split("/")[0] for label in range(3)] == ["train", "test", "train"]


def test_a_file_name_that_is_not_utf8_is_shown_as_text(tmp_path: Path, write_images: Write) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder = write_images(tmp_path, [2, 2])
    try:
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(os.fsencode(folder / "class_0" / f"{name}.png"), "PNG")
    except OSError:
        pytest.skip("file names are UTF-8 here")
    shown = contents(folder)
    names = [one.name for split in shown.splits.values() for one in make_thumbnails([split], [0], 9)[0]]
    assert "class_0/caf\\xe9.png" in names
