"""Signals are noted or raised inside a block, and have their former effect after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from waiting import PATIENCE

from glmc_zoo.machine.signals import RunStopped, StopSignals, raise_on_sigterm

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def former_handlers() -> Any:
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    signals = StopSignals("USR1")
    with signals.record():
        assert signals.number is None and signals.name == ""
        os.kill(os.getpid(), number)
        assert signals.number == number and signals.name == signal.Signals(number).name
    assert capsys.readouterr().err == f"\n{signals.name}: the run writes a checkpoint after this step and stops.\n"


def test_a_signal_that_nobody_asked_for_keeps_its_effect() -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        signals = StopSignals()
        with signals.record():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1] and signals.number is None
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_is_raised_with_its_name_and_status() -> None:
    signals = StopSignals()
    with (
        pytest.raises(RunStopped, match=r"^stopped by SIGTERM$") as stop,
        signals.raise_on_signal("stopped by {signal}"),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.status == 143 and isinstance(stop.value, KeyboardInterrupt)


def test_a_signal_that_was_noted_is_raised_later() -> None:
    signals = StopSignals()
    with signals.record():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RunStopped, match=r"^stopped by SIGTERM$"), signals.raise_on_signal("stopped by {signal}"):
        raise AssertionError


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks no process")
@pytest.mark.parametrize("block", ["record", "raise_on_signal", "raise_on_sigterm"])
def test_a_forked_copy_ends_as_by_default(block: str) -> None:
    """A pool ends its processes by SIGTERM and waits for them."""
    signals = StopSignals()
    blocks = {
        "record": signals.record,
        "raise_on_signal": lambda: signals.raise_on_signal("stopped by {signal}"),
        "raise_on_sigterm": raise_on_sigterm,
    }
    with blocks[block]():
        copy = os.fork()
        if copy == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == -signal.SIGTERM
    assert signals.number is None


def test_other_threads_cannot_note_signals_and_go_on() -> None:
    done = []

    def work() -> None:
        with StopSignals().record():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# Signals come while the exception ends the process, as from the launcher of a process that has ended earlier.
ENDING = """
import os, signal
from glmc_zoo.cli import run_recipe
from glmc_zoo.errors import UserError
from glmc_zoo.machine.signals import RunStopped, StopSignals

class Message(str):
    def __str__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return "stopped, to go on: this"

class Stop(RunStopped):
    def __str__(self):
        return str(Message())

def main():
    with StopSignals().record():
        raise Stop("", signal.SIGTERM)

run_recipe(main)
"""


@pytest.mark.processes
def test_one_of_several_processes_reports_although_a_launcher_ends_it(lab: Any) -> None:
    words = [sys.executable, "-c", ENDING]
    done = subprocess.run(
        words, env=lab.environment(WORLD_SIZE="2", RANK="0"), capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert done.returncode == 143 and done.stderr.endswith(": stopped, to go on: this\n"), done.stderr
    # A process without a launcher is ended by signals to the last.
    done = subprocess.run(words, env=lab.environment(), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == -signal.SIGTERM


TWICE = """
import os, signal, time
from glmc_zoo.machine import signals as module
module._SAME_KEY = float(os.environ["SAME_KEY"])
signals = module.StopSignals()
with signals.record():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print(signals.name, flush=True)
    time.sleep(float(os.environ["WAIT"]))
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on", flush=True)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("world", "wait", "same_key", "status", "out"),
    [
        ("1", "0", "1", -signal.SIGINT, "SIGINT\n"),
        # A launcher passes on what the terminal sent to all: the same Ctrl-C, twice.
        ("2", "0", "600", 0, "SIGINT\ngoes on\n"),
        ("2", "0.2", "0.1", 130, "SIGINT\n"),
    ],
)
def test_a_second_ctrl_c_ends_the_process(
    lab: Any, world: str, wait: str, same_key: str, status: int, out: str
) -> None:
    variables = lab.environment(WORLD_SIZE=world, WAIT=wait, SAME_KEY=same_key)
    done = subprocess.run(
        [sys.executable, "-c", TWICE], env=variables, capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, out), done.stderr
