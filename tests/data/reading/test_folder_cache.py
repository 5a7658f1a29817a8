"""What ``datasets`` keeps of a local folder is that folder's, and of its files as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import open_folder
from glmc_zoo.data.reading.parquet_folder import cache_folder
from glmc_zoo.data.reading.stream_tables import open_stream_tables

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
    assert list(open_folder(first, DataOptions())["train"]["label"]) == [0, 1]
    assert list(open_folder(second, DataOptions())["train"]["label"]) == [0, 1, 1, 1]


@pytest.mark.parametrize("card", [True, False], ids=["card", "no card"])
def test_a_folder_whose_files_change(make_folder: Callable[..., Path], tmp_path: Path, card: bool) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], card)
    assert list(open_folder(folder, DataOptions())["train"]["label"]) == [0, 1]
    make_folder(folder, [1, 1, 0], card)
    assert list(open_folder(folder, DataOptions())["train"]["label"]) == [1, 1, 0]


def test_an_unchanged_folder_keeps_its_cache(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], True)
    before = open_folder(folder, DataOptions())["train"].cache_files
    assert before
    assert open_folder(folder, DataOptions())["train"].cache_files == before
    (folder / "plain" / "train-1.parquet").write_bytes((folder / "plain" / "train-0.parquet").read_bytes())
    assert len(open_folder(folder, DataOptions())["train"]) == 4


def test_files_that_are_no_data_do_not_count(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], True)
    before = cache_folder(folder)
    (folder / "runs").mkdir()
    (folder / "runs" / "results.json").write_text("{}")
    (folder / "around").symlink_to(folder)
    assert cache_folder(folder) == before


def test_each_of_name_size_and_time_counts(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "birds", [0, 1], True)
    table = folder / "plain" / "train-0.parquet"
    seen = [cache_folder(folder)]
    os.utime(table, ns=(0, 10**9))
    seen.append(cache_folder(folder))
    table.write_bytes(table.read_bytes() + b"0")
    os.utime(table, ns=(0, 10**9))
    seen.append(cache_folder(folder))
    table.rename(table.with_name("train-1.parquet"))
    seen.append(cache_folder(folder))
    assert len(set(seen)) == 4


def test_a_stream_says_what_its_own_folder_says(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    import datasets

    first = make_folder(tmp_path / "a" / "birds", [0, 1], True)
    second = make_folder(tmp_path / "b" / "birds", [0, 1, 1, 1], True)
    assert len(datasets.load_dataset(str(first))["train"]) == 2  # into the cache that the second would be looked for in
    tables = open_stream_tables(second, DataOptions(), None)
    assert tables.sizes == {"train": None}
    assert [row["label"] for row in tables.splits["train"]] == [0, 1, 1, 1]
