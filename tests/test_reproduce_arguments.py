"""The command line of benchmarks/reproduce.py: its options, the list of rows, and errors."""

from __future__ import annotations

import sys
from pathlib import Path

import _rows
import pytest
import reproduce


def test_a_single_option_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "row", "--options=--compile", "--jobs", "2"])
    args = reproduce.parse()
    assert (args.options, args.jobs, args.rows) == ("--compile", 2, ["row"])


def test_the_list_names_every_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--list"])
    reproduce.main()
    names = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        *_rows.published_rows(),
        *(f"{suite}/{row}" for suite, about in _rows.suites().items() for row in about["rows"]),
    ]


def test_a_clone_says_that_it_has_the_results_of_a_suite(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command on the page of results starts nothing there, as the repository has all of them."""
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "digits_lt", "--jobs", "1", "--work", str(tmp_path / "work")])
    reproduce.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert "exist already, not run: digits_lt/ce, digits_lt/balanced_softmax, " in line and " with seed 0 to 7;" in line
    assert line.endswith("; --results OTHER_FOLDER runs them again") and not (tmp_path / "work").exists()


def test_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for options, sentence in (
        ("", "give the name of a row, or --list"),
        ("nothing", "'nothing' is not a row"),
        ("digits_lt/nothing", "'digits_lt/nothing' is not a row"),
        ("digits_lt --jobs 0", "--jobs 0 must be at least 1"),
        ("digits_lt --data-dir x", "--data-dir needs NAME=FOLDER"),
        (
            "digits_lt --data-dir cifar10=x",
            "--data-dir cifar10=... does not name a data set: the name is one of cifar10_lt",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *options.split()])
        with pytest.raises(SystemExit) as ended:
            reproduce.main()
        assert ended.value.code and sentence in f"{ended.value.code} {capsys.readouterr().err}", options
