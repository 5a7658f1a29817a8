"""The folder of an evaluation: locked by one process, with files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmc_zoo.files import HOLDER_FILE, LOCK_FILE, check_folder, claim_folder, fresh_folder, remove
from glmc_zoo.machine.lock import FolderLock, take_folder

_STAGING = ".writing"
# What an evaluation of one model writes at the top of its folder; the results come last.
_FILES = ("plots", "report.html", "answers.json", "predictions.parquet", "per_class.csv", "results.json")
_ADVICE = "choose another folder"


class EvaluationFolder:
    """Where an evaluation writes, by its main process alone: files are made in a folder of their own and moved."""

    def __init__(self) -> None:
        self.path = Path()
        self._lock: FolderLock | None = None

    def claim(self, output_dir: str | None, names: list[str]) -> Path:
        """Make and lock the folder ``output_dir``, or a fresh one for models of these names below ``runs/``.

        What an evaluation that was killed left half-written is removed.

        Raises:
            UserError: It holds files, it cannot be written, or another process uses it.
        """
        name = names[0] if len(names) == 1 else f"{len(names)}-models"
        self.path = fresh_folder(Path("runs") / f"eval-{name}") if output_dir is None else Path(output_dir)
        if not _is_left(self.path):
            claim_folder(self.path, _ADVICE)
        self._lock = take_folder(self.path)
        if _is_left(self.path):
            _remove([self.path / left for left in (*_FILES, _STAGING)])  # the sign that they are left goes last
        check_folder(self.path, _ADVICE)  # another evaluation may have been in it until now
        return self.path

    @contextmanager
    def writing(self, name: str | None = None) -> Iterator[Path]:
        """A folder whose content becomes the folder ``name``, or is moved to the top, when the block succeeds."""
        staging, moved = self.path / _STAGING, list[Path]()
        staging.mkdir()
        try:
            yield staging
            if name is not None:
                staging.rename(self.path / name)
                return
            order = {file: number for number, file in enumerate(_FILES)}
            for path in sorted(staging.iterdir(), key=lambda path: order.get(path.name, -1)):
                moved.append(self.path / path.name)
                path.rename(moved[-1])
            staging.rmdir()
        except BaseException:
            _remove([*moved, staging])
            raise

    def release(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            self._lock.release()


def _is_left(folder: Path) -> bool:
    """Whether a folder holds nothing but what an evaluation that was killed left of one model."""
    if (folder / _STAGING).is_symlink() or not (folder / _STAGING).is_dir():
        return False
    return {path.name for path in folder.iterdir()} <= {_STAGING, LOCK_FILE, HOLDER_FILE, *_FILES}


def _remove(paths: list[Path]) -> None:
    for path in paths:
        remove(path)
