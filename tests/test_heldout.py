"""benchmarks/heldout.py: settings are scored on images that are in neither the training nor the test split."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import heldout
import numpy as np
import pytest
from _settings_table import read_settings
from commands import resolved

from glmc_zoo.training.run import TrainingRun

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "heldout.py"


def digits_run(tmp_path: Path, *words: str) -> TrainingRun:
    return TrainingRun(resolved("train.py", [*words, "--output-dir", str(tmp_path / "run")]))


def test_left_over_images_are_in_no_split(tmp_path: Path) -> None:
    run = digits_run(tmp_path)
    split = heldout.left_over_images(run, None)
    assert len(split) == 1797 - 335 - 600
    assert not set(split.rows) & set(run.data.train.rows) and not set(split.rows) & set(run.data.test.rows)
    from sklearn.datasets import load_digits

    assert np.array_equal(split.labels, load_digits().target[split.rows])
    few = heldout.left_over_images(run, 7)
    assert np.array_equal(np.bincount(few.labels), [7] * 10) and set(few.rows) <= set(split.rows)
    assert np.array_equal(few.rows, heldout.left_over_images(run, 7).rows)


def test_a_class_that_keeps_all_its_images_is_named(tmp_path: Path) -> None:
    run = digits_run(tmp_path, "--imbalance-factor", "1")
    run.data.train.rows = np.arange(1797)
    with pytest.raises(SystemExit, match="class 0 has no image left over: give a lower --max-count"):
        heldout.left_over_images(run, None)


def test_three_seeds_have_an_interval() -> None:
    # By hand: the standard error of 1, 2, 3 is 0.577, and t at 2 degrees of freedom is 4.303.
    expected = {"mean": 2.0, "std": 1.0, "interval": [-0.5, 4.5], "runs": [1.0, 2.0, 3.0]}
    assert heldout.summarise_seeds([1.0, 2.0, 3.0]) == expected
    assert heldout.summarise_seeds([1.0])["std"] is None


def test_lines_with_the_same_options_are_one_setting(tmp_path: Path) -> None:
    lines = [
        ("--lr 1", [0], [20.0], [30.0]),
        ("--lr 2", [0], [21.0], [31.0]),
        ("--lr 1", [1, 2], [22.0, 24.0], [32.0, 34.0]),
    ]
    rows = [
        {"options": options, "seeds": seeds, "balanced_accuracy": {"runs": runs}, "many": {"runs": many}}
        for options, seeds, runs, many in lines
    ]
    (tmp_path / "s.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    first, second = read_settings(tmp_path / "s.jsonl")
    assert (first["options"], first["seeds"], second["seeds"]) == ("--lr 1", [0, 1, 2], [0])
    assert first["balanced_accuracy"]["runs"] == [20, 22, 24] and first["many"]["runs"] == [30, 32, 34]


@pytest.mark.processes
def test_a_line_of_options_gives_a_line_of_scores(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--seeds", "0", "1", "--images", "10"]
    line = "--method ce --epochs 1 --threads 1"
    process = subprocess.run(command, input=f"{line}\n\n", cwd=tmp_path, capture_output=True, text=True, check=True)
    [row] = map(json.loads, process.stdout.splitlines())
    assert row["options"] == line and row["seeds"] == [0, 1] and row["commit"] and row["versions"]["torch"]
    assert (row["n"], row["passes"]) == (2, 1)
    for name in ("balanced_accuracy", "medium", "few"):
        runs = row[name]["runs"]
        assert len(runs) == 2 and all(0 <= value <= 100 for value in runs)
        assert row[name]["mean"] == pytest.approx(np.mean(runs), abs=0.06)
        assert row[name]["std"] == pytest.approx(np.std(runs, ddof=1), abs=0.06)
        assert row[name]["interval"] is None  # of two seeds
    assert "many" not in row  # no class of the digits has more than 100 images
    assert list(tmp_path.iterdir()) == []
