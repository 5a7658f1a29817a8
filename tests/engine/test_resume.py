"""A run that was killed and resumed ends as one that was not, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Train = Callable[..., Any]

# Dropout, stochastic depth, batch-norm, a moving average and a chosen epoch: everything that has a state of its own.
STATEFUL = [
    *("--backbone", "test_efficientnet", "--image-size", 32, "--drop-rate", 0.3, "--drop-path-rate", 0.2),
    *("--ema-decay", 0.9, "--epochs", 3, "--warmup-epochs", 2, "--checkpoint-steps", 2, "--val-fraction", 0.2),
    *("--select", "best", "--keep-checkpoints", 4),
]


class Killed(BaseException):
    """Stands for SIGKILL where the test needs the run to stop at a known place in this process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop the next run within ``step``, after its batch was trained on and before anything is saved."""
    from timm.utils import ModelEmaV3

    original = ModelEmaV3.update

    def update(self: Any, model: Any, step_now: int) -> None:
        original(self, model, step=step_now)
        if step_now == step:
            raise Killed

    monkeypatch.setattr(ModelEmaV3, "update", lambda self, model, step: update(self, model, step))


def assert_same_end(lab: Any, whole: Path, resumed: Path) -> None:
    assert lab.same_weights(lab.weights(whole), lab.weights(resumed))
    mine, its = lab.rows(whole), lab.rows(resumed)
    assert [row["epoch"] for row in its] == [0, 1, 2]
    timed = {"images_per_second"}
    for one, other in zip(mine, its, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}
    assert lab.results(whole)["test"] == lab.results(resumed)["test"]
    assert lab.results(whole)["selection"] == lab.results(resumed)["selection"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the uninterrupted run; filled by the first test that asks for it."""
    return tmp_path_factory.mktemp("whole") / "run"


def uninterrupted(train: Train, lab: Any, whole: Path) -> Path:
    if not whole.exists():
        assert train(*lab.tiny, *STATEFUL, "--output-dir", whole).status == 0
    return whole


# 53 training images in 4 batches: steps 0 to 3 are epoch 0, checkpoints lie at steps 2, 4, 6, 8, ...
@pytest.mark.parametrize(
    ("step", "resumed_from"),
    [(1, None), (3, "epoch 0, batch 2"), (5, "epoch 1, batch 0"), (6, "epoch 1, batch 2"), (11, "epoch 2, batch 2")],
)
def test_killed_within_an_epoch(
    train: Train,
    lab: Any,
    tmp_path: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    resumed_from: str | None,
) -> None:
    uninterrupted(train, lab, whole)
    options = [*lab.tiny, *STATEFUL, "--output-dir", tmp_path / "run"]
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            train(*options)
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0, outcome.err
    assert (f": {resumed_from}." if resumed_from else "starts at its beginning") in outcome.out
    assert_same_end(lab, whole, tmp_path / "run")


def test_damaged_checkpoints_are_passed_over(
    train: Train, lab: Any, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted(train, lab, whole)
    out = tmp_path / "run"
    options = [*lab.tiny, *STATEFUL, "--output-dir", out]
    with monkeypatch.context() as patch:
        kill_at(patch, 9)
        with pytest.raises(Killed):
            train(*options)
    newest, second, third = sorted((out / "checkpoints").iterdir(), reverse=True)[:3]
    assert newest.name == "step-000000008"
    cut = newest / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    (second / "optimizer.bin").write_bytes(os.urandom(5000))
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0, outcome.err
    assert f"Resumed from {third}" in outcome.out
    assert_same_end(lab, whole, out)


def test_going_back_to_a_chosen_checkpoint_and_a_finished_run(
    train: Train, lab: Any, tmp_path: Path, whole: Path
) -> None:
    import shutil

    uninterrupted(train, lab, whole)
    shutil.copytree(whole, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    oldest = min(checkpoints.iterdir())
    # A finished run goes straight to its end, also when what it left is gone.
    shutil.rmtree(tmp_path / "run" / "model")
    outcome = train(*lab.tiny, *STATEFUL, "--output-dir", tmp_path / "run", "--resume", "auto")
    assert "epoch 3, batch 0" in outcome.out and "images/s" not in outcome.out
    assert_same_end(lab, whole, tmp_path / "run")
    outcome = train(*lab.tiny, *STATEFUL, "--resume", oldest)
    assert outcome.status == 0 and f"Resumed from {oldest}" in outcome.out, outcome.err
    assert_same_end(lab, whole, tmp_path / "run")


def test_no_checkpoint_yet_leaves_no_epoch_twice(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*lab.tiny, "--epochs", 3, "--ema-decay", 0.9, "--checkpoint-every", 3, "--output-dir", tmp_path / "run"]
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            train(*options)
    assert len(lab.rows(tmp_path / "run")) == 1
    assert train(*options, "--resume", "auto").status == 0
    assert [row["epoch"] for row in lab.rows(tmp_path / "run")] == [0, 1, 2]


def test_checkpoints_lie_between_optimiser_steps(train: Train, lab: Any, tmp_path: Path) -> None:
    # 68 images in 9 batches, 3 of them a step: 4 batches are no place for a checkpoint, 6 are.
    options = ["--batch-size", 8, "--grad-accum-steps", 3, "--checkpoint-steps", 4, "--epochs", 1, "--output-dir"]
    assert train(*lab.tiny, *options, tmp_path / "run", "--keep-checkpoints", 9).status == 0
    names = [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert names == ["step-000000006", "step-000000009"]


def test_accumulation_goes_on_where_it_was(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*lab.tiny, "--batch-size", 8, "--grad-accum-steps", 2, "--checkpoint-steps", 2, "--epochs", 3]
    options += ["--ema-decay", 0.9, "--output-dir"]
    assert train(*options, tmp_path / "whole").status == 0
    with monkeypatch.context() as patch:
        kill_at(patch, 14)  # in epoch 1: 9 batches an epoch, the last of which is a step by itself
        with pytest.raises(Killed):
            train(*options, tmp_path / "run")
    outcome = train(*options, tmp_path / "run", "--resume", "auto")
    assert "epoch 1, batch" in outcome.out
    assert_same_end(lab, tmp_path / "whole", tmp_path / "run")


def test_sigkill_of_a_real_process(train: Train, lab: Any, tmp_path: Path, whole: Path) -> None:
    uninterrupted(train, lab, whole)
    out = tmp_path / "run"
    command = [sys.executable, str(lab.recipe), *map(str, [*lab.tiny, *STATEFUL, "--output-dir", out])]
    child = subprocess.Popen(command, env=lab.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (out / "checkpoints" / "step-000000006").exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (out / "results.json").exists()
    outcome = train(*lab.tiny, *STATEFUL, "--output-dir", out, "--resume", "auto")
    assert outcome.status == 0 and "Resumed from" in outcome.out, outcome.err
    assert_same_end(lab, whole, out)
