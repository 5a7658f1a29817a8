"""From files with their classes to the splits that are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import open_folder
from glmc_zoo.data.reading.listing import (
    LINKED_AGAIN,
    FileListing,
    FileRows,
    class_name,
    listing_tables,
    raw_from_listing,
)
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts


def listing(unsplit: bool = False, **splits: str) -> FileListing:
    """A listing with a file for each letter, which is its class; ``-`` has none."""
    parts = {}
    for name, letters in splits.items():
        parts[name] = FileRows()
        for index, letter in enumerate(letters):
            parts[name].add(f"{name}/{index}.png", letter.replace("-", ""))
    return FileListing(Path("/set"), "class folders", parts, unsplit)


def read(*args: Any, options: dict[str, str] | None = None, **splits: str) -> Any:
    return raw_from_listing(listing(*args, **splits), DataOptions(**(options or {})))


def test_classes_of_both_splits_are_numbered_together() -> None:
    raw = read(train="bac", test="ddb")
    assert raw.class_names == ["a", "b", "c", "d"]
    assert (raw.train.labels.tolist(), raw.test.labels.tolist()) == ([1, 0, 2], [3, 3, 1])
    assert raw.train.source.paths(raw.train.rows) == ["train/0.png", "train/1.png", "train/2.png"]
    assert raw.sources == [
        SplitFacts(name="train", source="train", images=3, how="it is called train"),
        SplitFacts(name="test", source="test", images=3, how="it is called test"),
    ]


def test_splits_that_are_not_used_are_counted_and_give_no_class() -> None:
    raw = read(train="ab", val="ac", test="ab")
    assert raw.class_names == ["a", "b"] and raw.left_out.count("in a split that is not used") == 2
    raw = read(north="ab", south="a", options={"train_split": "north", "test_split": "south"})
    assert [one.how for one in raw.sources] == ["named in the options", "named in the options"]


@pytest.mark.parametrize(
    ("unsplit", "splits", "options", "alone"),
    [
        (True, {"train": "ab"}, {}, "whole"),
        (False, {"train": "ab"}, {}, None),
        (False, {"test": "ab"}, {}, "test"),
        (False, {"val": "ab"}, {}, "test"),
        (False, {"val": "ab"}, {"train_split": "val"}, None),
        (False, {"train": "ab", "test": "ab"}, {}, None),
    ],
)
def test_a_split_alone(unsplit: bool, splits: dict[str, str], options: dict[str, str], alone: str | None) -> None:
    raw = read(unsplit, options=options, **splits)
    assert raw.alone == alone
    assert not unsplit or (raw.notes == [] and raw.sources[0].how == "there are no splits")


def test_images_without_a_label_are_left_out() -> None:
    raw = read(train="a-b", test="--")
    assert (raw.class_names, raw.train.labels.tolist(), raw.test) == (["a", "b"], [0, 1], None)
    assert raw.left_out.count("without a label") == 3


def test_names_of_classes() -> None:
    assert class_name(" cafe\u0301\t") == "caf\u00e9"
    assert class_name("caf\udce9") == "caf\\xe9"
    assert class_name("None") == "None"


def test_tables_to_be_streamed() -> None:
    tables = listing_tables(listing(train="ba", test="c"))
    assert list(tables) == ["train", "test"] and tables["test"].features["label"].names == ["a", "b", "c"]
    assert tables["train"]["label"] == [1, 0] and tables["train"][0]["image"]["path"] == "/set/train/0.png"
    tables = listing_tables(listing(train="a"), "hf://datasets/org/x@main")
    assert tables["train"][0]["image"]["path"] == "hf://datasets/org/x@main/train/0.png"
    odd = listing(train="a")
    odd.splits["train"].paths[0] = "caf\udce9.png"
    with pytest.raises(UserError, match=r"^The name caf\\xe9\.png is not UTF-8: rename it, or leave streaming=True"):
        listing_tables(odd)


def test_a_link_does_not_count_an_image_twice_in_its_class(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    write_images(tmp_path, [2, 2], names=["ant", "bee"])
    for number in range(3):
        (tmp_path / "ant" / f"link_{number}.png").symlink_to("000.png")
    (tmp_path / "bee" / "link.png").symlink_to("../ant/000.png")  # another class: named elsewhere
    listing = open_folder(tmp_path, DataOptions())
    assert isinstance(listing, FileListing)
    raw = raw_from_listing(listing, DataOptions())
    assert raw.train.counts(2).tolist() == [2, 3]
    assert raw.left_out.count(LINKED_AGAIN) == 3


def test_links_to_one_store_count_once_each(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    write_images(tmp_path / "train", [2, 2], names=["ant", "bee"])
    write_images(tmp_path / "store", [2], names=["all"])
    for name in ("a.png", "b.png"):
        (tmp_path / "train" / "ant" / name).symlink_to("../../store/all/000.png")
    (tmp_path / "test" / "ant").mkdir(parents=True)
    (tmp_path / "test" / "ant" / "c.png").symlink_to("../../store/all/000.png")
    listing = open_folder(tmp_path, DataOptions())
    assert isinstance(listing, FileListing)
    raw = raw_from_listing(listing, DataOptions())
    assert raw.train.counts(2).tolist() == [3, 2] and raw.test is not None and raw.test.counts(2).tolist() == [1, 0]
