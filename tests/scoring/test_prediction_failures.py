"""Predictions with files that cannot be read, or that end early: which rows are left, and what the command says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from csv_files import csv_rows
from noise import noise_file
from waiting import wait_until

import glmc_zoo
from glmc_zoo.scoring.image_files import ImageFiles
from glmc_zoo.scoring.prediction_files import Prediction

Recipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The recipe writes predictions.csv where it is called."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("batch_size", [1, 4])  # with 1, some batches are empty
@pytest.mark.parametrize("bad", [[0], [3], [6], [0, 1, 2, 3, 4, 6]])
def test_a_bad_file_is_a_row_with_its_reason(
    predict: Recipe, model: Path, tmp_path: Path, bad: list[int], batch_size: int
) -> None:
    for i in range(7):
        noise_file(tmp_path / "in" / f"{i}.png", seed=i)
    options = ["--model", model, "--images", "in", "--batch-size", batch_size]
    assert predict(*options, "--output", "whole.csv").status == 0
    for i in bad:
        path = tmp_path / "in" / f"{i}.png"
        path.write_bytes(b"no image" if i % 2 else path.read_bytes()[:200])
    outcome = predict(*options, "--output", "o.csv")
    assert outcome.status == 0, outcome.err
    good = [row for i, row in enumerate(csv_rows(tmp_path / "whole.csv")) if i not in bad]
    for row, expected in zip(csv_rows(tmp_path / "o.csv"), good, strict=True):
        assert (row["file"], row["label"]) == (expected["file"], expected["label"])
        assert float(row["probability"]) == pytest.approx(float(expected["probability"]), abs=2e-6)
    problems = csv_rows(tmp_path / "o.csv.problems.csv")
    assert [row["file"] for row in problems] == [f"in/{i}.png" for i in bad]
    assert all(row["problem"] == "not an image" for row in problems if row["file"] in ("in/1.png", "in/3.png"))
    assert f"not read  {problems[0]['file']} ({problems[0]['problem']})\n" in outcome.out
    images = "1 image" if len(bad) == 6 else f"{7 - len(bad)} images"
    last = f"{images} in o.csv, {len(bad)} could not be read; the reasons are in o.csv.problems.csv\n"
    assert outcome.out.endswith(last) and not list(tmp_path.glob("*.partial"))


def test_bad_files_are_left_out_of_the_results(predict: Recipe, model: Path, tmp_path: Path) -> None:
    noise_file(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "1.png").write_text("no image")
    outcome = predict("--model", model, "--images", "in", "--skip-bad-images")
    assert outcome.out.endswith("not read  in/1.png (not an image)\n1 image in predictions.csv, 1 could not be read\n")
    assert sorted(path.name for path in tmp_path.glob("*.csv*")) == ["predictions.csv"]
    options: dict[str, Any] = {"model": model, "images": "in", "output": None}
    assert [one.file for one in glmc_zoo.predict(**options, skip_bad_images=True)] == ["in/0.png"]
    good, bad = glmc_zoo.predict(**options)
    assert good.problem is None and bad == Prediction("in/1.png", [], [], "not an image")


# Reads no image from the 41st on: a busy machine may let the test kill it late.
UNENDING = """
import runpy, sys, time
from glmc_zoo.scoring.image_files import ImageFiles
read = ImageFiles.__getitems__
def read_first(self, positions):
    while positions[0] >= 40:
        time.sleep(1)
    return read(self, positions)
ImageFiles.__getitems__ = read_first
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.processes
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_prediction_leaves_its_rows(
    predict: Recipe, lab: Any, model: Path, tmp_path: Path, workers: int
) -> None:
    count = 80
    for i in range(8):
        noise_file(tmp_path / "in" / f"{i:03d}.png", seed=i)
    for i in range(8, count):
        (tmp_path / "in" / f"{i:03d}.png").hardlink_to(tmp_path / "in" / f"{i % 8:03d}.png")
    options = ["--model", model, "--images", "in", "--batch-size", 4, "--workers", workers, "--output", "o.csv"]
    command = [sys.executable, "-c", UNENDING, lab.root / "recipes" / "predict.py", *options]
    partial = tmp_path / "o.csv.partial"
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, env=lab.environment()) as process:
        try:
            wait_until(lambda: partial.exists() and len(partial.read_text().splitlines()) >= 9, process)
        finally:
            process.kill()
    rows = csv_rows(partial)
    assert 8 <= len(rows) < count and not (tmp_path / "o.csv").exists()
    assert [row["file"] for row in rows] == [f"in/{i:03d}.png" for i in range(len(rows))]
    assert all(None not in row.values() for row in rows)
    assert "o.csv.partial has rows of a prediction that has not finished: move that file" in predict(*options).sentence
    assert csv_rows(partial) == rows
    assert predict(*options, "--overwrite").status == 0
    assert len(csv_rows(tmp_path / "o.csv")) == count and not partial.exists()


def test_a_failing_prediction_says_where_its_rows_are(
    predict: Recipe, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        noise_file(tmp_path / "in" / f"{i}.png", seed=i)
    read = ImageFiles.__getitems__

    def interrupted(self: ImageFiles, positions: Sequence[int]) -> Any:
        if positions[0] == 2:
            raise KeyboardInterrupt
        return read(self, positions)

    monkeypatch.setattr(ImageFiles, "__getitems__", interrupted)
    outcome = predict("--model", model, "--images", "in", "--batch-size", 1)
    assert outcome.status == 130 and outcome.err == "Rows written so far: 2 in predictions.csv.partial\n"
    assert [row["file"] for row in csv_rows(tmp_path / "predictions.csv.partial")] == ["in/0.png", "in/1.png"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.processes)])
def test_a_worker_that_dies_is_a_sentence(
    predict: Recipe, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for i in range(6):
        noise_file(tmp_path / "in" / f"{i}.png", seed=i)
    read = ImageFiles.__getitems__

    def killed(self: ImageFiles, positions: Sequence[int]) -> Any:
        if positions[0] == 4:
            if workers:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        return read(self, positions)

    monkeypatch.setattr(ImageFiles, "__getitems__", killed)
    outcome = predict("--model", model, "--images", "in", "--batch-size", 2, "--workers", workers)
    # What torch says first depends on who notices it.
    sentence = outcome.sentence.replace("exited unexpectedly", "killed by signal: Killed")
    assert sentence == (
        "A process that loads images died (killed by signal: Killed), most often because memory ran out: free memory "
        "or shared memory (--shm-size in Docker), or give --workers 0 or a smaller --batch-size in commands that have "
        "them."
    )
    assert all(path.name == "predictions.csv.partial" for path in tmp_path.glob("*.csv*"))
    assert workers or "Rows written so far: 4 in predictions.csv.partial" in outcome.err


@pytest.mark.processes
def test_a_full_disk_ends_every_process(lab: Any, model: Path, tmp_path: Path) -> None:
    for i in range(30):
        noise_file(tmp_path / "in" / f"{i:02d}.png", seed=i)
    (tmp_path / "predict.py").write_text(
        "import resource, runpy\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"runpy.run_path({str(lab.root / 'recipes' / 'predict.py')!r}, run_name='__main__')\n"
    )
    options = ["--model", model, "--images", "in", "--batch-size", 2, "--output", "o.csv"]
    outcome = lab.torchrun(tmp_path / "predict.py", *options, cwd=tmp_path)
    assert outcome.status and outcome.err.count("cannot be written, the file would be larger than allowed here") == 1
    rows = csv_rows(tmp_path / "o.csv.partial")
    assert f"Rows written so far: {len(rows)} in o.csv.partial" in outcome.err
    assert (
        [row["file"] for row in rows] == [f"in/{i:02d}.png" for i in range(len(rows))] and len(rows) % 4 == 0 and rows
    )
