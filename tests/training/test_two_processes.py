"""Two CPU processes by gloo: disjoint shards, every test image once, equal weights, exact resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.processes

SCRIPT = Path(__file__).with_name("two_process_script.py")
OPTIONS = [
    *("--views", "mixup_cutmix"),
    *("--backbone", "test_efficientnet", "--image-size", 32, "--drop-rate", 0.3, "--drop-path-rate", 0.2),
    *("--ema-decay", 0.9, "--epochs", 2, "--warmup-epochs", 0, "--batch-size", 4, "--checkpoint-steps", 2),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images") / "data"


def images(lab: Any, data: Path) -> Path:
    """29 training images and 21 test images: neither divides evenly."""
    return data if data.exists() else lab.images(data, {"ant": 15, "bee": 10, "cat": 4}, test=7)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


def uninterrupted(lab: Any, data: Path, whole: Path) -> list[dict[str, Any]]:
    if not (whole / "rank-0.pt").exists():
        options = ["--data", images(lab, data), *OPTIONS, "--output-dir", whole / "run"]
        outcome = lab.torchrun(SCRIPT, whole, *options, cwd=whole)
        assert outcome.status == 0, outcome.err
    return [torch.load(whole / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_shards_weights_and_counts(lab: Any, data: Path, whole: Path) -> None:
    ranks = uninterrupted(lab, data, whole)
    for first, second in zip(ranks[0]["train"], ranks[1]["train"], strict=True):
        assert len(first) == len(second) == 12  # 3 steps of 4; what does not fill a step of both is left out
        assert len({*first, *second}) == 24
    assert sorted(ranks[0]["train"][0]) != sorted(ranks[0]["train"][1])
    for first, second in zip(ranks[0]["test"], ranks[1]["test"], strict=True):
        assert sorted(first + second) == list(range(21))
    assert ranks[0]["weights"].keys() == ranks[1]["weights"].keys()
    for key, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][key]), key
    exported = lab.weights(whole / "run")
    for key, value in exported.items():
        assert torch.equal(torch.from_numpy(value), ranks[1]["weights"][f"timm_model.{key}"]), key
    assert not torch.equal(ranks[0]["mixing"], ranks[1]["mixing"])
    assert not torch.equal(ranks[0]["dropout"], ranks[1]["dropout"])


def test_the_files_are_those_of_one_run(lab: Any, data: Path, whole: Path) -> None:
    uninterrupted(lab, data, whole)
    assert [row["epoch"] for row in lab.rows(whole / "run")] == [1, 2]
    assert {path.name for path in (whole / "run").iterdir()} == {
        *("config.yaml", "metrics.jsonl", "results.json", "checkpoints", "model", "plots"),
        *("answers.json", "report.html"),
    }
    results = lab.results(whole / "run")
    assert results["processes"] == 2 and results["class_counts"] == [15, 10, 4]
    assert sum(map(sum, results["group_confusion"])) == 21
    answers = json.loads((whole / "run" / "answers.json").read_text())
    assert sum(images for _, _, images in answers["pairs"]) == 21
    positions = [image["position"] for image in answers["images"]]
    assert {position % 2 for position in positions} == {0, 1} and len(set(positions)) == len(positions)
    assert results["command"].startswith("torchrun --nproc_per_node 2 --standalone recipes/train.py --data")
    checkpoints = sorted(path.name for path in (whole / "run" / "checkpoints").iterdir())
    assert checkpoints == ["step-000000004", "step-000000006"]


def test_killed_and_resumed_is_the_same(
    lab: Any, data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = uninterrupted(lab, data, whole)
    options = ["--data", images(lab, data), *OPTIONS, "--output-dir", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setenv("KILL_AT_EPOCH", "1")  # at its end, after the checkpoint in its middle
        assert lab.torchrun(SCRIPT, tmp_path, *options, cwd=tmp_path).status != 0
    assert not (tmp_path / "rank-0.pt").exists()
    outcome = lab.torchrun(SCRIPT, tmp_path, *options, "--resume", "auto", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("Resumed from") == 1 and "epoch 2, batch 2 is next." in outcome.out
    assert lab.same_weights(lab.weights(whole / "run"), lab.weights(tmp_path / "run"))
    for rank in (0, 1):
        resumed = torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)
        assert resumed["train"] == [ranks[rank]["train"][1][4:]]
        for key, value in ranks[rank]["weights"].items():
            assert torch.equal(value, resumed["weights"][key]), key
    assert [row["epoch"] for row in lab.rows(tmp_path / "run")] == [1, 2]
    assert [row["loss"] for row in lab.rows(tmp_path / "run")] == [row["loss"] for row in lab.rows(whole / "run")]


def test_an_error_of_all_processes_is_reported_once(lab: Any, tmp_path: Path) -> None:
    outcome = lab.torchrun(lab.recipe, "--data", "nowhere/at_all", cwd=tmp_path)
    assert outcome.status != 0
    reports = [line for line in outcome.err.splitlines() if "train.py: error:" in line]
    assert len(reports) == 1 and "nowhere/at_all" in reports[0]
    assert "exitcode  : 2" in outcome.err and "RuntimeError" not in outcome.err


def test_an_image_that_one_process_cannot_read_is_reported_by_it(lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "data", {"ant": 15, "bee": 10, "cat": 4}, size=70)  # too large to be decoded ahead
    for path in (folder / "test").rglob("*.png"):
        if path.parent.name == "bee" and path.name == "002.png":
            path.write_text("no image")  # position 7 of the test split, which the second process scores
    outcome = lab.torchrun(
        lab.recipe, "--data", folder, *OPTIONS, "--epochs", 1, "--output-dir", tmp_path / "run", cwd=tmp_path
    )
    assert outcome.status != 0
    assert "error: Image 7 of the test split (test/bee/002.png) cannot be read" in outcome.err
