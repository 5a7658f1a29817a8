"""The reader of a command's output ends before the command, as ``head`` does: a real pipe whose end is closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

from glmc_zoo.screen import ReaderGone, end_with_reader

ROOT = Path(__file__).resolve().parents[1]
GLMC_ZOO = ["-m", "glmc_zoo"]
TRAIN = ["--data", "digits_lt", "--max-count", "10", "--imbalance-factor", "2", "--batch-size", "16", "--epochs", "2"]
PIPE_STATUS = 141  # of a shell for a program that SIGPIPE ended


def run_without_reader(
    arguments: list[str], folder: Path, *, errors: bool = False, **variables: str
) -> tuple[int, str]:
    """Exit status and standard error of ``python ARGUMENTS``, whose standard output nobody reads.

    With ``errors``, nobody reads standard error either.
    """
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables}
    try:
        ended = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=writer, timeout=PATIENCE, check=False,
            stderr=writer if errors else subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        os.close(writer)
    return ended.returncode, ended.stderr or ""


@pytest.mark.processes
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        [*GLMC_ZOO, "--help"],
        [*GLMC_ZOO, "--version"],
        [*GLMC_ZOO, "list"],
        [*GLMC_ZOO, "completion", "bash"],
        [*GLMC_ZOO, "inspect", "--data", "digits_lt"],
        [str(ROOT / "recipes" / "inspect_data.py"), "--data", "digits_lt"],
        [str(ROOT / "recipes" / "train.py"), *TRAIN],
    ],
    ids=lambda arguments: "-".join(Path(word).name for word in arguments[:3]),
)
def test_a_command_ends_without_a_message(arguments: list[str], unbuffered: str, tmp_path: Path) -> None:
    status, errors = run_without_reader(arguments, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert status == PIPE_STATUS
    assert "Traceback" not in errors and "BrokenPipe" not in errors and "Exception ignored" not in errors


@pytest.mark.processes
def test_help_of_a_recipe_and_an_error_keep_their_status(tmp_path: Path) -> None:
    """argparse prints its help without an error, and the sentence of an error goes to standard error."""
    status, errors = run_without_reader([*GLMC_ZOO, "train", "--help"], tmp_path)
    assert status in (0, PIPE_STATUS) and errors == ""
    status, errors = run_without_reader([*GLMC_ZOO, "inspect", "--data", "nowhere_at_all"], tmp_path)
    assert status == 2 and errors.count("\n") == 1
    assert run_without_reader([*GLMC_ZOO, "inspect", "--data", "nowhere_at_all"], tmp_path, errors=True)[0] == 141


def test_the_broken_pipe_of_something_else_is_an_error() -> None:
    near, far = socket.socketpair()
    far.close()
    with near, pytest.raises(BrokenPipeError), end_with_reader():
        near.sendall(b"x")


def test_only_a_stream_without_a_reader_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(ReaderGone), end_with_reader():
            print("a line")
        print("a later line is dropped", flush=True)


@pytest.mark.processes
def test_an_error_of_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    """Lines wait in the buffer of standard output when the error is raised, and cannot be written any more."""
    code = (
        "from glmc_zoo.cli import run_recipe\n"
        "def main():\n    print('a line')\n    raise KeyError('a fault of the program')\n"
        "run_recipe(main)"
    )
    status, errors = run_without_reader(["-c", code], tmp_path, PYTHONUNBUFFERED="")
    assert status == 1 and errors.endswith("KeyError: 'a fault of the program'\n")
    assert "BrokenPipe" not in errors
