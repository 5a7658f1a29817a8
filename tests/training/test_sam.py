"""SAM in a whole run: with accumulation, several processes, bf16, compilation and a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Train = Callable[..., Any]

TWO_PROCESSES = Path(__file__).with_name("two_process_script.py")

# No batch-norm, no dropout, and augmentation by image: how images are batched changes nothing else.
PLAIN = [
    *("--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--method", "ce", "--epochs", 1),
    *("--max-count", 8, "--imbalance-factor", 1, "--sam-rho", 0.2, "--clip-grad", 2),
]


def test_accumulated_batches_equal_one_large_batch(train: Train, lab: Any, tmp_path: Path) -> None:
    assert train(*lab.few, *PLAIN, "--batch-size", 20, "--output-dir", tmp_path / "one").status == 0
    outcome = train(
        *lab.few, *PLAIN, "--batch-size", 5, "--grad-accum-steps", 4, "--output-dir", tmp_path / "four"
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "1 epoch of batch 5 x 4 accumulated = 20 images a step, lr 0.025, SAM within 0.2; results in" in outcome.out
    one, four = lab.weights(tmp_path / "one"), lab.weights(tmp_path / "four")
    for key in one:
        np.testing.assert_allclose(four[key], one[key], rtol=1e-3, atol=2e-5)
    assert lab.rows(tmp_path / "four")[0]["loss"] == pytest.approx(lab.rows(tmp_path / "one")[0]["loss"], rel=1e-4)
    assert (
        train(*lab.few, *PLAIN[:-4], "--clip-grad", 2, "--batch-size", 20, "--output-dir", tmp_path / "plain").status
        == 0
    )
    plain = lab.weights(tmp_path / "plain")
    assert max(np.abs(one[key] - plain[key]).max() for key in one) > 1e-3
    assert lab.results(tmp_path / "one")["config"]["sam_rho"] == 0.2
    card = (tmp_path / "one" / "model" / "README.md").read_text()
    assert "with sharpness-aware minimisation (SAM), radius 0.2\n" in card


@pytest.mark.processes
def test_two_processes_equal_one_with_twice_the_batch(train: Train, lab: Any, tmp_path: Path) -> None:
    """Two batches of 5 accumulated in each of two processes, against 20 at once, at the same scaled learning rate."""
    options = [*lab.few, *PLAIN, "--lr", 0.02, "--min-lr", 0.001, "--lr-base-size", 10]
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


@pytest.mark.processes
def test_glmc_in_two_processes_keeps_them_equal(lab: Any, tmp_path: Path) -> None:
    """With all that could differ between them: batch-norm, dropout, stochastic depth and a moving average."""
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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["glmc", "balanced_softmax"])
def test_bf16_is_close_to_single_precision(train: Train, lab: Any, tmp_path: Path, method: str) -> None:
    def trained(name: str, *more: Any) -> np.ndarray:
        """All weights in one row; ``method`` overrides that of ``PLAIN``."""
        outcome = train(
            *lab.few, *PLAIN, "--method", method, "--batch-size", 20, *more, "--output-dir", tmp_path / name
        )
        assert outcome.status == 0, outcome.err
        weights = lab.weights(tmp_path / name)
        return np.concatenate([weights[key].ravel() for key in sorted(weights)]).astype(np.float64)

    start, full, mixed = trained("start", "--lr", 1e-12), trained("full"), trained("mixed", "--mixed-precision", "bf16")
    assert np.isfinite(mixed).all() and not np.array_equal(mixed, full)
    assert np.linalg.norm(mixed - full) < 0.05 * np.linalg.norm(full - start)
    losses = [lab.rows(tmp_path / name)[0]["loss"] for name in ("full", "mixed")]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_a_resumed_run_has_the_same_radius(train: Train, lab: Any, tmp_path: Path) -> None:
    options = [*lab.few, "--epochs", 1, "--method", "ce", "--output-dir", tmp_path / "run"]
    assert train(*options, "--sam-rho", 0.1).status == 0
    assert "sam_rho: 0.1 -> 0.2" in train(*options, "--sam-rho", 0.2, "--resume", "auto").sentence


def test_only_what_is_tuned_moves(train: Train, finetune: Train, lab: Any, tmp_path: Path) -> None:
    assert train(*lab.tiny, "--epochs", 1, "--output-dir", tmp_path / "source").status == 0
    options = ["--model", tmp_path / "source" / "model", *lab.few, "--epochs", 1, "--tune", "head"]
    options += ["--method", "ce", "--output-dir"]
    assert finetune(*options, tmp_path / "plain").status == 0
    outcome = finetune(*options, tmp_path / "sam", "--sam-rho", 0.5)
    assert outcome.status == 0, outcome.err
    source, plain, sam = (lab.weights(tmp_path / name) for name in ("source", "plain", "sam"))
    head = {key for key in source if not np.array_equal(source[key], sam[key])}
    assert head == {"fc.weight", "fc.bias"}
    assert not np.array_equal(plain["fc.weight"], sam["fc.weight"])


@pytest.mark.processes
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
    ("option", "message"),
    [
        ("--sam-rho=0", "--sam-rho 0.0 must be above 0."),
        ("--sam-rho=inf", "--sam-rho inf is not accepted: it must be a number."),
        ("--lr-base-size=0", "--lr-base-size 0 is too small: it must be at least 1."),
    ],
)
def test_values_out_of_range_are_refused(train: Train, option: str, message: str) -> None:
    assert train(option).sentence == message
