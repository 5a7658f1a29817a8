"""Files beside class folders that list the same images with other classes or splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import open_folder
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.errors import UserError

Write = Callable[..., Path]

PATHS = [f"part_{part}/{number:03d}.png" for part in (1, 2) for number in range(4)]
OTHER = ["mel", "nv", "mel", "nv", "nv", "nv", "mel", "mel"]


@pytest.fixture
def folder(tmp_path: Path, write_images: Write) -> Path:
    return write_images(tmp_path, [4, 4], names=["part_1", "part_2"])


def table(paths: list[str], labels: list[str], head: str = "path,label") -> str:
    return "\n".join([head, *map(",".join, zip(paths, labels, strict=True))]) + "\n"


def listing(folder: Path, **options: Any) -> FileListing:
    found = open_folder(folder, DataOptions(**options))
    assert isinstance(found, FileListing)
    return found


def classes(folder: Path, **options: Any) -> set[str]:
    return set(listing(folder, **options).splits["train"].labels)


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "part_1/labels.csv", "labels.parquet"])
def test_a_list_with_other_classes_is_refused(folder: Path, name: str) -> None:
    above = "../" if "/" in name else ""
    paths = [above + path for path in PATHS]
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table({"path": paths, "label": OTHER}), folder / name)
    else:
        (folder / name).write_text(table(paths, OTHER))
    with pytest.raises(UserError) as caught:
        listing(folder)
    way = "it as a CSV file" if name.endswith(".parquet") else "that file"
    assert str(caught.value) == (
        f"The folder {folder} has class folders, and its file {name} gives the images other classes, such as mel for "
        f"one in part_1: give {way} as the data, or class_level=1 if the folders are the classes."
    )
    assert classes(folder, class_level=1) == {"part_1", "part_2"}


def test_images_are_recognised_by_name_alone(tmp_path: Path, write_images: Write) -> None:
    folder = write_images(tmp_path / "set", [2, 2], names=["part_1", "part_2"])
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(f"ISIC_{number}.png"))
    (folder / "truth.csv").write_text(table(["ISIC_0", "ISIC_1", "ISIC_2.png", "ISIC_3"], list("abba"), "image,label"))
    with pytest.raises(UserError, match="other classes, such as a for one in part_1"):
        listing(folder)


def test_other_splits_with_a_list_are_refused_too(tmp_path: Path, write_images: Write) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / split, [4, 4], names=["part_1", "part_2"])
    paths = [f"{split}/{path}" for split in ("train", "test") for path in PATHS]
    (tmp_path / "labels.csv").write_text(table(paths, OTHER * 2))
    with pytest.raises(UserError, match=r"class_level=1 if the folders are the classes"):
        listing(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        table(PATHS, ["part_1"] * 4 + ["part_2"] * 4),
        table(PATHS, ["0"] * 4 + ["1"] * 4),  # numbers of the same classes
        table(["x.png", "y.png", "part_1/000.png"], ["a", "b", "c"]),  # of other images
        table(PATHS[:1], ["a"]),
        "a,b\n1,2\n",
        "path,label\n",
    ],
)
def test_lists_that_agree_or_are_of_something_else(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_text(text)
    assert classes(folder) == {"part_1", "part_2"} and listing(folder).notes == []


def test_a_list_without_a_known_column_of_classes_is_noted(folder: Path) -> None:
    (folder / "meta.csv").write_text(table(PATHS, OTHER, "path,dx"))
    assert listing(folder).notes == [
        "meta.csv lists images of this folder and is not used, as no column of it is known as that of the classes."
    ]


def test_several_lists_of_bare_images(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, [4], names=["images"])
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(table(["images/000.png", "images/001.png"], ["a", "b"]))
    with pytest.raises(UserError, match=r"files test\.csv, train\.csv list images .* one CSV file with a column split"):
        listing(tmp_path)
