"""`TrainStep` with SAM against steps worked out in numpy: accumulation, gradient scaler, what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.method import SAM
from glmc_zoo.training.step import TrainStep


class Task(nn.Module):
    """A model with its loss, as `TrainStep` calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self.model(images)
        return {"loss": nn.functional.cross_entropy(output, targets), "output": output}


def softmax_gradient(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of the mean cross-entropy of a linear classifier."""
    logits = x @ w.T + b
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    return share.T @ x / len(y), share.mean(axis=0)


def norm_of(*parts: np.ndarray) -> float:
    return float(np.sqrt(sum((part**2).sum() for part in parts)))


@pytest.mark.parametrize(("batches", "clip"), [(1, 0.9), (3, 0.7)])
def test_steps_of_a_classifier_in_float64(accelerate: Callable[..., Accelerator], batches: int, clip: float) -> None:
    """Momentum, weight decay, clipping; both gradients are means over all batches of a step."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, batches, 8, 5)), rng.integers(0, 3, size=(4, batches, 8))
    rho, lr, momentum, decay = 0.4, 0.3, 0.9, 0.01
    w, b = rng.normal(size=(3, 5)), rng.normal(size=3)
    linear = nn.Linear(5, 3, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(w))
        linear.bias.copy_(torch.from_numpy(b))
    accelerator = accelerate(gradient_accumulation_steps=batches)
    task, optimizer = accelerator.prepare(
        Task(linear), torch.optim.SGD(linear.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
    )
    step = TrainStep(task, optimizer, accelerator, clip_grad=clip, sam=SAM(linear.parameters(), rho))
    velocity: list[np.ndarray] = [np.zeros_like(w), np.zeros_like(b)]
    clipped = 0
    for images, targets in zip(x, y, strict=True):
        flat, labels = images.reshape(-1, 5), targets.reshape(-1)
        losses = [step((torch.tensor(i), torch.tensor(t)))["loss"] for i, t in zip(images, targets, strict=True)]
        logits = flat @ w.T + b  # what is reported is the loss at the weights themselves
        expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])
        assert np.mean([loss.item() for loss in losses]) == pytest.approx(expected, rel=1e-11)
        g, gb = softmax_gradient(w, b, flat, labels)
        length = norm_of(g, gb)
        second = softmax_gradient(w + rho * g / length, b + rho * gb / length, flat, labels)
        clipped += norm_of(*second) > clip
        shrink = min(1.0, clip / (norm_of(*second) + 1e-6))  # as torch clips
        for index, (gradient, weight) in enumerate(zip(second, (w, b), strict=True)):
            velocity[index] = momentum * velocity[index] + shrink * gradient + decay * weight
        w, b = w - lr * velocity[0], b - lr * velocity[1]
        np.testing.assert_allclose(linear.weight.detach().numpy(), w, rtol=1e-11)
        np.testing.assert_allclose(linear.bias.detach().numpy(), b, rtol=1e-11)
    assert 0 < clipped < 4  # some steps are clipped and some are not


def test_the_second_pass_leaves_no_trace_but_its_gradient(accelerate: Callable[..., Accelerator]) -> None:
    """Batch-norm's statistics and the random state end as after a step without SAM; the dropout is the same twice."""
    images, targets = torch.randn(2, 8, 6), torch.randint(0, 3, (2, 8))
    ends: list[tuple[list[torch.Tensor], torch.Tensor]] = []
    masks: list[torch.Tensor] = []
    for rho in (None, 0.1):
        accelerator = accelerate(gradient_accumulation_steps=2)
        torch.manual_seed(0)
        dropout = nn.Dropout(0.5)
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), dropout, nn.Linear(16, 3))
        if rho:
            dropout.register_forward_hook(lambda module, given, out: masks.append(out == 0))
        task, optimizer = accelerator.prepare(Task(model), torch.optim.SGD(model.parameters(), lr=0.0))
        step = TrainStep(task, optimizer, accelerator, sam=SAM(model.parameters(), rho) if rho else None)
        for batch in zip(images, targets, strict=True):
            step(batch)
        ends.append(([buffer.clone() for buffer in model.buffers()], torch.get_rng_state()))
    (plain, state), (buffers, state_with_sam) = ends
    assert len(plain) == 3 and plain[2] == 2  # of two batches
    assert all(torch.equal(one, other) for one, other in zip(plain, buffers, strict=True))
    assert torch.equal(state, state_with_sam)
    assert len(masks) == 4
    assert torch.equal(masks[0], masks[2]) and torch.equal(masks[1], masks[3])
    assert not torch.equal(masks[0], masks[1])


def half_precision(accelerator: Accelerator, scale: float) -> None:
    """What `Accelerator` sets up for fp16 on a GPU, with the scaler of the CPU; the arithmetic stays as it is."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    accelerator.native_amp = True
    accelerator.state._mixed_precision = "fp16"


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_gradient_scaler_changes_nothing(accelerate: Callable[..., Accelerator], clip: float | None) -> None:
    batches = [(torch.randn(8, 5), torch.randint(0, 3, (8,))) for _ in range(4)]
    ends = []
    for scaled in (False, True):
        accelerator = accelerate()
        torch.manual_seed(0)
        linear = nn.Linear(5, 3)
        task: nn.Module = Task(linear)
        if scaled:
            half_precision(accelerator, 1024.0)
        optimizer = accelerator.prepare(torch.optim.SGD(linear.parameters(), lr=0.5, momentum=0.9))
        step = TrainStep(task, optimizer, accelerator, clip_grad=clip, sam=SAM(linear.parameters(), 0.3))
        for batch in batches:
            step(batch)
        ends.append(linear.weight.detach().clone())
        if scaled:  # unscaled and looked at once a step, or the scaler would have refused or not have grown
            assert accelerator.scaler.get_scale() == 4096.0
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


class Cliff(nn.Module):
    """A loss that is the weight, and infinite from 1.0 on."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([start]))

    def forward(self, slope: torch.Tensor) -> dict[str, torch.Tensor]:
        steep = torch.where(self.weight.detach() < 1.0, slope, torch.inf)
        return {"loss": (self.weight * steep).sum(), "output": slope}


@pytest.mark.parametrize(
    ("start", "slope", "skipped"),
    [(0.5, 1.0, False), (0.95, 1.0, True), (0.5, torch.inf, True)],
    ids=["finite", "second gradient", "both gradients"],
)
def test_a_step_with_an_overflow_is_skipped(
    accelerate: Callable[..., Accelerator], start: float, slope: float, skipped: bool
) -> None:
    accelerator, model = accelerate(), Cliff(start)
    half_precision(accelerator, 1024.0)
    optimizer = accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1))
    TrainStep(model, optimizer, accelerator, sam=SAM(model.parameters(), 0.1))((torch.tensor([slope]),))
    assert optimizer.step_was_skipped is skipped
    assert accelerator.scaler.get_scale() == (512.0 if skipped else 1024.0)
    assert model.weight.item() == (torch.tensor(start) if skipped else torch.tensor(start) - 0.1).item()
    assert model.weight.grad is None


@pytest.mark.parametrize(
    ("accumulated", "begin", "passes"),
    [
        (1, (0, 0, 5), [2, 1, 1, 2, 1, 1]),
        (1, (1, 1, 5), [2, 1, 1, 2, 1, 1]),  # 6 steps are done
        (1, (0, 4, 5), [1, 1, 2, 1, 1, 2]),
        (2, (0, 2, 5), [1, 1, 1, 1, 1, 3]),  # batches 2 and 3 make step 1
        (2, (2, 0, 5), [1, 3, 1, 1, 1, 1]),  # 6 steps are done, the last of each epoch with one batch
    ],
)
def test_one_step_in_three_uses_sam(
    accelerate: Callable[..., Accelerator], accumulated: int, begin: tuple[int, int, int], passes: list[int]
) -> None:
    """A step with SAM calls the network twice for each of its batches; where to count on is told after a resumption."""
    accelerator, linear, calls = accelerate(gradient_accumulation_steps=accumulated), nn.Linear(3, 2), []
    linear.register_forward_hook(lambda *_: calls.append(1))
    task, optimizer = accelerator.prepare(Task(linear), torch.optim.SGD(linear.parameters(), lr=0.1))
    step = TrainStep(task, optimizer, accelerator, sam=SAM(linear.parameters(), 0.1), sam_every=3)
    step.begin(*begin)
    counted = []
    for _ in passes:
        calls.clear()
        step((torch.randn(4, 3), torch.tensor([0, 1, 0, 1])))
        counted.append(len(calls))
    assert counted == passes


def test_a_task_without_one_loss_is_named(accelerate: Callable[..., Accelerator]) -> None:
    class PerImage(nn.Linear):
        def forward(self, input: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"loss": super().forward(input)[:, 0]}

    accelerator, model = accelerate(), PerImage(2, 1)
    before = model.weight.detach().clone()
    step = TrainStep(model, accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1)), accelerator)
    with pytest.raises(UserError, match=r"^The task PerImage of method= returned a tensor of shape \(3,\) for a batch"):
        step((torch.ones(3, 2),))
    assert torch.equal(model.weight, before)
