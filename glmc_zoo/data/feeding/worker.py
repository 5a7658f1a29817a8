"""What a process that loads images does about signals."""

import copy
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

STOPS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)}
"""Signals that ask a run to stop."""
_SECONDS_BETWEEN_LOOKS = 0.1


class LoaderProcess(multiprocessing.Process):
    """A process that starts with `STOPS` blocked: none ends it before it runs `leave_stops_to_parent`."""

    def start(self) -> None:
        """Start it; the caller's own blocked signals are the same afterwards."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def loader_context() -> Any:
    """The default context of ``multiprocessing`` with `LoaderProcess`, for a loader's ``multiprocessing_context``."""
    context: Any = copy.copy(multiprocessing.get_context())
    context.Process = LoaderProcess
    return context


def leave_stops_to_parent(worker: int) -> None:
    """Let a process that loads images go on when a signal asks the whole run to stop; a loader's ``worker_init_fn``.

    A terminal, Slurm and systemd signal every process of a run. The parent still needs batches for the step that it
    ends, so SIGTERM from the parent alone ends the process that calls this. It also ends when its parent is gone.

    Args:
        worker: Number of the process; not used.
    """
    if not hasattr(signal, "sigtimedwait"):  # macOS and Windows
        return
    parent = os.getppid()

    def look() -> None:
        # A thread that waited in `sigtimedwait` would have the signals unblocked: it must not wait there.
        while True:
            received = signal.sigtimedwait(STOPS, 0)
            if received is None:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            elif received.si_signo == signal.SIGTERM and received.si_pid == parent:
                os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    threading.Thread(target=look, daemon=True).start()
