"""``--images-in-memory`` and the number of processes that load images where nobody says it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

Train = Callable[..., Any]

OPTIONS = ["--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--epochs", 2, "--batch-size", 8]


def photographs(lab: Any, folder: Path) -> Path:
    """12 + 8 + 4 training photographs as JPEG, too large to be decoded ahead."""
    for path in lab.images(folder, size=72).rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return folder


def test_training_reads_the_files_once(train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glmc_zoo.engine.run import TrainingRun

    options = ["--data", photographs(lab, tmp_path / "data"), *OPTIONS]
    outcome = train(*options, "--output-dir", tmp_path / "files")
    assert outcome.status == 0, outcome.err
    assert outcome.run.data.train.encoded is None
    assert outcome.run.place.workers == expected_workers(outcome.run)

    original = TrainingRun.train_epoch

    def train_without_files(self: TrainingRun) -> dict[str, float]:
        shutil.rmtree(tmp_path / "data" / "train", ignore_errors=True)
        return original(self)

    monkeypatch.setattr(TrainingRun, "train_epoch", train_without_files)
    outcome = train(*options, "--images-in-memory", "--workers", 0, "--output-dir", tmp_path / "memory")
    assert outcome.status == 0, outcome.err
    assert lab.same_weights(lab.weights(tmp_path / "files"), lab.weights(tmp_path / "memory"))

    saved = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("files", "memory")]
    assert [config["images_in_memory"] for config in saved] == [False, True]
    # What nobody said is not saved: another machine that repeats the run has other cores.
    assert [config["workers"] for config in saved] == [None, 0]
    assert outcome.run.place.workers == 0


def expected_workers(run: Any) -> int:
    """What the rule gives this machine for the pictures of ``run``."""
    from glmc_zoo.data.workers import default_workers
    from glmc_zoo.engine.hardware import own_cores

    return default_workers(run.data.train.pixels is not None, run.accelerator.device.type, own_cores(), 1)


def test_small_pictures_are_in_memory_as_they_are(train: Train, lab: Any, tmp_path: Path) -> None:
    outcome = train(*lab.tiny, "--images-in-memory", "--output-dir", tmp_path / "run")
    assert outcome.sentence.startswith("--images-in-memory keeps files as they are")
    assert not (tmp_path / "run").exists()
