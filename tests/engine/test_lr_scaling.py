"""The learning rate by the images of a step: in the schedule, in what a run says, and in what it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glmc_zoo.engine.build import make_optimizer, make_scheduler
from glmc_zoo.engine.config import images_per_step, resolve, with_scaled_lr
from glmc_zoo.engine.report import step_text

OPTIONS = {"lr": 0.1, "min_lr": 0.001, "batch_size": 64, "epochs": 10, "warmup_epochs": 4}


def rates(processes: int, **options: Any) -> list[float]:
    """The rate of each epoch."""
    config = with_scaled_lr(resolve(OPTIONS | options), processes)
    optimizer = make_optimizer(config, torch.nn.Linear(2, 2))
    scheduler = make_scheduler(config, optimizer)
    found = []
    for epoch in range(10):
        scheduler.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(
    ("processes", "accumulated", "base", "factor"),
    [(8, 2, 256, 4), (1, 1, 256, 0.25), (2, 1, 128, 1), (3, 1, 100, 1.92)],
)
def test_the_whole_schedule_is_scaled(processes: int, accumulated: int, base: int, factor: float) -> None:
    """Warm-up and the last rate with it: whatever the processes, it is the same curve."""
    plain = rates(1)
    assert plain[0] == pytest.approx(0.025) and max(plain) == pytest.approx(0.1)
    assert min(plain[4:]) > 0.001
    scaled = rates(processes, lr_base_size=base, grad_accum_steps=accumulated)
    assert scaled == pytest.approx([factor * rate for rate in plain], rel=1e-12)
    assert rates(processes, grad_accum_steps=accumulated) == plain  # not unless it is asked for


def test_options_stay_as_they_were_given() -> None:
    config = resolve(OPTIONS | {"lr_base_size": 256})
    assert images_per_step(config, 8) == 512
    assert (with_scaled_lr(config, 8).lr, with_scaled_lr(config, 8).min_lr) == (0.2, 0.002)
    assert (config.lr, config.min_lr, config.lr_base_size) == (0.1, 0.001, 256)
    plain = dataclasses.replace(config, lr_base_size=None)
    assert with_scaled_lr(plain, 8) is plain


@pytest.mark.parametrize(
    ("processes", "options", "said"),
    [
        (1, {}, "batch 64, lr 0.1"),
        (8, {}, "batch 64 x 8 processes = 512 images a step, lr 0.1"),
        (8, {"grad_accum_steps": 2, "lr_base_size": 256},
         "batch 64 x 8 processes x 2 accumulated = 1024 images a step, lr 0.4 (0.1 x 1024 / 256)"),
        (1, {"lr_base_size": 256, "sam_rho": 0.05}, "batch 64, lr 0.025 (0.1 x 64 / 256), SAM within 0.05"),
    ],
)  # fmt: skip
def test_batch_and_rate_are_said_of_a_process_and_in_all(processes: int, options: dict[str, Any], said: str) -> None:
    assert step_text(resolve(OPTIONS | options), processes) == said


def test_what_a_run_leaves(train: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*lab.tiny, "--epochs", 2, "--lr", 0.02, "--min-lr", 0.002, "--lr-base-size", 8, "--output-dir", out]
    outcome = train(*options)
    assert outcome.status == 0, outcome.err
    assert f"2 epochs of batch 16, lr 0.04 (0.02 x 16 / 8); results in {out}" in outcome.out
    assert [row["lr"] for row in lab.rows(out)] == pytest.approx([0.04, (0.04 + 0.004) / 2])  # cosine, half way
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert (saved["lr"], saved["min_lr"], saved["lr_base_size"]) == (0.02, 0.002, 8)
    found = lab.results(out)
    assert found["schedule"] == {"images_per_step": 16, "lr": 0.04, "min_lr": 0.004} and found["processes"] == 1
    assert found["config"]["lr"] == 0.02
    card = (out / "model" / "README.md").read_text()
    assert "- **Optimiser step:** 16 images over all processes, learning rate 0.04 at its highest\n" in card
    assert "SAM" not in card
    changed = train(*options[:-3], 16, "--output-dir", out, "--resume", "auto")
    assert "lr_base_size: 8 -> 16" in changed.sentence
