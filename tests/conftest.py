"""Shared fixtures. Tests that do not need the Hub run offline."""

from __future__ import annotations

import json
import os
import random
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
# Threads do not speed up tiny networks, and another order of sums would change the last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))  # modules that tests share
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # its scripts import each other

from hub_server import HubServer
from waiting import PATIENCE

# A slow machine is no failure of a property, and each run of the tests tries the same examples.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / "recipes" / "train.py"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference numbers and real images. Without it, the tests that need it are skipped."""
    folder = Path(os.environ.get("GLMC_ZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the reference data, which is not at {folder} (set GLMC_ZOO_SHARED)")
    return folder


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """An empty Hub on the loopback interface, which clients use with the environment of ``hub_env``."""
    with HubServer() as server:
        yield server


@pytest.fixture
def hub_env(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """``hub_env(token=None, **variables)``: environment of a child process that uses ``hub``, with an empty cache."""

    def make(token: str | None = None, **variables: str) -> dict[str, str]:
        return hub.environment(tmp_path_factory.mktemp("hf_home"), token, **variables)

    return make


@pytest.fixture
def hub_python(
    hub_env: Callable[..., dict[str, str]], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``hub_python(*args, token=None, **env)``: run ``python ARGS`` with the installed clients, which use ``hub``.

    Each call has an empty cache, unless ``HF_HOME`` is given. Give code as ``"-c", code``, and a recipe by its path in
    the repository. Output is captured.
    """

    def run(*args: Any, token: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        words = [str(arg) for arg in args]
        if words[0].startswith("recipes/"):
            words[0] = str(ROOT / words[0])
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=hub_env(token, **env), capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    return run


# 68 training images, 5 steps an epoch: a run takes a second.
FEW = ["--max-count", "10", "--imbalance-factor", "2", "--batch-size", "16"]
# Without --views, the preset tuned would not mix so few images.
TINY = [*FEW, "--views", "mixup_cutmix"]


@dataclass
class Outcome:
    """Exit status and output of a recipe."""

    status: int
    out: str
    err: str
    run: Any = None
    """The `TrainingRun`, if the recipe ran in this process and built one."""

    @property
    def sentence(self) -> str:
        """The sentence of the error. Checks that the error is one line, without a traceback."""
        assert self.status == 2, (self.status, self.out, self.err)
        lines = [line for line in self.err.splitlines() if "error: " in line]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        assert self.err.splitlines()[-1] == lines[0]
        script, mark, sentence = lines[0].partition(": error: ")
        assert mark and script.endswith(".py"), lines[0]
        return sentence


def environment(**variables: str) -> dict[str, str]:
    """Environment of a child process that imports the package of this checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}


def run_python(*args: Any, cwd: Path, **env: str) -> Outcome:
    """Run ``python ARGS`` as a child process."""
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, env=environment(**env), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def torchrun(*args: Any, cwd: Path) -> Outcome:
    """Run ``ARGS`` in two CPU processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    return run_python(*launcher, *args, cwd=cwd, ACCELERATE_USE_CPU="true")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` of a run."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def results(folder: Path) -> dict[str, Any]:
    """The content of ``results.json`` of a run."""
    return json.loads((folder / "results.json").read_text())


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The exported weights of a run."""
    from safetensors.numpy import load_file

    return load_file(folder / "model" / "model.safetensors")


def same_weights(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Whether weights are equal bit for bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def make_images(
    folder: Path, counts: dict[str, int] | None = None, *, test: int = 5, size: int = 32, seed: int = 0
) -> Path:
    """Write ``train/CLASS/*.png`` and ``test/CLASS/*.png``: noise around the colour of the class.

    Args:
        folder: Where the images go; it is returned.
        counts: Training images of each class.
        test: Test images of each class; 0 for no test split.
        size: Side of an image in pixels.
        seed: Seed of the noise.
    """
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
    """Export a model with random weights, for images of 32 pixels and other classes, to fine-tune it."""
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
    """The functions above. ``tiny`` has the options of a GLMC run of a second, ``few`` the same without a method."""
    return SimpleNamespace(
        root=ROOT, recipe=TRAIN, tiny=TINY, few=FEW, environment=environment, run_python=run_python, torchrun=torchrun,
        rows=rows, results=results, weights=weights, same_weights=same_weights, images=make_images,
        leave_plots_empty=leave_plots_empty, source=make_source,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test begins with the same random numbers, whatever ran before it in this process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # its import takes seconds, and it begins with the same seed
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore ``sys.argv`` after each test, because ``glmc-zoo`` sets it."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def _forget_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def leave_plots_empty(patch: pytest.MonkeyPatch) -> None:
    """Write empty files instead of plots, because drawing takes longer than the training."""
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
    """``recipe("train", "--epochs", 1, ...)`` runs a recipe as ``__main__`` in this process, with empty plots."""

    def call(name: str, *args: Any, plots: bool = False) -> Outcome:
        from glmc_zoo.training import run as training_run

        script = str(ROOT / "recipes" / f"{name}.py")
        built: list[Any] = []
        original = training_run.TrainingRun.__init__

        def remember(self: Any, *a: Any, **k: Any) -> None:
            built.append(self)
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
        return Outcome(status, captured.out, captured.err, built[0] if built else None)

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
    """Give a test a cache of ``datasets`` of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def stage(recipe: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``stage("--model", folder, ...)`` runs recipes/second_stage.py."""
    return lambda *args, **kwargs: recipe("second_stage", *args, **kwargs)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of a run on 68 digits, 5 steps an epoch. ``config.yaml`` of the run is in the folder above."""
    import glmc_zoo

    folder = tmp_path_factory.mktemp("first") / "run"
    tail = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "data_seed": 3, "views": "mixup_cutmix"}
    with pytest.MonkeyPatch.context() as patch:
        leave_plots_empty(patch)
        glmc_zoo.train(epochs=3, output_dir=folder, **tail)
    return folder / "model"


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    from glmc_zoo.method.registry import _ENTRIES as ENTRIES

    before, modules = dict(ENTRIES), set(sys.modules)
    yield
    # A built-in one stays: its module registers it only once.
    built_in = {key: entry for key, entry in ENTRIES.items() if str(entry.function.__module__).startswith("glmc_zoo.")}
    ENTRIES.clear()
    ENTRIES.update(before | built_in)
    for name in set(sys.modules) - modules:
        if name.startswith("glmc_zoo_plugin_"):
            del sys.modules[name]
