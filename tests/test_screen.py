"""Verbosity, colours and progress bars."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import glmc_zoo
from glmc_zoo import screen as screen_module
from glmc_zoo.cli import main
from glmc_zoo.errors import UserError
from glmc_zoo.screen import Verbosity, complain, progress_bar, say, set_verbosity, show_progress, verbosity


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


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("size", [(0, 0), (24, 0), (0, 80), (24, 80)], ids=str)
def test_a_terminal_without_a_size_gets_a_bar_too(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """Containers and `script` give 0 x 0 as the size, with which tqdm draws nothing."""
    import fcntl
    import termios

    main_end, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with open(terminal, "w", encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        with progress_bar(total=4, desc="work") as bar:
            bar.delay = 0
            bar.update(2)
            bar.refresh()
    text = b""
    with suppress(OSError):  # at the end, when the terminal is closed, on Linux
        while part := os.read(main_end, 10_000):
            text += part
    os.close(main_end)
    assert "work:  50%" in text.decode()


def test_long_work_without_a_terminal_prints_a_line_each_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 0.0
    monkeypatch.setattr(screen_module.time, "monotonic", lambda: seconds)
    for main_process in (True, False):
        seconds = 0.0
        with show_progress(total=3000, initial=1000, desc="features", main_process=main_process) as update:
            for _ in range(10):
                seconds += 20.0
                update(200)
    assert capsys.readouterr().out.splitlines() == [
        "features: 1,600 of 3,000 images, about 2 min left",
        "features: 2,200 of 3,000 images, about 80 s left",
        "features: 2,800 of 3,000 images, about 20 s left",
    ]
    # With several processes the count of the last batch may be above the total.
    seconds = 0.0
    with show_progress(total=500, desc="features") as update:
        for _ in range(3):
            seconds += 20.0
            update(200)
    assert capsys.readouterr().out == "features: 500 of 500 images, about 0 s left\n"


def test_on_a_terminal_there_is_a_bar_and_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(screen_module, "_LINE_SECONDS", 0.0)
    monkeypatch.setattr(screen_module, "_DELAY", 0.0)
    with show_progress(total=4, desc="features") as update:
        for _ in range(4):
            time.sleep(0.11)
            update(1)
    assert "features:  50%" in terminal.getvalue() and "2/4" in terminal.getvalue()
    assert capsys.readouterr().out == ""


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
