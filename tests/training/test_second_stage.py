"""The second stage: its arithmetic against NumPy, what stays frozen, and the chain of recipes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from glmc_zoo.cli import main
from glmc_zoo.options.resolve import second_stage_options
from glmc_zoo.options.sections import SECOND_STAGE
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.training.first_stage import first_stage_options
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.second_stage import ClassifierBall

Stage = Callable[..., Any]


def loaded(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def changed(folder: Path, source: Path) -> set[str]:
    """Names of the tensors, parameters and statistics, that are not the source's to the bit."""
    after, before = loaded(folder).state_dict(), loaded(source).state_dict()
    assert after.keys() == before.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def longest_row(folder: Path) -> float:
    return float(loaded(folder).fc.weight.detach().double().norm(dim=1).max())


def radius(folder: Path, threshold: float = 0.1) -> float:
    norms = np.linalg.norm(loaded(folder).fc.weight.detach().double().numpy(), axis=1)
    return float(norms.min() + threshold * (norms.max() - norms.min()))


def by_numpy(
    weight: np.ndarray,
    bias: np.ndarray,
    batches: list[tuple[np.ndarray, np.ndarray]],
    counts: list[int],
    *,
    epochs: int,
    accumulated: int = 1,
    maxnorm: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The stage on given features in float64, step by step: gradient, momentum, decay, cosine, projection."""
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    effective = (1 - 0.9999 ** np.array(counts, dtype=np.float64)) / (1 - 0.9999)
    class_weight = len(counts) / effective / (1 / effective).sum()
    norms = np.sqrt((weight**2).sum(axis=1))
    limit = norms.min() + 0.1 * (norms.max() - norms.min())
    momentum = [np.zeros_like(weight), np.zeros_like(bias)]
    an_epoch = len(batches) // epochs
    gradient = [np.zeros_like(weight), np.zeros_like(bias)]
    for index, (features, target) in enumerate(batches):
        epoch, position = divmod(index, an_epoch)
        scores = np.exp(features @ weight.T + bias)
        error = scores / scores.sum(axis=1, keepdims=True) - np.eye(len(counts))[target]
        error *= class_weight[target][:, None] / len(target) / accumulated
        gradient = [gradient[0] + error.T @ features, gradient[1] + error.sum(axis=0)]
        if (position + 1) % accumulated and position + 1 < an_epoch:
            continue
        lr = 0.01 * (1 + np.cos(np.pi * epoch / epochs)) / 2
        momentum[0] = 0.9 * momentum[0] + gradient[0] + 0.1 * weight
        momentum[1] = 0.9 * momentum[1] + gradient[1] + 0.1 * bias
        weight, bias = weight - lr * momentum[0], bias - lr * momentum[1]
        if maxnorm:
            norms = np.sqrt((weight**2).sum(axis=1, keepdims=True))
            weight = weight * np.minimum(1, limit / norms)
        gradient = [np.zeros_like(weight), np.zeros_like(bias)]
    return weight, bias


@pytest.mark.parametrize(
    "options",
    [{}, {"grad_accum_steps": 2}, {"maxnorm": False}],
    ids=["plain", "accumulated", "no ball"],
)
def test_the_stage_is_what_numpy_computes(
    first: Path, tmp_path: Path, accelerate: Stage, options: dict[str, Any]
) -> None:
    arguments = {"model": str(first), "epochs": 3, **options, "output_dir": str(tmp_path / "run")}
    given = parse_options(SECOND_STAGE, arguments, "")
    run = TrainingRun(second_stage_options(given, first_stage_options(given)))
    model: Any = run.timm_model
    features: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    watched = [
        model.fc.register_forward_pre_hook(lambda _m, args: features.append(args[0].double().numpy().copy())),
        run.task.criterion.register_forward_pre_hook(lambda _m, args: targets.append(args[1].numpy().copy())),
    ]
    start = [model.fc.weight.detach().numpy().copy(), model.fc.bias.detach().numpy().copy()]
    for epoch in run.epochs():
        run.train_epoch()
        run.progress.epoch, run.progress.batch, run.progress.sums = epoch + 1, 0, {}
    for hook in watched:
        hook.remove()
    batches = list(zip(features, targets, strict=True))
    assert len(batches) == 15 and sum(len(target) for target in targets) == 3 * 68
    accumulated, maxnorm = options.get("grad_accum_steps", 1), options.get("maxnorm", True)
    counts = run.data.class_counts
    expected = by_numpy(*start, batches, counts, epochs=3, accumulated=accumulated, maxnorm=maxnorm)
    np.testing.assert_allclose(model.fc.weight.detach(), expected[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(model.fc.bias.detach(), expected[1], rtol=0, atol=2e-6)
    # The ball does bind, and the bias does move.
    free = by_numpy(*start, batches, counts, epochs=3, accumulated=accumulated, maxnorm=False)
    assert (np.abs(free[0] - expected[0]).max() > 1e-2) == maxnorm
    assert np.abs(expected[1] - start[1]).max() > 1e-4
    assert (run.stage.ball is not None) == maxnorm


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_gradient_scaler_skips_projects_nothing(fused: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, fused=fused)
    ball = ClassifierBall(layer.weight, 0.0, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    start = layer.weight.detach().clone()

    def step(factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale(layer(torch.ones(2, 4)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()

    step(float("inf"))
    assert torch.equal(layer.weight, start)
    step(1e-3)
    assert layer.weight.norm(dim=1).max() <= ball.limit * (1 + 1e-6) < start.norm(dim=1).max()


def test_a_resumed_stage_has_the_radius_of_the_start() -> None:
    layer = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    ball = ClassifierBall(layer.weight, 0.1, optimizer)
    ball.constraint.project_()
    fresh = ClassifierBall(layer.weight, 0.1, torch.optim.SGD(layer.parameters(), lr=0.1))
    assert fresh.limit < ball.limit
    fresh.load_state_dict(ball.state_dict())
    assert fresh.limit == ball.limit


# ---------------------------------------------------------------------------------------------- the whole recipe
@pytest.mark.slow
def test_train_second_stage_evaluate(stage: Stage, recipe: Stage, lab: Any, first: Path, tmp_path: Path) -> None:
    outcome = stage("--model", first, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    folder, results, source = tmp_path / "run" / "model", lab.results(tmp_path / "run"), lab.results(first.parent)
    # The classifier alone, within its ball.
    assert changed(folder, first) == {"fc.weight", "fc.bias"}
    about = results["second_stage"]
    assert about["limit"] == pytest.approx(radius(first), rel=1e-6)
    assert longest_row(folder) <= about["limit"] * (1 + 1e-6) < longest_row(first)
    # The heads of the first stage read the same features as before.
    name = "glmc_heads.safetensors"
    assert (folder / name).read_bytes() == (first / name).read_bytes()
    # Its results describe it and its source.
    assert {key: about[key] for key in ("kind", "threshold", "beta")} == {
        "kind": "maxnorm", "threshold": 0.1, "beta": 0.9999,
    }  # fmt: skip
    assert about["source"] == "path/to/model" and about["source_test_top1"] == source["test"]["top1"]
    assert about["source_config"] == source["config"]
    assert results["method"] == "glmc" and results["preset"] == source["preset"]
    assert results["model"]["tag"] == "glmc_digits_lt_maxnorm"
    assert results["model"]["name"] == "resnet20_cifar.glmc_digits_lt_maxnorm"
    assert (results["config"]["epochs"], results["config"]["batch_size"], results["config"]["lr"]) == (10, 16, 0.01)
    assert results["class_counts"] == source["class_counts"] and results["seeds"]["data_seed"] == 3
    assert "beta" not in results["config"] and "method" not in results["config"]
    assert len(lab.rows(tmp_path / "run")) == 10
    assert all(row["lr"] <= 0.01 and row["loss"] > 0 for row in lab.rows(tmp_path / "run"))
    # The card.
    card = (folder / "README.md").read_text()
    for text in ("MaxNorm scaled the rows", "Every option of the first stage", "alshammari2022", "du2023glmc"):
        assert text in card
    assert str(tmp_path) not in card + json.dumps(results)
    # The opening lines.
    out = outcome.out
    assert "from its first stage: --data digits_lt --imbalance-factor 2.0 --max-count 10 --data-seed 3" in out
    assert "its classifier alone, 650 of" in out and "The first stage was trained with other options" not in out
    # Another recipe gives the exported model the same scores.
    outcome = recipe("evaluate", "--model", folder, "--data", "digits_lt", "--output-dir", tmp_path / "scores")
    assert outcome.status == 0, outcome.err
    assert lab.results(tmp_path / "scores")["test"]["top1"] == results["test"]["top1"]
    # It is not a first stage.
    assert "already went through a second stage" in stage("--model", folder).sentence


def test_a_chosen_epoch_and_sam(stage: Stage, first: Path, tmp_path: Path) -> None:
    options = ["--epochs", 3, "--sam-rho", 0.05, "--val-fraction", 0.2, "--select", "best"]
    outcome = stage("--model", first, *options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert changed(tmp_path / "run" / "model", first) == {"fc.weight", "fc.bias"}
    assert longest_row(tmp_path / "run" / "model") <= radius(first) * (1 + 1e-6)
    assert "note: The first stage was trained with other options (val fraction 0.0 -> 0.2)" in outcome.out


@pytest.mark.processes
def test_two_processes(lab: Any, first: Path, tmp_path: Path) -> None:
    script = lab.root / "recipes" / "second_stage.py"
    options = ["--model", first, "--batch-size", 8, "--epochs", 2, "--output-dir", tmp_path / "run"]
    outcome = lab.torchrun(script, *options, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert lab.results(tmp_path / "run")["processes"] == 2
    assert changed(tmp_path / "run" / "model", first) == {"fc.weight", "fc.bias"}
    assert longest_row(tmp_path / "run" / "model") <= radius(first) * (1 + 1e-6)


def test_without_the_ball_by_the_command_and_from_a_file(
    first: Path, tmp_path: Path, lab: Any, recipe: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "again.yaml").write_text("epochs: 1\nmaxnorm-threshold: 0.3\nclass-balanced-beta: 0.99\n")
    monkeypatch.setattr("sys.argv", ["glmc-zoo"])
    main(["second-stage", "--model", str(first), "--config", "again.yaml", "--no-maxnorm"])
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "run.second_stage.class_balanced_digits_lt.seed0"
    results = lab.results(run)
    assert results["command"].startswith("glmc-zoo second_stage --model path/to/model")
    assert results["model"]["tag"] == "glmc_digits_lt_class_balanced"
    about = results["second_stage"]
    assert (about["kind"], about["threshold"], about["limit"], about["beta"]) == ("class_balanced", None, None, 0.99)
    assert "MaxNorm" not in (run / "model" / "README.md").read_text()
