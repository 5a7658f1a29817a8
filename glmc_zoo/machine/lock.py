"""The lock by which one process at a time uses a folder."""

import contextlib
import os
import platform
import time
from pathlib import Path
from weakref import WeakValueDictionary, finalize

import psutil
from filelock import BaseFileLock, FileLock, Timeout

from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError
from glmc_zoo.files import HOLDER_FILE, LOCK_FILE, write_json

# Processes that load images outlive a main process that was killed by up to 5 seconds, and may share its lock.
_GRACE = 10.0


class FolderLock:
    """Exclusive use of a folder by this process, from `take_folder` to `release` or to the end of this object.

    The operating system holds the lock and releases it with the process, however that ends: a lock file that a killed
    process leaves never blocks. A file beside it names the process for the message of whoever comes second.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)
        self._end: finalize[..., FolderLock] | None = None

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._lock.is_locked

    def take(self, option: str) -> None:
        """Get the lock, or raise the `UserError` of `take_folder`."""
        try:
            self._acquire(0)
        except Timeout:
            holder = _read_holder(self.folder)
            if not _has_ended(holder):
                raise UserError(_in_use(self.folder, holder, option)) from None
            try:
                self._acquire(_GRACE)
            except Timeout:
                raise UserError(_in_use(self.folder, holder, option)) from None
        try:
            write_json(self.folder / HOLDER_FILE, {"process": os.getpid(), "host": platform.node()})
        except OSError as error:
            _give_back(self._lock, self.folder, os.getpid())
            raise UserError(f"Folder {str(self.folder)!r} cannot be locked: {error.strerror or error}.") from error
        self._end = finalize(self, _give_back, self._lock, self.folder, os.getpid())  # also when the process ends

    def _acquire(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._lock.acquire(timeout=max(deadline - time.monotonic(), 0), poll_interval=0.1)
                if (self.folder / LOCK_FILE).exists():
                    return
                self._lock.release(force=True)  # the process before removed its lock file in this moment
        except Timeout:
            raise
        except NotImplementedError:  # a file system without locks
            return
        except OSError as error:
            raise UserError(f"Folder {str(self.folder)!r} cannot be locked: {error.strerror or error}.") from error

    def release(self) -> None:
        """Give the lock back and remove its files."""
        if self._end is not None:
            self._end()


def _give_back(lock: BaseFileLock, folder: Path, process: int) -> None:
    if os.getpid() == process and lock.is_locked:  # not in a copy of the process that loads images
        for name in (HOLDER_FILE, LOCK_FILE):
            with contextlib.suppress(OSError):  # the disk became read-only, or the folder is gone
                (folder / name).unlink(missing_ok=True)
        lock.release(force=True)


_HELD: WeakValueDictionary[str, FolderLock] = WeakValueDictionary()


def take_folder(folder: Path, *, option: str = "output_dir") -> FolderLock:
    """Lock a folder that exists for this process; the lock ends with the object that is returned.

    A second call in the same process gives the same lock.

    Args:
        folder: It must be writable.
        option: By which the folder was given.

    Raises:
        UserError: Another process uses the folder; the sentence names process and host.
    """
    key = str(folder.resolve())
    lock = _HELD.get(key)
    if lock is None or not lock.held:
        lock = FolderLock(folder)
        lock.take(option)
        _HELD[key] = lock
    return lock


def _in_use(folder: Path, holder: tuple[int, str] | None, option: str) -> str:
    who = "another process" if holder is None else f"process {holder[0]} on {holder[1]}"
    return f"{option}={str(folder)!r} is used by {who}: wait until that has ended, or give another {option}=."


def _read_holder(folder: Path) -> tuple[int, str] | None:
    """Process and host that have the lock; ``None`` where they are not known."""
    try:
        values = read_json(folder / HOLDER_FILE, HOLDER_FILE)
        return int(values["process"]), str(values["host"])[:100]
    except (ValueError, KeyError, TypeError):  # a UserError is a ValueError
        return None


def _has_ended(holder: tuple[int, str] | None) -> bool:
    """Whether the process that took the lock is known to have ended."""
    if holder is None or holder[1] != platform.node():
        return False
    try:
        return not psutil.pid_exists(holder[0])
    except OverflowError:  # no process has such a number
        return True
