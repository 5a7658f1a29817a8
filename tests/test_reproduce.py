"""benchmarks/reproduce.py: the command of each row, the exit status, a trial, and interruptions."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import _clothing
import _rows
import _subsets
import psutil
import pytest
import reproduce
from _runner import Run
from commands import resolved
from fake_runs import FakeRuns
from waiting import PATIENCE, wait_until

from glmc_zoo.options.run import flatten_options
from glmc_zoo.results import RunResults

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "reproduce.py"


def arguments(tmp_path: Path, *rows: str, **changes: Any) -> argparse.Namespace:
    """What `reproduce.parse` returns for these rows, with folders below ``tmp_path``."""
    folders = {"work": tmp_path / "work", "results": tmp_path / "results"}
    defaults = {"seeds": None, "data_root": None, "data_dir": None, "options": "", "trial": False}
    return argparse.Namespace(rows=list(rows), **defaults | folders | changes)


def recipe_words(run: Run) -> list[str]:
    """The words of a run's command after the recipe."""
    start = next(i for i, word in enumerate(run.command) if word.endswith(".py"))
    return run.command[start + 1 :]


def call(*words: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


def parsed(run: Run) -> argparse.Namespace:
    """The options of a run's command, as its recipe resolves them."""
    words = recipe_words(run)
    if run.after is not None:  # its model does not exist yet, so another one stands for it
        words[words.index("--model") + 1] = "resnet20_cifar.glmc_cifar10_lt"
    return argparse.Namespace(**flatten_options(resolved(run.row.script, words)))


@pytest.mark.parametrize("trial", [False, True])
def test_every_row_is_a_command_that_its_recipe_understands(tmp_path: Path, trial: bool) -> None:
    rows = [*_rows.published_rows(), *_rows.suites()]
    plan = reproduce.Plan(arguments(tmp_path, *rows, seeds=[3], trial=trial), 1)
    for run in plan.runs.values():
        config = parsed(run)
        assert config.output_dir == str(run.folder)
        written = run.row.data in (*_subsets.SUBSETS, _clothing.POOLED)  # by reproduce.py
        assert config.data == (str(tmp_path / "work" / "data" / run.row.data) if written else run.row.data)
        if run.trains:
            assert (config.seed, config.threads, config.resume) == (3, 1, "auto")
    assert len(plan.runs) == len(_rows.all_rows()) > 100


@pytest.mark.parametrize("name", _rows.published_rows())
def test_a_published_row_is_the_experiment_of_its_file(tmp_path: Path, name: str) -> None:
    (tmp_path / _rows.published_rows()[name].data).mkdir()
    folders = [f"{data}={tmp_path / data}" for data in reproduce.FOLDERS]
    plan = reproduce.Plan(arguments(tmp_path, name, seeds=[3], data_dir=folders), None)
    run = plan.runs[f"published/{name}_seed3"]
    words = ["--config", name]
    if run.after is not None:
        words += ["--model", "resnet20_cifar.glmc_cifar10_lt"]
    by_file, by_row = flatten_options(resolved(run.row.script, words)), vars(parsed(run))
    assert by_file["mixed_precision"] == "no"
    changed = {option for option in by_file if by_file[option] != by_row[option]}
    assert by_file.keys() == by_row.keys() and changed == {"data_dir", "output_dir", "seed", "resume"}


def test_a_row_of_a_suite_has_the_precision_that_it_names_or_auto(tmp_path: Path) -> None:
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
    assert recipe_words(second)[recipe_words(second).index("--model") + 1] == str(first.folder / "model")


def test_a_correction_scores_the_training_of_its_suite_with_the_same_seed(tmp_path: Path) -> None:
    suite = "cifar100_lt_if100_resnet20_12_epochs_variants"
    options = "--export-half"  # which only a training has
    plan = reproduce.Plan(arguments(tmp_path, f"{suite}/glmc_tau_normalisation", seeds=[4], options=options), 1)
    train, score = plan.runs.values()
    assert score.after is train and (train.row.name, train.seed) == ("glmc", 4)
    assert parsed(score).tau_norm == 1 and "--model" in recipe_words(score) and parsed(train).export_half
    assert not {"--seed", "--resume", "--threads", "--export-half"} & set(recipe_words(score))


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
    with_folder = arguments(tmp_path, row, data_root=tmp_path, data_dir=["cifar10_lt=elsewhere"])
    [run] = reproduce.Plan(with_folder, 2).runs.values()
    assert parsed(run).data_dir == "elsewhere"
    with pytest.raises(SystemExit, match=r"cifar100, does not exist: .* or leave out --data-root to download"):
        reproduce.Plan(arguments(tmp_path, "cifar100_lt_if100", data_root=tmp_path), 2)
    for data, local in (("clothing", False), ("inat18", False), ("cifar100_lt", True)):  # which cannot be downloaded
        with pytest.raises(SystemExit, match=rf"does not exist: .* or give --data-dir {data}=FOLDER\.$"):
            reproduce.Plan(with_folder, 2).data_dir(data, local=local)
    with pytest.raises(SystemExit, match="'cifar10_lt_if1000' is not a row: give one of cifar100_lt_if10, "):
        reproduce.Plan(arguments(tmp_path, "cifar10_lt_if1000"), 2)


@pytest.mark.processes
@pytest.mark.parametrize(("code", "minutes", "status"), [("sys.exit(2)", "10", 1), ("time.sleep(60)", "0.02", 3)])
def test_the_exit_status_of_a_failed_and_of_an_unfinished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, minutes: str, status: int
) -> None:
    run = FakeRuns(tmp_path).run("row", code)
    plan = argparse.Namespace(runs={"row": run}, write_inputs=lambda: None)
    monkeypatch.setattr(reproduce, "Plan", lambda *_: plan)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "row", "--jobs", "1", "--minutes", minutes])
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == status


@pytest.mark.processes
def test_a_trial_runs_to_the_end_and_stores_no_results_for_the_tables(tmp_path: Path) -> None:
    options = ["digits_lt/ce", "--trial", "--seeds", 0, "--work", "work", "--results", "results", "--jobs", 1]
    options += ["--options", "--threads 1"]
    done = call(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = RunResults.load(tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0.json")
    assert results.config["epochs"] == 1 and results.method == "ce" and results.origin.commit is not None
    assert not (tmp_path / "results").exists()
    folder = tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0"
    assert (folder / "model" / "model.safetensors").is_file()
    # If it ended before it wrote its model, the same command writes the model from the last checkpoint.
    shutil.rmtree(folder / "model")
    folder.with_suffix(".json").unlink()
    assert call(*options, cwd=tmp_path).returncode == 0
    assert (folder / "model" / "model.safetensors").is_file()
    assert RunResults.load(folder.with_suffix(".json")).test == results.test


@pytest.mark.processes
def test_a_run_without_time_left_is_unfinished(tmp_path: Path) -> None:
    done = call("digits_lt/ce", "--seeds", 0, "--work", "work", "--results", "results", "--minutes", 0, cwd=tmp_path)
    assert done.returncode == 3 and "digits_lt/ce, seed 0, stopped: give the same command again" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.processes
def test_sigterm_stops_the_runs_too(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "digits_lt/glmc_tuned", "--seeds", "0", "--jobs", "1"]
    command += ["--work", "work", "--results", "results", "--options", "--threads 1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        while "begin digits_lt/glmc_tuned, seed 0" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        wait_until(psutil.Process(process.pid).children, process)
        [child] = psutil.Process(process.pid).children()
        process.terminate()
        assert process.wait(PATIENCE) == 1
        assert "the same command resumes from the newest checkpoints" in process.stderr.read()
    assert not child.is_running()
