"""A signal ends a run with a checkpoint and the command that goes on; time decides checkpoints and no number."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import glmc_zoo
from glmc_zoo.machine.signals import RunStopped
from tests.support.family import descendants, kill_family, signal_each
from tests.support.waiting import PATIENCE, wait_until

Train = Callable[..., Any]

# Dropout and an average of the weights have state of their own; 68 images in 9 batches, 3 of them a step.
STATEFUL = [
    *("--batch-size", 8, "--grad-accum-steps", 3, "--epochs", 2, "--backbone", "test_efficientnet", "--image-size", 32),
    *("--drop-rate", 0.3, "--drop-path-rate", 0.2, "--ema-decay", 0.9, "--sam-rho", 0.05),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@contextmanager
def signalled(monkeypatch: pytest.MonkeyPatch, number: int, batch: int) -> Iterator[None]:
    """This process gets a signal in the middle of a batch, counted from 1."""
    from glmc_zoo.training.step import TrainStep

    calls, original = [0], TrainStep._add_gradients

    def call(self: TrainStep, inputs: tuple[Any, ...]) -> Any:
        calls[0] += 1
        if calls[0] == batch:
            os.kill(os.getpid(), number)
        return original(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "_add_gradients", call)
        before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
        yield
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def same_end(lab: Any, whole: Path, other: Path) -> None:
    assert lab.same_weights(lab.weights(whole), lab.weights(other))
    rows = [[{**row, "images_per_second": 0} for row in lab.rows(folder)] for folder in (whole, other)]
    assert rows[0] == rows[1]
    assert lab.results(whole)["test"] == lab.results(other)["test"]


# With SAM each optimiser step adds gradients of 3 batches twice: 18 in an epoch.
@pytest.mark.parametrize(
    ("name", "call", "status", "step"),
    [("SIGTERM", 2, 143, 3), ("SIGINT", 12, 130, 6), ("SIGUSR1", 18, 138, 9), ("SIGTERM", 19, 143, 12)],
    ids=["first step", "second step", "last step of an epoch", "next epoch"],
)
def test_a_signal_leaves_a_checkpoint_of_the_step(
    train: Train, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path, name: str, call: int,
    status: int, step: int,
) -> None:  # fmt: skip
    if not whole.exists():
        assert train(*lab.tiny, *STATEFUL, "--output-dir", whole).status == 0
    run = tmp_path / "run"
    options = [*lab.tiny, *STATEFUL, "--preempt-signal", "USR1", "--output-dir", run]
    with signalled(monkeypatch, getattr(signal, name), call):
        outcome = train(*options)
    assert outcome.status == status, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1 and "Traceback" not in outcome.err
    assert not (run / "results.json").exists() and not (run / ".lock").exists()
    names = [path.name for path in sorted((run / "checkpoints").iterdir())]
    assert names[-1] == f"step-{step:09d}"
    said, _, command = lines[0].partition("; to resume: ")
    assert said == f"train.py: Stopped by {name}, checkpoint {run / 'checkpoints' / names[-1]}"
    words = shlex.split(command)
    assert words[:2] == ["python", sys.argv[0] if sys.argv[0].endswith("train.py") else words[1]]
    outcome = train(*words[2:])
    assert outcome.status == 0 and f"Resumed from {run / 'checkpoints' / names[-1]}" in outcome.out, outcome.err
    same_end(lab, whole, run)


def test_a_signal_between_two_epochs_leaves_a_checkpoint_too(
    train: Train, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from glmc_zoo.method import GLMCTask

    run, original = tmp_path / "run", GLMCTask.set_epoch

    def set_epoch(self: Any, epoch: int) -> None:
        original(self, epoch)
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(GLMCTask, "set_epoch", set_epoch)
        outcome = train(*lab.tiny, "--epochs", 2, "--output-dir", run)
    checkpoint = run / "checkpoints" / "step-000000006"  # 5 steps an epoch
    assert outcome.status == 143 and f"Stopped by SIGTERM, checkpoint {checkpoint}; to resume: " in outcome.err


def test_checkpoints_by_time_change_no_number(train: Train, lab: Any, tmp_path: Path, whole: Path) -> None:
    if not whole.exists():
        assert train(*lab.tiny, *STATEFUL, "--output-dir", whole).status == 0
    run = tmp_path / "run"
    options = [*STATEFUL, "--checkpoint-minutes", 1e-6, "--keep-checkpoints", 99, "--output-dir", run]
    assert train(*lab.tiny, *options).status == 0
    names = [int(path.name[-2:]) for path in sorted((run / "checkpoints").iterdir())]
    assert names == [3, 6, 9, 12, 15, 18]
    same_end(lab, whole, run)


def test_no_checkpoint_by_time_is_asked_for(train: Train, lab: Any) -> None:
    outcome = train(*lab.tiny, "--epochs", 1, "--checkpoint-minutes", -1)
    assert "--checkpoint-minutes -1" in outcome.sentence
    outcome = train(*lab.tiny, "--epochs", 1, "--preempt-signal", "KILL")
    assert "--preempt-signal KILL" in outcome.sentence and "USR1" in outcome.sentence


def test_from_python_a_signal_is_an_exception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "output_dir": str(tmp_path / "run")}
    with signalled(monkeypatch, signal.SIGINT, 2), pytest.raises(RunStopped) as stop:
        glmc_zoo.train(epochs=1, **options)
    assert str(stop.value).endswith(f"; to resume: the same call with output_dir='{tmp_path / 'run'}', resume='auto'")


def test_a_signal_ends_a_dry_run_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes no checkpoint, so nothing announces one."""
    options = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "output_dir": str(tmp_path / "run")}
    # A shell starts commands in the background with SIGINT ignored, and the tests may be one of these.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signalled(monkeypatch, signal.SIGINT, 2), pytest.raises(KeyboardInterrupt):
            glmc_zoo.train(epochs=1, dry_run=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "checkpoint" not in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_signal_after_the_training_stops_at_once(
    train: Train, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from glmc_zoo.training import scored_run

    def write_outputs(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    options = [*lab.tiny, "--epochs", 1, "--output-dir", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(scored_run, "write_outputs", write_outputs)
        outcome = train(*options)
    assert outcome.status == 143 and "Stopped by SIGTERM, the training is complete; to resume: python" in outcome.err
    outcome = train(*options, "--resume", "auto")
    assert (
        outcome.status == 0 and ": all epochs are done." in outcome.out and (tmp_path / "run" / "results.json").exists()
    )


@pytest.mark.parametrize("name", ["glmc_zoo.training.assemble.place_images", "glmc_zoo.training.run.opening_lines"])
def test_a_signal_before_the_training_leaves_nothing_that_blocks_the_next_run(
    train: Train, lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def signalled_here(*args: Any, **given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    run = tmp_path / "run"
    options = [*lab.tiny, "--epochs", 1, "--output-dir", run]
    with monkeypatch.context() as patch:
        patch.setattr(name, signalled_here)
        outcome = train(*options)
    assert outcome.status == 143 and outcome.err.endswith("train.py: Stopped by SIGTERM.\n")
    left = [path.name for path in run.iterdir()] if run.exists() else []
    assert not [one for one in left if one.startswith(".writing-")]
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0 and (run / "results.json").exists(), outcome.err
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


# ------------------------------------------------------------------------------------------------ real processes
@contextmanager
def started(lab: Any, words: list[Any], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, once it has written the line of its first epoch."""
    child = subprocess.Popen(
        [sys.executable, *map(str, words)], env=lab.environment(ACCELERATE_USE_CPU="true"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until((folder / "metrics.jsonl").exists, child)
        yield child
    finally:
        kill_family(child)


@pytest.mark.processes
@pytest.mark.parametrize("world", [1, 2])
def test_a_signal_to_all_processes_that_load_images_too(lab: Any, tmp_path: Path, world: int) -> None:
    """As Slurm and systemd send it."""
    run = tmp_path / "run"
    launcher = [] if world == 1 else ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    options = [*lab.tiny, "--epochs", 100, "--workers", 2, "--no-resident", "--output-dir", run]
    with started(lab, [*launcher, lab.recipe, *options], run) as child:
        processes = descendants(child)
        assert len(processes) >= 2 * world, "no process that loads images"
        signal_each(processes, signal.SIGTERM)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=PATIENCE)
    assert err.count("train.py: Stopped by SIGTERM, checkpoint") == 1 and "train.py: error" not in err, err
    if world == 1:  # the launcher of several prints a traceback of its own, with a status of its own
        assert child.returncode == 143 and "Traceback" not in err


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two") / "run"


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_stop_at_the_same_step(lab: Any, tmp_path: Path, whole_of_two: Path, number: int) -> None:
    run = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", lab.recipe]
    options = [*lab.tiny, "--epochs", 15, "--drop-rate", 0.2, "--batch-size", 8]
    if not whole_of_two.exists():
        outcome = lab.torchrun(lab.recipe, *options, "--output-dir", whole_of_two, cwd=tmp_path)
        assert outcome.status == 0, outcome.err
    with started(lab, [*launcher, *options, "--output-dir", run], run) as child:
        if number == signal.SIGINT:
            os.killpg(child.pid, number)  # a Ctrl-C goes to all, and the launcher passes it on
        else:
            psutil.Process(child.pid).children()[-1].send_signal(number)  # to one of the two
        _, err = child.communicate(timeout=PATIENCE)
    name, lines = signal.Signals(number).name, err.splitlines()
    said = [line for line in lines if line.startswith("train.py: Stopped by")]
    assert len(said) == 1 and said[0].startswith(f"train.py: Stopped by {name}, checkpoint {run}"), err
    assert "-m torch.distributed.run --nproc_per_node 2 --standalone" in said[0].partition("; to resume: ")[2]
    assert number == signal.SIGINT or any("exitcode  : 143" in line for line in lines), err
    assert 0 < len(lab.rows(run)) < 15
    outcome = lab.torchrun(lab.recipe, *options, "--output-dir", run, "--resume", "auto", cwd=tmp_path)
    assert outcome.status == 0 and outcome.out.count("Resumed from") == 1, outcome.err
    same_end(lab, whole_of_two, run)
