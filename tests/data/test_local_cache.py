"""What ``datasets`` keeps of a local folder is that folder's, and of its files as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.data.local_cache import cache_folder
from glmc_zoo.data.sources import open_folder

Make = Callable[..., Any]
CARD = "---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: train\n    path: plain/train-*\n---\n"


@pytest.fixture
def make_folder(make_table: Make) -> Callable[..., Path]:
    """Writes a folder with a table of these labels, and with a dataset card or without."""

    def make(folder: Path, labels: list[int], card: bool) -> Path:
        (folder / "plain").mkdir(parents=True, exist_ok=True)
        make_table(labels).to_parquet(str(folder / "plain" / "train-0.parquet"))
        if card:
            (folder / "README.md").write_text(CARD)
        return folder

    return make


@pytest.mark.parametrize("card", [True, False], ids=["card", "no card"])
def test_two_folders_of_one_name(make_folder: Callable[..., Path], tmp_path: Path, card: bool) -> None:
    first = make_folder(tmp_path / "a" / "birds", [0, 1], card)
    second = make_folder(tmp_path / "b" / "birds", [0, 1, 1, 1], card)
    assert list(open_folder(first)["train"]["label"]) == [0, 1]
    assert list(open_folder(second)["train"]["label"]) == [0, 1, 1, 1]


@pytest.mark.parametrize("card", [True, False], ids=["card", "no card"])
def test_a_folder_whose_files_change(make_folder: Callable[..., Path], tmp_path: Path, card: bool) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], card)
    assert list(open_folder(folder)["train"]["label"]) == [0, 1]
    make_folder(folder, [1, 1, 0], card)
    assert list(open_folder(folder)["train"]["label"]) == [1, 1, 0]


def test_an_unchanged_folder_keeps_its_cache(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], True)
    before = open_folder(folder)["train"].cache_files
    assert before
    assert open_folder(folder)["train"].cache_files == before
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    assert open_folder(folder)["train"].cache_files == before
    (folder / "plain" / "train-1.parquet").write_bytes((folder / "plain" / "train-0.parquet").read_bytes())
    assert len(open_folder(folder)["train"]) == 4


def test_each_of_name_size_and_time_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    os.utime(tmp_path / "a", ns=(0, 10**9))
    seen = {cache_folder(tmp_path)}
    os.utime(tmp_path / "a", ns=(0, 10**9 + 1))
    seen.add(cache_folder(tmp_path))
    (tmp_path / "a").write_text("12")
    os.utime(tmp_path / "a", ns=(0, 10**9))
    seen.add(cache_folder(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(cache_folder(tmp_path))
    assert len(seen) == 4
