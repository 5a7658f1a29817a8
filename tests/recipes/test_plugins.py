"""The plug-ins that come as examples, against their formulas in float64 NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from glmc_zoo.method import get_loss, get_method, load_plugin

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "plugins"
COUNTS = [500, 60, 8]
TARGET = torch.tensor([0, 1, 2, 2, 0])


@pytest.fixture(params=["focal", "ldam_drw"])
def name(request: pytest.FixtureRequest) -> str:
    facts = load_plugin(FOLDER / f"{request.param}.py")
    assert facts.registered == [f"loss {request.param}"]
    return str(request.param)


def random_case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator).softmax(dim=1)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def focal(logits: np.ndarray, label: int, late: bool) -> float:
    p = np.exp(log_softmax(logits))[label]
    return float(-((1 - p) ** 2) * np.log(p))


def ldam(logits: np.ndarray, label: int, late: bool) -> float:
    """Equation 13 of Cao et al. with the logits as scaled cosines, and class-balanced weights when late."""
    n = np.array(COUNTS, dtype=float)
    cosines = logits / 30
    cosines[label] -= 0.5 * n[label] ** -0.25 / (n**-0.25).max()
    weights = (1 - 0.9999) / (1 - 0.9999**n)
    weight = weights[label] * len(n) / weights.sum() if late else 1.0
    return float(-weight * log_softmax(30 * cosines)[label])


@pytest.mark.parametrize(("epoch", "late"), [(0, False), (7, False), (8, True), (9, True), (2, False)])
def test_formula(name: str, epoch: int, late: bool) -> None:
    loss: Any = get_loss(name)(COUNTS)
    if hasattr(loss, "set_epoch"):
        loss.set_epoch(epoch, 10)
    logits, _ = random_case()
    formula = {"focal": focal, "ldam_drw": ldam}[name]
    each = [formula(row.double().numpy(), label, late) for row, label in zip(logits, TARGET.tolist(), strict=True)]
    assert loss(logits, TARGET).item() == pytest.approx(np.mean(each), rel=1e-5)
    assert loss(logits, TARGET).ndim == 0


def test_class_probabilities(name: str) -> None:
    """One-hot rows give the loss of the indices, and gradients are finite for soft ones."""
    loss = get_loss(name)(COUNTS)
    logits, soft = random_case()
    torch.testing.assert_close(loss(logits, F.one_hot(TARGET, 3).float()), loss(logits, TARGET))
    logits.requires_grad_()
    value = loss(logits, soft)
    value.backward()
    assert value.ndim == 0 and logits.grad is not None and logits.grad.isfinite().all()


def test_focal_of_soft_labels_is_the_sum_over_the_classes() -> None:
    load_plugin(FOLDER / "focal.py")
    logits, soft = random_case()
    log_p = log_softmax(logits.double().numpy())
    expected = -(soft.numpy() * (1 - np.exp(log_p)) ** 2 * log_p).sum(axis=1).mean()
    assert get_loss("focal")(COUNTS)(logits, soft).item() == pytest.approx(expected, rel=1e-5)


def test_focal_without_focus_is_cross_entropy() -> None:
    load_plugin(FOLDER / "focal.py")
    logits, soft = random_case()
    for target in (TARGET, soft):
        torch.testing.assert_close(
            get_loss("focal")(COUNTS, gamma=0.0)(logits, target), F.cross_entropy(logits, target)
        )


def test_are_short_and_have_a_title(name: str) -> None:
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 25
    assert get_method(name).title
