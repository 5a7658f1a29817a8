"""Shared fixtures. The Hub is never asked by the tests that do not need it."""

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

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny networks gain nothing from threads, and sums in another order would move the last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))  # shared by the tests of several packages

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # whose scripts import one another

from hub_server import HubServer

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / "recipes" / "train.py"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden numbers and real test images; tests that need it are skipped without it."""
    folder = Path(os.environ.get("GLMC_ZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the reference data, which is not at {folder} (set GLMC_ZOO_SHARED)")
    return folder


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub on loopback, empty; clients find it in the environment that ``hub_env`` gives."""
    with HubServer() as server:
        yield server


@pytest.fixture
def hub_env(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """``hub_env(token=None, **more)``: environment of a child process that uses ``hub``, with an empty cache."""

    def make(token: str | None = None, **more: str) -> dict[str, str]:
        return hub.environment(tmp_path_factory.mktemp("hf_home"), token, **more)

    return make


@pytest.fixture
def hub_python(
    hub_env: Callable[..., dict[str, str]], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``hub_python(*args, token=None, **env)``: ``python ARGS`` with the clients as they are, talking to ``hub``.

    A fresh cache each time, unless ``HF_HOME`` is given. Give code as ``"-c", code`` and a recipe by its path below
    the checkout. Output is captured.
    """

    def run(*args: Any, token: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        words = [str(arg) for arg in args]
        if words[0].startswith("recipes/"):
            words[0] = str(ROOT / words[0])
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=hub_env(token, **env), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    return run


# 68 training images, 5 steps an epoch: a run takes a second.
FEW = ["--max-count", "10", "--imbalance-factor", "2", "--batch-size", "16"]
# Left to itself, the preset tuned would train so few images without mixing.
TINY = [*FEW, "--views", "mixup_cutmix"]


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


def make_source(folder: Path, architecture: str = "test_convnext", class_names: str = "w x y z") -> Path:
    """An exported model with random weights, of 32 pixels and its own classes, to fine-tune from."""
    import timm
    import torch

    from glmc_zoo.hub import ExportInfo, export_model

    torch.manual_seed(0)
    names, size = class_names.split(), {"img_size": 32} if "vit" in architecture else {}
    model = timm.create_model(architecture, num_classes=len(names), **size)
    info = ExportInfo(class_names=names, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 32, 32), tag="made_up")
    return export_model(model, folder, info)


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The functions above; ``tiny``, the options of a GLMC run that takes a second; ``few``, those without a method."""
    return SimpleNamespace(
        root=ROOT, recipe=TRAIN, tiny=TINY, few=FEW, environment=environment, run_python=run_python, torchrun=torchrun,
        rows=rows, results=results, weights=weights, same_weights=same_weights, images=make_images,
        leave_plots_empty=leave_plots_empty, source=make_source,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test calls in this process may set ``sys.argv``, as ``glmc-zoo`` does; the next test has its own again."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def _forget_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def leave_plots_empty(patch: pytest.MonkeyPatch) -> None:
    """Write empty files for plots: drawing takes longer than the training."""
    from matplotlib.figure import Figure

    from glmc_zoo.metrics import plots

    def touch(*args: Any, **kwargs: Any) -> None:
        path = next(arg for arg in args if isinstance(arg, Path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for name in ("plot_training", "plot_class_accuracy", "plot_class_confusion", "plot_group_confusion"):
        patch.setattr(plots, name, touch)
    patch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """``recipe("train", "--epochs", 1, ...)`` runs a recipe as ``__main__`` in this process; plots stay empty."""

    def call(name: str, *args: Any, plots: bool = False) -> Outcome:
        from glmc_zoo.training import run as training_run

        script = str(ROOT / "recipes" / f"{name}.py")
        made: list[Any] = []
        original = training_run.TrainingRun.__init__

        def remember(self: Any, *a: Any, **k: Any) -> None:
            made.append(self)
            original(self, *a, **k)

        _forget_accelerate()
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(training_run.TrainingRun, "__init__", remember)
            if not plots:
                leave_plots_empty(patch)
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
    import glmc_zoo

    folder = tmp_path_factory.mktemp("first") / "run"
    tail = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "data_seed": 3, "views": "mixup_cutmix"}
    with pytest.MonkeyPatch.context() as patch:
        leave_plots_empty(patch)
        glmc_zoo.train(epochs=3, output_dir=folder, **tail)
    return folder / "model"
