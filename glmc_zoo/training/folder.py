"""The run folder: which run it belongs to, and what is written there line by line."""

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from glmc_zoo.errors import UserError
from glmc_zoo.files import claim_folder, fresh_folder, replace_file
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.options.run import RunOptions, saved

# A resumed run may differ in these from the run that was interrupted: they do not change what is computed.
FREE_ON_RESUME = frozenset(
    {
        *("output_dir", "resume", "workers", "data_dir", "tracker", "threads", "resident", "profile"),
        *("keep_checkpoints", "checkpoint_every", "checkpoint_steps", "license", "export_half", "export_encoder"),
    }
)


class RunFolder:
    """The folder ``output_dir``, or a fresh one called ``name`` below ``runs/``, claimed for one run.

    A folder that holds anything is another run's, unless ``resume`` says that it is this one and its ``config.yaml``
    agrees in everything that changes the result. A refusal touches nothing in it.
    """

    def __init__(self, accelerator: Accelerator, options: RunOptions, name: str) -> None:
        self.accelerator = accelerator
        self.path = Path(on_main_process(accelerator, lambda: str(_claim(options, name))))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File with one JSON line for each epoch."""
        return self.path / "metrics.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """The epochs written so far."""
        if not self.metrics.exists():
            return []
        rows = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # a killed run may leave half a line
                rows.append(json.loads(line))
        return rows

    def keep_epochs(self, finished: int) -> None:
        """Drop the lines of epochs that a resumed run will repeat."""
        if self.accelerator.is_main_process and self.metrics.exists():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["epoch"] < finished]
            replace_file(self.metrics, lambda file: file.writelines(kept))

    def append(self, row: dict[str, Any]) -> None:
        """Add one epoch's line."""
        if self.accelerator.is_main_process:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def short_model_name(model: str) -> str:
    """A model in one word, for the name of a run folder: of a folder, the last part that means something."""
    name = model.removeprefix("local-dir:")
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        name = folder.parent.name if folder.name == "model" else folder.name
    return name.rpartition(":")[2].replace("/", "_")


def _folder_of(checkpoint: Path, output_dir: str | None) -> Path:
    """Folder of the run that ``checkpoint`` belongs to: the run goes on there, with its options to compare."""
    if not checkpoint.is_dir():
        raise UserError(f"resume={str(checkpoint)!r} is not a folder; give 'auto' or a folder below checkpoints/.")
    folder = checkpoint.absolute().parent.parent
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"resume={str(checkpoint)!r} does not belong to a run; give 'auto' or a folder below a run's checkpoints/."
        )
    if output_dir is not None and Path(output_dir).resolve() != folder.resolve():
        raise UserError(
            f"resume={str(checkpoint)!r} belongs to the run in {str(folder)!r} and goes on there; leave "
            f"output_dir={output_dir!r} out."
        )
    return Path(output_dir) if output_dir is not None else folder


def _claim(options: RunOptions, name: str) -> Path:
    output, values = options.output, saved(options)
    if output.resume not in (None, "auto"):
        folder = _folder_of(Path(str(output.resume)), output.output_dir)
    elif output.output_dir:
        folder = Path(output.output_dir)
    else:
        folder = fresh_folder(Path("runs") / name)
        if output.resume == "auto":  # the newest of this name
            number = int(folder.name.rpartition("-")[2]) if folder.name != name else 1
            folder = folder.with_name(name if number < 3 else f"{name}-{number - 1}")
    config = folder / "config.yaml"
    if output.resume is not None and config.exists():
        _check_same_run(folder, config, values)
        return folder
    if folder.is_file():
        raise UserError(f"output_dir={str(folder)!r} is a file; name a folder.")
    advice = "choose another folder, or go on with that run by resume='auto'"
    claim_folder(folder, advice if config.exists() else "they are not a run's, so choose another folder")
    try:
        replace_file(config, lambda file: yaml.safe_dump(values, file, sort_keys=False))
    except OSError as error:
        raise UserError(f"output_dir={str(folder)!r} cannot be written: {error.strerror or error}.") from error
    return folder


def _check_same_run(folder: Path, config: Path, values: dict[str, Any]) -> None:
    try:
        before = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"{config} cannot be read: {' '.join(str(error).split())}; give another output_dir=."
        ) from error
    changes = differing(before if isinstance(before, dict) else {}, values)
    if changes:
        raise UserError(
            f"The run in {str(folder)!r} cannot be resumed, it was configured differently ({'; '.join(changes)}): "
            "give the same options, or another output_dir=."
        )


def differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """``name: before -> now`` for each option that changes what a resumed run computes."""
    return [
        f"{name}: {before.get(name)} -> {value}"
        for name, value in now.items()
        if name not in FREE_ON_RESUME and before.get(name) != value
    ]
