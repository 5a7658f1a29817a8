"""Prepares a resumed run: its folder, its newest checkpoint, and whether the images are still the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from glmc_zoo.data import LongTailData
from glmc_zoo.data.fingerprint import DataChange, DataFingerprint, all_unreadable, compare, fingerprint
from glmc_zoo.errors import UserError
from glmc_zoo.fields import values_of
from glmc_zoo.machine.lock import FolderLock
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.options.run import RunOptions
from glmc_zoo.text import counted
from glmc_zoo.training.checkpoint import CheckpointData, check_checkpoint, checkpoint_step, newest_checkpoint
from glmc_zoo.training.folder import check_same_run, initial_options, lock_run, new_run_advice, run_folder

# Options that the images decide where the user does not. A resumed run keeps the first decision, also with new images.
_DECIDED_BY_DATA = ("image_size", "augment")


@dataclass(frozen=True)
class Resumption:
    """What a resumed run takes over from before; empty for a new run."""

    checkpoint: Path | None = None
    """``None`` for a start at the beginning."""
    data_options: dict[str, Any] = field(default_factory=dict)
    """Options that the images decided when the run began."""
    notes: list[str] = field(default_factory=list)
    """A sentence for each time that the run resumed with other images, this time included."""


def find_resumption(
    accelerator: Accelerator, options: RunOptions, data: LongTailData, name: str
) -> tuple[Resumption, CheckpointData | None, FolderLock | None]:
    """Find out what the run resumes from. The main process reads and compares for all processes.

    Args:
        accelerator: The accelerator of the run.
        options: Options of the run, before images and model decide anything.
        data: The data set as loaded now.
        name: Name of a fresh run folder.

    Returns:
        What is taken over. In the main process also what checkpoints are to state about the data set, and the lock on
        the folder of a resumed run; ``None`` for both in the other processes.

    Raises:
        UserError: The options or the images are not those of the run, the checkpoint cannot be used, or another
            process uses the run folder. It is raised in all processes.
    """
    images = fingerprint(data) if accelerator.is_main_process else None
    locks: list[FolderLock] = []
    try:
        resumption = on_main_process(accelerator, lambda: _resumption(options, data, images, name, accelerator, locks))
    except BaseException:
        for lock in locks:  # so that an error leaves the folder free
            lock.release()
        raise
    checkpoint_data = None if images is None else CheckpointData(images, resumption.notes)
    return resumption, checkpoint_data, locks[0] if locks else None


def resumed_options(options: RunOptions) -> dict[str, Any] | None:
    """The saved options of the run that is resumed.

    ``None`` for a new run, and with ``resume="auto"`` and no ``output_dir``, where the name of the folder is still
    to be decided.

    Raises:
        UserError: ``resume`` is not a checkpoint of a run, or its ``config.yaml`` cannot be read.
    """
    output = options.output
    if output.resume is None or (output.resume == "auto" and not output.output_dir):
        return None
    return initial_options(run_folder(options, ""), output.resume)


def _resumption(
    options: RunOptions, data: LongTailData, images: DataFingerprint | None, name: str, accelerator: Accelerator,
    locks: list[FolderLock],
) -> Resumption:  # fmt: skip
    resume = options.output.resume
    folder = run_folder(options, name)
    initial = initial_options(folder, resume)
    if initial is None or images is None:
        return Resumption()
    image_options = values_of(options.images)
    data_options = {
        key: initial[key] for key in _DECIDED_BY_DATA if image_options[key] is None and initial.get(key) is not None
    }
    check_same_run(folder, initial, options.with_values(**data_options))
    locks.append(lock_run(folder))  # before the search for the newest checkpoint, as another process may write one
    if resume == "auto":
        checkpoint = newest_checkpoint(folder / "checkpoints")
    else:
        checkpoint = Path(str(resume))
        check_checkpoint(checkpoint)
    if checkpoint is None:
        return Resumption(data_options=data_options)
    notes = _data_notes(checkpoint, options, data, images)
    step_images = options.schedule.batch_size * accelerator.num_processes
    if notes and len(data.train) < step_images:
        raise UserError(
            f"The training split now has {counted(len(data.train), 'image')}, and a step of the run takes "
            f"{step_images}: restore "
            f"the data, or {new_run_advice(resume)} and a smaller batch_size=."
        )
    return Resumption(checkpoint, data_options, notes)


def _data_notes(checkpoint: Path, options: RunOptions, data: LongTailData, images: DataFingerprint) -> list[str]:
    """Notes for the results on images that changed; a change that was not accepted raises a `UserError`."""
    checkpoint_data = CheckpointData.load(checkpoint)
    if checkpoint_data is None:
        return ["The checkpoint does not state its data set, so it is not known whether the images changed."]
    change = compare(checkpoint_data.fingerprint, images)
    if change is None:
        return checkpoint_data.notes
    step = checkpoint_step(checkpoint)
    if _only_unreadable(change, options, data):
        unreadable = f"{counted(len(change.removed), 'image')} that cannot be read"
        return [*checkpoint_data.notes, f"From step {step} on the run leaves out {unreadable}: {change.text}."]
    if not change.same_classes:
        raise UserError(
            f"The classes changed after the checkpoint {str(checkpoint)!r} was written ({change.text}), and its model "
            f"has the old ones: restore the data, or {new_run_advice(options.output.resume)}."
        )
    if not options.output.accept_new_data:
        raise UserError(
            f"The data changed after the checkpoint {str(checkpoint)!r} was written ({change.text}): restore it, go on "
            f"with the new data by accept_new_data=True, or {new_run_advice(options.output.resume)}."
        )
    note = f"From step {step} on the run uses other images than before: {change.text}."
    if change.moved_to_test:
        test_images = counted(change.moved_to_test, "test image")
        note = f"{note[:-1]}; the test scores are too high, as {test_images} trained the model before."
    return [*checkpoint_data.notes, note]


def _only_unreadable(change: DataChange, options: RunOptions, data: LongTailData) -> bool:
    """Whether the only change is that unreadable images were skipped."""
    skipped = options.data.skip_bad_images and data.facts.skipped_images > 0
    return skipped and change.same_classes and change.only_removed and all_unreadable(data, change.removed)
