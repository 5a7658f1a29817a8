"""The files of a prediction: rows that outlive the process, and files that are whole or not there."""

from __future__ import annotations

import csv
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.image_paths import find_images
from glmc_zoo.scoring.prediction_files import Prediction, PredictionFiles, check_output


def image(name: str) -> Prediction:
    return Prediction(name, ["ant", "bee"], [0.75, 0.25])


def bad(name: str, reason: str = "not an image") -> Prediction:
    return Prediction(name, [], [], reason)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def opened(path: Path, *, overwrite: bool = False, list_problems: bool = True) -> PredictionFiles:
    return PredictionFiles(path, 2, overwrite=overwrite, list_problems=list_problems)


HEAD = ["file", "label", "probability", "label_2", "probability_2"]


def test_rows_are_there_before_the_file_has_its_name(tmp_path: Path) -> None:
    files = opened(tmp_path / "o.csv")
    files.write([image("a.png"), bad("b.png")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.csv.partial", "o.csv.problems.csv.partial"]
    assert rows(tmp_path / "o.csv.partial") == [HEAD, ["a.png", "ant", "0.750000", "bee", "0.250000"]]
    assert rows(tmp_path / "o.csv.problems.csv.partial") == [["file", "problem"], ["b.png", "not an image"]]
    files.write([image("c.png")])
    files.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.csv", "o.csv.problems.csv"]
    assert [row[0] for row in rows(tmp_path / "o.csv")] == ["file", "a.png", "c.png"]


def test_no_file_is_left_without_rows(tmp_path: Path) -> None:
    opened(tmp_path / "o.csv").finish()
    assert opened(tmp_path / "o.csv").stop() == "" and not list(tmp_path.iterdir())
    files = opened(tmp_path / "o.csv", list_problems=False)
    files.write([bad("a.png")])
    files.finish()
    assert not list(tmp_path.iterdir())


def test_what_an_unfinished_prediction_leaves(tmp_path: Path) -> None:
    files = opened(tmp_path / "o.csv")
    files.write([image("a.png"), bad("b.png")])
    name = tmp_path / "o.csv"
    assert files.stop() == f"Rows written so far: 1 in {name}.partial, 1 in {name}.problems.csv.partial"
    assert len(rows(tmp_path / "o.csv.partial")) == 2


def test_odd_names_of_files_and_classes(tmp_path: Path) -> None:
    files = opened(tmp_path / "o.csv")
    names = [os.fsdecode(b"caf\xe9.png"), "two\nlines", "return\rhere", '=1+1,"x"', "-1"]
    files.write([Prediction(name, ["\udce9\ud800", "\r"], [0.5, 0.5]) for name in names])
    files.write([bad(os.fsdecode(b"\xff"), "odd")])
    files.finish()
    assert [row[0] for row in rows(tmp_path / "o.csv")[1:]] == ["caf\\xe9.png", *names[1:3], f"'{names[3]}", "-1"]
    assert rows(tmp_path / "o.csv")[1][1:4:2] == ["\\udce9\\ud800", "'\r"]
    assert rows(tmp_path / "o.csv.problems.csv")[1] == ["\\xff", "odd"]


@pytest.mark.parametrize(
    ("taken", "sentence"),
    [
        ("o.csv", r"o\.csv' exists already: give another output=, or overwrite=True"),
        (
            "o.csv.problems.csv",
            r"is not written, because .*o\.csv\.problems\.csv has rows of an earlier prediction: move",
        ),
        ("o.csv.partial", r"because .*o\.csv\.partial has rows of a prediction that has not finished: move that file"),
        ("o.csv.problems.csv.partial", r"csv\.partial has rows of a prediction that has not finished"),
    ],
)
def test_nothing_is_replaced_unasked(taken: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(UserError, match=sentence):
        check_output(tmp_path / "o.csv", overwrite=False)
    assert (tmp_path / taken).read_text() == "mine"
    check_output(tmp_path / "o.csv", overwrite=True)
    files = opened(tmp_path / "o.csv", overwrite=True)
    assert taken.endswith("partial") or (tmp_path / taken).read_text() == "mine"
    files.write([image("a.png")])
    files.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a folder: give a CSV file"):
        check_output(tmp_path, overwrite=False)
    with pytest.raises(UserError, match=r"o\.csv' cannot be written: Not a directory|File exists"):
        check_output(tmp_path / "file" / "o.csv", overwrite=False)


def test_two_predictions_into_one_file(tmp_path: Path) -> None:
    first = opened(tmp_path / "o.csv")
    first.write([image("a.png")])
    with pytest.raises(UserError, match=r"o\.csv\.partial cannot be written: File exists"):
        opened(tmp_path / "o.csv")
    second = opened(tmp_path / "o.csv", overwrite=True)
    with pytest.raises(UserError, match="was changed by another program while rows were written to it"):
        first.write([image("b.png")])
    second.write([image("c.png")])
    second.finish()
    assert [row[0] for row in rows(tmp_path / "o.csv")] == ["file", "c.png"]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Files of at most ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("old")
    files = opened(tmp_path / "o.csv", overwrite=True)
    files.write([image(f"{i}.png") for i in range(10)])
    size = (tmp_path / "o.csv.partial").stat().st_size
    with (
        disk_of(size + 20),
        pytest.raises(UserError, match=f"^The folder {tmp_path} cannot be written, the file would be"),
    ):
        files.write([image(f"{i}.png") for i in range(10)])
    assert (tmp_path / "o.csv.partial").stat().st_size == size and len(rows(tmp_path / "o.csv.partial")) == 11
    assert files.stop().startswith("Rows written so far: 10 in ")
    assert (tmp_path / "o.csv").read_text() == "old"


@pytest.mark.parametrize("quote", [True, False])
def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path, quote: bool) -> None:
    files = PredictionFiles(tmp_path / "o.csv", 1, overwrite=False, list_problems=True, quote_formulas=quote)
    files.write([Prediction("=1+1.png", ["@SUM(A1)"], [0.5]), Prediction("a.png", ["-1"], [0.25]), bad("+b.png", "-x")])
    files.finish()
    mark = "'" if quote else ""
    assert rows(tmp_path / "o.csv")[1:] == [
        [f"{mark}=1+1.png", f"{mark}@SUM(A1)", "0.500000"],
        ["a.png", "-1", "0.250000"],
    ]
    assert rows(tmp_path / "o.csv.problems.csv")[1:] == [[f"{mark}+b.png", f"{mark}-x"]]
    (tmp_path / "=1+1.png").touch()
    (tmp_path / "a.png").touch()
    images = find_images([str(tmp_path / "o.csv")]).files
    assert [path.name for path in images] == ["=1+1.png", "a.png"]  # read back as they were
