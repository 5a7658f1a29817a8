"""A process that a test started, with all processes that this one started."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from typing import Any

import psutil


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


def kill_family(child: subprocess.Popen[Any]) -> None:
    """Kill a process and then its descendants, and wait until all have ended."""
    processes = descendants(child)
    child.kill()
    signal_each(processes, signal.SIGKILL)
    child.wait()
    psutil.wait_procs(processes)
