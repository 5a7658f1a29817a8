"""Learning rates of every epoch: the published runs', the formula's, and those scaled by the images of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.training.build import make_optimizer, make_scheduler
from glmc_zoo.training.report import step_text


def make(**values: Any) -> ScheduleOptions:
    return ScheduleOptions(**{"batch_size": 64, "weight_decay": 0.0, "warmup_epochs": 0, **values})


def rates(options: ScheduleOptions) -> np.ndarray:
    """The rate that each epoch runs at."""
    optimizer = make_optimizer(options, "sgd", torch.nn.Linear(2, 2))
    scheduler = make_scheduler(options, optimizer)
    found = []
    for epoch in range(options.epochs):
        scheduler.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return np.array(found)


@pytest.fixture(scope="session")
def step(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "glmc_step.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("lr_")}


def test_cosine_reference(step: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(rates(make(epochs=200, lr=0.01)), step["lr_cosine_200"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("epochs", "lr"), [(135, 0.1), (120, 0.1), (200, 0.01)])
def test_warmup_reference(step: dict[str, np.ndarray], epochs: int, lr: float) -> None:
    """The published schedule was called one epoch late, and overshot once: ours is it, an epoch earlier."""
    ours, theirs = rates(make(epochs=epochs, lr=lr, warmup_epochs=10)), step[f"lr_paco_{epochs}_{lr}"]
    same = [epoch for epoch in range(epochs - 1) if epoch != 10]
    np.testing.assert_allclose(ours[same], theirs[1:][same], rtol=0, atol=1e-12)
    assert theirs[11] == pytest.approx(1.1 * lr)
    assert ours[10] == pytest.approx(lr / 2 * (1 + math.cos(math.pi / (epochs - 9))))


@pytest.mark.parametrize(("epochs", "lr", "warmup"), [(135, 0.1, 10), (30, 0.2, 5), (12, 0.05, 1), (9, 0.05, 0)])
def test_formula(epochs: int, lr: float, warmup: int) -> None:
    ours = rates(make(epochs=epochs, lr=lr, warmup_epochs=warmup))
    peak = max(warmup - 1, 0)
    rising = [lr * (epoch + 1) / warmup for epoch in range(peak)]
    falling = [lr / 2 * (1 + math.cos(math.pi * (e - peak) / (epochs - peak))) for e in range(peak, epochs)]
    np.testing.assert_allclose(ours, rising + falling, rtol=0, atol=1e-12)
    assert ours[peak] == lr == ours.max()


# ------------------------------------------------------------------------------------------------ scaled
PLAIN: dict[str, Any] = {"lr": 0.1, "min_lr": 0.001, "epochs": 10, "warmup_epochs": 4}


@pytest.mark.parametrize(
    ("processes", "accumulated", "base", "factor"),
    [(8, 2, 256, 4), (1, 1, 256, 0.25), (2, 1, 128, 1), (3, 1, 100, 1.92)],
)
def test_the_whole_schedule_is_scaled(processes: int, accumulated: int, base: int, factor: float) -> None:
    """Warm-up and the last rate with it: the curve is the same for any number of processes."""
    plain = rates(make(**PLAIN))
    assert plain[0] == pytest.approx(0.025) and max(plain) == pytest.approx(0.1)
    assert min(plain[4:]) > 0.001
    options = make(**PLAIN, lr_base_size=base, grad_accum_steps=accumulated)
    assert options.images_per_step(processes) == 64 * processes * accumulated
    np.testing.assert_allclose(rates(options.scale_rates(processes)), factor * plain, rtol=1e-12)
    # The options stay as they were given, and nothing is scaled unless it is asked for.
    assert (options.lr, options.min_lr, options.lr_base_size) == (0.1, 0.001, base)
    unscaled = make(**PLAIN, grad_accum_steps=accumulated)
    assert unscaled.scale_rates(processes) is unscaled


@pytest.mark.parametrize(
    ("processes", "values", "text"),
    [
        (1, {}, "batch 64, lr 0.1"),
        (8, {}, "batch 64 x 8 processes = 512 images a step, lr 0.1"),
        (8, {"grad_accum_steps": 2, "lr_base_size": 256},
         "batch 64 x 8 processes x 2 accumulated = 1024 images a step, lr 0.4 (0.1 x 1024 / 256)"),
        (1, {"lr_base_size": 256, "sam_rho": 0.05}, "batch 64, lr 0.025 (0.1 x 64 / 256), SAM within 0.05"),
    ],
)  # fmt: skip
def test_batch_and_rate_in_words(processes: int, values: dict[str, Any], text: str) -> None:
    assert step_text(make(**PLAIN, **values), processes) == text


def test_what_a_run_leaves(train: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*lab.tiny, "--epochs", 2, "--lr", 0.02, "--min-lr", 0.002, "--lr-base-size", 8, "--output-dir", out]
    outcome = train(*options)
    assert outcome.status == 0, outcome.err
    assert f"2 epochs of batch 16, lr 0.04 (0.02 x 16 / 8); results in {out}" in outcome.out
    assert [row["lr"] for row in lab.rows(out)] == pytest.approx([0.04, (0.04 + 0.004) / 2])  # cosine, half way
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert (saved["lr"], saved["min_lr"], saved["lr_base_size"]) == (0.02, 0.002, 8)
    results = lab.results(out)
    assert results["schedule"] == {"images_per_step": 16, "lr": 0.04, "min_lr": 0.004} and results["processes"] == 1
    assert results["config"]["lr"] == 0.02
    card = (out / "model" / "README.md").read_text()
    assert "- **Optimiser step:** 16 images over all processes, highest learning rate 0.04\n" in card
    assert "SAM" not in card
    changed = train(*options[:-3], 16, "--output-dir", out, "--resume", "auto")
    assert "lr_base_size: 8 -> 16" in changed.sentence
