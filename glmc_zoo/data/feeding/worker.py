"""What a process that loads images does about signals."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

STOPS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)}
"""Signals that ask a run to stop."""


class LoaderProcess(multiprocessing.Process):
    """A process that goes on when a signal asks the whole run to stop, and ends when its parent says so or is gone.

    A terminal, Slurm and systemd signal every process of a run. The parent still needs batches for the step that it
    ends, so the process blocks `STOPS` from its start to its end. The parent says through a pipe what SIGTERM says
    otherwise: of two signals that are pending at the same time a process receives one, with one sender.
    """

    _end: Connection[Any, Any]
    _ask: Connection[Any, Any]

    def start(self) -> None:
        """Start it; the caller's own blocked signals are the same afterwards."""
        self._end, self._ask = multiprocessing.Pipe(duplex=False)
        with _stops_blocked():
            super().start()
        self._end.close()
        # `multiprocessing` calls finalizers with a priority before it waits for the processes that are left at exit.
        Finalize(self, _ask_to_end, args=(self._ask,), exitpriority=0)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process that is not forked needs: without the parent's end of the pipe."""
        return {name: value for name, value in self.__dict__.items() if name != "_ask"}

    def run(self) -> None:
        """Wait for the parent's word in a thread, and do what the process is for."""
        if hasattr(self, "_ask"):  # forked: while this process holds the parent's end too, it would not see it close
            self._ask.close()
        with _stops_blocked():  # again, as a fork server that runs already does not pass the caller's mask on
            threading.Thread(target=_exit_when_asked, args=(self._end,), daemon=True).start()
            super().run()

    def terminate(self) -> None:
        """Ask the process to end, whatever it does; its exit code is 0."""
        _ask_to_end(self._ask)


def loader_context() -> Any:
    """The default context of ``multiprocessing`` with `LoaderProcess`, for a loader's ``multiprocessing_context``."""
    context: Any = copy.copy(multiprocessing.get_context())
    context.Process = LoaderProcess
    return context


@contextlib.contextmanager
def _stops_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask_to_end(ask: Connection[Any, Any]) -> None:
    """A byte, because processes that were forked later hold copies of this end, and keep it open."""
    with contextlib.suppress(OSError):  # it has ended, or was asked before
        ask.send_bytes(b"\0")
    ask.close()


def _exit_when_asked(end: Connection[Any, Any]) -> None:
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        end.recv_bytes()
    os._exit(0)
