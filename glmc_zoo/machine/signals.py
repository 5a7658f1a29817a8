"""Signals that ask a run to stop: it writes a checkpoint first, and says how it goes on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A launcher passes a Ctrl-C on that its processes got from the terminal already.
_SAME_KEY = 1.0


class RunStopped(KeyboardInterrupt):
    """A signal stopped the run; the message says where it goes on.

    Attributes:
        status: Exit status of the process: 128 and the number of the signal, as shells have it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number


class StopSignals:
    """Notes that SIGINT, SIGTERM or a signal of the user's choice asked this process to stop.

    Args:
        extra: Name of one more signal without its SIG, such as ``USR1``.
    """

    def __init__(self, extra: str | None = None) -> None:
        self.number: int | None = None
        """The signal that came; ``None`` where none did."""
        names = ["SIGINT", "SIGTERM", *([] if extra is None else [f"SIG{extra}"])]
        self._numbers = [getattr(signal, name) for name in names]
        self._process, self._came = os.getpid(), 0.0

    @property
    def name(self) -> str:
        """Name of the signal that came, such as ``SIGTERM``."""
        return "" if self.number is None else signal.Signals(self.number).name

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note signals inside the block, and do nothing else about them; a second Ctrl-C ends the process at once."""
        with _handlers(dict.fromkeys(self._numbers, self._note)):
            yield

    @contextmanager
    def raised(self, message: str) -> Iterator[None]:
        """Inside the block, a signal raises `RunStopped` where the process is; ``{signal}`` stands for its name."""

        def stop(number: int, frame: FrameType | None) -> None:
            if os.getpid() != self._process:
                return
            self.number = number
            raise RunStopped(message.replace("{signal}", self.name), number)

        with _handlers(dict.fromkeys(self._numbers, stop)):
            if self.number is not None:  # it came when `noted` looked no more
                stop(self.number, None)
            yield

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that loads images, see `data.feeding.worker`
            return
        if self.number is None:
            self.number, self._came = number, time.monotonic()
            if not _launched():
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            if int(os.environ.get("RANK", "0")) == 0:
                print(f"\n{self.name}: a checkpoint follows after this step, then the run stops.", file=sys.stderr)
        elif number == signal.SIGINT and time.monotonic() - self._came > _SAME_KEY:
            os._exit(128 + number)


@contextmanager
def stopped_by_term() -> Iterator[None]:
    """Inside the block, SIGTERM raises `RunStopped` as Ctrl-C raises `KeyboardInterrupt`.

    The default would end the process at once: it would leave locks and half-written files, and say nothing.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a copy of the process, which whoever made it may end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise RunStopped("Stopped by SIGTERM.", number)

    with _handlers({signal.SIGTERM: stop}):
        yield


@contextmanager
def _handlers(handlers: dict[Any, Any]) -> Iterator[None]:
    """Set handlers of signals, and those of before afterwards; only the main thread can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            # What was not set from Python cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _launched() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
