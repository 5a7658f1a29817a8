"""Fixtures of these tests: the recipe in this process and in others, what it leaves, and image folders."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "recipes" / "train.py"

# 68 training images, 5 steps an epoch: a run takes a second.
TINY = ["--max-count", "10", "--imbalance-factor", "2", "--batch-size", "16"]


@dataclass
class Outcome:
    """What one run of the recipe came to."""

    status: int
    out: str
    err: str
    run: Any = None
    """The `TrainingRun`, of a run inside this process that got as far."""

    @property
    def sentence(self) -> str:
        """The one line of an error, checked to be one and to be no traceback."""
        assert self.status == 2, (self.status, self.out, self.err)
        lines = [line for line in self.err.splitlines() if "error: " in line]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        assert self.err.splitlines()[-1] == lines[0]
        script, mark, sentence = lines[0].partition(": error: ")
        assert mark and script.endswith(".py"), lines[0]
        return sentence


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process that imports this checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def run_python(*args: Any, cwd: Path, timeout: float = 120, **env: str) -> Outcome:
    """``python ARGS`` as a child process."""
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, env=environment(**env), capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def torchrun(*args: Any, cwd: Path, timeout: float = 180) -> Outcome:
    """``ARGS`` on two CPU processes that talk by gloo."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    return run_python(*launcher, *args, cwd=cwd, timeout=timeout, ACCELERATE_USE_CPU="true")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def results(folder: Path) -> dict[str, Any]:
    """``results.json``."""
    return json.loads((folder / "results.json").read_text())


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The exported weights."""
    from safetensors.numpy import load_file

    return load_file(folder / "model" / "model.safetensors")


def same_weights(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def make_images(
    folder: Path, counts: dict[str, int] | None = None, *, test: int = 5, size: int = 32, seed: int = 0
) -> Path:
    """``train/CLASS/*.png`` and ``test/CLASS/*.png``: noise around a colour of the class; no test part for 0."""
    rng = np.random.default_rng(seed)
    counts = counts or {"ant": 12, "bee": 8, "cat": 4}
    for index, (name, count) in enumerate(counts.items()):
        for split, number in (("train", count), ("test", test)):
            for i in range(number):
                path = folder / split / name / f"{i:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.normal(60 + 60 * index, 40, (size, size, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def lab() -> SimpleNamespace:
    """The functions above, and ``tiny``, the options of a run that takes a second."""
    return SimpleNamespace(
        root=ROOT, recipe=TRAIN, tiny=TINY, environment=environment, run_python=run_python, torchrun=torchrun,
        rows=rows, results=results, weights=weights, same_weights=same_weights, images=make_images,
    )  # fmt: skip


def _forget_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """``recipe("train", "--epochs", 1, ...)`` runs a recipe as ``__main__`` in this process; plots stay empty."""
    from matplotlib.figure import Figure

    def call(name: str, *args: Any, plots: bool = False) -> Outcome:
        from glmc_zoo.engine import run as engine_run

        script = str(ROOT / "recipes" / f"{name}.py")
        made: list[Any] = []
        original = engine_run.TrainingRun.__init__

        def remember(self: Any, *a: Any, **k: Any) -> None:
            made.append(self)
            original(self, *a, **k)

        _forget_accelerate()
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(engine_run.TrainingRun, "__init__", remember)
            if not plots:  # drawing takes longer than the training
                patch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())
            patch.setattr(sys, "argv", [script, *map(str, args)])
            status = 0
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as stop:
                status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err, made[0] if made else None)

    yield call
    _forget_accelerate()


@pytest.fixture
def train(recipe: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``train("--epochs", 1, ...)`` runs recipes/train.py."""
    return partial(recipe, "train")


@pytest.fixture
def finetune(recipe: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``finetune("--model", folder, ...)`` runs recipes/finetune.py."""
    return partial(recipe, "finetune")


@pytest.fixture
def evaluate(recipe: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``evaluate("--model", folder, ...)`` runs recipes/evaluate.py."""
    return partial(recipe, "evaluate")


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of ``datasets`` for this test alone."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def stage(recipe: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``stage("--model", folder, ...)`` runs recipes/second_stage.py."""
    return lambda *args, **kwargs: recipe("second_stage", *args, **kwargs)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of a first stage on 68 digits, its run's ``config.yaml`` beside it; 5 steps an epoch."""
    from glmc_zoo.engine.cli import parse_config
    from glmc_zoo.engine.run import TrainingRun

    folder = tmp_path_factory.mktemp("first") / "run"
    options = ["--epochs", "3", "--max-count", "10", "--imbalance-factor", "2", "--batch-size", "16"]
    run = TrainingRun(parse_config([*options, "--data-seed", "3", "--output-dir", str(folder)], description=""))
    for _ in run.epochs():
        run.finish_epoch(run.train_epoch())
    run.finish()
    return folder / "model"
