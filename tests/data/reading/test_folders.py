from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from glmc_zoo.data import load_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import has_configurations, holds_tables, open_folder
from glmc_zoo.errors import UserError

Write = Callable[..., Path]
Make = Callable[..., Any]
Read = Callable[..., Any]


def test_class_folders(read: Read, write_images: Write, tmp_path: Path) -> None:
    # The class names are those that a reader guessing splits from file names stumbles over.
    write_images(tmp_path / "set", [2, 3, 1], names=["test tube", "train", "validation"])
    with pytest.raises(UserError, match="validation may be a split or a class, as test tube beside it is not a split"):
        read(tmp_path / "set")
    raw = read(tmp_path / "set", class_level=1)
    assert raw.class_names == ["test tube", "train", "validation"]
    assert np.bincount(raw.train.labels).tolist() == [2, 3, 1]
    assert raw.test is None


@pytest.mark.parametrize(("other", "noted"), [("test", False), ("val", True), ("validation", True)])
def test_split_folders(read: Read, write_images: Write, tmp_path: Path, other: str, noted: bool) -> None:
    write_images(tmp_path / "set" / "train", [3, 2])
    write_images(tmp_path / "set" / other, [1, 2])
    raw = read(tmp_path / "set")
    assert raw.test is not None
    assert np.bincount(raw.train.labels).tolist() == [3, 2]
    assert np.bincount(raw.test.labels).tolist() == [1, 2]
    assert bool(raw.notes) == noted
    assert all(other in note and "test split" in note for note in raw.notes)


def test_test_is_preferred_to_validation(read: Read, write_images: Write, tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        write_images(tmp_path / "set" / split, [count, count])
    raw = read(tmp_path / "set")
    assert raw.test is not None
    assert len(raw.test.labels) == 2
    assert len(raw.notes) == 1 and "The split val is not used" in raw.notes[0]
    assert read(tmp_path / "set", test_split="test").notes == raw.notes
    notes = read(tmp_path / "set", test_split="validation").notes
    assert notes == ["The split test is not used."]


def test_one_class_and_metadata_are_read(read: Read, write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "one", [2], names=["only"])
    assert read(tmp_path / "one").class_names == ["only"]
    folder = write_images(tmp_path / "listed", [2], names=["images"])
    lines = "file_name,label\nimages/000.png,cat\nimages/001.png,dog\n"
    (folder / "metadata.csv").write_text(lines)
    assert read(folder).class_names == ["cat", "dog"]


def test_the_class_is_the_first_folder_however_deep(read: Read, write_images: Write, tmp_path: Path) -> None:
    for year, names in (("2020", ["lynx", "données"]), ("2021", ["lynx"])):
        for name in names:
            write_images(tmp_path / "set [v1]" / "train" / name, [2], names=[year])
    write_images(tmp_path / "set [v1]" / "test", [1, 1], names=["données", "lynx"])
    raw = read(tmp_path / "set [v1]")
    assert raw.class_names == ["données", "lynx"]
    assert np.bincount(raw.train.labels).tolist() == [2, 4]
    assert raw.test is not None and np.bincount(raw.test.labels).tolist() == [1, 1]


def test_an_image_beside_the_class_folders_is_left_out(write_images: Write, read: Read, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", [2, 2], names=["lynx", "roe deer"])
    next((folder / "lynx").iterdir()).rename(folder / "stray.png")
    raw = read(folder)
    assert len(raw.train.labels) == 3 and raw.left_out.count("beside the class folders") == 1
    assert raw.left_out.facts()[0].examples == ["stray.png"]
    for index in range(4):
        shutil.copy(folder / "stray.png", folder / f"{index}.png")
    with pytest.raises(UserError, match=r"^5 images, such as 0\.png, lie beside the class folders"):
        read(folder)


@pytest.mark.parametrize("split", ["test", "Val"])
def test_a_split_without_class_folders_is_not_used(write_images: Write, read: Read, tmp_path: Path, split: str) -> None:
    write_images(tmp_path / "set", [2], names=[split])
    write_images(tmp_path / "set" / "train", [2, 2])
    raw = read(tmp_path / "set")
    assert raw.test is None and raw.left_out.count("without a label") == 2
    assert raw.notes[0] == f"The split {split} has no class folders and is not used."
    shutil.rmtree(tmp_path / "set" / "train")
    write_images(tmp_path / "set", [2], names=["train"])
    with pytest.raises(UserError, match="has images but no class folders: make one folder for each class"):
        read(tmp_path / "set")


def test_hidden_folders_empty_splits_and_other_files_are_passed_over(
    read: Read, write_images: Write, tmp_path: Path
) -> None:
    folder = write_images(tmp_path / "set" / "train", [2, 1])
    write_images(folder, [1], names=[".thumbnails"])
    write_images(folder / "class_0", [1], names=[".ipynb_checkpoints"])
    (folder / "class_0" / "000.png").rename(folder / "class_0" / "000.PNG")
    (folder / "class_0" / ".001.png").write_bytes(b"a fork of macOS")
    (folder / "notes.txt").write_text("beside the classes, but no image")
    (tmp_path / "set" / "validation" / "class_0").mkdir(parents=True)
    raw = read(tmp_path / "set")
    assert (raw.class_names, raw.train.labels.tolist()) == (["class_0", "class_1"], [0, 0, 1])
    assert [image.size for image in raw.train.source.read(np.arange(3))] == [(16, 16)] * 3
    # A class called "train" does not become a split by having a hidden folder in it.
    write_images(tmp_path / "rail", [1, 1], names=["train", "tram"])
    write_images(tmp_path / "rail" / "train", [1], names=[".thumbnails"])
    assert read(tmp_path / "rail").class_names == ["train", "tram"]


@pytest.mark.parametrize("name", ["set [v1]", "s*t"])
def test_names_that_look_like_patterns(
    read: Read, make_table: Make, write_images: Write, tmp_path: Path, name: str
) -> None:
    make_table([0, 1, 1]).save_to_disk(str(tmp_path / "saved" / name))
    (tmp_path / "parquet" / name).mkdir(parents=True)
    make_table([0, 1, 1]).to_parquet(str(tmp_path / "parquet" / name / "train-0.parquet"))
    write_images(tmp_path / "images" / name, [1, 2], names=["a", "b"])
    for split in ("train", "test"):
        folder = write_images(tmp_path / "listed" / name, [3], names=[split])
        (folder / split / "metadata.csv").write_text("file_name,label\n000.png,a\n001.png,b\n002.png,b\n")
    for kind in ("saved", "parquet", "images", "listed"):
        raw = read(tmp_path / kind / name)
        assert (raw.class_names, raw.train.labels.tolist()) == (["a", "b"], [0, 1, 1]), kind
    assert raw.test is not None and raw.test.labels.tolist() == [0, 1, 1]


def test_a_configuration_is_asked_for_where_there_is_none(
    make_table: Make, write_images: Write, tmp_path: Path
) -> None:
    make_table([0, 1]).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    make_table([0, 1]).to_parquet(str(tmp_path / "parquet" / "train-0.parquet"))
    write_images(tmp_path / "images", [1, 1])
    for kind in ("saved", "parquet", "images"):
        assert not has_configurations(tmp_path / kind)
        with pytest.raises(UserError, match=rf"^data_config='big' is not known: .*{kind} has no configurations"):
            open_folder(tmp_path / kind, DataOptions(), "big")


def test_saved_folders(read: Read, make_table: Make, tmp_path: Path) -> None:
    table = make_table([0, 1, 1])
    table.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "two"))
    assert read(tmp_path / "one").train.labels.tolist() == [0, 1, 1]
    raw = read(tmp_path / "two")
    assert raw.test is not None
    assert raw.test.labels.tolist() == [0, 1, 1]


def test_parquet_anywhere_below(read: Read, make_table: Make, tmp_path: Path) -> None:
    deep = tmp_path / "set" / "data"
    deep.mkdir(parents=True)
    make_table([0, 1, 1]).to_parquet(str(deep / "train-00000-of-00001.parquet"))
    make_table([1, 0]).to_parquet(str(deep / "test-00000-of-00001.parquet"))
    raw = read(tmp_path / "set")
    assert raw.test is not None
    assert raw.class_names == ["a", "b"]
    assert (raw.train.labels.tolist(), raw.test.labels.tolist()) == ([0, 1, 1], [1, 0])


def test_configurations_of_a_dataset_card(make_table: Make, tmp_path: Path) -> None:
    card = "configs:\n"
    for config in ("small", "big"):
        (tmp_path / config).mkdir()
        make_table([0, 1] * (1 if config == "small" else 3)).to_parquet(str(tmp_path / config / "train-0.parquet"))
        card += f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*\n"
    (tmp_path / "README.md").write_text(f"---\n{card}---\n")
    assert has_configurations(tmp_path)
    assert len(open_folder(tmp_path, DataOptions(), "big")["train"]) == 6
    with pytest.raises(UserError, match="small"):
        open_folder(tmp_path, DataOptions())
    odd = tmp_path.rename(tmp_path.with_name("set [v1]"))
    with pytest.raises(UserError, match=r"set \[v1\] contains one of the characters .*: rename the folder\.$"):
        open_folder(odd, DataOptions(), "big")


def test_parquet_by_other_libraries(read: Read, tmp_path: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(data, "PNG")
    records = [{"bytes": data.getvalue(), "path": "x.png"}] * 2
    pq.write_table(pa.table({"image": records, "label": ["dog", "cat"]}), tmp_path / "some.parquet")
    raw = read(tmp_path)
    assert raw.class_names == ["cat", "dog"]
    assert raw.train.source.read(np.array([1]))[0].getpixel((0, 0)) == (1, 2, 3)


def test_folders_that_cannot_be_read(write_images: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone does not exist"):
        open_folder(tmp_path / "gone", DataOptions())
    (tmp_path / "empty" / "class").mkdir(parents=True)
    (tmp_path / "empty" / "class" / "notes.txt").write_text("nothing")
    with pytest.raises(
        UserError, match=r"empty has no images, only 1 not an image \(class/notes.txt\): expected CLASS/\*\.jpg"
    ):
        open_folder(tmp_path / "empty", DataOptions())
    write_images(tmp_path / "halves" / "test", [1, 1])
    with pytest.raises(
        UserError, match=r"halves has only test images \(test\): add training images, or give train_split="
    ):
        load_data(tmp_path / "halves")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"broken/x.parquet cannot be read: "):
        open_folder(tmp_path / "broken", DataOptions())


def test_tables_are_told_from_images(make_table: Callable[..., Any], write_images: Any, tmp_path: Path) -> None:
    table = make_table([0, 1])
    table.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    table.to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    write_images(tmp_path / "images", [1, 1])
    assert [holds_tables(tmp_path / kind) for kind in ("saved", "parquet", "images")] == [True, True, False]


def test_images_that_are_links_out_of_the_folder(write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "pool", [2], names=["ant"])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "ant").symlink_to(tmp_path / "pool" / "ant")
    sentence = (
        r"no images, only 1 linking out of the folder \(ant\): pass follow_links=True to read what the links lead to"
    )
    with pytest.raises(UserError, match=sentence):
        open_folder(tmp_path / "set", DataOptions())
