"""The folder of an evaluation: locked by one process, and with files that are complete or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmc_zoo.files import HOLDER_FILE, LOCK_FILE, check_folder, claim_folder, fresh_folder, remove
from glmc_zoo.machine.lock import FolderLock, lock_folder

_STAGING = ".writing"
# Files of an evaluation of one model at the top of its folder. `results.json` is moved last.
_FILES = ("plots", "report.html", "answers.json", "predictions.parquet", "per_class.csv", "results.json")
_ADVICE = "choose another folder"


class EvaluationFolder:
    """The folder of an evaluation. Only the main process uses it. Files are written to a subfolder and then moved."""

    def __init__(self) -> None:
        self.path = Path()
        self._lock: FolderLock | None = None

    def claim(self, output_dir: str | None, names: list[str]) -> Path:
        """Make and lock the folder ``output_dir``, or a fresh folder in ``runs/`` for models with these names.

        Incomplete files of a killed evaluation are removed.

        Raises:
            UserError: The folder holds files, cannot be written, or is used by another process.
        """
        name = names[0] if len(names) == 1 else f"{len(names)}-models"
        self.path = fresh_folder(Path("runs") / f"eval-{name}") if output_dir is None else Path(output_dir)
        if not _is_abandoned(self.path):
            claim_folder(self.path, _ADVICE)
        self._lock = lock_folder(self.path)
        if _is_abandoned(self.path):
            _remove([self.path / name for name in (*_FILES, _STAGING)])  # last the one that marks it as abandoned
        check_folder(self.path, _ADVICE)  # again, because another evaluation may have held the lock until now
        return self.path

    @contextmanager
    def staging_folder(self, name: str | None = None) -> Iterator[Path]:
        """A temporary folder. After the block it is renamed to ``name``; without a name its files move to the top."""
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
        """Release the lock, so that other processes can use the folder."""
        if self._lock is not None:
            self._lock.release()


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder holds only files of a killed evaluation of one model."""
    if (folder / _STAGING).is_symlink() or not (folder / _STAGING).is_dir():
        return False
    return {path.name for path in folder.iterdir()} <= {_STAGING, LOCK_FILE, HOLDER_FILE, *_FILES}


def _remove(paths: list[Path]) -> None:
    for path in paths:
        remove(path)
