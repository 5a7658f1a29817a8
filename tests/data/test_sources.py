from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmc_zoo
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


def test_a_split_that_an_option_calls_by_another_name(tmp_path: Path, lab: Any) -> None:
    folder = lab.images(tmp_path / "data")
    shutil.copytree(folder / "test", folder / "val")
    for named in ("validation", "val"):
        inventory = load_data(folder, test_split=named, duplicates="off").facts.inventory
        assert inventory is not None
        facts = {split.name: (split.source, split.how) for split in inventory.splits}
        assert facts["test"] == ("val", "named in the options")


def test_a_home_folder_and_one_that_no_user_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    inspection = glmc_zoo.inspect(output="~/pages/digits.html", examples=0)
    assert inspection.page == tmp_path / "pages" / "digits.html" and inspection.page.is_file()
    with pytest.raises(UserError, match=rf"^The data folder {tmp_path}/page does .* Did you mean {tmp_path}/pages\?$"):
        load_data("~/page")
    with pytest.raises(UserError, match=r"^The data folder ~nobody_of_that_name/images does not exist: "):
        load_data("~nobody_of_that_name/images")
    with pytest.raises(UserError, match=r"^Folder ~nobody_of_that_name/model does not exist: "):
        glmc_zoo.create_model("~nobody_of_that_name/model")
    with pytest.raises(UserError, match=r"^images='~nobody_of_that_name/x.png' does not exist"):
        glmc_zoo.predict(model="test_resnet", images="~nobody_of_that_name/x.png")
    assert os.listdir() == []


def test_names_that_no_disk_takes() -> None:
    name = "a" * 300
    for data in (name, f"./{name}", f"{name}.csv"):
        with pytest.raises(UserError, match=r"is neither an existing folder or file|does not exist"):
            load_data(data)
    with pytest.raises(UserError, match=r"^Unknown model"):
        glmc_zoo.create_model(name)
    with pytest.raises(UserError, match=r"^Folder a+ does not exist"):
        glmc_zoo.create_model(f"local-dir:{name}")
    with pytest.raises(UserError, match=r"is not a folder: give the folder of a finished run"):
        glmc_zoo.report(run=name)
    with pytest.raises(UserError, match=r"is neither a file nor one of the recipe files"):
        glmc_zoo.train(config=name)
    with pytest.raises(UserError, match=r"^Unknown model"):
        glmc_zoo.finetune(model=name, data="digits_lt")


def test_arguments_are_checked_as_those_of_a_command() -> None:
    half = load_data("digits_lt", val_fraction="0.5", data_seed=1.0, data_dir=None)
    assert half.facts.data_seed == 1 and half.val is not None
    for value in ("some", True):
        with pytest.raises(UserError, match=rf"^val_fraction={value!r} is not accepted: it must be a number\.$"):
            load_data("digits_lt", val_fraction=value)
