"""A search for learning rate and epochs: on which images, what it leaves, and that it goes on after a kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from accelerate.data_loader import DataLoaderShard
from PIL import Image
from run_files import files_of

import glmc_zoo
from glmc_zoo.data.folds import training_folds
from glmc_zoo.errors import UserError
from glmc_zoo.machine.signals import RunStopped
from glmc_zoo.results import RunResults, SearchTrial
from glmc_zoo.training import assemble, default_model, search
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.search_file import SearchFile, search_table
from glmc_zoo.training.search_plan import SearchPlan
from glmc_zoo.training.step import TrainStep

pytestmark = [pytest.mark.usefixtures("own_cache")]
OPTIONS: dict[str, Any] = {"batch_size": 8, "feature_views": 1, "mixed_precision": "no", "search_minutes": 1.0}
FRESH: dict[str, Any] = {name: value for name, value in OPTIONS.items() if name != "feature_views"} | {"method": "ce"}


@pytest.fixture
def animals(lab: Any, tmp_path: Path) -> Path:
    images: Path = lab.images(tmp_path / "animals", {"ant": 15, "bee": 10, "cat": 5})
    return images


@pytest.fixture
def short(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plan of five trials, whatever the time allows: 2 rates for an epoch, both for two, and the better for four."""
    lab.leave_plots_empty(monkeypatch)
    monkeypatch.setattr(search, "make_plan", lambda rates, **more: SearchPlan([0.001, 0.01], 1, 16))
    monkeypatch.setattr(search, "step_seconds", lambda run: 0.01)
    yield


@contextmanager
def before_the_training() -> Iterator[list[TrainingRun]]:
    """Stop the call inside between the search and the training; gives the trials, and the run as the last."""
    runs: list[TrainingRun] = []
    build = TrainingRun.__init__

    def remember(self: TrainingRun, *given: Any) -> None:
        build(self, *given)
        runs.append(self)

    def stop(self: TrainingRun) -> None:
        raise UserError("enough")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match=r"^enough$"):
        patch.setattr(TrainingRun, "__init__", remember)
        patch.setattr(TrainingRun, "resume", stop)
        yield runs


def add_image(folder: Path) -> None:
    """One more image of a class, unlike the others."""
    Image.new("RGB", (32, 32), (1, 2, 3)).save(folder / "new.png")


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext"])
def test_what_a_search_leaves(
    lab: Any, finetune: Any, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    run = tmp_path / "run"
    finished: list[TrainingRun] = []
    finish = TrainingRun.finish
    monkeypatch.setattr(TrainingRun, "finish", lambda self: (finished.append(self), finish(self))[1])
    start = lab.source(tmp_path / architecture, architecture)
    options = ["--model", start, "--data", animals, "--batch-size", 8, "--search-minutes", 0.05]
    outcome = finetune(*options, "--output-dir", run)
    assert outcome.status == 0, outcome.err
    results = RunResults.load(run / "results.json")
    found = results.search
    assert found is not None and found.minutes == 0.05 and found.chosen in found.trials
    assert 1 <= len(found.trials) <= found.planned == 8
    assert found.chosen.balanced_accuracy == max(trial.balanced_accuracy for trial in found.trials)
    assert results.schedule is not None and results.schedule.lr == found.chosen.lr
    assert (results.config["lr"], results.config["epochs"]) == (found.chosen.lr, found.chosen.epochs)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == found.chosen.epochs
    assert search_table(found) in outcome.out and f"* chosen: --lr {found.chosen.lr:g}" in outcome.out
    card = (run / "model" / "README.md").read_text()
    assert f"learning rate {found.chosen.lr:g} and {found.chosen.epochs} epochs were chosen by" in card
    assert card.count("(chosen)") == 1
    writers = ["training in epochs", "`--search-minutes`", "fine-tuning that finds it first"]
    assert {path.name for path in run.iterdir()} == files_of(*writers)
    plain = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(plain(x), finished[0].timm_model.eval()(x))


@pytest.mark.usefixtures("short")
def test_no_trial_sees_what_it_is_scored_on(
    source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials, and what their classifiers start from, leave one fold out; no test image is read."""
    data = glmc_zoo.load_data(animals)
    held = np.flatnonzero(training_folds(data, 5, 0) == 0)
    seen: list[tuple[Any, Any]] = []
    started: list[int] = []
    evaluate, find = TrainingRun.evaluate, search.find_start

    def score(self: TrainingRun, split: Any) -> Any:
        seen.append((self.data.train.rows, split.rows))
        return evaluate(self, split)

    def start(features: Any, part: Any, *given: Any, **more: Any) -> Any:
        started.append(len(part.train))
        assert features.shape[1] == len(part.train) and not set(part.train.rows) & set(data.train.rows[held])
        return find(features, part, *given, **more)

    monkeypatch.setattr(search, "find_start", start)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="enough"):
        patch.setattr(TrainingRun, "evaluate", score)
        patch.setattr(TrainingRun, "resume", lambda self: (_ for _ in ()).throw(UserError("enough")))
        glmc_zoo.finetune(model=source, data=animals, output_dir=tmp_path / "run", **OPTIONS)
    assert len(seen) == 5 and len(started) == 1  # one start for all trials
    for trained, scored in seen:
        assert set(scored) == set(data.train.rows[held]) and not set(trained) & set(scored)
        assert set(np.unique(data.train.labels[np.isin(data.train.rows, trained)])) == {0, 1, 2}


@pytest.mark.usefixtures("short")
def test_a_killed_search_goes_on_with_its_trials(
    lab: Any, source: Path, animals: Path, tmp_path: Path, interrupted_at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"model": source, "data": animals, **OPTIONS}
    whole = glmc_zoo.finetune(**options, output_dir=tmp_path / "whole")
    folder = tmp_path / "cut"
    with interrupted_at(8):  # trials of 3 and 3 steps are done, the next has begun
        glmc_zoo.finetune(**options, output_dir=folder)
    file = SearchFile(folder)
    assert [trial.lr for trial in file.trials()] == [0.001, 0.01] and file.facts() is None
    assert not {"lr", "epochs"} & yaml.safe_load((folder / "config.yaml").read_text()).keys()
    with file.path.open("a") as out:
        out.write('{"trial": {"lr": 0.')  # a line that was being written
    capsys.readouterr()
    with interrupted_at(27):  # in the training itself
        glmc_zoo.finetune(**options, output_dir=folder, resume="auto")
    assert capsys.readouterr().out.count("trial   lr") == 3
    found = file.facts()
    assert found is not None and yaml.safe_load((folder / "config.yaml").read_text())["lr"] == found.chosen.lr
    results = glmc_zoo.finetune(**options, output_dir=folder, resume="auto")
    assert "trial   lr" not in capsys.readouterr().out and results.search == found
    assert whole.search is not None
    for one, other in zip(whole.search.trials, found.trials, strict=True):
        assert (one.lr, one.epochs, one.images) == (other.lr, other.epochs, other.images)
        assert (one.balanced_accuracy, one.top1) == (other.balanced_accuracy, other.top1)
    assert lab.same_weights(lab.weights(tmp_path / "whole"), lab.weights(folder))
    # Its file repeats the training without the search.
    again = glmc_zoo.finetune(config=folder / "config.yaml", output_dir=tmp_path / "again")
    assert again.search is None and lab.same_weights(lab.weights(folder), lab.weights(tmp_path / "again"))


@pytest.mark.usefixtures("short")
def test_images_are_loaded_once_and_the_chosen_model_is_noted(
    source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: Any
) -> None:
    loads: list[Any] = []
    load = search.load_split_data
    monkeypatch.setattr(search, "load_split_data", lambda data: (loads.append(data), load(data))[1])
    monkeypatch.setattr(assemble, "load_split_data", lambda data: pytest.fail("loaded again"))
    monkeypatch.setattr(default_model, "choose_default", lambda: str(source))
    options: dict[str, Any] = {"data": animals, "output_dir": tmp_path / "run", **OPTIONS}
    with interrupted_at(27):  # in the training itself
        glmc_zoo.finetune(**options)
    results = glmc_zoo.finetune(**options, resume="auto")
    notes = [note for note in results.data.notes if note.startswith("model= was not given")]
    assert len(loads) == 2 and len(notes) == 1 and str(source) in notes[0]


@pytest.mark.usefixtures("short")
def test_a_rate_that_is_too_high_loses(source: Path, animals: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "make_plan", lambda rates, **more: SearchPlan([1e12, 0.001], 1, 16))
        results = glmc_zoo.finetune(
            model=source, data=animals, method="ce", tune="blocks", output_dir=tmp_path / "run", batch_size=8,
            search_minutes=1,
        )  # fmt: skip
    assert results.search is not None and results.search.chosen.lr == 0.001
    assert results.search.trials[0].balanced_accuracy == 0


@pytest.mark.usefixtures("short")
def test_it_ends_where_the_time_ends(source: Path, animals: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_expected_seconds", lambda trial, epochs: 60.0)
        results = glmc_zoo.finetune(model=source, data=animals, output_dir=tmp_path / "run", **OPTIONS)
    assert results.search is not None and len(results.search.trials) == 1 and results.search.planned == 5
    assert "1 trial of 5 planned" in search_table(results.search)


@pytest.mark.usefixtures("short")
def test_groups_stay_together(source: Path, animals: Path, tmp_path: Path) -> None:
    results = glmc_zoo.finetune(
        model=source, data=animals, split_by=r"path:(\d)\.png$", output_dir=tmp_path / "run", **OPTIONS
    )
    assert results.search is not None and results.search.grouped_by == r"path:(\d)\.png$"
    assert results.finetune is not None and results.finetune.start is not None


def test_one_sentence_where_it_cannot_be(lab: Any, finetune: Any, source: Path, tmp_path: Path) -> None:
    single = lab.images(tmp_path / "single", {"ant": 1, "bee": 1, "cat": 1})
    few = lab.images(tmp_path / "few", {"ant": 4, "bee": 4, "cat": 4})
    options = ["--model", source, "--search-minutes", 1, "--output-dir", tmp_path / "run"]
    sentence = finetune(*options, "--data", single, "--batch-size", 2).sentence
    assert "--search-minutes needs training images that can be held out" in sentence
    sentence = finetune(*options, "--data", few, "--batch-size", 12).sentence
    assert (
        "--search-minutes 1 holds training images out and leaves" in sentence and "a smaller --batch-size" in sentence
    )
    assert not (tmp_path / "run").exists()


def test_a_dry_run_names_the_search(source: Path, animals: Path, tmp_path: Path, capsys: Any) -> None:
    estimate = glmc_zoo.finetune(model=source, data=animals, output_dir=tmp_path / "run", dry_run=True, **OPTIONS)
    assert "searches learning rate and epochs for 1 min; the estimate is for the 40 epochs" in capsys.readouterr().out
    assert "lr" not in estimate.options and not (tmp_path / "run").exists()


def test_a_search_on_other_images_begins_anew(tmp_path: Path) -> None:
    file = SearchFile(tmp_path)
    file.begin(SearchPlan([0.1], 2, 9), "one", 3.0)
    trial = SearchTrial(lr=0.1, weight_decay=0, epochs=2, images=9, balanced_accuracy=0.5, top1=0.5, seconds=1.0)
    file.add(trial, 4.0)
    assert file.plan("one") == SearchPlan([0.1], 2, 9) and file.plan("other") is None
    assert file.trials() == [trial] and file.seconds_so_far() == file.seconds_so_far("one") == 4.0
    assert file.seconds_so_far("other") == 0.0  # a search on other images has its whole time
    file.begin(SearchPlan([0.2], 2, 9), "other", 4.5)
    assert file.trials() == [] and file.seconds_so_far() == 4.5
    assert len([json.loads(line) for line in file.path.read_text().splitlines()]) == 1


@pytest.mark.usefixtures("short")
def test_a_trial_writes_no_checkpoint(source: Path, animals: Path, tmp_path: Path) -> None:
    """Neither by steps nor by time."""
    run = tmp_path / "run"
    options: dict[str, Any] = {**FRESH, "checkpoint_steps": 1, "checkpoint_minutes": 1e-6}
    with before_the_training() as runs:
        glmc_zoo.finetune(model=source, data=animals, output_dir=run, **options)
    assert len(runs) == 7 and runs[-1].trainer.checkpoints.times is not None  # a timed one, five trials, the run
    assert {path.name for path in run.iterdir() if path.name[0] != "."} == {"config.yaml", "search.jsonl"}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("at", ["a step", "the next epoch", "the scores"])
def test_a_signal_ends_a_search_at_once(
    source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The message names the run folder, in which the search goes on with its finished trials."""
    run = tmp_path / "run"
    options: dict[str, Any] = {"model": source, "data": animals, "output_dir": run, **FRESH}
    owner, name = {
        "a step": (TrainStep, "__call__"), "the next epoch": (DataLoaderShard, "set_epoch"),
        "the scores": (TrainingRun, "evaluate"),
    }[at]  # fmt: skip
    original, calls = getattr(owner, name), [0]

    def call(self: Any, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *given)

    with monkeypatch.context() as patch, pytest.raises(RunStopped) as stop:
        patch.setattr(owner, name, call)
        glmc_zoo.finetune(**options)
    assert str(stop.value) == (
        "Stopped by SIGTERM, the finished trials of the search are on disk; to resume: the same call with "
        f"output_dir={str(run)!r}, resume='auto'"
    )
    assert calls[0] == 5 and stop.value.status == 143 and not (run / ".lock").exists()
    finished = len(SearchFile(run).trials())
    (run / "trial" / "checkpoints" / "step-000000001").mkdir(parents=True)  # as an earlier version left it
    with before_the_training() as runs:
        glmc_zoo.finetune(**options, resume="auto")
    assert len(SearchFile(run).trials()) == 5 and len(runs) == 5 - finished + 1
    assert not (run / "trial").exists()


@pytest.mark.usefixtures("short")
def test_trials_train_what_the_run_trains(source: Path, animals: Path, tmp_path: Path) -> None:
    """The same method for as many epochs, and as many images in a step: 22 are three quarters of all 30."""
    unmixed: dict[int, set[int]] = {}
    options = {name: value for name, value in FRESH.items() if name != "batch_size"} | {"method": "glmc"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "make_plan", lambda rates, **more: SearchPlan([0.001], 4, 16))
        with before_the_training() as runs:
            glmc_zoo.finetune(model=source, data=animals, image_size=32, output_dir=tmp_path / "run", **options)
    for run in runs:
        unmixed.setdefault(run.options.schedule.epochs, set()).add(run.task.switches.mix_off_epochs)
        assert run.options.schedule.batch_size == run.loader.batch_sampler.batch_size == 22
    # A quarter of the epochs; the first run measures a step and has one epoch.
    assert unmixed == {1: {0}, 4: {1}, 8: {2}, 16: {4}}
    chosen = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert {chosen["mix_off_epochs"]} == unmixed[chosen["epochs"]] and chosen["batch_size"] == 22


@pytest.mark.usefixtures("short")
def test_more_unmixed_epochs_than_the_shortest_trial_has(source: Path, animals: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**FRESH, "method": "glmc", "views": "alternate", "mix_off_epochs": 2}
    with pytest.raises(UserError, match=r"^mix_off_epochs=2 must not exceed the epochs of a trial, .* of 1 epoch: "):
        glmc_zoo.finetune(model=source, data=animals, output_dir=tmp_path / "run", **options)
    assert SearchFile(tmp_path / "run").trials() == []


@pytest.mark.usefixtures("short")
def test_a_finished_search_on_other_images_is_made_anew(
    source: Path, animals: Path, tmp_path: Path, interrupted_at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options: dict[str, Any] = {"model": source, "data": animals, "output_dir": run, **FRESH}
    with before_the_training():
        glmc_zoo.finetune(**options)
    first = SearchFile(run).facts()
    with before_the_training() as runs:  # on the same images nothing is trained again
        glmc_zoo.finetune(**options, resume="auto")
    assert len(runs) == 1 and SearchFile(run).facts() == first
    for path in sorted((animals / "train" / "bee").iterdir())[:5]:
        path.rename(animals / "train" / "ant" / f"bee_{path.name}")
    capsys.readouterr()
    with before_the_training() as runs:
        glmc_zoo.finetune(**options, resume="auto")
    assert len(runs) == 7 and "changed since the search, so it begins anew" in capsys.readouterr().out
    second = SearchFile(run).facts()
    assert second is not None and second != first and len(second.trials) == 5
    # Once the training has begun, it goes on with what was chosen for it.
    with interrupted_at(3):
        glmc_zoo.finetune(**options, resume="auto", checkpoint_steps=1)
    add_image(animals / "train" / "ant")
    with before_the_training() as runs:
        glmc_zoo.finetune(**options, resume="auto", accept_new_data=True)
    assert len(runs) == 1 and SearchFile(run).facts() == second
    assert runs[0].options.schedule.lr == second.chosen.lr


@pytest.mark.processes
def test_two_processes(lab: Any, source: Path, animals: Path, tmp_path: Path) -> None:
    options = ["--model", source, "--data", animals, "--batch-size", 6, "--search-minutes", 0.02]
    script, run = lab.root / "recipes" / "finetune.py", tmp_path / "run"
    outcome = lab.torchrun(script, *options, "--feature-views", 1, "--output-dir", run, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    results = RunResults.load(run / "results.json")
    assert results.search is not None and results.schedule is not None
    assert results.schedule.lr == results.search.chosen.lr and results.schedule.images_per_step == 12
    assert results.finetune is not None and results.finetune.start is not None
    assert outcome.out.count("* chosen: --lr") == 1
