"""benchmarks/reproduce.py: which commands it makes, in which order and how many at a time they run, what it files."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from glmc_zoo.engine.cli import parse_config, parse_second_stage_config

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "reproduce.py"


@pytest.fixture(scope="module")
def reproduce() -> Any:
    spec = importlib.util.spec_from_file_location("reproduce", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["reproduce"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.parametrize("trial", [False, True])
def test_every_row_is_a_command_that_its_recipe_understands(reproduce: Any, tmp_path: Path, trial: bool) -> None:
    rows = [*reproduce.published_rows(), *reproduce.suites()]
    plan = reproduce.Plan(arguments(tmp_path, *rows, seeds=[3], trial=trial), 1)
    for run in plan.runs.values():
        given, parse = words(run), parse_config
        if run.row.first_stage:  # its model is not there yet: any stands for it
            given[given.index("--model") + 1], parse = "resnet20_cifar.glmc_cifar10_lt", parse_second_stage_config
        config = parse(given, description="")
        assert (config.seed, config.data, config.threads) == (3, run.row.data, 1)
        assert config.output_dir == str(run.folder) and config.resume == "auto"
    assert len(plan.runs) == len(reproduce.published_rows()) + sum(len(s["rows"]) for s in reproduce.suites().values())


def test_a_second_stage_comes_after_the_first_with_its_seed(reproduce: Any, tmp_path: Path) -> None:
    plan = reproduce.Plan(arguments(tmp_path, "cifar10_lt_if100_maxnorm", "cifar10_lt_if100", seeds=[0, 7]), 1)
    assert list(plan.runs) == [
        f"published/{name}_seed{seed}" for seed in (0, 7) for name in ("cifar10_lt_if100", "cifar10_lt_if100_maxnorm")
    ]
    first, second, *_ = plan.runs.values()
    assert second.after is first and first.after is None and first.needed and not second.needed
    assert words(second)[words(second).index("--model") + 1] == str(first.folder / "model")


def test_data_and_further_options_are_passed_on(reproduce: Any, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    row = "cifar10_lt_if100"
    [run] = reproduce.Plan(
        arguments(tmp_path, row, data_root=tmp_path, options="--compile --threads 5"), 2
    ).runs.values()
    config = parse_config(words(run), description="")
    assert (config.data_dir, config.compile, config.threads) == (str(tmp_path / "cifar10"), True, 5)
    assert run.command.count("--threads") == 1
    joined = arguments(tmp_path, row, data_root=tmp_path, options="--mixed-precision=no --threads=5")
    [run] = reproduce.Plan(joined, 2).runs.values()
    config = parse_config(words(run), description="")
    assert (config.mixed_precision, config.threads) == ("no", 5)
    there = arguments(tmp_path, row, data_root=tmp_path, data_dir=["cifar10_lt=elsewhere"])
    [run] = reproduce.Plan(there, 2).runs.values()
    assert parse_config(words(run), description="").data_dir == "elsewhere"
    with pytest.raises(SystemExit, match="cifar100, which does not exist"):
        reproduce.Plan(arguments(tmp_path, "cifar100_lt_if100", data_root=tmp_path), 2)
    with pytest.raises(SystemExit, match="'cifar10_lt_if1000' is no row: give one of cifar100_lt_if10, "):
        reproduce.Plan(arguments(tmp_path, "cifar10_lt_if1000"), 2)


class Fake:
    """Runs whose commands are small scripts, and what they leave."""

    def __init__(self, reproduce: Any, folder: Path) -> None:
        self.reproduce, self.folder = reproduce, folder

    def run(
        self, name: str, code: str = "", after: Any = None, export: str = "(folder / 'model').mkdir(exist_ok=True)"
    ) -> Any:
        row = self.reproduce.Row("suite", name, "train.py", (), "digits_lt", name.upper())
        place = self.folder / "work" / "suite" / f"{name}_seed0"
        results = {"test": {"balanced_accuracy": 0.5}, "wall_time_s": 1.0, "seeds": {"seed": 0}}
        script = f"""
import json, os, pathlib, sys, time
folder = pathlib.Path({str(place)!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / "begun").write_text(str(time.time()))
{code}
(folder / "place").write_text(os.environ.get("PLACE", ""))
(folder / "ended").write_text(str(time.time()))
(folder / "results.json").write_text(json.dumps({results!r}))
{export}
"""
        result = self.folder / "results" / "suite" / f"{name}_seed0.json"
        return self.reproduce.Run(row, 0, place, [sys.executable, "-c", script], result, after)

    def span(self, run: Any) -> tuple[float, float]:
        begun, ended = ((run.folder / name).read_text() for name in ("begun", "ended"))
        return float(begun), float(ended)


@pytest.fixture
def fake(reproduce: Any, tmp_path: Path) -> Fake:
    return Fake(reproduce, tmp_path)


def test_no_more_run_at_a_time_than_there_are_places(reproduce: Any, fake: Fake) -> None:
    runs = [fake.run(f"row{number}", "time.sleep(0.5)") for number in range(5)]
    reproduce.Runner([{"PLACE": "0"}, {"PLACE": "1"}], None).all(runs)
    assert all(run.said is None for run in runs)
    spans = [fake.span(run) for run in runs]
    at_once = [sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans]
    assert max(at_once) == 2
    by_place: dict[str, list[tuple[float, float]]] = {}
    for run, span in zip(runs, spans, strict=True):
        by_place.setdefault((run.folder / "place").read_text(), []).append(span)
    assert set(by_place) == {"0", "1"}
    for taken in by_place.values():
        ordered = sorted(taken)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))


def test_results_are_filed_with_their_row_and_not_made_twice(reproduce: Any, fake: Fake) -> None:
    run = fake.run("row")
    reproduce.Runner([{}], None).all([run])
    filed = json.loads(run.result.read_text())
    assert (filed["suite"], filed["row"], filed["variant"]) == ("suite", "row", "ROW")
    assert filed["test"] == {"balanced_accuracy": 0.5}
    before = run.result.stat().st_mtime_ns
    again = fake.run("row", "sys.exit(9)")
    reproduce.Runner([{}], None).all([again])
    assert again.said is None and run.result.stat().st_mtime_ns == before
    # Of a run that had ended before it was filed, the results are filed without running again.
    run.result.unlink()
    reproduce.Runner([{}], None).all([again])
    assert again.said is None and run.result.is_file()


def test_a_model_that_another_starts_from_is_made_again_when_only_its_result_is_left(
    reproduce: Any, fake: Fake
) -> None:
    first = fake.run("first")
    first.result.parent.mkdir(parents=True)
    first.result.write_text("{}")
    second = fake.run("second", after=first)
    reproduce.Runner([{}], None).all([first, second])
    assert not (first.folder / "model").exists()  # nobody had said that it is needed
    first.needed = True
    second.result.unlink()
    reproduce.Runner([{}], None).all([first, second])
    assert (first.folder / "model").is_dir() and first.result.read_text() == "{}"
    assert second.said is None and second.result.is_file()


def test_a_run_that_ended_between_its_scores_and_its_model_is_not_finished(reproduce: Any, fake: Fake) -> None:
    full = fake.run("row", export="sys.exit(1)")  # as where the disk is full
    reproduce.Runner([{}], None).all([full])
    assert full.said is not None and not full.result.exists()
    again = fake.run("row")
    reproduce.Runner([{}], None).all([again])
    assert again.said is None and again.result.is_file() and again.complete()


@pytest.mark.parametrize(("code", "minutes", "status"), [("sys.exit(2)", "1", 1), ("time.sleep(60)", "0.02", 3)])
def test_status_tells_failed_from_left_to_do(
    reproduce: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch, code: str, minutes: str, status: int
) -> None:
    run = fake.run("row", code)
    monkeypatch.setattr(reproduce, "Plan", lambda *_: argparse.Namespace(runs={"row": run}))
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "row", "--jobs", "1", "--minutes", minutes])
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == status


def test_one_option_alone_is_passed_on(reproduce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "row", "--options", "--compile", "--jobs", "2"])
    args = reproduce.parse()
    assert (args.options, args.jobs, args.rows) == ("--compile", 2, ["row"])


def test_what_failed_is_said_and_stops_only_what_needs_it(reproduce: Any, fake: Fake) -> None:
    bad = fake.run("bad", "print('a reason'); sys.exit(2)")
    needs, other = fake.run("needs", after=bad), fake.run("other")
    reproduce.Runner([{}], None).all([bad, needs, other])
    assert bad.said == f"failed with status 2: see {bad.folder.with_suffix('.log')}"
    assert "a reason" in bad.folder.with_suffix(".log").read_text()
    assert needs.said == "not begun: suite/bad is not finished"
    assert other.said is None and other.result.is_file() and not needs.result.exists()


def test_when_time_is_up_runs_are_ended_and_no_other_begins(reproduce: Any, fake: Fake) -> None:
    long, later = fake.run("long", "time.sleep(60)"), fake.run("later")
    start = time.monotonic()
    runner = reproduce.Runner([{}], start + 1.5)
    runner.all([long, later])
    assert time.monotonic() - start < 30 and runner.stopping
    assert (long.folder / "begun").exists() and not (long.folder / "ended").exists()
    assert "give the same command again" in long.said and later.said is not None
    assert not (later.folder / "begun").exists()


def test_a_rehearsal_goes_through_a_run_and_leaves_the_tables_alone(tmp_path: Path) -> None:
    options = ["digits_lt/ce", "--trial", "--seeds", 0, "--work", "work", "--results", "results", "--jobs", 1]
    options += ["--options", "--threads 1"]
    done = call(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    filed = json.loads((tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0.json").read_text())
    assert filed["config"]["epochs"] == 1 and filed["method"] == "ce" and filed["commit"] is not None
    assert not (tmp_path / "results").exists()
    folder = tmp_path / "work" / "trial" / "digits_lt" / "ce_seed0"
    assert (folder / "model" / "model.safetensors").is_file()
    # Had it ended before its model was written, the same command writes that, from the last checkpoint.
    shutil.rmtree(folder / "model")
    folder.with_suffix(".json").unlink()
    assert call(*options, cwd=tmp_path).returncode == 0
    assert (folder / "model" / "model.safetensors").is_file()
    assert json.loads(folder.with_suffix(".json").read_text())["test"] == filed["test"]


def test_a_run_that_time_cut_short_is_left_to_do(tmp_path: Path) -> None:
    done = call("digits_lt/ce", "--seeds", 0, "--work", "work", "--results", "results", "--minutes", 0, cwd=tmp_path)
    assert done.returncode == 3 and "digits_lt/ce, seed 0, stopped: give the same command again" in done.stdout
    assert not (tmp_path / "results").exists()


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
        assert "the same command goes on from the newest checkpoints" in process.stderr.read()
    assert not child.is_running()


def test_the_list_names_every_row(reproduce: Any, tmp_path: Path) -> None:
    done = call("--list", cwd=tmp_path)
    assert done.returncode == 0
    names = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert names == [
        *reproduce.published_rows(),
        *(f"{suite}/{row}" for suite, about in reproduce.suites().items() for row in about["rows"]),
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "name a row, or --list them"),
        (["nothing"], "'nothing' is no row"),
        (["digits_lt/nothing"], "'digits_lt/nothing' is no row"),
        (["digits_lt", "--jobs", 0], "--jobs 0 must be at least 1"),
        (["digits_lt", "--data-dir", "x"], "--data-dir takes NAME=FOLDER"),
    ],
)
def test_bad_input(options: list[Any], says: str, tmp_path: Path) -> None:
    done = call(*options, cwd=tmp_path)
    assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr
