"""Where a run has its training images: on the device, or loaded batch by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from glmc_zoo.data import ImageSplit, train_transform
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.errors import UserError
from glmc_zoo.machine import hardware
from glmc_zoo.machine.hardware import available_cores, default_workers
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.options.machine import MachineOptions
from glmc_zoo.training import placement
from glmc_zoo.training.placement import ImagePlacement, place_images

CPU = torch.device("cpu")
IMAGES = 40


def placed(
    augment: str = "shift", size: int = 16, *, device: torch.device = CPU, workers: int | None = None, **machine: Any
) -> ImagePlacement:
    pixels = np.zeros((IMAGES, 16, 16, 3), dtype=np.uint8)
    split = ImageSplit(ArrayImages(pixels, "training"), np.arange(IMAGES), np.arange(IMAGES) % 5, list("abcde"))
    images = ImageOptions(image_size=size, augment=augment, workers=workers)  # type: ignore[arg-type]
    return place_images(split, train_transform(augment, size), device, MachineOptions(**machine), images)  # type: ignore[arg-type]


def test_small_sets_stay_on_the_device_unless_something_else_is_asked_for() -> None:
    assert placed() == placed(resident=True) == (CPU, 0)
    assert placed(resident=False) == (None, 0)
    assert placed(augment="large", size=32).resident_on is None
    assert placed(size=96).resident_on is None  # enlarged: only when asked
    assert placed(size=96, resident=True).resident_on == CPU


def test_a_share_of_the_free_memory_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = IMAGES * 20 * 20 * 3
    monkeypatch.setattr(placement, "free_memory", lambda device: 4 * needed)
    assert placed().resident_on == CPU
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two processes keep a copy each
    assert placed().resident_on is None and placed(resident=True).resident_on == CPU
    monkeypatch.setattr(placement, "free_memory", lambda device: needed)
    with pytest.raises(UserError, match=r"^resident=True needs 0 MiB .* are free on cpu: leave it out"):
        placed(resident=True)


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^resident=True keeps decoded images .* read anew in each epoch: leave it out"
    ):
        placed(augment="large", size=32, resident=True)


@pytest.mark.parametrize(("threads", "workers", "expected"), [(None, 0, 8), (None, 3, 5), (None, 9, 1), (6, 3, 6)])
def test_workers_are_left_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, workers: int, expected: int
) -> None:
    monkeypatch.setattr(hardware, "available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or 8)
        assert placed(threads=threads, workers=workers) == (CPU, workers)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_workers_are_those_that_suit_the_machine_and_are_not_saved(train: Any, lab: Any, tmp_path: Path) -> None:
    data = lab.images(tmp_path / "data", size=72)  # too large to be decoded ahead
    options = ["--data", data, "--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--epochs", 1]
    options += ["--batch-size", 8, "--method", "ce"]
    outcome = train(*options, "--output-dir", tmp_path / "default")
    assert outcome.status == 0, outcome.err
    assert outcome.run.placement == (None, default_workers(False, "cpu", available_cores(), 1))
    outcome = train(*options, "--workers", 0, "--output-dir", tmp_path / "none")
    assert outcome.status == 0 and outcome.run.placement == (None, 0)
    # Another machine that repeats the first run has other cores.
    saved = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("default", "none")]
    assert [config["workers"] for config in saved] == [None, 0]
