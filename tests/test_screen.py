"""Verbosity, colours and progress bars."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import glmc_zoo
from glmc_zoo.cli import main
from glmc_zoo.errors import UserError
from glmc_zoo.screen import Verbosity, complain, progress_bar, say, set_verbosity, verbosity


@pytest.fixture(autouse=True)
def normal() -> Iterator[None]:
    yield
    set_verbosity("normal")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_quiet_hides_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\x1b[2J\ntwo")
    say("of another process", main_process=False)
    glmc_zoo.set_verbosity("quiet")
    say("three")
    assert capsys.readouterr().out == "one\\x1b[2J\ntwo\n" and verbosity() is Verbosity.QUIET


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UserError, match=r"level='loud' is unknown: give one of quiet, normal, verbose"):
        set_verbosity("loud")  # type: ignore[arg-type]


def test_errors_have_a_colour_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    set_verbosity("quiet")
    complain("wrong")
    assert capsys.readouterr().err == "wrong\n"
    for variables, expected in (({}, "\x1b[31mwrong\x1b[0m\n"), ({"NO_COLOR": "1"}, "wrong\n")):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            for name, value in variables.items():
                patch.setenv(name, value)
            complain("wrong")
        assert terminal.getvalue() == expected


@pytest.mark.parametrize(
    ("terminal", "level", "main_process", "disabled"),
    [
        (True, "normal", True, False),
        (True, "verbose", True, False),
        (True, "quiet", True, True),
        (True, "normal", False, True),
        (False, "normal", True, True),
    ],
)
def test_only_a_terminal_gets_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, level: Any, main_process: bool, disabled: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    set_verbosity(level)
    with progress_bar(total=10, initial=4, desc="work", main_process=main_process) as bar:
        bar.update(6)
        assert bool(bar.disable) is disabled and (disabled or bar.n == 10)


def test_lines_are_printed_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is removed before a line is printed, and drawn again after it."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    with progress_bar(total=2, desc="work") as bar:
        bar.delay = 0
        bar.update()
        bar.refresh()
        say("a line")
    text = screen.getvalue()
    before, _, after = text.partition("a line\n")
    assert before.rstrip(" ").endswith("\r") and "work" in before and "work:  50%" in after


def test_quiet_shows_only_results_and_verbose_shows_versions_and_tracebacks(
    lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: object) -> tuple[int, str, str]:
        status = 0
        try:
            main(["train", *map(str, words)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    options = [*lab.tiny, "--epochs", 1, "--output-dir"]
    status, normal, _ = call(*options, tmp_path / "normal")
    assert status == 0 and "epoch 1/1" in normal and "results in" in normal
    status, quiet, _ = call(*options, tmp_path / "quiet", "-q")
    assert status == 0 and "epoch 1/1" not in quiet and "results in" not in quiet and "balanced" in quiet
    assert normal.endswith(quiet.replace(str(tmp_path / "quiet"), str(tmp_path / "normal")))
    status, verbose, error = call(*options, tmp_path / "normal", "--verbose")
    assert status == 2 and "torch " in verbose and "Traceback" in error and "already holds files" in error
    status, _, error = call(*options, tmp_path / "normal")
    assert status == 2 and "Traceback" not in error
