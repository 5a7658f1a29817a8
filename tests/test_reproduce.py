"""benchmarks/reproduce.py: which commands it makes, in which order and how many at a time they run, what it files."""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _clothing
import _rows
import _subsets
import numpy as np
import psutil
import pytest
import reproduce
from _runner import Run, Runner
from commands import resolved

from glmc_zoo import longtail_counts
from glmc_zoo.options.run import flatten_options
from glmc_zoo.results import RunResults

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "reproduce.py"
FINISHED = _rows.RESULTS / "digits_lt" / "ce_seed0.json"


def arguments(tmp_path: Path, *rows: str, **more: Any) -> argparse.Namespace:
    folders = {"work": tmp_path / "work", "results": tmp_path / "results"}
    given = {"seeds": None, "data_root": None, "data_dir": None, "options": "", "trial": False} | folders | more
    return argparse.Namespace(rows=list(rows), **given)


def words(run: Any) -> list[str]:
    """The options of a run's command, whatever comes before them."""
    start = next(i for i, word in enumerate(run.command) if word.endswith(".py"))
    return run.command[start + 1 :]


def call(*words: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def parsed(run: Run) -> argparse.Namespace:
    """The options of a run's command as its recipe reads them."""
    given = words(run)
    if run.after is not None:  # its model is not trained yet: any stands for it
        given[given.index("--model") + 1] = "resnet20_cifar.glmc_cifar10_lt"
    return argparse.Namespace(**flatten_options(resolved(run.row.script, given)))


@pytest.mark.parametrize("trial", [False, True])
def test_every_row_is_a_command_that_its_recipe_understands(tmp_path: Path, trial: bool) -> None:
    rows = [*_rows.published_rows(), *_rows.suites()]
    plan = reproduce.Plan(arguments(tmp_path, *rows, seeds=[3], trial=trial), 1)
    for run in plan.runs.values():
        config = parsed(run)
        assert config.output_dir == str(run.folder)
        made = run.row.data in (*_subsets.SUBSETS, _clothing.POOLED)
        assert config.data == (str(tmp_path / "work" / "data" / run.row.data) if made else run.row.data)
        if run.trains:
            assert (config.seed, config.threads, config.resume) == (3, 1, "auto")
    assert len(plan.runs) == len(_rows.all_rows()) > 100


@pytest.mark.parametrize("name", _rows.published_rows())
def test_a_published_row_is_the_experiment_of_its_file(tmp_path: Path, name: str) -> None:
    (tmp_path / _rows.published_rows()[name].data).mkdir()
    there = [f"{data}={tmp_path / data}" for data in reproduce.FOLDERS]
    plan = reproduce.Plan(arguments(tmp_path, name, seeds=[3], data_dir=there), None)
    run = plan.runs[f"published/{name}_seed3"]
    words = ["--config", name]
    if run.after is not None:
        words += ["--model", "resnet20_cifar.glmc_cifar10_lt"]
    by_file, by_row = flatten_options(resolved(run.row.script, words)), vars(parsed(run))
    assert by_file["mixed_precision"] == "no"
    changed = {option for option in by_file if by_file[option] != by_row[option]}
    assert by_file.keys() == by_row.keys() and changed == {"data_dir", "output_dir", "seed", "resume"}


def test_a_row_of_a_suite_has_its_own_precision_or_the_fastest(tmp_path: Path) -> None:
    rows = ("digits_lt/ce", "cifar10_lt_if100_resnet20_60_epochs/ce")
    runs = reproduce.Plan(arguments(tmp_path, *rows, seeds=[0]), None).runs.values()
    assert [parsed(run).mixed_precision for run in runs] == ["auto", "bf16"]


def test_a_second_stage_comes_after_the_first_with_its_seed(tmp_path: Path) -> None:
    plan = reproduce.Plan(arguments(tmp_path, "cifar10_lt_if100_maxnorm", "cifar10_lt_if100", seeds=[0, 7]), 1)
    assert list(plan.runs) == [
        f"published/{name}_seed{seed}" for seed in (0, 7) for name in ("cifar10_lt_if100", "cifar10_lt_if100_maxnorm")
    ]
    first, second, *_ = plan.runs.values()
    assert second.after is first and first.after is None and first.needed and not second.needed
    assert words(second)[words(second).index("--model") + 1] == str(first.folder / "model")


def test_a_correction_scores_the_training_of_its_suite_with_the_same_seed(tmp_path: Path) -> None:
    suite = "cifar100_lt_if100_resnet20_12_epochs_variants"
    options = "--export-half"  # of trainings alone
    plan = reproduce.Plan(arguments(tmp_path, f"{suite}/glmc_tau_normalisation", seeds=[4], options=options), 1)
    train, score = plan.runs.values()
    assert score.after is train and (train.row.name, train.seed) == ("glmc", 4)
    assert parsed(score).tau_norm == 1 and "--model" in words(score) and parsed(train).export_half
    assert not {"--seed", "--resume", "--threads", "--export-half"} & set(words(score))


def test_a_subset_is_thinned_and_its_test_images_are_left_over(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Value
    from PIL import Image as Pil

    features = Features({"img": Image(), "fine_label": ClassLabel(names=[f"class {c}" for c in range(100)])})
    features["coarse_label"] = Value("int64")
    for split, each in (("train", 30), ("test", 2)):
        rows = [(Pil.new("RGB", (1, 1), (c, i, 0)), c, 0) for c in range(100) for i in range(each)]
        table = Dataset.from_dict(dict(zip(features, zip(*rows, strict=True), strict=True)), features=features)
        table.to_parquet(str(tmp_path / "source" / "cifar100" / f"{split}-00000-of-00001.parquet"))
    for held_out in (True, False):
        subset = _subsets.Subset(first=2, max_count=20, imbalance_factor=10, held_out=held_out)
        folder = tmp_path / f"written {held_out}"
        _subsets.write_subset(tmp_path / "source", folder, subset)
        made = {s: Dataset.from_parquet(str(next(folder.glob(f"{s}-*.parquet")))) for s in ("train", "test")}
        assert made["train"].features["label"].names == [f"class {c}" for c in range(2, 100, 5)]
        assert np.bincount(made["train"]["label"]).tolist() == longtail_counts(20, 20, 10)
        assert all(row["image"].getpixel((0, 0))[0] == 2 + 5 * row["label"] for row in made["train"])
        left = [30 - count for count in longtail_counts(20, 20, 10)]  # fewer than 40 a class
        assert np.bincount(made["test"]["label"]).tolist() == (left if held_out else [2] * 20)
        if held_out:
            colours = {s: {row["image"].getpixel((0, 0)) for row in made[s]} for s in made}
            assert not colours["train"] & colours["test"]


def test_a_subset_needs_a_local_copy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cifar100_20_lt is made from a local copy of CIFAR-100: give --data-root"):
        reproduce.Plan(arguments(tmp_path, "cifar100_20_lt_finetune/fine-tuned_ce"), 1).write_subsets()


def test_data_and_further_options_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    row = "cifar10_lt_if100"
    [run] = reproduce.Plan(
        arguments(tmp_path, row, data_root=tmp_path, options="--compile --threads 5"), 2
    ).runs.values()
    config = parsed(run)
    assert (config.data_dir, config.compile, config.threads) == (str(tmp_path / "cifar10"), True, 5)
    assert config.mixed_precision == "no"
    assert run.command.count("--threads") == 1
    joined = arguments(tmp_path, row, data_root=tmp_path, options="--mixed-precision=bf16 --threads=5")
    [run] = reproduce.Plan(joined, 2).runs.values()
    config = parsed(run)
    assert (config.mixed_precision, config.threads) == ("bf16", 5)
    there = arguments(tmp_path, row, data_root=tmp_path, data_dir=["cifar10_lt=elsewhere"])
    [run] = reproduce.Plan(there, 2).runs.values()
    assert parsed(run).data_dir == "elsewhere"
    with pytest.raises(SystemExit, match=r"cifar100, does not exist: .* or leave out --data-root to download"):
        reproduce.Plan(arguments(tmp_path, "cifar100_lt_if100", data_root=tmp_path), 2)
    for data, local in (("clothing", False), ("inat18", False), ("cifar100_lt", True)):  # no download can help
        with pytest.raises(SystemExit, match=rf"does not exist: .* or give --data-dir {data}=FOLDER\.$"):
            reproduce.Plan(there, 2).data_dir(data, local=local)
    with pytest.raises(SystemExit, match="'cifar10_lt_if1000' is not a row: give one of cifar100_lt_if10, "):
        reproduce.Plan(arguments(tmp_path, "cifar10_lt_if1000"), 2)


class Fake:
    """Runs whose commands are small scripts, and what they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        name: str,
        code: str = "",
        after: Run | None = None,
        export: str = "(folder / 'model').mkdir(exist_ok=True)",
        script: str = "train.py",
    ) -> Run:
        row = _rows.Row(suite="suite", name=name, script=script, options=(), data="digits_lt", label=name.upper())
        folder = self.folder / "work" / "suite" / f"{name}_seed0"
        program = f"""
import os, pathlib, shutil, sys, time
folder = pathlib.Path({str(folder)!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / "begun").write_text(str(time.time()))
{code}
(folder / "slot").write_text(os.environ.get("SLOT", ""))
(folder / "ended").write_text(str(time.time()))
shutil.copy({str(FINISHED)!r}, folder / "results.json")
{export}
"""
        result = self.folder / "results" / "suite" / f"{name}_seed0.json"
        return Run(row, 0, folder, [sys.executable, "-c", program], result, after)

    def span(self, run: Any) -> tuple[float, float]:
        begun, ended = ((run.folder / name).read_text() for name in ("begun", "ended"))
        return float(begun), float(ended)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.processes
def test_no_more_run_at_a_time_than_there_are_slots(fake: Fake) -> None:
    runs = [fake.run(f"row{number}", "time.sleep(0.5)") for number in range(5)]
    Runner([{"SLOT": "0"}, {"SLOT": "1"}], None).all(runs)
    assert all(run.failure is None for run in runs)
    spans = [fake.span(run) for run in runs]
    at_once = [sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans]
    assert max(at_once) == 2
    by_slot: dict[str, list[tuple[float, float]]] = {}
    for run, span in zip(runs, spans, strict=True):
        by_slot.setdefault((run.folder / "slot").read_text(), []).append(span)
    assert set(by_slot) == {"0", "1"}
    for taken in by_slot.values():
        ordered = sorted(taken)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))


@pytest.mark.processes
def test_results_are_filed_as_they_are_and_not_made_twice(fake: Fake) -> None:
    run = fake.run("row")
    Runner([{}], None).all([run])
    assert _rows.read_results(run.result) == _rows.read_results(FINISHED)
    before = run.result.stat().st_mtime_ns
    again = fake.run("row", "sys.exit(9)")
    Runner([{}], None).all([again])
    assert again.failure is None and run.result.stat().st_mtime_ns == before
    # Of a run that had ended before it was filed, the results are filed without running again.
    run.result.unlink()
    Runner([{}], None).all([again])
    assert again.failure is None and run.result.is_file()


@pytest.mark.processes
def test_a_model_that_another_starts_from_is_made_again_when_only_its_result_is_left(fake: Fake) -> None:
    first = fake.run("first")
    first.result.parent.mkdir(parents=True)
    first.result.write_text("{}")
    second = fake.run("second", after=first)
    Runner([{}], None).all([first, second])
    assert not (first.folder / "model").exists()  # no run needs it
    first.needed = True
    second.result.unlink()
    Runner([{}], None).all([first, second])
    assert (first.folder / "model").is_dir() and first.result.read_text() == "{}"
    assert second.failure is None and second.result.is_file()


@pytest.mark.processes
def test_a_run_that_ended_between_its_scores_and_its_model_is_not_finished(fake: Fake) -> None:
    full = fake.run("row", export="sys.exit(1)")  # as where the disk is full
    Runner([{}], None).all([full])
    assert full.failure is not None and not full.result.exists()
    again = fake.run("row")
    Runner([{}], None).all([again])
    assert again.failure is None and again.result.is_file() and again.complete()


@pytest.mark.processes
def test_an_evaluation_leaves_no_model_and_begins_in_a_fresh_folder(fake: Fake) -> None:
    score = fake.run("score", export="", script="evaluate.py")
    score.folder.mkdir(parents=True)
    (score.folder / "half").touch()
    Runner([{}], None).all([score])
    assert score.failure is None and score.result.is_file() and not (score.folder / "half").exists()


@pytest.mark.processes
@pytest.mark.parametrize(("code", "minutes", "status"), [("sys.exit(2)", "1", 1), ("time.sleep(60)", "0.02", 3)])
def test_status_tells_failed_from_left_to_do(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, code: str, minutes: str, status: int
) -> None:
    run = fake.run("row", code)
    plan = argparse.Namespace(runs={"row": run}, write_inputs=lambda: None)
    monkeypatch.setattr(reproduce, "Plan", lambda *_: plan)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "row", "--jobs", "1", "--minutes", minutes])
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == status


@pytest.mark.processes
def test_what_failed_is_said_and_stops_only_what_needs_it(fake: Fake) -> None:
    bad = fake.run("bad", "print('a reason'); sys.exit(2)")
    needs, other = fake.run("needs", after=bad), fake.run("other")
    Runner([{}], None).all([bad, needs, other])
    assert bad.failure == f"failed with status 2: see {bad.folder.with_suffix('.log')}"
    assert "a reason" in bad.folder.with_suffix(".log").read_text()
    assert needs.failure == "not begun: suite/bad is not finished"
    assert other.failure is None and other.result.is_file() and not needs.result.exists()


@pytest.mark.processes
def test_when_time_is_up_runs_are_ended_and_no_other_begins(fake: Fake) -> None:
    long, later = fake.run("long", "time.sleep(60)"), fake.run("later")
    start = time.monotonic()
    runner = Runner([{}], start + 1.5)
    runner.all([long, later])
    assert time.monotonic() - start < 30 and runner.stopping
    assert (long.folder / "begun").exists() and not (long.folder / "ended").exists()
    assert "give the same command again" in str(long.failure) and later.failure is not None
    assert not (later.folder / "begun").exists()


@pytest.mark.processes
def test_a_rehearsal_goes_through_a_run_and_leaves_the_tables_alone(tmp_path: Path) -> None:
    options = ["digits_lt/ce", "--trial", "--seeds", 0, "--work", "work", "--results", "results", "--jobs", 1]
    options += ["--options", "--threads 1"]
    done = call(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    filed = RunResults.load(tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0.json")
    assert filed.config["epochs"] == 1 and filed.method == "ce" and filed.origin.commit is not None
    assert not (tmp_path / "results").exists()
    folder = tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0"
    assert (folder / "model" / "model.safetensors").is_file()
    # Had it ended before its model was written, the same command writes that, from the last checkpoint.
    shutil.rmtree(folder / "model")
    folder.with_suffix(".json").unlink()
    assert call(*options, cwd=tmp_path).returncode == 0
    assert (folder / "model" / "model.safetensors").is_file()
    assert RunResults.load(folder.with_suffix(".json")).test == filed.test


@pytest.mark.processes
def test_a_run_that_time_cut_short_is_left_to_do(tmp_path: Path) -> None:
    done = call("digits_lt/ce", "--seeds", 0, "--work", "work", "--results", "results", "--minutes", 0, cwd=tmp_path)
    assert done.returncode == 3 and "digits_lt/ce, seed 0, stopped: give the same command again" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.processes
def test_what_ends_it_ends_its_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "digits_lt/glmc_tuned", "--seeds", "0", "--jobs", "1"]
    command += ["--work", "work", "--results", "results", "--options", "--threads 1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        while "begin digits_lt/glmc_tuned, seed 0" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        while not (children := psutil.Process(process.pid).children()):
            time.sleep(0.05)
        [child] = children
        process.terminate()
        assert process.wait(60) == 1
        assert "the same command resumes from the newest checkpoints" in process.stderr.read()
    assert not child.is_running()
