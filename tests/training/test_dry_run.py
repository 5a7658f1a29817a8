"""A dry run estimates time and memory by a few real steps, refuses what the run would refuse, and writes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.training.dry_run import DryRun, _duration

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "views": "mixup_cutmix"}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything below a folder."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_estimate_is_that_of_the_run_which_it_stands_for(
    finished: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"batch_size": 32, "epochs": 8}
    estimate = glmc_zoo.train(dry_run=True, **options)
    shown = capsys.readouterr().out
    assert isinstance(estimate, DryRun) and files(tmp_path) == {}
    finished("train", **options, output_dir="run")
    steps, evaluations = 8 * 11 * estimate.step_seconds, 9 * estimate.evaluation_seconds
    assert estimate.step_seconds > 0 and evaluations > 0 and estimate.seconds == pytest.approx(steps + evaluations)
    assert (estimate.epochs, estimate.steps, estimate.evaluations, estimate.processes) == (8, 11, 9, 1)
    assert 1e8 < estimate.memory_bytes < 1e10
    assert shown.splitlines()[-1] == estimate.text
    # Minutes on a busy machine.
    pattern = r"about \d+ (s|min): 8 epochs x 11 steps x [\d.]+ s, plus 9 evaluations x [\d.e-]+ s; memory \d+\.\d GB"
    assert re.fullmatch(pattern, estimate.text)
    # The options are those that the run saves.
    assert estimate.options == yaml.safe_load(Path("run/config.yaml").read_text(encoding="utf-8"))
    heading, *lines = shown[shown.index("options  ") :].splitlines()[:-1]
    assert heading == "options  as config.yaml would have them:"
    assert yaml.safe_load("\n".join(lines)) == estimate.options


def test_nothing_is_written_whatever_the_options_write(
    recipe: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glmc_zoo.training.run.TrainingRun.save", lambda self: pytest.fail("a checkpoint"))
    outcome = recipe(
        "train", *(f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()), "--dry-run", "--profile",
        "--checkpoint-steps", 1, "--export-encoder", "--ema-decay", 0.9, "--val-fraction", 0.2, "--select", "best",
        "--epochs", 1,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert re.search(r"^about \d+ (s|min): 1 epoch x \d steps? x ", outcome.out, re.MULTILINE)
    assert files(tmp_path) == {}


def test_an_empty_output_folder_stays_empty_and_another_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    glmc_zoo.train(dry_run=True, output_dir="empty", epochs=1, **TINY)
    assert files(tmp_path) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.yaml").write_text("lr: 1\n")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"^output_dir='full' already holds files \(config\.yaml\); choose another"):
        glmc_zoo.train(dry_run=True, output_dir="full", **TINY)
    with pytest.raises(UserError, match=r"^output_dir='full/config\.yaml' is a file: give a folder"):
        glmc_zoo.train(dry_run=True, output_dir="full/config.yaml", **TINY)
    with pytest.raises(UserError, match=r"^output_dir='full/config\.yaml/x' cannot be written: Not a directory"):
        glmc_zoo.train(dry_run=True, output_dir="full/config.yaml/x", **TINY)
    assert files(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is allowed here")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"^output_dir='closed/run' cannot be written: Permission denied"):
        glmc_zoo.train(dry_run=True, output_dir="closed/run", **TINY)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"resume": "auto"}, "^dry_run=True trains nothing, so resume='auto' has no effect: leave one out"),
        ({"batch_size": 500}, "^batch_size=500 is larger than the training split"),
        ({"backbone": "resnet_of_mine"}, "resnet_of_mine"),
        ({"data": "no/such/folder"}, "does not exist"),
        ({"select": "best"}, "^select='best' chooses an epoch on held-out images"),
    ],
)
def test_what_the_run_refuses_is_refused(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        glmc_zoo.train(dry_run=True, **values)
    assert files(tmp_path) == {}


def test_fine_tuning_and_second_stage(first: Path, tmp_path: Path) -> None:
    before = files(first.parent)
    tuned = glmc_zoo.finetune(dry_run=True, model=first, epochs=3, eval_every=2, **TINY)
    assert (tuned.epochs, tuned.steps, tuned.evaluations) == (3, 5, 3)
    stage = glmc_zoo.second_stage(dry_run=True, model=first, epochs=2)
    assert (stage.epochs, stage.steps, stage.evaluations) == (2, 5, 3) and stage.options["batch_size"] == 16
    assert files(tmp_path) == {} and files(first.parent) == before


@pytest.mark.parametrize(("init", "views"), [("head", 3), ("fresh", 0)])
def test_features_that_the_classifier_starts_from_take_time(lab: Any, tmp_path: Path, init: str, views: int) -> None:
    source, animals = lab.source(tmp_path / "source"), lab.images(tmp_path / "animals")
    more = {"feature_views": views} if views else {}
    estimate = glmc_zoo.finetune(
        dry_run=True, model=source, data=animals, method="ce", head_init=init, epochs=2, batch_size=8, **more
    )
    rest = 2 * 3 * estimate.step_seconds + 3 * estimate.evaluation_seconds
    assert estimate.views == views and (estimate.view_seconds > 0) == bool(views)
    assert estimate.seconds == pytest.approx(rest + views * estimate.view_seconds)
    assert (f": features of 3 views x {estimate.view_seconds:.2g} s, 2 epochs" in estimate.text) == bool(views)


def test_without_a_test_split_nothing_is_evaluated(lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "data", test=0)
    estimate = glmc_zoo.train(
        dry_run=True, data=folder, no_test=True, epochs=2, batch_size=8, backbone="resnet20_cifar", image_size=32
    )
    assert (estimate.evaluations, estimate.evaluation_seconds, estimate.steps) == (0, 0.0, 3)
    assert estimate.seconds == pytest.approx(6 * estimate.step_seconds)


def test_accumulation_and_workers(tmp_path: Path) -> None:
    """Whole updates are timed, and batches that the workers had ready are not."""
    estimate = glmc_zoo.train(dry_run=True, grad_accum_steps=4, workers=1, sam_rho=0.05, epochs=5, **TINY)
    assert estimate.step_seconds > 0 and estimate.steps == 5 and files(tmp_path) == {}


def test_a_run_after_a_dry_run_is_the_same(finished: Callable[..., Any], lab: Any) -> None:
    once = finished("train", epochs=1, output_dir="one", **TINY)
    glmc_zoo.train(dry_run=True, epochs=1, **TINY)
    again = finished("train", epochs=1, output_dir="two", **TINY)
    assert once.results.test == again.results.test
    assert lab.same_weights(lab.weights(Path("one")), lab.weights(Path("two")))


def test_no_tracker_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr("glmc_zoo.machine.accelerator._check_tracker", lambda name: None)
    monkeypatch.setattr(Accelerator, "init_trackers", lambda *args, **options: pytest.fail("a tracker"))
    estimate = glmc_zoo.train(dry_run=True, tracker="tensorboard", epochs=1, **TINY)
    assert estimate.options["tracker"] == "tensorboard" and files(tmp_path) == {}


@pytest.mark.processes
def test_two_processes(lab: Any, tmp_path: Path) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    outcome = lab.torchrun(lab.recipe, *words, "--dry-run", "--epochs", 4, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("about ") == 1 and outcome.out.count("options  as") == 1
    assert re.search(r"4 epochs x 2 steps x [\d.]+ s, plus 5 evaluations x .* GB a process$", outcome.out, re.MULTILINE)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (725, "12 min"), (5399, "90 min"), (11520, "3.2 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_a_step_counts_the_share_of_steps_with_sam(finished: Callable[..., Any]) -> None:
    """Timed steps take 1 second each, and all of them use SAM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glmc_zoo.training.dry_run._StepTimer.step_seconds", 1.0)
        seconds = [
            glmc_zoo.train(dry_run=True, epochs=2, **TINY, **sam).step_seconds
            for sam in ({}, {"sam_rho": 0.05}, {"sam_rho": 0.05, "sam_every": 4})
        ]
    assert seconds == [1.0, 1.0, 0.625]
