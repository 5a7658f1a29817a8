"""Learning rates of every epoch against the published runs' and the formula."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from glmc_zoo.engine.build import make_scheduler
from glmc_zoo.engine.config import TrainConfig


def rates(epochs: int, lr: float, warmup_epochs: int = 0) -> np.ndarray:
    """The rate that each epoch runs at."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make_scheduler(TrainConfig(epochs=epochs, lr=lr, warmup_epochs=warmup_epochs), optimizer)
    found = []
    for epoch in range(epochs):
        scheduler.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return np.array(found)


@pytest.fixture(scope="session")
def step(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "glmc_step.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("lr_")}


def test_cosine_reference(step: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(rates(200, 0.01), step["lr_cosine_200"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("epochs", "lr"), [(135, 0.1), (120, 0.1), (200, 0.01)])
def test_warmup_reference(step: dict[str, np.ndarray], epochs: int, lr: float) -> None:
    """The published schedule was called one epoch late, and overshot once: ours is it, an epoch earlier."""
    ours, theirs = rates(epochs, lr, warmup_epochs=10), step[f"lr_paco_{epochs}_{lr}"]
    same = [epoch for epoch in range(epochs - 1) if epoch != 10]
    np.testing.assert_allclose(ours[same], theirs[1:][same], rtol=0, atol=1e-12)
    assert theirs[11] == pytest.approx(1.1 * lr)
    assert ours[10] == pytest.approx(lr / 2 * (1 + math.cos(math.pi / (epochs - 9))))


@pytest.mark.parametrize(("epochs", "lr", "warmup"), [(135, 0.1, 10), (30, 0.2, 5), (12, 0.05, 1), (9, 0.05, 0)])
def test_formula(epochs: int, lr: float, warmup: int) -> None:
    ours = rates(epochs, lr, warmup)
    peak = max(warmup - 1, 0)
    rising = [lr * (epoch + 1) / warmup for epoch in range(peak)]
    falling = [lr / 2 * (1 + math.cos(math.pi * (e - peak) / (epochs - peak))) for e in range(peak, epochs)]
    np.testing.assert_allclose(ours, rising + falling, rtol=0, atol=1e-12)
    assert ours[peak] == lr == ours.max()
