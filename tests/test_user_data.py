"""Kinds of user data that were once read wrongly. They are read correctly now, or refused in one sentence."""

from __future__ import annotations

import os
import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import csv_rows
from PIL import Image

import glmc_zoo
from glmc_zoo.data import load_data
from glmc_zoo.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")
TINY: dict[str, Any] = {"backbone": "test_resnet", "image_size": 32, "epochs": 1, "batch_size": 8, "warmup_epochs": 0}
TINY |= {"method": "ce", "workers": 0}
MODEL = "resnet20_cifar.glmc_digits_lt"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def image(seed: int, size: int = 40) -> Image.Image:
    """An image of noise, different for each seed."""
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size, size, 3)).astype(np.uint8))


def put(*paths: str, seed: int = 0) -> None:
    """Write a different image into each of these files."""
    for number, path in enumerate(paths):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        image(1000 * seed + number).save(path, "PNG")


def classes(folder: str, counts: dict[str, int], seed: int = 0) -> None:
    """Write the images ``FOLDER/CLASS/000.png`` and so on."""
    for number, (name, count) in enumerate(counts.items()):
        put(*(f"{folder}/{name}/{index:03d}.png" for index in range(count)), seed=10 * seed + number)


def train_and_test() -> None:
    classes("d/train", {"ant": 6, "bee": 6})
    classes("d/test", {"ant": 3, "bee": 3}, seed=1)


def counts(data: Any) -> dict[str, int]:
    return dict(zip(data.class_names, data.class_counts, strict=True))


def left_out(data: Any) -> dict[str, int]:
    return {group.reason: group.files for group in data.facts.inventory.left_out}


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("seg_train/seg_train", "seg_test/seg_test")]
)
def test_names_of_split_folders(train: str, test: str) -> None:
    classes(f"d/{train}", {"ant": 6, "bee": 6})
    classes(f"d/{test}", {"ant": 3, "bee": 3}, seed=1)
    data = load_data("d")
    assert (counts(data), len(data.test)) == ({"ant": 6, "bee": 6}, 6)


def test_test_images_of_a_metadata_file_are_not_trained_on() -> None:
    names = [f"{split}/{number}.png" for split, images in (("train", 6), ("test", 4)) for number in range(images)]
    put(*(f"d/{name}" for name in names))
    rows = "".join(f"{name},{'ant' if number % 2 else 'bee'}\n" for number, name in enumerate(names))
    Path("d/metadata.csv").write_text(f"file_name,label\n{rows}")
    data = load_data("d")
    assert (len(data.train), len(data.test)) == (6, 4)


def test_images_with_a_rare_suffix_are_read_and_other_files_counted() -> None:
    train_and_test()
    for split, number in (("train", 6), ("test", 3)):
        Path(f"d/{split}/cow").mkdir()
        for index in range(number):
            image(500 + index + 50 * len(split)).save(f"d/{split}/cow/{index}.jfif", "JPEG")
    Path("d/train/notes.txt").write_text("not an image")
    Path("d/train/fox").mkdir()
    data = load_data("d")
    assert counts(data) == {"ant": 6, "bee": 6, "cow": 6} and left_out(data) == {"not an image": 1}
    assert any("fox" in note for note in data.notes)


def test_links_to_parent_folders_are_not_followed() -> None:
    train_and_test()
    os.symlink(".", "d/train/bee/self")
    os.symlink("..", "d/train/ant/up")
    data = load_data("d")
    assert counts(data) == {"ant": 6, "bee": 6} and sum(left_out(data).values()) == 2


def test_folders_that_programs_make_are_no_classes() -> None:
    classes("d", {"ant": 12, "bee": 12, "@eaDir": 3, "__MACOSX": 2, ".ipynb_checkpoints": 1})
    data = load_data("d")
    assert data.class_names == ["ant", "bee"] and left_out(data) == {"made by a program for itself": 5, "hidden": 1}


def test_names_that_are_not_utf8() -> None:
    train_and_test()
    os.rename(b"d/train/ant/003.png", b"d/train/ant/caf\xe9.png")
    data = load_data("d")
    assert counts(data)["ant"] == 6 and r"train/ant/caf\xe9.png" in data.train.paths()
    data.train.images(range(len(data.train)))


def test_exif_with_a_tag_of_an_odd_type() -> None:
    turned = struct.pack(">HHIHxx", 0x0112, 3, 1, 6)
    resolution = struct.pack(">HHI4s", 0x011A, 2, 3, b"72")  # as text, which is not allowed
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + turned + resolution + bytes(4)
    Path("d").mkdir()
    image(0, 64).crop((0, 0, 64, 32)).save("d/a.jpg", exif=exif)
    (prediction,) = glmc_zoo.predict(model=MODEL, images=["d"], output=None)
    assert prediction.problem is None and prediction.labels


def test_an_image_column_of_paths() -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = [f"d/p/{number}.png" for number in range(24)]
    put(*names)
    paths = [os.path.abspath(name) for name in names]
    parquet.write_table(pa.table({"file": paths, "label": ["a", "b"] * 12}), "d/train.parquet")
    data = load_data("d", image_column="file")
    assert len(data.train) + len(data.test) == 24
    with pytest.raises(UserError, match=r"^The image column 'label' holds the text 'a', which is not a file"):
        load_data("d", image_column="label")


def test_resuming_with_other_data_is_refused() -> None:
    train_and_test()
    glmc_zoo.train(data="d", output_dir="o", checkpoint_steps=1, **TINY)
    classes("d/train", {"cow": 6}, seed=2)
    classes("d/test", {"cow": 2}, seed=3)
    with pytest.raises(UserError, match="cow"):
        glmc_zoo.train(data="d", output_dir="o", checkpoint_steps=1, resume="auto", **TINY)


def test_a_user_can_follow_the_advice_about_an_unreadable_image() -> None:
    train_and_test()
    bad = Path("d/train/bee/002.png")
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(UserError, match="skip_bad_images=True"):
        glmc_zoo.train(data="d", output_dir="o", **TINY)
    results = glmc_zoo.train(data="d", output_dir="o", resume="auto", skip_bad_images=True, **TINY)
    assert results.class_counts == [6, 5] and results.data.skipped_images == 1


def test_an_unlabelled_test_split_is_left_out() -> None:
    classes("d/train", {"ant": 12, "bee": 12})
    put(*(f"d/test/{number}.png" for number in range(5)), seed=9)
    data = load_data("d")
    assert len(data.train) + len(data.test) == 24 and left_out(data)["without a label"] == 5


def test_only_a_test_split() -> None:
    classes("d/test", {str(digit): 3 for digit in range(10)})
    (results,) = glmc_zoo.evaluate(model=[MODEL], data="d", output_dir="o")
    assert results.data.test_images == 30


def test_test_images_stay_test_images_as_the_data_grows() -> None:
    classes("d", {"ant": 30, "bee": 20})
    before = load_data("d")
    image(99_999).save("d/ant/000a.png")
    after = load_data("d")
    assert set(before.train.paths()) <= set(after.train.paths()) and set(before.test.paths()) <= set(after.test.paths())


def test_a_class_without_test_images_is_trained() -> None:
    train_and_test()
    classes("d/train", {"cow": 2}, seed=2)
    results = glmc_zoo.train(data="d", output_dir="o", **TINY)
    assert results.class_names == ["ant", "bee", "cow"] and results.class_recalls[2] is None


def test_a_readme_with_configs_does_not_change_the_classes() -> None:
    for split, seed in (("train", 0), ("test", 1)):
        for name, number in (("ant", 0), ("bee", 1)):
            classes(f"d/{split}/{name}", {"2019": 3, "2020": 3}, seed=10 * seed + 5 * number)
    files = "".join(f"  - split: {split}\n    path: {split}/**\n" for split in ("train", "test"))
    Path("d/README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    assert counts(load_data("d")) == {"ant": 6, "bee": 6}


def test_labels_that_look_like_missing_values_or_numbers() -> None:
    labels = ["None", "NA", "007"] * 8
    put(*(f"d/{number}.png" for number in range(24)))
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    Path("d/labels.csv").write_text(f"path,label\n{rows}")
    assert load_data("d/labels.csv").class_names == ["007", "NA", "None"]


def test_16_bit_images_keep_their_grey_levels() -> None:
    for split, number in (("train", 5), ("test", 2)):
        for name in ("ant", "bee"):
            Path(f"d/{split}/{name}").mkdir(parents=True)
            for index in range(number):
                grey = np.random.RandomState(index + 10 * len(split + name)).randint(0, 4096, (40, 40))
                Image.fromarray(grey.astype(np.uint16)).save(f"d/{split}/{name}/{index}.png")
    data = load_data("d")
    assert len(np.unique(np.asarray(data.test.images([0])[0]))) > 200 and "4095" in data.facts.inventory.intensity


def test_one_unreadable_file_does_not_stop_a_prediction() -> None:
    put(*(f"d/{number:02d}.png" for number in range(20)))
    Path("d/zz.png").write_bytes(b"not an image")
    predictions = glmc_zoo.predict(model=MODEL, images=["d"], output="o.csv", batch_size=8)
    assert len(csv_rows("o.csv")) == 20
    assert len(predictions) == 21 and "not an image" in predictions[-1].problem
    assert "d/zz.png" in Path("o.csv.problems.csv").read_text()


def test_a_very_thin_image_is_refused() -> None:
    put("d/a.png")
    Image.new("RGB", (60_000, 1)).save("d/thin.png")
    square, thin = glmc_zoo.predict(model=MODEL, images=["d"], image_size=224, output=None)
    assert square.problem is None and "60000 x 1" in thin.problem


def test_a_class_name_in_two_unicode_forms_is_one_class() -> None:
    train, test = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
    classes("d/train", {train: 6, "tea": 6})
    classes("d/test", {test: 3, "tea": 3}, seed=1)
    data = load_data("d")
    assert data.class_names == ["café", "tea"] and len(data.test) == 6
