"""Dataset cards beside image files: their splits are followed, and the classes stay what they are without a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import NOT_CONFIGURED, card_configurations
from glmc_zoo.data.reading.folders import list_images, open_folder
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError

Read = Callable[..., FileListing]
TWO = {"ant": 1, "bee": 1}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """``read(paths, *configs, config=name)`` writes images (empty files do) and a card, and lists them."""

    def make(paths: list[str], *configs: dict[str, Any], config: str | None = None) -> FileListing:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': list(configs)})}---\n# Animals\n")
        return list_images(walk_images(tmp_path), DataOptions(), config)

    return make


def classes(listing: FileListing) -> dict[str, dict[str, int]]:
    return {name: {one: rows.labels.count(one) for one in rows.labels} for name, rows in listing.splits.items()}


def entry(files: Any = None, name: str = "default", **more: Any) -> dict[str, Any]:
    return {"config_name": name, **({} if files is None else {"data_files": files}), **more}


def splits(**paths: Any) -> list[dict[str, Any]]:
    return [{"split": split, "path": path} for split, path in paths.items()]


DEEP = [f"{split}/{name}/{year}/1.png" for split in ("train", "test") for name, year in (("ant", 2020), ("bee", 2021))]


@pytest.mark.parametrize(
    "files",
    [
        splits(train="train/**", test="test/**"),
        splits(train=["train/ant/**", "train/bee/**/*.png"], test="**/test/**"),
        splits(train="train/*/*/*.png", test="./test/[ab]*/**"),
        {"train": "train/**", "test": "test"},
        "**",
        ["train/**", "test/**"],
    ],
)
def test_the_class_is_the_first_folder_below_the_split(read: Read, files: Any) -> None:
    assert classes(read(DEEP, entry(files))) == {"train": TWO, "test": TWO}


def test_a_folder_of_the_card(read: Read) -> None:
    paths = [f"v1/{path}" for path in DEEP] + ["v2/train/cat/1.png"]
    listing = read(paths, entry(data_dir="v1"))
    assert classes(listing) == {"train": TWO, "test": TWO}
    assert listing.left_out.count(NOT_CONFIGURED) == 1 and listing.left_out.facts()[-1].examples == [
        "v2/train/cat/1.png"
    ]
    listing = read(paths, entry(splits(train="train/**", test="test/**"), data_dir="v1"))
    assert classes(listing) == {"train": TWO, "test": TWO}


def test_a_split_under_another_name_and_inner_folders(read: Read) -> None:
    paths = ["data/a/images/ant/1.png", "data/a/images/bee/1.png", "data/b/ant/1.png", "data/b/bee/1.png"]
    assert classes(read(paths, entry(splits(train="data/a/**", test="data/b/**")))) == {"train": TWO, "test": TWO}


def test_the_configuration_is_chosen(read: Read, tmp_path: Path) -> None:
    configs = entry("train/ant/**", "one"), entry(splits(train="train/**", test="test/**"), "two")
    assert classes(read(DEEP, *configs, config="two")) == {"train": TWO, "test": TWO}
    with pytest.raises(UserError, match=r"has several configurations: choose one with data_config= \(one, two\)\."):
        read(DEEP, *configs)
    with pytest.raises(UserError, match=r"^data_config='three' is not a configuration of .*: give one of one, two\."):
        read(DEEP, *configs, config="three")
    assert classes(read(DEEP, configs[0], {**configs[1], "default": True})) == {"train": TWO, "test": TWO}
    assert open_folder(tmp_path, DataOptions(), "two").root == tmp_path  # type: ignore[union-attr]


def test_a_card_without_files_changes_nothing(read: Read, tmp_path: Path) -> None:
    assert classes(read(DEEP, {"config_name": "default"})) == {"train": TWO, "test": TWO}
    for text in (
        "no front matter",
        "---\nlicense: mit\n---\n",
        "---\n{\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\n- 1\n---",
    ):
        (tmp_path / "README.md").write_text(text)
        assert card_configurations(tmp_path) == []


def test_a_test_split_without_labels(read: Read) -> None:
    paths = [*DEEP[:2], "test/1.png", "test/2.png"]
    listing = read(paths, entry(splits(train="train/**", test="test/**")))
    assert classes(listing) == {"train": TWO} and listing.left_out.count("without a label") == 2


@pytest.mark.parametrize(
    ("paths", "files", "sentence"),
    [
        (DEEP, splits(train="**", test="test/**"), "puts test/ant/2020/1.png in two splits, train and test: mend its"),
        (DEEP, splits(train="**"), "puts test/ant/2020/1.png in the split train, and its folder test looks like ano"),
        (DEEP, splits(train="train/**", test="tset/**"), "names tset/**, which matches no image of the folder: mend"),
        (["train/1.png", *DEEP[2:]], splits(train="train/*", test="test/**"), "has images but no class folders, and"),
        (["1.png"], splits(train="*.png"), "names no image in class folders: mend or remove its configs."),
        (DEEP, [{"split": "train"}], "has an entry in data_files without a path: correct its configs."),
    ],
)
def test_cards_that_cannot_be_followed(read: Read, paths: list[str], files: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(paths, entry(files))
    assert sentence in str(caught.value) and str(caught.value) == caught.value.sentence


def test_archives_are_to_be_unpacked(read: Read, tmp_path: Path) -> None:
    (tmp_path / "train.zip").touch()
    with pytest.raises(UserError, match=r"names the archive train\.zip: unpack it, and name the folder with its"):
        read(DEEP, entry(splits(train="train.zip", test="test")))
    assert set(read(DEEP, entry(splits(train="train", test="test"))).splits) == {"train", "test"}
