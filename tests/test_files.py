"""CSV files that other programs read, and the folder of a run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.files import check_folder, csv_text, write_csv

ODD = ["two\nlines", "return\rhere", "both\r\n", "a,b", 'a "b"', "ä", "", " x "]


def test_a_cell_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["name", "n"], [[name, 1] for name in ODD])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["name", "n"], *([name, "1"] for name in ODD)]


@pytest.mark.parametrize(("text", "expected"), [("\udce9", "\\udce9\n"), ("\ud800é", "\\ud800é\n"), ("x", "x\n")])
def test_characters_that_utf8_cannot_encode_are_escaped(text: str, expected: str) -> None:
    assert csv_text([[text]]) == expected


def test_a_folder_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^output_dir='.*\\udce9/run' is not UTF-8: give a folder with a path in UTF-8\.$"
    ):
        check_folder(tmp_path / "caf\udce9" / "run", "")
