"""A run that was killed and resumed ends as one that was not, bit for bit.

The battery resumes every variant once; here one run with all kinds of state is interrupted at many steps.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

import glmc_zoo
from tests.support.family import kill_family
from tests.support.waiting import wait_until

Train = Callable[..., Any]
Interrupt = Callable[[int], AbstractContextManager[None]]

# Dropout, stochastic depth, batch-norm, a moving average and a chosen epoch: everything that has a state of its own.
STATEFUL = [
    *("--backbone", "test_efficientnet", "--image-size", 32, "--drop-rate", 0.3, "--drop-path-rate", 0.2),
    *("--ema-decay", 0.9, "--epochs", 3, "--warmup-epochs", 2, "--checkpoint-steps", 2, "--val-fraction", 0.2),
    *("--select", "best", "--keep-checkpoints", 4),
]


def assert_same_end(lab: Any, whole: Path, resumed: Path) -> None:
    assert lab.same_weights(lab.weights(whole), lab.weights(resumed))
    expected, rows = lab.rows(whole), lab.rows(resumed)
    assert [row["epoch"] for row in rows] == list(range(1, 1 + len(expected)))
    for one, other in zip(expected, rows, strict=True):
        assert {**one, "images_per_second": 0} == {**other, "images_per_second": 0}
    for name in ("test", "selection", "second_stage"):
        assert lab.results(whole)[name] == lab.results(resumed)[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the uninterrupted run; filled by the first test that asks for it."""
    return tmp_path_factory.mktemp("whole") / "run"


def uninterrupted(train: Train, lab: Any, whole: Path) -> Path:
    if not whole.exists():
        assert train(*lab.tiny, *STATEFUL, "--output-dir", whole).status == 0
    return whole


# 53 training images in 4 batches: checkpoints after 2, 4, 6, 8, ... batches, the fourth at the end of epoch 0.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("batches", "resumed_from"),
    [(2, None), (4, "epoch 1, batch 3"), (6, "epoch 2, batch 1"), (7, "epoch 2, batch 3"), (12, "epoch 3, batch 3")],
)
def test_interrupted_after_so_many_batches(
    train: Train,
    interrupted_at: Interrupt,
    lab: Any,
    tmp_path: Path,
    whole: Path,
    batches: int,
    resumed_from: str | None,
) -> None:
    uninterrupted(train, lab, whole)
    options = [*lab.tiny, *STATEFUL, "--output-dir", tmp_path / "run"]
    with interrupted_at(batches):
        train(*options)
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0, outcome.err
    assert (f": {resumed_from} is next." if resumed_from else "starts at its beginning") in outcome.out
    assert_same_end(lab, whole, tmp_path / "run")


def test_damaged_checkpoints_are_skipped(
    train: Train, interrupted_at: Interrupt, lab: Any, tmp_path: Path, whole: Path
) -> None:
    uninterrupted(train, lab, whole)
    out = tmp_path / "run"
    options = [*lab.tiny, *STATEFUL, "--output-dir", out]
    with interrupted_at(10):
        train(*options)
    newest, second, third = sorted((out / "checkpoints").iterdir(), reverse=True)[:3]
    assert newest.name == "step-000000008"
    cut = newest / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    (second / "optimizer.safetensors").write_bytes(os.urandom(5000))
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0, outcome.err
    assert f"Resumed from {third}" in outcome.out
    assert_same_end(lab, whole, out)


def test_going_back_to_a_chosen_checkpoint_and_a_finished_run(
    train: Train, lab: Any, tmp_path: Path, whole: Path
) -> None:
    uninterrupted(train, lab, whole)
    shutil.copytree(whole, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    oldest = min(checkpoints.iterdir())
    # A finished run goes straight to its end, also when its exported model is gone.
    shutil.rmtree(tmp_path / "run" / "model")
    outcome = train(*lab.tiny, *STATEFUL, "--output-dir", tmp_path / "run", "--resume", "auto")
    assert ": all epochs are done." in outcome.out and "images/s" not in outcome.out
    assert_same_end(lab, whole, tmp_path / "run")
    outcome = train(*lab.tiny, *STATEFUL, "--resume", oldest)
    assert outcome.status == 0 and f"Resumed from {oldest}" in outcome.out, outcome.err
    assert_same_end(lab, whole, tmp_path / "run")


def test_without_a_checkpoint_no_epoch_is_written_twice(
    train: Train, interrupted_at: Interrupt, lab: Any, tmp_path: Path
) -> None:
    options = [*lab.tiny, "--epochs", 3, "--checkpoint-every", 3, "--output-dir", tmp_path / "run"]
    with interrupted_at(8):
        train(*options)
    assert len(lab.rows(tmp_path / "run")) == 1
    assert train(*options, "--resume", "auto").status == 0
    assert [row["epoch"] for row in lab.rows(tmp_path / "run")] == [1, 2, 3]


def test_checkpoints_are_written_between_optimiser_steps(train: Train, lab: Any, tmp_path: Path) -> None:
    # 68 images in 9 batches, 3 of them a step: no checkpoint after 4 batches, but after 6.
    options = ["--batch-size", 8, "--grad-accum-steps", 3, "--checkpoint-steps", 4, "--epochs", 1, "--output-dir"]
    assert train(*lab.tiny, *options, tmp_path / "run", "--keep-checkpoints", 9).status == 0
    names = [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert names == ["step-000000006", "step-000000009"]


def test_the_state_of_a_checkpoint_is_that_of_the_run(finished: Train, tmp_path: Path) -> None:
    """What is restored is compared value by value: progress, average of the weights, best epoch, random numbers."""
    options = {"max_count": 5, "imbalance_factor": 2, "batch_size": 8, "epochs": 2, "backbone": "test_resnet"}
    options |= {"ema_decay": 0.9, "select": "best", "val_fraction": 0.2, "output_dir": tmp_path / "run"}
    run = finished("train", **options)
    numbers = torch.get_rng_state()
    again = finished("train", **options, resume="auto")
    assert again.progress.epoch == 2 and again.progress.step == run.progress.step
    assert again.best.epoch == run.best.epoch and again.best.score == run.best.score
    for one, other in ((run.ema.module, again.ema.module), (run.task, again.task)):
        state = other.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in one.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)


# ---------------------------------------------------------------------------------- real processes that are killed
LEARNING = ["--checkpoint-steps", 2, "--keep-checkpoints", 4, "--epochs", 2, "--clip-grad", 1]
COMMANDS: dict[str, list[Any]] = {
    "train": [
        *("--max-count", 10, "--imbalance-factor", 2, "--backbone", "test_efficientnet", "--image-size", 32),
        *(
            "--views",
            "mixup_cutmix",
            "--drop-rate",
            0.3,
            "--drop-path-rate",
            0.2,
            "--ema-decay",
            0.9,
            "--warmup-epochs",
            2,
        ),
    ],
    "finetune": [
        *("--max-count", 10, "--imbalance-factor", 2, "--tune", "blocks", "--ema-decay", 0.9),
        *("--views", "alternate"),
    ],
    "second_stage": [],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of a first stage on 68 digits."""
    folder = tmp_path_factory.mktemp("source") / "run"
    tail = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "views": "mixup_cutmix"}
    glmc_zoo.train(backbone="test_resnet", epochs=2, output_dir=folder, **tail)
    return folder / "model"


@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("command", COMMANDS)
def test_sigkill_of_real_processes(
    command: str, processes: int, recipe: Train, lab: Any, source: Path, tmp_path: Path
) -> None:
    model = [] if command == "train" else ["--model", source]
    # 5 steps an epoch in one process, and 4 in two.
    options = [*model, *COMMANDS[command], *LEARNING, "--batch-size", 16 // processes]
    script = lab.root / "recipes" / f"{command}.py"

    def run(name: str, *more: Any) -> Any:
        if processes == 1:
            return recipe(command, *options, "--output-dir", tmp_path / name, *more)
        return lab.torchrun(script, *options, "--output-dir", tmp_path / name, *more, cwd=tmp_path)

    outcome = run("whole")
    assert outcome.status == 0, outcome.err
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"] if processes == 2 else []
    held = [lab.root / "tests" / "support" / "held_run.py", "step-000000006"]
    words = [sys.executable, *launcher, *held, script, *options, "--output-dir", tmp_path / "run"]
    kill_once_written(
        [str(word) for word in words], lab.environment(ACCELERATE_USE_CPU="true"), tmp_path / "run", "step-000000006"
    )
    assert not (tmp_path / "run" / "results.json").exists()
    outcome = run("run", "--resume", "auto")
    assert outcome.status == 0 and outcome.out.count("Resumed from") == 1, outcome.err
    assert lab.results(tmp_path / "run")["processes"] == processes
    assert_same_end(lab, tmp_path / "whole", tmp_path / "run")


def kill_once_written(words: list[str], environment: dict[str, str], folder: Path, checkpoint: str) -> None:
    """Start a run, and kill it with all its child processes as soon as it has written ``checkpoint``."""
    child = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until((folder / "checkpoints" / checkpoint).exists, child)
    finally:
        kill_family(child)
    assert child.returncode == -signal.SIGKILL
