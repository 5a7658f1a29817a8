"""One process at a time uses a folder, and a lock ends with its process."""

from __future__ import annotations

import gc
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.files import HOLDER_FILE, LOCK_FILE, check_folder
from glmc_zoo.machine import lock as lock_module
from glmc_zoo.machine.lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from glmc_zoo.machine.lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()  # until the test ends
"""


@contextmanager
def holder(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked ``folder``."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    child = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "locked\n"
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def long_grace(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that a wait for the lock would take, and that no busy machine takes without one."""
    monkeypatch.setattr(lock_module, "_GRACE_SECONDS", 300.0)
    return 300.0


@pytest.mark.processes
def test_the_second_process_is_told_who_has_the_folder(lab: Any, tmp_path: Path, long_grace: float) -> None:
    with holder(tmp_path, lab.environment()) as child:
        start = time.monotonic()
        with pytest.raises(UserError, match=rf"^output_dir='.*' is used by process {child.pid} on {platform.node()}: "):
            lock_folder(tmp_path)
        assert time.monotonic() - start < long_grace
        (tmp_path / HOLDER_FILE).write_text("{")
        with pytest.raises(UserError, match=r"is used by another process: wait until that process has ended"):
            lock_folder(tmp_path)


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_killed_process_does_not_block(lab: Any, tmp_path: Path, long_grace: float, number: int) -> None:
    with holder(tmp_path, lab.environment()) as child:
        child.send_signal(number)
        child.wait()
        assert (tmp_path / LOCK_FILE).exists()
        start = time.monotonic()
        lock = lock_folder(tmp_path)
        assert lock.is_held and time.monotonic() - start < long_grace
    lock.release()


def test_a_folder_with_lock_files_alone_is_empty(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("anything")
    (tmp_path / HOLDER_FILE).write_text("[" * 100_000)
    check_folder(tmp_path, "")
    lock = lock_folder(tmp_path)
    assert lock.is_held and str(os.getpid()) in (tmp_path / HOLDER_FILE).read_text()
    lock.release()
    assert not lock.is_held and list(tmp_path.iterdir()) == []


def test_one_process_has_one_lock_which_ends_with_its_last_name(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    assert lock_folder(tmp_path / ".." / tmp_path.name) is first
    del first
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert lock_folder(tmp_path).folder == tmp_path


def test_a_read_only_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    def refuse(self: FileLock, *args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UserError, match=r"^output_dir='.*' cannot be locked \(Permission denied\): give a folder"):
        lock_folder(tmp_path)
