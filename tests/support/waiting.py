"""Waiting for what another process does, on a machine that may be busy."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0
"""Seconds after which a test gives up. Many times what a busy machine takes, because a test that passes never waits for
it."""


def wait_until(condition: Callable[[], Any], child: subprocess.Popen[Any] | None = None) -> None:
    """Return once ``condition()`` is true. Fails if ``child`` ends before it, or after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if child is not None and child.poll() is not None and not condition():
            raise AssertionError(f"the process ended with status {child.returncode} before the condition was true")
        assert time.monotonic() < deadline, f"the condition is not true after {PATIENCE:.0f} s"
        time.sleep(0.005)
