"""The files of an evaluation are whole or absent, and one process at a time writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.scoring import output, report
from glmc_zoo.scoring.output import EvaluationFolder


def claimed(path: Path) -> EvaluationFolder:
    folder = EvaluationFolder()
    assert folder.claim(str(path), ["model"]) == path
    return folder


def names(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


def write(folder: Path) -> None:
    (folder / "plots").mkdir()
    for name in ("results.json", "per_class.csv", "predictions.parquet", "plots/a.png"):
        (folder / name).write_text(name)


def test_files_appear_together_and_the_results_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, moved = claimed(tmp_path / "out"), []
    rename = Path.rename

    def record(self: Path, target: Path) -> Path:
        moved.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", record)
    with folder.staging_folder() as staging:
        write(staging)
        assert "results.json" not in names(folder.path)
    assert moved == ["plots", "predictions.parquet", "per_class.csv", "results.json"]
    folder.release()
    assert names(folder.path) == {"plots", "results.json", "per_class.csv", "predictions.parquet"}
    with folder.staging_folder("second") as staging:
        write(staging)
    assert names(folder.path / "second") == {"plots", "results.json", "per_class.csv", "predictions.parquet"}


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    folder = claimed(tmp_path / "out")
    with pytest.raises(OSError), folder.staging_folder() as staging:
        write(staging)
        raise OSError
    folder.release()
    assert names(folder.path) == set()


@pytest.mark.parametrize("moves", range(5))
def test_what_a_killed_evaluation_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    """Killed while it wrote, and after each of the four moves."""
    path, done, rename = tmp_path / "out", [], Path.rename
    folder = claimed(path)

    def stop(self: Path, target: Path) -> Path:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(self)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        patch.setattr(Path, "rmdir", lambda self: stop(self, self))
        patch.setattr(output, "_remove", lambda paths: None)  # a killed process tidies nothing up
        with pytest.raises(KeyboardInterrupt), folder.staging_folder() as staging:
            write(staging)
    folder.release()
    assert ".writing" in names(path)
    again = claimed(path)
    again.release()
    assert names(path) == set()


def test_a_move_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rename = claimed(tmp_path / "out"), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "results.json":
            raise OSError
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError), folder.staging_folder() as staging:
        write(staging)
    folder.release()
    assert names(folder.path) == set()


def test_files_of_somebody_else_are_refused_and_stay(tmp_path: Path) -> None:
    for name in (".writing/a", "notes.txt"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UserError, match=r"already holds files \(.writing, notes.txt\); choose another folder"):
        EvaluationFolder().claim(str(tmp_path / "out"), ["model"])
    assert names(tmp_path / "out") == {".writing", "notes.txt"}


def test_an_evaluation_whose_plots_fail_writes_nothing(
    evaluate: Callable[..., Any], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise UserError("The disk is full.")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(report, "_write_predictions", fail)
        assert evaluate("--model", first, "--output-dir", out).sentence == "The disk is full."
    assert evaluate("--model", first, "--output-dir", out).status == 0
    assert names(out) == {
        *("results.json", "per_class.csv", "predictions.parquet", "plots", "answers.json", "report.html")
    }
