"""Errors of full, read-only or limited disks as one sentence that names the folder and the space that it needs."""

import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from glmc_zoo.errors import UserError

_required_space: dict[Path, str] = {}  # from `check_free_space`, for later errors
_M = TypeVar("_M", bound=Callable[..., Any])

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, or give a folder on another disk"),
    errno.EDQUOT: ("your quota of the disk is used up", "free some space, or give a folder on another disk"),
    errno.EROFS: ("the disk is read-only", "give a folder on another disk"),
    errno.EFBIG: ("the file would be larger than allowed here", "raise the limit (ulimit -f), or give another disk"),
    errno.ENAMETOOLONG: ("a name in it is too long", "give a folder with a shorter path"),
}
# Libraries that write by themselves tell the number of the error in their text: safetensors and Arrow do.
_IN_TEXT = {
    errno.ENOSPC: (
        "No space left on device",
        f"os error {errno.ENOSPC})",
        "PytorchStreamWriter",
        ". unexpected pos ",
    ),
    errno.EDQUOT: ("Disk quota exceeded", f"os error {errno.EDQUOT})"),
    errno.EROFS: ("Read-only file system", f"os error {errno.EROFS})"),
    errno.EFBIG: ("File too large", f"os error {errno.EFBIG})"),
    errno.ENAMETOOLONG: ("File name too long", f"os error {errno.ENAMETOOLONG})"),
}


def disk_error(error: BaseException, folder: Path | None = None) -> UserError | None:
    """A `UserError` if ``error`` says that a file could not be written to a disk; else ``None``.

    ``folder`` is where files were written; by default it is taken from the error.
    """
    if isinstance(error, UserError):
        return None
    number = _number(error)
    if number is None:
        return None
    reason, fix = _REASONS[number]
    filename = getattr(error, "filename", None)
    if folder is None and isinstance(filename, str | bytes):
        folder = Path(os.fsdecode(filename)).parent
    place = "A file" if folder is None else f"The folder {str(folder if folder != Path() else Path.cwd())[:200]}"
    free = "" if number != errno.ENOSPC or folder is None else f", {megabytes(free_bytes(folder))} are free"
    required = f" and {_required_space[folder]} are needed" if free and folder in _required_space else ""
    sentence = f"{place} cannot be written, {reason}{free}{required}: {fix}; what was whole before is still there."
    user_error = UserError(sentence)
    user_error.in_one_process = True
    return user_error


def file_failure(error: BaseException) -> str | None:
    """Why the operating system refused a file, as a part of a sentence; ``None`` for an error that is not about one."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)} cannot be used, {error.strerror}"
    number = _number(error)
    return None if number is None else _REASONS[number][0]


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _REASONS else None
    text = str(error)
    return next((number for number, messages in _IN_TEXT.items() if any(message in text for message in messages)), None)


@contextmanager
def disk_errors(folder: Path | None = None) -> Iterator[None]:
    """Turn the errors of a disk that does not take a file into one sentence about the folder; see `disk_error`."""
    try:
        yield
    except Exception as error:
        user_error = disk_error(error, folder)
        if user_error is None:
            raise
        raise user_error from error


def name_folder_in_errors(method: _M) -> _M:
    """Decorator for a method of a run: errors of the disk become a sentence about the run folder."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with disk_errors(self.folder.path):
            return method(self, *args, **kwargs)

    return cast(_M, wrapped)


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write below a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.isdir(path))
    return shutil.disk_usage(existing).free


def megabytes(size: float) -> str:
    """Bytes in words, such as ``0.5 MB`` or ``1,200 MB``."""
    return f"{size / 1e6:,.{1 if size < 1e7 else 0}f} MB"


def check_free_space(folder: Path, size: int) -> None:
    """Refuse to begin if the folder lacks space for a checkpoint; a later error of a full disk names the space too.

    Args:
        folder: Folder that is written to.
        size: Bytes of the checkpoint.

    Raises:
        UserError: Less is free.
    """
    free = free_bytes(folder)
    required = _required_space[folder] = f"{megabytes(size)} for a checkpoint"
    if free < size:
        raise UserError(
            f"The folder {folder} needs {required}, and {megabytes(free)} are free: free some "
            "space, or give a folder on another disk."
        )
