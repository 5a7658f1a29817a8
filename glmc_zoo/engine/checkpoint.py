"""Checkpoints that are whole or absent, and the choice of the newest one that can be read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger

from glmc_zoo.errors import UserError
from glmc_zoo.hub._weights import file_sha256

__all__ = ["Best", "Checkpoints", "Progress"]

_log = get_logger(__name__)
_MANIFEST = "manifest.json"


@dataclass
class Progress:
    """Where a run stands, beside weights and optimiser; saved with every checkpoint.

    Attributes:
        epoch: Epoch that is under way, from 0; equals the number of finished epochs.
        batch: Batches of that epoch that are done.
        step: Batches done in all.
        seconds: Wall time spent so far, over all parts of an interrupted run.
        sums: Sums of the loss terms over the batches of the epoch so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for f in fields(self):
            setattr(self, f.name, state[f.name])


class Best:
    """The best epoch so far on the held-out part, with its weights; saved with every checkpoint.

    The weights lie in the checkpoint and not beside it, so that none ever refers to a file that is gone.
    """

    def __init__(self) -> None:
        self.epoch, self.score = -1, -1.0
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, epoch: int, score: float, model: torch.nn.Module) -> None:
        """Take ``epoch`` when its score is the highest so far; of equal ones the first stays."""
        if score > self.score:
            self.epoch, self.score = epoch, score
            self.weights = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The fields as they are."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        vars(self).update(state)


class Checkpoints:
    """The checkpoints of one run, in ``folder``, newest ``keep`` of them.

    A checkpoint is written beside its place, listed in a manifest with the SHA-256 of each file, and moved into place;
    a process killed at any moment leaves either a whole checkpoint or a scrap that is never taken for one.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, *, keep: int) -> None:
        self.accelerator, self.folder, self.keep = accelerator, folder, keep

    def save(self, progress: Progress) -> Path:
        """Write everything Accelerate knows of, under the name of the step; called by all processes."""
        target = self.folder / f"step-{progress.step:09d}"
        scrap = self.folder / f".writing-{target.name}"
        if self.accelerator.is_main_process:
            for left in self.folder.glob(".writing-*"):  # by a process that was killed
                shutil.rmtree(left)
            scrap.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(scrap), safe_serialization=True)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            found = sorted(path for path in scrap.rglob("*") if path.is_file())
            files = {path.relative_to(scrap).as_posix(): file_sha256(path) for path in found}
            manifest = {"step": progress.step, **self._setting(), "sha256": files}
            with (scrap / _MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():  # the same step again, after resuming from an older checkpoint
                shutil.rmtree(target)
            scrap.replace(target)
            # Newer ones than this can only be damaged ones that were passed over: they must not push out the good.
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
        return sorted(self.folder.glob("step-*"), reverse=True)

    def fault(self, checkpoint: Path) -> str | None:
        """Why ``checkpoint`` cannot be used, or None when it can."""
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

    def newest(self) -> Path | None:
        """The newest readable checkpoint; unreadable newer ones are named in a warning and passed over."""
        for checkpoint in self._all():
            fault = self.fault(checkpoint)
            if fault is None:
                return checkpoint
            _log.warning(f"Checkpoint {checkpoint} is passed over: {fault}.")
        return None

    def load(self, checkpoint: Path) -> None:
        """Restore weights, optimiser, random states and everything registered.

        Raises:
            UserError: The checkpoint is damaged, or was written by another number of processes or in another
                precision.
        """
        fault = self.fault(checkpoint)
        if fault is not None:
            raise UserError(f"Checkpoint {str(checkpoint)!r} cannot be used: {fault}; try --resume auto.")
        there = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
        for name, here in self._setting().items():
            if there[name] != here:
                raise UserError(
                    f"Checkpoint {str(checkpoint)!r} was written with {name} {there[name]} and cannot go on with "
                    f"{here}; launch as before."
                )
        self.accelerator.load_state(str(checkpoint))

    def _setting(self) -> dict[str, Any]:
        """What the launcher decides and a resumed run must share."""
        return {"processes": self.accelerator.num_processes, "precision": self.accelerator.mixed_precision}
