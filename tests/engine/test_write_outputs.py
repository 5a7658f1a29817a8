"""What the end of a run writes: scores first, then the exported folders, without a place on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml

import glmc_zoo  # noqa: F401  registers the CIFAR networks
from glmc_zoo.engine.report import write_outputs
from glmc_zoo.hub import render_card
from glmc_zoo.metrics import ScoreCounts

COUNTS = [120, 50, 5]


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, dict[str, Any], ScoreCounts, list[dict[str, Any]], Any, dict[str, torch.Tensor]]:
    """Everything that `write_outputs` takes, of a run whose data lie at a place of this machine."""
    folder = tmp_path / "run"
    folder.mkdir()
    options = {"data": "cifar10_lt", "data_dir": "/home/me/cifar10", "epochs": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
    counts = ScoreCounts.empty(COUNTS, many=100, few=20)
    counts.update([0, 0, 1, 2], logits=np.eye(3)[[0, 1, 1, 2]])
    results = {
        "class_names": ["one", "two", "three"],
        "class_counts": COUNTS,
        "thresholds": {"many": 100, "few": 20, "few_inclusive": False},
        "groups": {"many": 1, "medium": 1, "few": 1},
        "data": {"name": "cifar10_lt"},
        "model": {
            "name": "resnet20_cifar.ce_cifar10_lt", "backbone": "resnet20_cifar", "tag": "ce_cifar10_lt",
            "input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.2] * 3, "interpolation": "bicubic", "crop_pct": 1.0,
        },
        "method": "ce",
        "config": {"lr": 0.1},
        "seeds": {"seed": 0},
    }  # fmt: skip
    rows = [{"epoch": epoch, "loss": 1.0, "lr": 0.1, "test": counts.scores()} for epoch in range(2)]
    torch.manual_seed(0)
    model = timm.create_model("resnet20_cifar", num_classes=3)
    return folder, results, counts, rows, model, {"projector.weight": torch.ones(2, 64)}


def test_model_and_encoder_are_exported_with_the_scores(run: Any) -> None:
    folder, *_, model, _heads = run
    results = write_outputs(*run, half=True, encoder=True, repo_id="org/name")
    assert results["test"]["top1"] == 0.75 and results["class_recalls"] == [0.5, 1.0, 1.0]
    assert json.loads((folder / "results.json").read_text()) == results
    assert json.loads((folder / "model/results.json").read_text()) == results
    assert results["weights"]["dtype"] == "float16"
    assert (folder / "model/README.md").read_text() == render_card(results, repo_id="org/name")
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        *("README.md", "config.json", "config.yaml", "glmc_heads.safetensors", "model.safetensors", "plots"),
        "results.json",
    ]
    assert results["plots"] == sorted(path.name for path in (folder / "plots").iterdir())
    assert [(folder / "model/plots" / name).read_bytes() for name in results["plots"]] == [
        (folder / "plots" / name).read_bytes() for name in results["plots"]
    ]
    assert yaml.safe_load((folder / "model/config.yaml").read_text())["data_dir"] == "path/to/cifar10"
    assert yaml.safe_load((folder / "config.yaml").read_text())["data_dir"] == "/home/me/cifar10"

    assert not (folder / "encoder/glmc_heads.safetensors").exists()
    assert "hf-hub:" not in (folder / "encoder/README.md").read_text()
    encoder: Any = timm.create_model(f"local-dir:{folder / 'encoder'}", pretrained=True)
    assert encoder.num_classes == 0
    assert torch.equal(encoder.conv1.weight, model.conv1.weight.half().float())


def test_scores_outlive_an_export_that_fails(run: Any) -> None:
    folder, results, counts, rows, model, heads = run
    with torch.no_grad():
        model.fc.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="beyond the 65504"):
        write_outputs(folder, results, counts, rows, model, heads, half=True)
    assert json.loads((folder / "results.json").read_text())["test"]["top1"] == 0.75
    assert not (folder / "model").exists()
