"""Writes checkpoints so that each is complete or absent, and finds the newest one that can be read."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.logging import get_logger

from glmc_zoo.data.fingerprint import DataFingerprint
from glmc_zoo.errors import UserError
from glmc_zoo.files import remove, write_json
from glmc_zoo.hub.folder import file_sha256
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.training.progress import AccelerateState, Progress, RandomState, Stateful
from glmc_zoo.training.state_files import read_plain_json, read_state, unfit_state, unreadable, write_state

_log = get_logger(__name__)
_MANIFEST = "manifest.json"
_DATA = "data.json"
_FORMAT = 2
"""Version of the files in a checkpoint; version 1 held pickles."""


@dataclass(frozen=True)
class CheckpointData:
    """What a checkpoint states about the data set of the run."""

    fingerprint: DataFingerprint
    notes: list[str] = field(default_factory=list)
    """One sentence for each time that the run resumed with other images."""

    def save(self, folder: Path) -> None:
        """Write ``data.json`` into the folder of a checkpoint."""
        write_json(folder / _DATA, {"notes": self.notes, **self.fingerprint.to_json()})

    @classmethod
    def load(cls, checkpoint: Path) -> "CheckpointData | None":
        """Read ``data.json`` of a checkpoint; ``None`` where the file does not exist.

        Raises:
            UserError: The file is damaged.
        """
        path = checkpoint / _DATA
        if not path.exists():
            return None
        try:
            values = read_plain_json(path)
            return cls(DataFingerprint.from_json(values), [str(note) for note in values["notes"]])
        except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise unreadable(path, error) from error


class Checkpoints:
    """The newest ``keep`` checkpoints of one run, in ``folder``.

    A checkpoint is written under a temporary name, listed in a manifest with the SHA-256 of each file, and renamed. So
    a process that is killed at any moment leaves a complete checkpoint or none. The files are safetensors and JSON:
    loading a checkpoint from somebody else cannot run code.

    Args:
        accelerator: Its count of accumulated batches and its gradient scaler are saved too.
        folder: The folder of the checkpoints; it is made with the first of them.
        state: The objects to save, by the name of their files. Their state must be equal in all processes.
        keep: Number of checkpoints to keep.
        plugins: SHA-256 of each plug-in file, by the name of the file.
        data: The data set; only the main process needs it.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        state: Mapping[str, Stateful],
        *,
        keep: int,
        plugins: dict[str, str] | None = None,
        data: CheckpointData | None = None,
    ) -> None:
        self.accelerator, self.folder, self.keep = accelerator, folder, keep
        self.state: dict[str, Stateful] = {**state, "accelerate": AccelerateState(accelerator)}
        self.random = RandomState(accelerator.device)
        self.plugins, self.data = plugins or {}, data

    def save(self, progress: Progress) -> Path:
        """Write a checkpoint named by the step, and return its folder. All processes call this together.

        Raises:
            UserError: An object has a state that a checkpoint cannot hold. It is raised in all processes.
        """
        target = self.folder / f"step-{progress.step:09d}"
        temporary = self.folder / f".writing-{target.name}"
        on_main_process(self.accelerator, lambda: self._write(temporary))
        write_state(temporary, self._random_state_name, self.random.state_dict())
        self.accelerator.wait_for_everyone()
        on_main_process(self.accelerator, lambda: self._complete(temporary, target, progress.step))
        return target

    @property
    def _random_state_name(self) -> str:
        """Name of this process's files with the states of the random number generators, without suffix."""
        return f"random_{self.accelerator.process_index}"

    def _write(self, temporary: Path) -> None:
        """Write the state that is equal in all processes."""
        for leftover in self.folder.glob(".writing-*"):  # from a process that was killed
            remove(leftover)
        temporary.mkdir(parents=True)
        for name, item in self.state.items():
            write_state(temporary, name, item.state_dict())
        if self.data is not None:
            self.data.save(temporary)

    def _complete(self, temporary: Path, target: Path, step: int) -> None:
        """Write the manifest, rename the folder, and remove old checkpoints."""
        files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        manifest = {"format": _FORMAT, "step": step, **self._launch_settings(), "sha256": files}
        with (temporary / _MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():  # the same step again, after resuming from an older checkpoint
            remove(target)
        temporary.replace(target)
        # Newer checkpoints are damaged ones that a resumption skipped: they do not count among those to keep.
        for old in [path for path in self._list() if path <= target][self.keep :]:
            remove(old)

    def remove_newer(self, checkpoint: Path) -> None:
        """Remove the checkpoints newer than ``checkpoint``: a run that resumes from it repeats their steps."""
        if self.accelerator.is_main_process:
            for path in self._list():
                if path.name > checkpoint.name:
                    remove(path)
        self.accelerator.wait_for_everyone()

    def _list(self) -> list[Path]:
        return _newest_first(self.folder)

    def load(self, checkpoint: Path) -> None:
        """Restore weights, optimiser, random number generators and all other state. Every process calls this.

        Raises:
            UserError: A file is damaged or does not fit the run, the checkpoint has the format of another version, or
                it was written with another number of processes, precision or plug-in file.
        """
        check_checkpoint(checkpoint)
        manifest = read_plain_json(checkpoint / _MANIFEST)
        for name, value in self._launch_settings().items():
            if manifest.get(name) != value:
                raise UserError(
                    f"Checkpoint {str(checkpoint)!r} cannot be resumed: it was written with {name} "
                    f"{manifest.get(name)}, and this run has {value}: {_SETTING_FIXES[name]}."
                )
        for name, item in [*self.state.items(), (self._random_state_name, self.random)]:
            state = read_state(checkpoint, name)
            try:
                item.load_state_dict(state)
            except (AttributeError, LookupError, TypeError, ValueError, RuntimeError, MemoryError) as error:
                raise unfit_state(checkpoint, name, error) from error

    def _launch_settings(self) -> dict[str, Any]:
        """Settings outside the options that must be the same in a resumed run."""
        return {
            "processes": self.accelerator.num_processes,
            "precision": self.accelerator.mixed_precision,
            "plugins": self.plugins,
        }


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest readable checkpoint in a folder; newer ones that cannot be read are skipped with a warning.

    Raises:
        UserError: The only undamaged checkpoints are of an earlier version. A run that began anew would remove them.
    """
    outdated = []
    for checkpoint in _newest_first(folder):
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint
        outdated += [checkpoint] if fault == _OUTDATED else []
        _log.warning(f"Checkpoint {checkpoint} is skipped: {fault}.")
    if outdated:
        raise UserError(f"Checkpoint {str(outdated[0])!r} {_OUTDATED}; {_OTHER_VERSION_FIX}.")
    return None


def check_checkpoint(checkpoint: Path) -> None:
    """Refuse a checkpoint whose files are not those of its manifest."""
    fault = _fault(checkpoint)
    if fault == _OUTDATED:
        raise UserError(f"Checkpoint {str(checkpoint)!r} {fault}; {_OTHER_VERSION_FIX}.")
    if fault is not None:
        run = str(checkpoint.absolute().parent.parent)
        raise UserError(
            f"Checkpoint {str(checkpoint)!r} cannot be used: {fault}; try resume='auto' with output_dir={run!r}."
        )


def checkpoint_step(checkpoint: Path) -> int:
    """Number of steps after which a checkpoint was written; the checkpoint must be one that can be used."""
    return int(read_plain_json(checkpoint / _MANIFEST)["step"])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


_SETTING_FIXES = {
    "processes": "launch as many processes as before",
    "precision": "give mixed_precision= as before",
    "plugins": "restore the files of the plug-ins",
}
_OUTDATED = "was written by an earlier version of glmc_zoo, whose checkpoints held pickles, and is not read"
_OTHER_VERSION_FIX = "finish the run with that version, or begin in another output_dir="


def _fault(checkpoint: Path) -> str | None:
    """The reason why a checkpoint cannot be used; ``None`` where it can be used."""
    try:
        manifest = read_plain_json(checkpoint / _MANIFEST)
        if "format" not in manifest:
            return _OUTDATED
        if manifest["format"] != _FORMAT or not isinstance(manifest["step"], int):
            return f"{_MANIFEST} has format {manifest['format']!r}, and this version reads {_FORMAT}"
        expected = dict(manifest["sha256"])
        for name, digest in expected.items():
            path = checkpoint / name
            if path.parent != checkpoint or path.is_symlink() or (path.exists() and not path.is_file()):
                return f"{name} is not a plain file of the checkpoint"
            if file_sha256(path) != digest:
                return f"{name} is damaged"
        state_files = {path.name for suffix in ("json", "safetensors") for path in checkpoint.glob(f"*.{suffix}")}
        unlisted = sorted(state_files - {_MANIFEST, *expected})
        return f"{unlisted[0]} is not in {_MANIFEST}" if unlisted else None
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{_MANIFEST} cannot be read ({type(error).__name__})"
