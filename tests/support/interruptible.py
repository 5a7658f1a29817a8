"""A process that a test interrupts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def interruptible(words: Sequence[str], folder: Path, lab: Any, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command in ``folder`` that SIGINT reaches, and that is killed at the end if it still runs.

    A shell ignores SIGINT in what it runs in the background, and processes inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            words, cwd=folder, env={**lab.environment(), **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()
