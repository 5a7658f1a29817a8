"""Metadata files in a folder of images, and lists beside class folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listed import rows

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import list_images
from glmc_zoo.data.reading.label_files import LISTED_TWICE, NO_ROW
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, walk_images
from glmc_zoo.errors import UserError

Put = Callable[..., Path]
AB = {"train": {"a.png": "ant", "b.png": "bee"}}


def in_folder(folder: Path, files: dict[str, str], **options: Any) -> FileListing:
    """What a folder gives with these metadata files."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list_images(walk_images(folder), DataOptions(**options))


def test_metadata_at_the_root(put: Put) -> None:
    folder = put("train/a.png", "train/b.png", "test/c.png", "extra.png")
    text = "file_name,label\ntrain/a.png,ant\ntrain/b.png,bee\ntest/c.png,ant\n"
    listing = in_folder(folder, {"metadata.csv": text})
    assert rows(listing) == {"train": {"train/a.png": "ant", "train/b.png": "bee"}, "test": {"test/c.png": "ant"}}
    assert listing.left_out.count(NO_ROW) == 1 and listing.left_out.count(NOT_AN_IMAGE) == 0
    assert listing.layout == "images listed in metadata, split by the folders in its paths"


@pytest.mark.parametrize("inner", ["", "images/"])
def test_metadata_in_each_split(put: Put, inner: str) -> None:
    folder = put(f"train/{inner}a.png", f"test/{inner}b.png", f"test/{inner}c.png")
    lines = {"train": "a.png,ant", "test": "b.png,bee"}
    files = {f"{split}/{inner}metadata.csv": f"file_name,label\n{line}\n" for split, line in lines.items()}
    listing = in_folder(folder, files)
    assert rows(listing) == {"train": {f"train/{inner}a.png": "ant"}, "test": {f"test/{inner}b.png": "bee"}}
    assert listing.left_out.count(NO_ROW) == 1


def test_metadata_at_several_depths(put: Put) -> None:
    folder = put("train/a.png", "more/test/b.png")
    files = {"train/metadata.csv": "file_name,label\na.png,ant\n"}
    files["more/test/metadata.jsonl"] = '{"file_name": "b.png", "label": "bee"}\n'
    assert rows(in_folder(folder, files)) == {"train": {"train/a.png": "ant"}, "test": {"more/test/b.png": "bee"}}
    root = "file_name,label,split\ntrain/a.png,ant,train\nmore/test/b.png,bee,test\n"
    listing = in_folder(folder, {"metadata.csv": root})  # says the same again
    assert set(listing.splits) == {"train", "test"} and listing.left_out.count(LISTED_TWICE) == 0
    with pytest.raises(UserError, match=r"lists train/a\.png in two classes, bee and ant"):
        in_folder(folder, {"metadata.csv": root.replace("ant", "bee")})


def test_metadata_that_is_parquet(put: Put) -> None:
    import pyarrow
    import pyarrow.parquet

    folder = put("2020/a.png", "2021/b.png")
    table = pyarrow.table(
        {"file_name": ["2020/a.png", "2021/b.png"], "label": ["ant", "bee"], "split": ["train", "test"]}
    )
    pyarrow.parquet.write_table(table, folder / "metadata.parquet")
    assert rows(in_folder(folder, {})) == {"train": {"2020/a.png": "ant"}, "test": {"2021/b.png": "bee"}}


def test_metadata_that_cannot_be_followed(put: Put) -> None:
    folder = put("2020/a.png", "2021/b.png")
    with pytest.raises(UserError, match=r"metadata\.csv lists 1 file that is not among the images of the folder"):
        in_folder(folder, {"metadata.csv": "file_name,label\n2020/a.png,ant\n2021/c.png,bee\n"})
    with pytest.raises(UserError, match=r"^Line 2 of .*metadata\.csv has 3 cells"):  # and the years are no classes
        in_folder(folder, {"metadata.csv": "file_name,label\n2020/a.png,ant,x\n"})
    listing = in_folder(folder, {"metadata.csv": "file_name,caption\n2020/a.png,An ant\n"})
    assert listing.notes == ["metadata.csv has no columns of images and classes, and is not used."]
    assert set(rows(listing)["train"].values()) == {"2020", "2021"}


def test_metadata_may_name_a_file_through_a_link(put: Put) -> None:
    folder = put("real/a.png", "real/b.png")
    (folder / "link").symlink_to("real")
    listing = in_folder(folder, {"metadata.csv": "file_name,label\nlink/a.png,ant\nreal/b.png,bee\n"})
    assert rows(listing) == {"train": {"real/a.png": "ant", "real/b.png": "bee"}}


def test_a_table_beside_class_folders(put: Put) -> None:
    folder = put("ant/a.png", "bee/b.png")
    plain = "path,label\nant/a.png,x\nbee/b.png,y\n"
    assert set(rows(in_folder(folder, {"labels.csv": plain}))["train"].values()) == {"ant", "bee"}
    with pytest.raises(UserError) as caught:
        in_folder(folder, {"labels.csv": "path,label,split\nant/a.png,x,train\nbee/b.png,y,test\n"})
    assert str(caught.value) == (
        f"The folder {folder} has class folders without splits, and its file labels.csv names the split of each image: "
        "give that file as the data, or move it out of the folder."
    )


def test_a_table_beside_images_without_class_folders(put: Put) -> None:
    folder = put("images/a.png", "images/b.png")
    with pytest.raises(UserError) as caught:
        in_folder(folder, {"labels.csv": "path,label\nimages/a.png,x\nimages/b.png,y\n"})
    assert str(caught.value) == (
        f"The folder {folder} has images but no class folders, and its file labels.csv lists images with their "
        "classes: give that file as the data."
    )


def test_a_split_folder_that_no_metadata_list_is_noted(put: Put) -> None:
    folder = put("train/a.png", "train/b.png", "test/ant/c.png", "test/bee/d.png", "more/e.png")
    listing = in_folder(folder, {"train/metadata.csv": "file_name,label\na.png,ant\nb.png,bee\n"})
    assert listing.notes == [
        "The folder test has the name of a split but 2 images in it have no row in the metadata and are not used."
    ]


@pytest.mark.parametrize(("first", "second"), [("group", "note"), ("note", "group")])
def test_metadata_with_groups_in_one_file_only(put: Put, first: str, second: str) -> None:
    """The sentence names the groups of each file, whichever comes first."""
    folder = put("train/a.png", "test/b.png")
    files = {
        f"{split}/metadata.csv": f"file_name,label,{column}\n{name}.png,ant,x\n"
        for split, column, name in (("test", first, "b"), ("train", second, "a"))
    }
    with pytest.raises(UserError) as caught:
        in_folder(folder, files)
    mine, others = ("no column", "group") if first == "group" else ("group", "no column")
    assert str(caught.value) == (
        f"{folder}/train/metadata.csv groups its images by {mine}, and other metadata by {others}: give all of them "
        "the same column of groups."
    )
    files = {name: text.replace("note", "group") for name, text in files.items()}
    assert in_folder(folder, files).grouped_by == "group"
