from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data import duplicates
from glmc_zoo.data.duplicates import Duplicates, take_out_duplicates
from glmc_zoo.data.load import load_data
from glmc_zoo.data.reading.images import ArrayImages, FileImages
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError

Write = Callable[..., Path]


def noise(seed: int, size: int = 16) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (size, size, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six and four training images and two test images each; none is there twice."""
    number = 0
    for split, counts in (("train", (6, 4)), ("test", (2, 2))):
        for name, count in zip("ab", counts, strict=True):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(count):
                noise(number).save(tmp_path / "set" / split / name / f"{index}.png")
                number += 1
    return tmp_path / "set"


def copy(folder: Path, source: str, target: str) -> None:
    shutil.copy(folder / source, folder / target)


def same_pixels(folder: Path, source: str, target: str) -> None:
    """The same image in a file with other bytes."""
    with Image.open(folder / source) as image:
        image.save(folder / target, compress_level=0)


def facts(data: Any) -> Any:
    assert data.facts.inventory is not None
    return data.facts.inventory


def test_nothing_is_there_twice(folder: Path) -> None:
    data = load_data(folder)
    assert (facts(data).duplicates, facts(data).duplicates_by, data.class_counts) == (0, "pixels", [6, 4])
    assert not any("same" in note for note in data.notes)


def test_duplicates_are_named_and_taken_out(folder: Path) -> None:
    copy(folder, "test/a/0.png", "train/a/copy.png")
    same_pixels(folder, "test/b/1.png", "train/b/saved anew.png")
    data = load_data(folder)
    assert data.class_counts == [6, 4] and len(data.test) == 4
    assert facts(data).duplicates == 2
    assert set(facts(data).duplicate_examples) == {
        "train/a/copy.png = test/a/0.png",
        "train/b/saved anew.png = test/b/1.png",
    }
    assert any(
        "2 training images are the same as a test image by their pixels, such as train/" in n for n in data.notes
    )
    by_bytes = load_data(folder, duplicates="bytes")
    assert (by_bytes.class_counts, facts(by_bytes).duplicates, facts(by_bytes).duplicates_by) == ([6, 5], 1, "bytes")
    kept = load_data(folder, allow_duplicates=True)
    assert (kept.class_counts, facts(kept).duplicates) == ([7, 5], 2)
    assert any("they are trained on" in note for note in kept.notes)
    off = load_data(folder, duplicates="off")
    assert (off.class_counts, facts(off).duplicates) == ([7, 5], None)


def test_training_images_stay_where_most_of_the_test_split_is_among_them(folder: Path) -> None:
    """A split that is given twice is no leak of a few: what would be left is not what the user meant to train on."""
    for name in ("a/0", "a/1", "b/0"):
        copy(folder, f"test/{name}.png", f"train/{name}_again.png")
    data = load_data(folder)
    assert (data.class_counts, facts(data).duplicates) == ([8, 5], 3)
    assert any("75 % of the test images are training images, so the scores measure memory" in n for n in data.notes)
    assert load_data(folder, duplicates="pixels").class_counts == [6, 4]


def test_a_turned_copy_counts_by_its_upright_pixels(folder: Path) -> None:
    image = noise(99, 20).resize((20, 10))
    image.save(folder / "test" / "a" / "upright.png")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned.save(folder / "train" / "a" / "turned.png", exif=exif)
    assert facts(load_data(folder)).duplicate_examples == ["train/a/turned.png = test/a/upright.png"]


def test_at_most_five_are_named(folder: Path) -> None:
    for index in range(8):
        copy(folder, "test/a/0.png", f"train/a/copy{index}.png")
    data = load_data(folder)
    assert (facts(data).duplicates, len(facts(data).duplicate_examples)) == (8, 5)


def test_a_class_does_not_lose_its_last_images(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "b")
    (folder / "train" / "b").mkdir()
    copy(folder, "test/b/0.png", "train/b/0.png")
    copy(folder, "test/a/0.png", "train/a/copy.png")
    data = load_data(folder)
    assert data.class_counts == [6, 1]
    assert any("These classes keep training images that are test images too" in note for note in data.notes)
    assert any("such as" in note and "; 1 was taken out of the training split" in note for note in data.notes)


def test_contradicting_labels_are_counted(folder: Path) -> None:
    copy(folder, "train/a/0.png", "train/b/same.png")
    copy(folder, "train/a/1.png", "train/a/same.png")
    data = load_data(folder)
    assert data.class_counts == [7, 5]
    same = "2 training images are the same as a training image of another class, such as "
    assert f"{same}train/a/0.png (a) = train/b/same.png (b)." in data.notes


def test_files_of_one_size_and_one_end_still_differ(tmp_path: Path) -> None:
    contents = {"a": bytes(9000), "b": b"x" + bytes(8999), "c": bytes(9000), "d": bytes(9001)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    train = RawSplit(FileImages(tmp_path, ["a", "b", "d"], "training"), np.asarray([0, 0, 1]), np.arange(3))
    test = RawSplit(FileImages(tmp_path, ["c"], "test"), np.asarray([0]), np.arange(1))
    raw = RawData(["x", "y"], train, test)
    result = take_out_duplicates(raw, "bytes", allow=False, published=False)
    assert (result.images, result.examples, raw.train.rows.tolist()) == (1, ["a = c"], [1, 2])


def test_files_that_cannot_be_read_are_like_nothing_else(tmp_path: Path) -> None:
    for compare in ("bytes", "pixels"):
        train = RawSplit(FileImages(tmp_path, ["gone", "away"], "training"), np.asarray([0, 1]), np.arange(2))
        test = RawSplit(FileImages(tmp_path, ["gone", "gone2"], "test"), np.asarray([0, 1]), np.arange(2))
        result = take_out_duplicates(RawData(["x", "y"], train, test), compare, allow=False, published=False)  # type: ignore[arg-type]
        assert result.images == 0


def test_against_a_comparison_of_all_pairs() -> None:
    rng = np.random.RandomState(0)
    pixels = [rng.randint(0, 3, (n, 1, 2, 3)).astype(np.uint8) // 2 for n in (200, 60)]
    labels = [rng.randint(0, 3, len(part)) for part in pixels]
    splits = [
        RawSplit(ArrayImages(part, name), label, np.arange(len(part)))
        for part, label, name in zip(pixels, labels, ("training", "test"), strict=True)
    ]
    equal = (pixels[0][:, None] == pixels[1][None]).all(axis=(2, 3, 4)).any(axis=1)
    within = (pixels[0][:, None] == pixels[0][None]).all(axis=(2, 3, 4))
    contradicting = (within & (labels[0][:, None] != labels[0][None])).any(axis=1).sum()
    raw = RawData(["x", "y", "z"], *splits)
    result = take_out_duplicates(raw, "pixels", allow=False, published=False)
    assert (result.images, result.by, result.contradicting) == (equal.sum(), "pixels", contradicting)
    assert result.removed == equal.sum() and raw.train.rows.tolist() == np.flatnonzero(~equal).tolist()


@pytest.mark.parametrize(("limit", "note"), [("MOST_IMAGES", "The 14 images were"), ("MOST_PIXELS", "million pixels")])
def test_where_pixels_take_long_bytes_are_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, note: str
) -> None:
    monkeypatch.setattr(duplicates, limit, 10)
    data = load_data(folder)
    assert facts(data).duplicates_by == "bytes" and any(note in one for one in data.notes)
    assert facts(load_data(folder, duplicates="pixels")).duplicates_by == "pixels"


def test_what_the_tool_splits_has_no_copies_left(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 100)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(30):
            noise(start + index // 2).save(tmp_path / "set" / name / f"{index}.png")
    data = load_data(tmp_path / "set")
    assert facts(data).duplicates == 0
    assert sum(data.class_counts) + len(data.test) == 60


def test_published_splits_stay_as_they_are() -> None:
    assert load_data("digits_lt").facts == load_data("digits_lt", allow_duplicates=True).facts
    counted = load_data("digits_lt", duplicates="pixels")
    assert counted.class_counts == load_data("digits_lt").class_counts
    pixels = np.zeros((2, 1, 1, 3), np.uint8)
    splits = [RawSplit(ArrayImages(pixels, name), np.asarray([0, 1]), np.arange(2)) for name in ("training", "test")]
    raw = RawData(["x", "y"], *splits)
    assert take_out_duplicates(raw, "auto", allow=False, published=True) == Duplicates()
    result = take_out_duplicates(raw, "pixels", allow=False, published=True)
    assert (result.images, result.removed, len(raw.train.rows)) == (2, 0, 2)


def test_a_table_is_compared_as_files_are(make_table: Any, tmp_path: Path) -> None:
    train, test = make_table([0, 1] * 10), make_table([0, 1])
    train = datasets.concatenate_datasets([train, test.select([1])])
    datasets.DatasetDict(train=train, test=test).save_to_disk(str(tmp_path / "set"))
    data = load_data(tmp_path / "set")
    assert facts(data).duplicates == 1 and sum(data.class_counts) == 20
    assert "image 20 of the training split = image 1 of the test split" in facts(data).duplicate_examples


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(UserError, match=r"^allow_duplicates=True has no effect with duplicates='off'"):
        load_data("digits_lt", duplicates="off", allow_duplicates=True)
