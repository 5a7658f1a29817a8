"""Check that each file of an export is a regular file, before it is copied or pushed.

A link in a pushed folder would publish its target, and reading a pipe or a device could wait for ever.
"""

import os
import stat
from pathlib import Path

from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import EXPORTED_FILES, HEADS_FILE, PLOTS_FOLDER, WEIGHTS_FILE

_PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
_PLOT_SUFFIXES = {".png"}
_MAX_BYTES = 16 << 20
"""Size of the largest file of an export but for its tensors."""
_TENSORS = {WEIGHTS_FILE, HEADS_FILE}


def exported_files(folder: Path) -> dict[str, bytes | Path]:
    """The files of an exported model that are published, by their path relative to ``folder``.

    The value is the content of the file, or its local path for weights (safetensors), which can be large. Hidden files
    are left out.

    Raises:
        UserError: The folder holds a link, something that is not a regular file, a pickle, a file that no export
            writes, or one that is too large.
    """
    files: dict[str, bytes | Path] = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if _PICKLES & {suffix.lower() for suffix in path.suffixes}:
            raise UserError(
                f"{folder} holds {name}, a pickle, which is not pushed because loading one can run code: move it away."
            )
        if name not in EXPORTED_FILES and not _is_plot(path, folder / PLOTS_FOLDER):
            raise UserError(f"{folder} holds {name}, which is not a file of an export and is not pushed: move it away.")
        files[name] = path if name in _TENSORS else read_regular_file(path, folder)
    return files


def copy_plots(source: Path, target: Path) -> list[str]:
    """Copy the PNG files of the folder ``source`` into the new folder ``target``.

    Returns:
        The names of the files, sorted.

    Raises:
        UserError: ``source`` is a link or holds anything else than PNG files, or a file cannot be read by
            `read_regular_file`.
        FileExistsError: ``target`` exists.
    """
    if source.is_symlink():
        raise UserError(f"Folder {source} is a link, and a link is not exported: replace it by what it points to.")
    plots = {}
    for path in _walk(source):
        if not _is_plot(path, source):
            name = path.relative_to(source).as_posix()
            raise UserError(
                f"{source} holds {name}, which is not a PNG file of this folder and is not exported: move it away."
            )
        plots[path.name] = read_regular_file(path, source)
    target.mkdir()
    for name, content in plots.items():
        (target / name).write_bytes(content)
    return sorted(plots)


def read_regular_file(path: Path, folder: Path) -> bytes:
    """Content of a plain file in ``folder``, which messages name.

    The check is made again on the file that was opened, which is not the one of the walk if it was replaced since.

    Raises:
        UserError: It is a link or no regular file, has more than 16 MiB, or cannot be read.
    """
    name = path.relative_to(folder).as_posix()
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            _check(os.fstat(file.fileno()), name, folder)
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} holds {name}, which cannot be read ({reason}): move it away.") from error
    if len(content) > _MAX_BYTES:
        raise UserError(f"{folder} holds {name}, which has more than {_MAX_BYTES >> 20} MiB: move it away.")
    return content


def _walk(folder: Path) -> list[Path]:
    """The plain files below a folder, hidden ones left out; links are refused and never followed."""
    files, folders = [], [folder]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name.startswith("."):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
            else:
                _check(status, path.relative_to(folder).as_posix(), folder)
                files.append(path)
    return sorted(files)


def _is_plot(path: Path, plots: Path) -> bool:
    return path.parent == plots and path.suffix.lower() in _PLOT_SUFFIXES


def _check(status: os.stat_result, name: str, folder: Path) -> None:
    """Refuse what is not a regular file with one name."""
    if stat.S_ISLNK(status.st_mode):
        fault = "a link, and what it points to is not exported or pushed: replace it by a file"
    elif not stat.S_ISREG(status.st_mode):
        fault = "a pipe, a socket or a device, not a regular file: move it away"
    elif status.st_nlink > 1:
        fault = "a hard link, the same file as another one elsewhere: replace it by a copy"
    else:
        return
    raise UserError(f"{folder} holds {name}, which is {fault}.")
