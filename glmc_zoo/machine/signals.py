"""Signals that stop a run after it has written a checkpoint and printed the command that resumes it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Seconds. The terminal sends Ctrl-C to all processes, and a launcher forwards it once more.
_SAME_KEY = 1.0


class RunStopped(KeyboardInterrupt):
    """A signal stopped the run. The message says how to resume it.

    Attributes:
        status: Exit status of the process: 128 plus the number of the signal, as in shells.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number


class StopSignals:
    """Records that SIGINT, SIGTERM or a signal chosen by the user asked this process to stop.

    Args:
        extra_signal: Name of one more signal without ``SIG``, such as ``USR1``.
    """

    def __init__(self, extra_signal: str | None = None) -> None:
        self.number: int | None = None
        """Number of the signal that was received; ``None`` before that."""
        names = ["SIGINT", "SIGTERM", *([] if extra_signal is None else [f"SIG{extra_signal}"])]
        self._numbers = [getattr(signal, name) for name in names]
        self._process, self._received_at = os.getpid(), 0.0

    @property
    def name(self) -> str:
        """Name of the signal that was received, such as ``SIGTERM``; empty before that."""
        return "" if self.number is None else signal.Signals(self.number).name

    @contextmanager
    def record(self) -> Iterator[None]:
        """Only record signals inside the block. A second Ctrl-C ends the process at once."""
        with _handlers(dict.fromkeys(self._numbers, self._record)):
            yield

    @contextmanager
    def raise_on_signal(self, message: str) -> Iterator[None]:
        """Raise `RunStopped` with ``message`` when a signal arrives in the block; ``{signal}`` becomes its name."""

        def stop(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._process:
                return _end_as_by_default(number)
            self.number = number
            raise RunStopped(message.replace("{signal}", self.name), number)

        with _handlers(dict.fromkeys(self._numbers, stop)):
            if self.number is not None:  # it arrived after the last check of `record`
                stop(self.number, None)
            yield

    def _record(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return _end_as_by_default(number)
        if self.number is None:
            self.number, self._received_at = number, time.monotonic()
            if not _has_launcher():
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            if int(os.environ.get("RANK", "0")) == 0:
                print(f"\n{self.name}: the run writes a checkpoint after this step and stops.", file=sys.stderr)
        elif number == signal.SIGINT and time.monotonic() - self._received_at > _SAME_KEY:
            os._exit(128 + number)


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise `RunStopped` when SIGTERM arrives in the block, as Ctrl-C raises `KeyboardInterrupt`.

    By default SIGTERM ends the process at once, without a message, and leaves locks and partly written files.

    When an exception ends the block in one of several processes, SIGINT and SIGTERM are ignored from then on. A
    launcher sends one to all processes as soon as the first has ended, and this one may not have reported yet.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return _end_as_by_default(number)
        raise RunStopped("Stopped by SIGTERM.", number)

    with _handlers({signal.SIGTERM: stop}):
        try:
            yield
        except BaseException:
            if _has_launcher() and threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)
            raise


def _end_as_by_default(number: int) -> None:
    """In a forked copy of this process, which inherits its handlers: whoever ends the copy waits for its end."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def _handlers(handlers: dict[Any, Any]) -> Iterator[None]:
    """Set signal handlers inside the block, and restore the previous ones. Only the main thread can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) == signal.SIG_IGN:  # set inside the block, for the rest of the process
                continue
            # A handler that was not set from Python cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _has_launcher() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
