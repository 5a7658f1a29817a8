"""Parquet files in a folder: which file is which split, and images that lie beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.data.reading.card import NOT_CONFIGURED
from glmc_zoo.data.reading.parquet_folder import BESIDE_TABLES, split_files
from glmc_zoo.errors import UserError

Make = Callable[..., Any]
Read = Callable[..., Any]
Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        ("train.parquet test.parquet", {"train": "train.parquet", "test": "test.parquet"}),
        ("trainset.parquet TEST.parquet", {"trainset": "trainset.parquet", "TEST": "TEST.parquet"}),
        (
            "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet data/validation-0-of-1.parquet",
            {
                "train": "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet",
                "validation": "data/validation-0-of-1.parquet",
            },
        ),
        (
            "default/train/0000.parquet default/test/0000.parquet",
            {"train": "default/train/0000.parquet", "test": "default/test/0000.parquet"},
        ),
        ("0000.parquet 0001.parquet birds.parquet", {"train": "0000.parquet 0001.parquet birds.parquet"}),
        ("train.parquet extra_1.parquet", {"train": "train.parquet", "extra": "extra_1.parquet"}),
        ("train/test_0.parquet train/x_0.parquet", {"train": "train/x_0.parquet", "test": "train/test_0.parquet"}),
    ],
)
def test_names_of_files_tell_splits(paths: str, files: dict[str, str]) -> None:
    assert split_files(paths.split()) == {name: some.split() for name, some in files.items()}


@pytest.mark.parametrize(("train", "test"), [("trainset", "testset"), ("TRAIN", "Test"), ("a/train/0", "a/eval/0")])
def test_splits_that_datasets_does_not_know(
    read: Read, make_table: Make, tmp_path: Path, train: str, test: str
) -> None:
    for name, labels in ((train, [0, 1, 1]), (test, [1, 0])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_table(labels).to_parquet(str(tmp_path / f"{name}.parquet"))
    raw = read(tmp_path)
    assert raw.train.labels.tolist() == [0, 1, 1]
    assert raw.test is not None and raw.test.labels.tolist() == [1, 0]


def test_a_file_of_no_split_beside_others(read: Read, make_table: Make, tmp_path: Path) -> None:
    for name, count in (("train", 4), ("test", 2), ("extra", 3)):
        make_table([index % 2 for index in range(count)]).to_parquet(str(tmp_path / f"{name}.parquet"))
    raw = read(tmp_path)
    assert (len(raw.train.rows), len(raw.test.rows)) == (4, 2)
    assert raw.left_out.count("in a split that is not used") == 3 and raw.notes == ["The split extra is not used."]
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(
        UserError, match=r"^None of the splits extra, test is called train: name one with train_split=\."
    ):
        read(tmp_path)


@pytest.mark.parametrize("name", ["train", "birds"])
def test_a_few_images_beside_a_table(
    read: Read, make_table: Make, write_images: Write, tmp_path: Path, name: str
) -> None:
    """``datasets`` reads what has more files."""
    make_table([0, 1] * 10).to_parquet(str(tmp_path / f"{name}.parquet"))
    write_images(tmp_path / "docs", [3, 2], names=["figures", "more"])
    (tmp_path / "notes.txt").write_text("x")
    raw = read(tmp_path)
    assert raw.class_names == ["a", "b"] and len(raw.train.rows) == 20
    assert {one.reason: one.files for one in raw.left_out.facts()} == {BESIDE_TABLES: 5, "not an image": 1}


CARD = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: data/small-*}
- config_name: large
  data_files: [{split: train, path: data/train-*}, {split: test, path: data/test-*}]
---
"""


@pytest.mark.parametrize(("config", "used"), [("small", ["small"]), ("large", ["train", "test"])])
def test_tables_that_a_card_names_are_not_left_out(
    read: Read, make_table: Make, tmp_path: Path, config: str, used: list[str]
) -> None:
    names = ["small", "train", "test"]
    for name in names:
        (tmp_path / "data").mkdir(exist_ok=True)
        make_table([0, 1] * 6).to_parquet(str(tmp_path / "data" / f"{name}-00000-of-00001.parquet"))
    (tmp_path / "README.md").write_text(CARD)
    raw = read(tmp_path, config)
    assert len(raw.train.rows) + (len(raw.test.rows) if raw.test else 0) == 12 * len(used)
    left_out = {one.reason: one.examples for one in raw.left_out.facts()}
    unused = [f"data/{name}-00000-of-00001.parquet" for name in sorted(set(names) - set(used))]
    assert left_out == {"not an image": ["README.md"], NOT_CONFIGURED: unused}


def test_a_small_table_beside_images(read: Read, write_images: Write, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    write_images(tmp_path, [3, 3], names=["ant", "bee"])
    pyarrow.parquet.write_table(pyarrow.table({"name": ["ant"], "size": [1]}), tmp_path / "train.parquet")
    raw = read(tmp_path)
    assert raw.class_names == ["ant", "bee"] and raw.left_out.count("not an image") == 1


def test_as_many_images_as_rows_are_refused(read: Read, make_table: Make, write_images: Write, tmp_path: Path) -> None:
    make_table([0, 1] * 10).to_parquet(str(tmp_path / "train.parquet"))
    write_images(tmp_path, [10, 10], names=["ant", "bee"])
    with pytest.raises(UserError, match=r"holds 20 image files, and 20 images in parquet files such as train\.pa"):
        read(tmp_path)
    raw = read(tmp_path, image_column="image")
    assert raw.left_out.count("image files beside tables that hold the images") == 20


def test_a_column_names_images_beside_the_table(read: Read, write_images: Write, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folder = write_images(tmp_path, [20], names=["images"])
    files = [f"images/{index:03d}.png" for index in range(19)] + [f"{folder}/images/019.png"]
    table = pyarrow.table({"file": files, "label": ["a", "b"] * 10, "split": ["train"] * 12 + ["test"] * 8})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    raw = read(tmp_path, image_column="file")
    assert (len(raw.train.rows), len(raw.test.rows), raw.class_names) == (12, 8, ["a", "b"])
    assert raw.test.source.paths(raw.test.rows)[-1] == "images/019.png"  # no folder of this machine
    assert raw.left_out.files == 0
    (tmp_path / "images" / "003.png").unlink()
    with pytest.raises(
        UserError, match=r"^The image column 'file' holds the text 'images/003\.png', which is not a file"
    ):
        read(tmp_path, image_column="file")
    raw = read(tmp_path, image_column="file", skip_bad_images=True)
    assert (len(raw.train.rows), raw.left_out.count("listed and missing")) == (11, 1)


def test_a_parquet_file_without_rows(read: Read, make_table: Make, tmp_path: Path) -> None:
    make_table([0, 1]).to_parquet(str(tmp_path / "train.parquet"))
    make_table([0, 1]).select([]).to_parquet(str(tmp_path / "test.parquet"))
    with pytest.raises(UserError, match=r"^The parquet file .*/test\.parquet has no rows: move it out of the data"):
        read(tmp_path)
    (tmp_path / "test.parquet").unlink()
    assert len(read(tmp_path).train.rows) == 2


def test_files_with_different_columns(read: Read, make_table: Make, tmp_path: Path) -> None:
    """The sentence has the cause, and not that "an error occurred"."""
    make_table([0, 1]).to_parquet(str(tmp_path / "train_0.parquet"))
    make_table([0, 1]).rename_column("label", "kind").to_parquet(str(tmp_path / "train_1.parquet"))
    with pytest.raises(UserError, match=r"cannot be read: Couldn't cast .*kind"):
        read(tmp_path)
