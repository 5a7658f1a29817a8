"""A process that a test started, with all processes that this one started."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

from tests.support.waiting import wait_until


def descendants(child: subprocess.Popen[Any]) -> list[psutil.Process]:
    """All processes that a process started, and that these started; none if it has ended."""
    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def signal_each(processes: list[psutil.Process], number: int) -> None:
    """Send a signal to each process that still runs. One may end before its turn: a run ends its loader processes."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def has_ended(number: int) -> bool:
    """Whether the process of this number has ended, although its parent may not have asked for its status yet."""
    try:
        return psutil.Process(number).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def wait_for_end(numbers: Iterable[int]) -> None:
    """Wait until the processes of these numbers have ended."""
    for number in numbers:
        wait_until(lambda number=number: has_ended(number))


def kill_family(child: subprocess.Popen[Any]) -> None:
    """Kill a process and then its descendants, and wait until all have ended."""
    processes = descendants(child)
    child.kill()
    signal_each(processes, signal.SIGKILL)
    child.wait()
    wait_for_end(process.pid for process in processes)
