"""A lock that lets only one process at a time use a folder."""

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

# Loader workers may share the lock, and outlive a killed main process by up to 5 seconds.
_GRACE_SECONDS = 10.0


class FolderLock:
    """Exclusive use of a folder by this process, from `lock_folder` until `release` or the end of this object.

    The operating system releases the lock when the process ends, for whatever reason, so the lock file of a killed
    process never blocks. A second file names the process, for the error message of other processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)
        self._finalizer: finalize[..., FolderLock] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process has the lock."""
        return self._lock.is_locked

    def acquire(self, option: str) -> None:
        """Acquire the lock. The errors are those of `lock_folder`."""
        try:
            self._acquire(0, option)
        except Timeout:
            holder = _read_holder(self.folder)
            if not _has_ended(holder):
                raise UserError(_in_use(self.folder, holder, option)) from None
            try:
                self._acquire(_GRACE_SECONDS, option)
            except Timeout:
                raise UserError(_in_use(self.folder, holder, option)) from None
        try:
            write_json(self.folder / HOLDER_FILE, {"process": os.getpid(), "host": platform.node()})
        except OSError as error:
            _release(self._lock, self.folder, os.getpid())
            raise _lock_error(self.folder, option, error) from error
        # The finalizer also runs when this object or the process ends.
        self._finalizer = finalize(self, _release, self._lock, self.folder, os.getpid())

    def _acquire(self, seconds: float, option: str) -> None:
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._lock.acquire(timeout=max(deadline - time.monotonic(), 0), poll_interval=0.1)
                if (self.folder / LOCK_FILE).exists():
                    return
                self._lock.release(force=True)  # the previous process removed the lock file after it was opened here
        except Timeout:  # a kind of OSError
            raise
        except NotImplementedError:  # the file system has no locks
            return
        except OSError as error:
            raise _lock_error(self.folder, option, error) from error

    def release(self) -> None:
        """Release the lock and remove its files."""
        if self._finalizer is not None:
            self._finalizer()


def _release(lock: BaseFileLock, folder: Path, process: int) -> None:
    if os.getpid() == process and lock.is_locked:  # a forked loader worker must not release the lock
        for name in (HOLDER_FILE, LOCK_FILE):
            with contextlib.suppress(OSError):  # the disk became read-only, or the folder was removed
                (folder / name).unlink(missing_ok=True)
        lock.release(force=True)


_LOCKS: WeakValueDictionary[str, FolderLock] = WeakValueDictionary()


def lock_folder(folder: Path, *, option: str = "output_dir") -> FolderLock:
    """Lock an existing folder for this process. The lock ends with the object that is returned.

    A second call in the same process returns the same lock.

    Args:
        folder: An existing, writable folder.
        option: Name of the argument that gave the folder, for errors.

    Raises:
        UserError: Another process uses the folder (the message names process and host), or the folder cannot be locked.
    """
    key = str(folder.resolve())
    lock = _LOCKS.get(key)
    if lock is None or not lock.is_held:
        lock = FolderLock(folder)
        lock.acquire(option)
        _LOCKS[key] = lock
    return lock


def _lock_error(folder: Path, option: str, error: OSError) -> UserError:
    return UserError(
        f"{option}={str(folder)!r} cannot be locked ({error.strerror or error}): give a folder that you may write to."
    )


def _in_use(folder: Path, holder: tuple[int, str] | None, option: str) -> str:
    owner = "another process" if holder is None else f"process {holder[0]} on {holder[1]}"
    return f"{option}={str(folder)!r} is used by {owner}: wait until that process has ended, or give another {option}=."


def _read_holder(folder: Path) -> tuple[int, str] | None:
    """Read the process and the host that hold the lock; ``None`` if they are unknown."""
    try:
        values = read_json(folder / HOLDER_FILE, HOLDER_FILE)
        return int(values["process"]), str(values["host"])[:100]
    except (ValueError, KeyError, TypeError):  # a UserError is a ValueError
        return None


def _has_ended(holder: tuple[int, str] | None) -> bool:
    """Whether the process that holds the lock is known to have ended."""
    if holder is None or holder[1] != platform.node():
        return False
    try:
        return not psutil.pid_exists(holder[0])
    except OverflowError:  # not a possible process number
        return True
