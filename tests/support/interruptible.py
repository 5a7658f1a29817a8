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
    """Start a command in ``folder`` that can be interrupted by SIGINT. It is killed at the end if it still runs.

    A shell makes its background processes ignore SIGINT, and their children inherit this. So SIGINT gets its default
    handler while the command starts.
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
