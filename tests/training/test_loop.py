"""The training loop against one written out by hand, and the random numbers of its mixing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3

from glmc_zoo.training.loop import step_generator

Train = Callable[..., Any]

# No batch-norm, no dropout, and augmentation by image: how images are batched changes nothing else.
PLAIN = ["--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--method", "ce", "--epochs", 1]


def test_generators_differ_by_step_and_process_and_are_reproducible() -> None:
    steps = list(itertools.product((0, 1), repeat=4))  # seed, epoch, batch, rank
    numbers = {step: torch.rand(1, generator=step_generator(*step)).item() for step in steps}
    assert len(set(numbers.values())) == len(steps)
    for step in steps:
        assert torch.rand(1, generator=step_generator(*step)).item() == numbers[step]


def test_accumulated_steps_equal_one_of_the_doubled_batch(train: Train, lab: Any, tmp_path: Path) -> None:
    options = [*lab.few, *PLAIN, "--max-count", 8, "--imbalance-factor", 1]  # 80 images: whole batches
    assert train(*options, "--batch-size", 20, "--output-dir", tmp_path / "one").status == 0
    accumulated = ["--batch-size", 10, "--grad-accum-steps", 2, "--output-dir", tmp_path / "two"]
    assert train(*options, *accumulated).status == 0
    assert train(*options, "--batch-size", 10, "--output-dir", tmp_path / "half").status == 0
    one, two, half = (lab.weights(tmp_path / name) for name in ("one", "two", "half"))
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=2e-5)
    assert max(np.abs(half[key] - one[key]).max() for key in one) > 1e-2
    losses = [lab.rows(tmp_path / name)[0]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_average_of_the_weights_counts_optimiser_steps(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its warm-up is by this count: by batches, the first step would keep most of the random weights."""
    counted: list[int] = []
    monkeypatch.setattr(ModelEmaV3, "update", lambda self, model, step: counted.append(step))
    options = [*lab.few, *PLAIN, "--max-count", 5, "--imbalance-factor", 1, "--batch-size", 10, "--epochs", 2]
    options += ["--ema-decay", 0.9, "--grad-accum-steps", 2]  # 5 batches: two pairs, and one alone
    assert train(*options, "--output-dir", tmp_path / "run").status == 0
    assert counted == [0, 1, 2, 3, 4, 5]


def test_one_step_is_sgd_on_the_clipped_gradient(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmc_zoo.training.run import TrainingRun

    before: dict[str, torch.Tensor] = {}
    batches: list[Any] = []
    original = TrainingRun.train_epoch

    def train_epoch(self: TrainingRun) -> dict[str, float]:
        before.update({key: value.clone() for key, value in self.timm_model.state_dict().items()})
        batches.extend(self.loader)
        self.loader.set_epoch(0)  # the same batches again: they depend on seed, epoch and index alone
        return original(self)

    monkeypatch.setattr(TrainingRun, "train_epoch", train_epoch)
    options = [*lab.few, *PLAIN, "--batch-size", 68, "--clip-grad", 0.5, "--lr", 0.2, "--weight-decay", 0.01]
    outcome = train(*options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    model, (batch,) = outcome.run.timm_model, batches
    trained = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(before)
    model.train().zero_grad()
    images = outcome.run.trainer.normalize(batch.images, batch.params)
    loss = -model(images).log_softmax(1)[range(68), batch.targets].mean()
    assert lab.rows(tmp_path / "run")[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in model.parameters()))
    assert norm > 0.5  # or nothing would be clipped
    for key, parameter in model.named_parameters():
        expected = parameter.detach() - 0.2 * (parameter.grad * 0.5 / norm + 0.01 * parameter.detach())
        torch.testing.assert_close(trained[key], expected, rtol=1e-4, atol=1e-6)
