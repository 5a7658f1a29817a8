"""The step with SAM against one worked out in numpy, and through the recipes with all that a run has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.engine.step import TrainStep
from glmc_zoo.method import SAM

Train = Callable[..., Any]

TWO_PROCESSES = Path(__file__).with_name("two_process_script.py")

# No batch-norm, no dropout, augmentation drawn for each image by itself: how images are batched changes nothing else.
PLAIN = [
    *("--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--method", "ce", "--epochs", 1),
    *("--max-count", 8, "--imbalance-factor", 1, "--sam-rho", 0.2, "--clip-grad", 2),
]


class Task(nn.Module):
    """A model with its loss, as `TrainStep` calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self.model(images)
        return {"loss": nn.functional.cross_entropy(output, targets), "output": output}


def _forget() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


@pytest.fixture
def accelerate() -> Iterator[Callable[..., Accelerator]]:
    """``accelerate(...)`` makes an `Accelerator` on the CPU that no other test sees."""

    def make(**options: Any) -> Accelerator:
        _forget()
        return Accelerator(cpu=True, **options)

    yield make
    _forget()


def softmax_gradient(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean cross-entropy of a linear classifier."""
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
        for place, (gradient, weight) in enumerate(zip(second, (w, b), strict=True)):
            velocity[place] = momentum * velocity[place] + shrink * gradient + decay * weight
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


# ------------------------------------------------------------------------------------------------- through the recipes
def test_accumulated_batches_equal_one_large_batch(train: Train, lab: Any, tmp_path: Path) -> None:
    assert train(*lab.tiny, *PLAIN, "--batch-size", 20, "--output-dir", tmp_path / "one").status == 0
    outcome = train(
        *lab.tiny, *PLAIN, "--batch-size", 5, "--grad-accum-steps", 4, "--output-dir", tmp_path / "four"
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "1 epochs of batch 5 x 4 accumulated = 20 images a step, lr 0.05, SAM within 0.2; results in" in outcome.out
    one, four = lab.weights(tmp_path / "one"), lab.weights(tmp_path / "four")
    for key in one:
        np.testing.assert_allclose(four[key], one[key], rtol=1e-3, atol=2e-5)
    assert lab.rows(tmp_path / "four")[0]["loss"] == pytest.approx(lab.rows(tmp_path / "one")[0]["loss"], rel=1e-4)
    assert (
        train(*lab.tiny, *PLAIN[:-4], "--clip-grad", 2, "--batch-size", 20, "--output-dir", tmp_path / "plain").status
        == 0
    )
    plain = lab.weights(tmp_path / "plain")
    assert max(np.abs(one[key] - plain[key]).max() for key in one) > 1e-3
    assert lab.results(tmp_path / "one")["config"]["sam_rho"] == 0.2
    card = (tmp_path / "one" / "model" / "README.md").read_text()
    assert "with sharpness-aware minimisation (SAM) within 0.2\n" in card


def test_two_processes_equal_one_with_twice_the_batch(train: Train, lab: Any, tmp_path: Path) -> None:
    """Two batches of 5 accumulated in each of two processes, against 20 at once, at the same scaled learning rate."""
    options = [*lab.tiny, *PLAIN, "--lr", 0.02, "--min-lr", 0.001, "--lr-base-size", 10]
    outcome = lab.torchrun(
        *(TWO_PROCESSES, tmp_path, *options, "--batch-size", 5, "--grad-accum-steps", 2),
        *("--output-dir", tmp_path / "two"),
        cwd=tmp_path,
    )
    assert outcome.status == 0, outcome.err
    assert "batch 5 x 2 processes x 2 accumulated = 20 images a step, lr 0.04 (0.02 x 20 / 10)" in outcome.out
    ranks = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)["weights"] for rank in (0, 1)]
    assert all(torch.equal(ranks[0][key], ranks[1][key]) for key in ranks[0])
    assert train(*options, "--batch-size", 20, "--output-dir", tmp_path / "one").status == 0
    one, two = lab.weights(tmp_path / "one"), lab.weights(tmp_path / "two")
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=2e-5)
    for name in ("one", "two"):
        assert lab.rows(tmp_path / name)[0]["lr"] == pytest.approx(0.04)
        assert lab.results(tmp_path / name)["schedule"] == {
            "images_per_step": 20, "lr": pytest.approx(0.04), "min_lr": pytest.approx(0.002)
        }  # fmt: skip


def test_glmc_in_two_processes_keeps_them_equal(lab: Any, tmp_path: Path) -> None:
    """With batch-norm, dropout, stochastic depth and a moving average: all that differs between them, or could."""
    options = [*("--backbone", "test_efficientnet", "--image-size", 32, "--drop-rate", 0.3, "--drop-path-rate", 0.2)]
    outcome = lab.torchrun(
        *(TWO_PROCESSES, tmp_path, *lab.tiny, *options, "--epochs", 2, "--batch-size", 8, "--grad-accum-steps", 2),
        *("--ema-decay", 0.9, "--sam-rho", 0.1, "--clip-grad", 1, "--output-dir", tmp_path / "run"),
        cwd=tmp_path,
    )
    assert outcome.status == 0, outcome.err
    ranks = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True)["weights"] for rank in (0, 1)]
    assert all(torch.equal(ranks[0][key], ranks[1][key]) for key in ranks[0])


def test_statistics_of_batch_norm_count_each_batch_once(train: Train, lab: Any, tmp_path: Path) -> None:
    """One step of the whole set: the statistics are those of the first weights, with SAM and without."""
    options = [*lab.tiny, "--epochs", 1, "--batch-size", 68, "--output-dir"]
    assert train(*options, tmp_path / "plain").status == 0
    assert train(*options, tmp_path / "sam", "--sam-rho", 0.5).status == 0
    plain, sam = lab.weights(tmp_path / "plain"), lab.weights(tmp_path / "sam")
    statistics = [key for key in plain if "running" in key or "tracked" in key]
    assert len(statistics) > 50 and all(np.array_equal(plain[key], sam[key]) for key in statistics)
    assert plain["bn1.num_batches_tracked"] == 2  # one of each view
    assert not np.array_equal(plain["conv1.weight"], sam["conv1.weight"])


@pytest.mark.parametrize("method", ["glmc", "balanced_softmax"])
def test_bf16_is_close_to_single_precision(train: Train, lab: Any, tmp_path: Path, method: str) -> None:
    def trained(name: str, *more: Any) -> np.ndarray:
        """All weights in one row; PLAIN is another method until told."""
        outcome = train(
            *lab.tiny, *PLAIN, "--method", method, "--batch-size", 20, *more, "--output-dir", tmp_path / name
        )
        assert outcome.status == 0, outcome.err
        found = lab.weights(tmp_path / name)
        return np.concatenate([found[key].ravel() for key in sorted(found)]).astype(np.float64)

    start, full, mixed = trained("start", "--lr", 1e-12), trained("full"), trained("mixed", "--mixed-precision", "bf16")
    assert np.isfinite(mixed).all() and not np.array_equal(mixed, full)
    assert np.linalg.norm(mixed - full) < 0.05 * np.linalg.norm(full - start)
    losses = [lab.rows(tmp_path / name)[0]["loss"] for name in ("full", "mixed")]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_resumed_within_an_epoch_ends_the_same(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timm.utils import ModelEmaV3

    options = [
        *lab.tiny,
        *("--backbone", "test_efficientnet", "--image-size", 32, "--drop-rate", 0.3, "--drop-path-rate", 0.2),
        *("--ema-decay", 0.9, "--epochs", 2, "--batch-size", 8, "--grad-accum-steps", 2, "--checkpoint-steps", 2),
        *("--sam-rho", 0.1, "--keep-checkpoints", 9, "--output-dir"),
    ]
    assert train(*options, tmp_path / "whole").status == 0
    original = ModelEmaV3.update

    def update(self: Any, model: Any, step: int) -> None:
        original(self, model, step=step)
        if step == 12:  # in epoch 1, whose steps begin at 9
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ModelEmaV3, "update", update)
        with pytest.raises(Killed):
            train(*options, tmp_path / "run")
    outcome = train(*options, tmp_path / "run", "--resume", "auto")
    assert outcome.status == 0 and "epoch 1, batch 2." in outcome.out, outcome.err
    assert lab.same_weights(lab.weights(tmp_path / "whole"), lab.weights(tmp_path / "run"))
    losses = [[row["loss"] for row in lab.rows(tmp_path / name)] for name in ("whole", "run")]
    assert losses[0] == losses[1]
    changed = [value if value != 0.1 else 0.2 for value in options]
    refused = train(*changed, tmp_path / "run", "--resume", "auto")
    assert "sam_rho: 0.1 -> 0.2" in refused.sentence


def test_only_what_is_tuned_moves(train: Train, finetune: Train, lab: Any, tmp_path: Path) -> None:
    assert train(*lab.tiny, "--epochs", 1, "--output-dir", tmp_path / "source").status == 0
    options = ["--model", tmp_path / "source" / "model", *lab.tiny, "--epochs", 1, "--tune", "head"]
    options += ["--method", "ce", "--output-dir"]
    assert finetune(*options, tmp_path / "plain").status == 0
    outcome = finetune(*options, tmp_path / "sam", "--sam-rho", 0.5)
    assert outcome.status == 0, outcome.err
    source, plain, sam = (lab.weights(tmp_path / name) for name in ("source", "plain", "sam"))
    head = {key for key in source if not np.array_equal(source[key], sam[key])}
    assert head == {"fc.weight", "fc.bias"}
    assert not np.array_equal(plain["fc.weight"], sam["fc.weight"])


def test_a_compiled_model_is_traced_once(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, graphs = torch.compile, []

    def count(graph: torch.fx.GraphModule, example: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    # Tracing without code generation, which takes a minute.
    monkeypatch.setattr(torch, "compile", lambda model, **kwargs: compiled(model, backend=count))
    options = [*lab.tiny, "--backbone", "test_resnet", "--epochs", 1, "--batch-size", 34, "--sam-rho", 0.1]
    outcome = train(*options, "--compile", "--output-dir", tmp_path / "compiled")
    assert outcome.status == 0, outcome.err
    assert len(graphs) == 1
    monkeypatch.undo()
    assert train(*options, "--output-dir", tmp_path / "plain").status == 0
    one, other = lab.weights(tmp_path / "compiled"), lab.weights(tmp_path / "plain")
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-4)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--sam-rho=0", "--sam-rho 0.0 must be above 0."),
        ("--sam-rho=inf", "--sam-rho inf is not accepted: it must be a number."),
        ("--lr-base-size=0", "--lr-base-size 0 is too small: it must be at least 1."),
    ],
)
def test_values_out_of_range_are_refused(train: Train, option: str, said: str) -> None:
    assert train(option).sentence == said
