"""The run folder: its name, its lock, the run that it belongs to, and the lines of its epochs."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from glmc_zoo.documents import read_yaml
from glmc_zoo.errors import UserError
from glmc_zoo.files import (
    HOLDER_FILE,
    LOCK_FILE,
    check_folder,
    claim_folder,
    fresh_folder,
    remove,
    replace_file,
)
from glmc_zoo.hub.export.run import repair_exports
from glmc_zoo.machine.lock import FolderLock, lock_folder
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.options.images import THRESHOLDS
from glmc_zoo.options.run import RunOptions, option_defaults, saved_options
from glmc_zoo.screen import say
from glmc_zoo.text import printable
from glmc_zoo.training.metrics_file import EpochLines, read_epochs

# Options that may differ in a resumed run, because they do not change what is computed. `skip_bad_images` may be added
# but not removed; the comparison of the images shows which of them it skips.
FREE_ON_RESUME = frozenset(
    {
        *("output_dir", "resume", "accept_new_data", "workers", "data_dir", "tracker", "threads", "resident"),
        *("keep_checkpoints", "checkpoint_every", "checkpoint_steps", "checkpoint_minutes", "preempt_signal"),
        *("license", "export_half", "export_encoder", "report", "sample_image"),
        "calibrate",  # changes the exported model, but not the training
        *("profile", "skip_bad_images", "feature_cache"),
    }
)
FINISHED_FILE = "finished.json"
"""File that says that a run without checkpoints is complete."""
# Files and folders that a run or an evaluation writes.
_FILES = (
    *("config.yaml", "metrics.jsonl", "results.json", "search.jsonl", "start.json", "answers.json", "report.html"),
    *("label_suspects.csv", "label_suspects.json", "sample.jpg", FINISHED_FILE, HOLDER_FILE, LOCK_FILE),
)
_FOLDERS = ("checkpoints", "encoder", "features", "logs", "model", "plots", "profile")
_MAX_CHANGES = 3  # options that the advice names


class RunFolder:
    """The folder ``output_dir``, or a fresh one called ``name`` in ``runs/``, claimed for one run.

    A folder that holds files is refused, unless ``resume`` is given and its ``config.yaml`` agrees in every option that
    changes the result. A refused folder is not changed, and a dry run makes no folder. The main process locks the
    folder, so that no other process can use it.

    Raises:
        UserError: The folder belongs to something else, cannot be written, or is used by another process.
    """

    def __init__(self, accelerator: Accelerator, options: RunOptions, name: str) -> None:
        self.accelerator = accelerator
        self._lock: FolderLock | None = None
        self.path = Path(on_main_process(accelerator, lambda: str(self._claim(options, name))))
        self._options = saved_options(options)

    def _claim(self, options: RunOptions, name: str) -> Path:
        """Check and lock the folder, in the main process.

        For a new run this makes the folder and writes ``config.yaml``; a dry run only checks it. For a resumed run the
        options are compared with those in ``config.yaml``.
        """
        folder = run_folder(options, name)
        initial = initial_options(folder, options.output.resume)
        if initial is not None:
            check_same_run(folder, initial, options)
            self._lock = lock_run(folder)
            return folder
        if folder.is_file():
            raise UserError(f"output_dir={str(folder)!r} is a file: give a folder.")
        advice = _advice(folder, options)
        if options.output.dry_run:
            check_folder(folder, advice)
            return folder
        claim_folder(folder, advice)
        self._lock = lock_folder(folder)
        try:
            check_folder(folder, advice)  # again, because another run may have held the lock until now
            _write_options(folder, saved_options(options))
        except BaseException:
            self.release()
            raise
        return folder

    def release(self) -> None:
        """Release the lock of the main process, so that other processes can use the folder."""
        if self._lock is not None:
            self._lock.release()

    def save_options(self, options: RunOptions | None = None) -> None:
        """Write ``config.yaml`` again for a resumed run, because some of its options may have changed.

        ``options`` replace those that the folder was claimed with.
        """
        if self.accelerator.is_main_process:
            _write_options(self.path, self._options if options is None else saved_options(options))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File with one JSON line for each epoch."""
        return self.path / "metrics.jsonl"

    def epoch_lines(self) -> EpochLines:
        """Read ``metrics.jsonl`` as it is now, damaged lines included."""
        return read_epochs(self.metrics)

    def drop_epochs_after(self, finished: int) -> None:
        """Drop the lines after epoch ``finished``, which a resumed run repeats, and report damaged lines.

        Damaged lines stay as they are. Only an incomplete line at the end is dropped, as its epoch is repeated.
        """
        if not self.accelerator.is_main_process or not self.metrics.exists():
            return
        epoch_lines = self.epoch_lines()
        for number, reason in epoch_lines.damaged.items():
            action = "is dropped, as its epoch is repeated" if number == epoch_lines.incomplete else "stays as it is"
            say(f"note: Line {number} of {printable(str(self.metrics))} cannot be read ({reason}) and {action}.")
        rows = {number: row["epoch"] for number, row in epoch_lines.numbered}
        lines = [
            line.decode("utf-8", "surrogateescape") + "\n"
            for number, line in enumerate(epoch_lines.lines, start=1)
            if rows.get(number, 0) <= finished and number != epoch_lines.incomplete
        ]
        replace_file(self.metrics, lambda file: file.writelines(lines), errors="surrogateescape")

    def append(self, row: dict[str, Any]) -> None:
        """Add the line of one epoch."""
        if self.accelerator.is_main_process:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _advice(folder: Path, options: RunOptions) -> str:
    """What to do where a folder of a new run holds files already; it depends on what holds them."""
    if not (folder / "config.yaml").exists():
        return "they are not those of a run, so choose another folder"
    try:
        changes = option_differences(initial_options(folder, "auto") or {}, saved_options(options))
    except UserError:
        return "choose another folder, as the config.yaml of its run cannot be read"
    if changes:
        listed = "; ".join([*changes[:_MAX_CHANGES], *(["..."] if changes[_MAX_CHANGES:] else [])])
        return f"choose another folder, as its run has other options ({listed})"
    if (folder / FINISHED_FILE).is_file():
        return "choose another folder, as its run is complete"
    if (folder / "results.json").is_file() and (folder / "checkpoints").is_dir():
        return "choose another folder, or write the outputs of its complete run again by resume='auto'"
    return "choose another folder, or go on with that run by resume='auto'"


def short_model_name(model: str) -> str:
    """A short name of a model for the name of a run folder; for ``RUN/model`` it is the name of the run folder."""
    name = model.removeprefix("local-dir:")
    folder = Path(name)
    if os.path.isdir(folder):
        folder = folder.resolve()
        name = folder.parent.name if folder.name == "model" else folder.name
    return name.rpartition(":")[2].replace("/", "_")


def _run_folder_of(checkpoint: Path, output_dir: str | None) -> Path:
    """The run folder that ``checkpoint`` belongs to, in which the run goes on."""
    if not checkpoint.is_dir():
        raise UserError(f"resume={str(checkpoint)!r} is not a folder: give auto, or a folder in checkpoints/ of a run.")
    folder = checkpoint.absolute().parent.parent
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"resume={str(checkpoint)!r} does not belong to a run: give auto, or a folder in checkpoints/ of a run."
        )
    if output_dir is not None and Path(output_dir).resolve() != folder.resolve():
        raise UserError(
            f"resume={str(checkpoint)!r} belongs to the run in {str(folder)!r} and goes on there: leave "
            f"output_dir={output_dir!r} out."
        )
    return Path(output_dir) if output_dir is not None else folder


def run_folder(options: RunOptions, name: str) -> Path:
    """The folder of a new or a resumed run; ``name`` is the name of a fresh folder in ``runs/``.

    Raises:
        UserError: ``resume`` is not a checkpoint of a run, or belongs to another folder than ``output_dir``.
    """
    output = options.output
    if output.resume not in (None, "auto"):
        return _run_folder_of(Path(str(output.resume)), output.output_dir)
    if output.output_dir:
        return Path(output.output_dir)
    folder = fresh_folder(Path("runs") / name)
    if output.resume == "auto":  # the newest existing folder of this name
        number = int(folder.name.rpartition("-")[2]) if folder.name != name else 1
        folder = folder.with_name(name if number < 3 else f"{name}-{number - 1}")
    return folder


def initial_options(folder: Path, resume: str | None) -> dict[str, Any] | None:
    """The options with which the run in ``folder`` began; ``None`` for a new run, empty if its file holds no options.

    Raises:
        UserError: ``config.yaml`` cannot be read.
    """
    config = folder / "config.yaml"
    if resume is None or not config.exists():
        return None
    advice = new_run_advice(resume)
    values = read_yaml(config, str(config), fix=f"{advice[0].upper()}{advice[1:]}.")
    return values if isinstance(values, dict) else {}


def new_run_advice(resume: str | None) -> str:
    """The advice where a run cannot be resumed. It must leave out a named checkpoint, which goes on in its folder."""
    leave_out = "" if resume in (None, "auto") else "leave resume= out and "
    return f"{leave_out}give another output_dir="


def check_same_run(folder: Path, initial: dict[str, Any], options: RunOptions) -> None:
    """Refuse options that would change what the run in ``folder`` computes; ``initial`` are its saved options."""
    changes = option_differences(initial, saved_options(options))
    if changes:
        raise UserError(
            f"The run in {str(folder)!r} cannot be resumed, because it has other options ({'; '.join(changes)}): "
            f"give the same options, or {new_run_advice(options.output.resume)}."
        )


def option_differences(initial: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """``name: BEFORE -> NOW``, with both values, for each option that changes what a resumed run computes."""
    free = set(FREE_ON_RESUME)
    if initial.get("skip_bad_images"):
        free.remove("skip_bad_images")
    if initial.get("groups") == current.get("groups") == "terciles":
        free |= set(THRESHOLDS)  # they follow from the images, which are compared anyway
    # A run of an earlier version lacks newer options; the defaults of these change nothing.
    initial = {**option_defaults(), **initial}
    return [
        f"{name}: {initial.get(name)} -> {value}"
        for name, value in current.items()
        if name not in free and initial.get(name) != value
    ]


def check_layout(folder: Path) -> None:
    """Refuse a folder that has a link, a pipe or the like under the name of a file or folder that is written.

    Somebody else may have made the folder. Writing through a link would change files elsewhere, and opening a pipe
    would wait for ever.

    Raises:
        UserError: The sentence names the link, pipe, device, file or folder.
    """
    for names, has_type, type_name in ((_FILES, stat.S_ISREG, "regular file"), (_FOLDERS, stat.S_ISDIR, "folder")):
        for path in (folder / name for name in names):
            try:
                mode = path.lstat().st_mode
            except OSError:  # it does not exist yet
                continue
            if not has_type(mode):
                if stat.S_ISLNK(mode):
                    raise UserError(
                        f"{path} is a link, and a run does not write through links: replace it by the "
                        f"{type_name} itself."
                    )
                raise UserError(f"{path} is not a {type_name}: move it away.")


def lock_run(folder: Path) -> FolderLock:
    """Lock the folder of a run that is resumed, and remove incomplete files of a killed process.

    Raises:
        UserError: Another process uses the folder, or it holds something that no run writes; see `check_layout`.
    """
    check_layout(folder)
    lock = lock_folder(folder)
    for leftover in (*folder.glob(".writing-*"), *folder.glob("checkpoints/.writing-*")):
        remove(leftover)
    repair_exports(folder)
    return lock


def _write_options(folder: Path, values: dict[str, Any]) -> None:
    try:
        replace_file(folder / "config.yaml", lambda file: yaml.safe_dump(values, file, sort_keys=False))
    except OSError as error:
        raise UserError(f"output_dir={str(folder)!r} cannot be written: {error.strerror or error}.") from error
