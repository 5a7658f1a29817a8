"""Checkpoints that are complete or absent, and the choice of the newest one that can be read."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger

from glmc_zoo.data.fingerprint import DataFingerprint
from glmc_zoo.errors import UserError
from glmc_zoo.files import write_json
from glmc_zoo.hub.folder import file_sha256

_log = get_logger(__name__)
_MANIFEST = "manifest.json"
_DATA = "data.json"


@dataclass(frozen=True)
class CheckpointData:
    """The data set that a run is trained on; saved with every checkpoint."""

    fingerprint: DataFingerprint
    notes: list[str] = field(default_factory=list)
    """One sentence for each time that the run went on with other images."""

    def save(self, folder: Path) -> None:
        """Write it into the folder of a checkpoint."""
        write_json(folder / _DATA, {"notes": self.notes, **self.fingerprint.to_json()})

    @classmethod
    def load(cls, checkpoint: Path) -> "CheckpointData | None":
        """The data set of a checkpoint that can be used; ``None`` where it does not state one."""
        path = checkpoint / _DATA
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(DataFingerprint.from_json(values), values["notes"])


@dataclass
class Progress:
    """How far a run has come; saved with every checkpoint, beside weights and optimiser."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for f in fields(self):
            setattr(self, f.name, state[f.name])


class Best:
    """The best epoch so far on the held-out images, with its weights; saved with every checkpoint.

    The weights are inside the checkpoint, so that it never refers to a file that is gone.
    """

    def __init__(self) -> None:
        self.epoch, self.score = -1, -1.0
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, epoch: int, score: float, model: torch.nn.Module) -> None:
        """Take ``epoch`` when its score is the highest so far; among equal scores the first wins."""
        if score > self.score:
            self.epoch, self.score = epoch, score
            self.weights = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The fields as they are."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        vars(self).update(state)


class Checkpoints:
    """The newest ``keep`` checkpoints of one run, in ``folder``.

    A checkpoint is written under another name, listed in a manifest with the SHA-256 of each file, and renamed. A
    process killed at any moment leaves either a complete checkpoint or a folder that is never taken for one.

    Args:
        accelerator: Knows the state to save.
        folder: The folder of the checkpoints; it is made with the first of them.
        keep: Checkpoints to keep.
        plugins: SHA-256 of each plug-in file by its name.
        data: The data set; the main process needs it, and the others may leave it out.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        *,
        keep: int,
        plugins: dict[str, str] | None = None,
        data: CheckpointData | None = None,
    ) -> None:
        self.accelerator, self.folder, self.keep = accelerator, folder, keep
        self.plugins, self.data = plugins or {}, data

    def save(self, progress: Progress) -> Path:
        """Write all state that Accelerate knows, under the name of the step; called by all processes."""
        target = self.folder / f"step-{progress.step:09d}"
        partial = self.folder / f".writing-{target.name}"
        if self.accelerator.is_main_process:
            for left in self.folder.glob(".writing-*"):  # from a process that was killed
                shutil.rmtree(left)
            partial.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial), safe_serialization=True)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            if self.data is not None:
                self.data.save(partial)
            paths = sorted(path for path in partial.rglob("*") if path.is_file())
            files = {path.relative_to(partial).as_posix(): file_sha256(path) for path in paths}
            manifest = {"step": progress.step, **self._setting(), "sha256": files}
            with (partial / _MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():  # the same step again, after resuming from an older checkpoint
                shutil.rmtree(target)
            partial.replace(target)
            # Newer ones can only be damaged ones that were skipped: they must not replace good ones.
            for old in [path for path in self._all() if path <= target][self.keep :]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()
        return target

    def drop_newer(self, checkpoint: Path) -> None:
        """Remove what is newer than ``checkpoint``: a run that goes back to it goes through those steps again."""
        if self.accelerator.is_main_process:
            for path in self._all():
                if path.name > checkpoint.name:
                    shutil.rmtree(path)
        self.accelerator.wait_for_everyone()

    def _all(self) -> list[Path]:
        return _newest_first(self.folder)

    def load(self, checkpoint: Path) -> None:
        """Restore weights, optimiser, random states and everything registered."""
        check_checkpoint(checkpoint)
        saved = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
        for name, now in self._setting().items():
            if saved.get(name) != now:
                fix = "restore the files of the plug-ins" if name == "plugins" else "launch as before"
                raise UserError(
                    f"Checkpoint {str(checkpoint)!r} was written with {name} {saved.get(name)} and cannot go on with "
                    f"{now}; {fix}."
                )
        self.accelerator.load_state(str(checkpoint))

    def _setting(self) -> dict[str, Any]:
        """What a resumed run must share beside its options."""
        launched = {"processes": self.accelerator.num_processes, "precision": self.accelerator.mixed_precision}
        return {**launched, "plugins": self.plugins}


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest readable checkpoint in a folder; newer ones that cannot be read are skipped with a warning."""
    for checkpoint in _newest_first(folder):
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint
        _log.warning(f"Checkpoint {checkpoint} is skipped: {fault}.")
    return None


def check_checkpoint(checkpoint: Path) -> None:
    """Refuse a checkpoint whose files are not those of its list."""
    fault = _fault(checkpoint)
    if fault is not None:
        run = str(checkpoint.absolute().parent.parent)
        raise UserError(
            f"Checkpoint {str(checkpoint)!r} cannot be used: {fault}; try resume='auto' with output_dir={run!r}."
        )


def checkpoint_step(checkpoint: Path) -> int:
    """The step after which a checkpoint that can be used was written."""
    return int(json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))["step"])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used; ``None`` when it can."""
    try:
        manifest = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
        expected = dict(manifest["sha256"])
        for name, digest in expected.items():
            if file_sha256(checkpoint / name) != digest:
                return f"{name} is damaged"
        return None
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{_MANIFEST} cannot be read ({type(error).__name__})"
