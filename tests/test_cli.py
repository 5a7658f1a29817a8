"""The command ``glmc-zoo``, and what `run_recipe` does for each recipe: errors, signals and exit status."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.cli import main, read_options, recipes, run_recipe
from glmc_zoo.errors import UserError
from glmc_zoo.options.sections import COMMANDS, TRAIN

ROOT = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------------------------------------ run_recipe
def expect_exit(function: Callable[[], None], status: int) -> None:
    with pytest.raises(SystemExit) as stop:
        run_recipe(function)
    assert stop.value.code == status


def refuse() -> None:
    raise UserError("lr=-1 must be above 0, so split_file='a b' is wrong")


def test_an_error_is_one_sentence_with_options_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/train.py"])
    monkeypatch.delenv("RANK", raising=False)
    expect_exit(refuse, 2)
    assert capsys.readouterr().err == "train.py: error: --lr -1 must be above 0, so --split-file a b is wrong.\n"


def test_only_the_first_process_reports_an_error_of_all_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    expect_exit(refuse, 2)
    assert capsys.readouterr().err == ""

    def alone() -> None:
        error = UserError("image 3 is broken")
        error.in_one_process = True
        raise error

    expect_exit(alone, 2)
    assert capsys.readouterr().err.endswith(": error: Image 3 is broken.\n")


def test_other_errors_keep_their_traceback_and_an_interruption_has_none() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        run_recipe(broken)
    expect_exit(interrupted, 130)


def test_the_death_of_a_worker_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost() -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setenv("RANK", "1")  # only this process has the error
    expect_exit(lost, 2)
    error = capsys.readouterr().err
    assert "died (killed by signal: Killed)" in error and "--workers 0" in error and error.count("\n") == 1


def test_characters_that_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    run_recipe(lambda: print("fée \udce9"))
    terminal.flush()
    assert terminal.buffer.getvalue() == b"f\\xe9e \\udce9\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("fault", "status"), [("", 0), ("raise UserError('The value 3 is odd: give 2.')", 2)])
@pytest.mark.processes
def test_one_process_of_several_ends_without_finalizing_the_interpreter(
    fault: str, status: int, lab: Any, tmp_path: Path
) -> None:
    """Native threads can abort a process while Python finalizes. Exit handlers run and output is complete anyway."""
    probe = f"""
import atexit
from glmc_zoo.cli import run_recipe
from glmc_zoo.errors import UserError

class TakenApart:
    def __del__(self):
        print("taken apart")

def main():
    atexit.register(print, "last words")
    print("work done")
    {fault}

keep = TakenApart()
run_recipe(main)
"""
    outcome = lab.run_python("-c", probe, cwd=tmp_path, WORLD_SIZE="2", RANK="0")
    assert (outcome.status, outcome.out) == (status, "work done\nlast words\n"), outcome.err
    assert ("The value 3 is odd" in outcome.err) == (status == 2)
    assert lab.run_python("-c", probe, cwd=tmp_path).out.endswith("taken apart\n")


def test_the_command_is_read_from_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(sys, "argv", ["recipes/train.py", "--lr", "0.5", "--data", "/home/me/images"])
    options = read_options(TRAIN, "Train a model.\n\nAnd more.")
    assert options.explicit == {"lr": 0.5, "data": "/home/me/images"}
    assert options.command == "python recipes/train.py --lr 0.5 --data path/to/images"
    with pytest.raises(SystemExit) as stop:
        read_options(TRAIN, "Train a model.\n\nAnd more.", ["--help"])
    printed = capsys.readouterr().out
    assert not stop.value.code and "Train a model." in printed and "And more" not in printed


@pytest.mark.processes
@pytest.mark.parametrize("launcher", [[], ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"]])
def test_the_recipe_evaluate_does_not_hide_the_package_evaluate(lab: Any, tmp_path: Path, launcher: list[str]) -> None:
    probe = "from glmc_zoo.cli import run_recipe\nrun_recipe(lambda: print(__import__('evaluate').__file__))\n"
    (tmp_path / "evaluate.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "train.py").write_text(probe)
    outcome = lab.run_python(*launcher, tmp_path / "train.py", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert "site-packages" in outcome.out.splitlines()[-1]


# ------------------------------------------------------------------------------------------------ glmc-zoo
def printed_by(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 0) -> str:
    """What the command prints. Checks that it prints to one stream only."""
    try:
        main(words)
    except SystemExit as stop:
        assert (stop.code or 0) == status
    captured = capsys.readouterr()
    assert (captured.err if status == 0 else captured.out) == ""
    return captured.err if status else captured.out


def test_every_recipe_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    # These two have no options: the method on one page, and the demo of `make demo-photos`.
    assert set(recipes()) == set(COMMANDS)
    scripts = {path.stem for path in (ROOT / "recipes").glob("*.py")} - {"minimal", "demo_photos"}
    assert {path.stem for path in recipes().values()} == scripts
    # A script would hide the module of the standard library with its name from other scripts in its folder.
    assert not scripts & sys.stdlib_module_names
    usage = printed_by(capsys, [])
    assert usage == printed_by(capsys, ["--help"])
    for name in (*recipes(), "list"):
        line = next(line for line in usage.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 4 and line.endswith(".")


@pytest.mark.parametrize("name", sorted(recipes()))
def test_help_of_a_command_is_that_of_its_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed_by(capsys, [name.replace("_", "-"), "--help"])
    first_argument = {"inspect": " [DATA]", "report": " [RUN ...]"}.get(name, "")
    assert text.startswith(f"usage: glmc-zoo {name}{first_argument} [--option value ...]")
    assert "--config" in text and "==SUPPRESS==" not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "glmc-zoo: error: Unknown command 'trian': give one of .* Did you mean train?"),
        (["train", "--epochs", "0"], "glmc-zoo train: error: --epochs 0 is too small: it must be at least 1."),
        (["second-stage"], "glmc-zoo second_stage: error: --model is missing: give the first stage's model, "),
        (
            ["finetune", "--tune", "toes"],
            "glmc-zoo finetune: error: --tune toes is not accepted: it must be one of full, ",
        ),
        (["evaluate", "--model", "x", "--split", "validation"], "glmc-zoo evaluate: error: --split validation needs"),
        (["predict", "--model", "x"], "glmc-zoo predict: error: --images is missing: give for instance --images path"),
        (["push", "--model", "x"], "glmc-zoo push: error: --repo is missing: give ORG/NAME."),
        (
            ["export", "--model", "x", "--format", "tflite"],
            "glmc-zoo export: error: --format tflite is not accepted: it ",
        ),
        (
            ["demo", "--model", "x", "--port", "0"],
            "glmc-zoo demo: error: --port 0 is too small: it must be at least 1.",
        ),
        (["convert", "--checkpoint", "x"], "glmc-zoo convert: error: --output-dir is missing: give one, such as "),
        (["list", "all"], "glmc-zoo: error: glmc-zoo list takes no arguments: leave 'all' out."),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    text = printed_by(capsys, words, status=2)
    assert re.match(sentence, text) and text.count("\n") == 1


def test_version_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    from glmc_zoo import __version__, list_data, list_models

    assert printed_by(capsys, ["--version"]) == f"glmc-zoo {__version__}\n"
    assert printed_by(capsys, ["list", "--help"]).startswith("usage: glmc-zoo list\n")
    printed = printed_by(capsys, ["list"])
    for name in (*(model.name for model in list_models()), *list_data()):
        assert any(line.startswith(f"{name} ") for line in printed.splitlines())
    for model in list_models():
        assert f"{100 * model.scores['balanced_accuracy']:.1f}" in printed


def test_a_command_runs_its_recipe_and_is_recorded(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.leave_plots_empty(monkeypatch)
    main(["train", *lab.few, "--epochs", "1", "--output-dir", str(tmp_path / "run")])
    assert lab.results(tmp_path / "run")["command"].endswith(
        "train --max-count 10 --imbalance-factor 2 --batch-size 16 --epochs 1 --output-dir path/to/run"
    )
    assert lab.results(tmp_path / "run")["command"].startswith("glmc-zoo ")


@pytest.mark.processes
def test_the_package_is_a_command(lab: Any, tmp_path: Path) -> None:
    outcome = lab.run_python("-m", "glmc_zoo", "train", "--epochs", "0", cwd=tmp_path)
    assert outcome.status == 2
    assert outcome.err == "glmc-zoo train: error: --epochs 0 is too small: it must be at least 1.\n"


@pytest.mark.processes
def test_the_wheel_has_recipes_template_and_published_models(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling to build a wheel without the network")
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "runs", "benchmarks", "tests", "docs", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    site = tmp_path / "site" / "glmc_zoo"
    assert {path.name for path in (site / "recipes").glob("*.py")} == {p.name for p in (ROOT / "recipes").glob("*.py")}
    images = Path("data", "embedded", "clothing_small")
    for file in ("README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"):
        assert (site / images / file).read_bytes() == (ROOT / "glmc_zoo" / images / file).read_bytes()
    code = """
import glmc_zoo
from glmc_zoo.cli import recipes
from glmc_zoo.hub import render_card
from glmc_zoo.options.user_options import config_path
assert config_path("inat18").is_file() and "site" in config_path("inat18").parts
print(glmc_zoo.__file__, *recipes(), *(model.name for model in glmc_zoo.list_models()))
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    package, *names = process.stdout.split()
    assert Path(package).parent == site
    published = {path.parent.name for path in (ROOT / "hub_cards").glob("*/results.json")}
    assert set(names) == set(recipes()) | published


def test_sigterm_lets_a_command_clean_up_and_ends_it_with_143(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal did not end it")
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    expect_exit(work, 143)
    assert cleaned == [True] and capsys.readouterr().err.endswith(": Stopped by SIGTERM.\n")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_still_ends_by_sigterm() -> None:
    statuses = []

    def work() -> None:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write_end, b"1")  # a signal that comes before the fork runs Python code is lost
            time.sleep(60)
            os._exit(0)
        os.read(read_end, 1)
        os.kill(child, signal.SIGTERM)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    run_recipe(work)
    assert statuses == [-signal.SIGTERM]
