from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from glmc_zoo.data import load_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.sources import locate, open_digits, source_facts
from glmc_zoo.errors import UserError


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    raw = open_digits()
    assert raw.test is not None
    assert np.bincount(raw.test.labels[raw.test.rows]).tolist() == [60] * 10
    assert len(raw.train.rows) + len(raw.test.rows) == 1797
    assert not set(raw.train.rows) & set(raw.test.rows)
    digits = load_digits()
    rows = raw.test.rows[:20]
    got = np.stack([np.asarray(image) for image in raw.test.source.read(rows)])
    assert got.shape == (20, 8, 8, 3)
    np.testing.assert_allclose(got[..., 0] / 255, digits.images[rows] / 16, atol=0.5 / 255 + 1e-9)
    assert (got == got[..., :1]).all()
    assert (raw.test.labels == digits.target).all()


@pytest.mark.parametrize("name", ["labels.csv", "data/labels.CSV", "data/list.jsonl", "data/train.parquet"])
def test_a_list_that_does_not_exist_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(UserError, match=rf"^The data file {name} does not exist: "):
        locate(DataOptions(data=name), None)


def test_a_pipe_is_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"labels\.csv' is neither a folder nor a regular file: give one of them"):
        locate(DataOptions(data=str(tmp_path / "labels.csv")), None)


def test_the_name_of_a_folder_is_text_that_can_be_written(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    assert source_facts(DataOptions(data=str(folder)), None, "unknown")["name"] == "caf\\xe9"


def test_who_named_the_splits() -> None:
    """The catalogue names those of its own data sets, unless an option does."""
    named = [load_data("clothing_small"), load_data("clothing_small", train_split="train")]
    inventories = [data.facts.inventory for data in named]
    phrases = [{split.name: split.how for split in found.splits} for found in inventories if found is not None]
    assert phrases[0] == {"train": "named in the catalogue", "test": "named in the catalogue"}
    assert phrases[1] == {"train": "named in the options", "test": "named in the catalogue"}
