"""The run's folder: whose it is, and what is written there line by line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from glmc_zoo.engine.config import TrainConfig, differing_fields, save_config
from glmc_zoo.engine.finetune import FinetuneConfig
from glmc_zoo.engine.options import load_config_file
from glmc_zoo.engine.second_stage import SecondStageConfig
from glmc_zoo.errors import UserError

__all__ = ["RunFolder", "main_process_first", "on_main_process", "own_share", "write_json"]

_T = TypeVar("_T")


def on_main_process(accelerator: Accelerator, function: Callable[[], Any]) -> Any:
    """Result of ``function()`` run by the main process alone, given to all; a `UserError` is raised in all."""
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = function()
        except UserError as error:
            answer[1] = str(error)
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise UserError(answer[1])
    return answer[0]


def main_process_first(accelerator: Accelerator, function: Callable[[], _T]) -> _T:
    """Result of ``function()``, run by all processes, the main one first; its `UserError` is raised in all.

    With Accelerate's context manager of this name the others would wait for ever for a main process that failed.
    """
    results: list[_T] = []
    on_main_process(accelerator, lambda: results.append(function()))
    return results[0] if results else function()


def own_share(loader: Iterable[_T], accelerator: Accelerator) -> Iterator[_T]:
    """The batches of this process; a picture that cannot be read is told here, for no other process meets it."""
    try:
        yield from loader
    except UserError as error:
        if not accelerator.is_main_process:
            print(f"{Path(sys.argv[0]).name}: error: {error.sentence}", file=sys.stderr)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that ``path`` holds the old text or the new one, never half of it."""
    scrap = path.with_name(f".writing-{path.name}")
    scrap.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    scrap.replace(path)


class RunFolder:
    """The folder ``--output-dir``, claimed for one run by all its processes.

    A folder that holds anything is another run's, unless ``--resume`` says that it is this one and its ``config.yaml``
    agrees in everything that changes the result.

    Raises:
        UserError: The folder is taken, or the configurations differ; nothing in it is touched.
    """

    def __init__(self, accelerator: Accelerator, config: TrainConfig) -> None:
        self.accelerator = accelerator
        self.path = Path(on_main_process(accelerator, lambda: str(_claim(config))))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
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
        """Drop the lines of epochs that a resumed run will do again."""
        if self.accelerator.is_main_process and self.metrics.exists():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["epoch"] < finished]
            scrap = self.metrics.with_name(".writing-metrics.jsonl")
            scrap.write_text("".join(kept), encoding="utf-8")
            scrap.replace(self.metrics)

    def append(self, row: dict[str, Any]) -> None:
        """Add one epoch's line."""
        if self.accelerator.is_main_process:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _default_folder(config: TrainConfig) -> Path:
    data = Path(config.data).name or "data"
    base = Path("runs") / f"{_start_of(config)}.{config.method}_{data}.seed{config.seed}"
    taken = [base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 10_000))]
    free = next(i for i, path in enumerate(taken) if not path.exists())
    return taken[max(free - 1, 0)] if config.resume == "auto" else taken[free]


def _start_of(config: TrainConfig) -> str:
    """The backbone, or what is fine-tuned: of a folder its last part that tells something."""
    if not isinstance(config, FinetuneConfig):
        return str(config.backbone).replace(":", "_").replace("/", "_")
    name = str(config.model).removeprefix("local-dir:")
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        name = folder.parent.name if folder.name == "model" else folder.name
    stage = "second_stage" if isinstance(config, SecondStageConfig) else "finetuned"
    return f"{name.rpartition(':')[2].replace('/', '_')}.{stage}"


def _folder_of(checkpoint: Path, output_dir: str | None) -> Path:
    """Folder of the run that ``checkpoint`` belongs to: the run goes on there, with its configuration to compare."""
    if not checkpoint.is_dir():
        raise UserError(f"--resume {str(checkpoint)!r} is no folder; give 'auto' or a folder below checkpoints/.")
    folder = checkpoint.absolute().parent.parent
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"--resume {str(checkpoint)!r} belongs to no run; give 'auto' or a folder below a run's checkpoints/."
        )
    if output_dir is not None and Path(output_dir).resolve() != folder.resolve():
        raise UserError(
            f"--resume {str(checkpoint)!r} belongs to the run in {str(folder)!r} and goes on there; "
            f"leave --output-dir {output_dir} out."
        )
    return Path(output_dir) if output_dir is not None else folder


def _claim(config: TrainConfig) -> Path:
    if config.resume not in (None, "auto"):
        folder = _folder_of(Path(str(config.resume)), config.output_dir)
    else:
        folder = Path(config.output_dir) if config.output_dir else _default_folder(config)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {str(folder)!r} is a file; name a folder.")
    holds = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    saved = folder / "config.yaml"
    if holds and config.resume is None:
        raise UserError(
            f"--output-dir {str(folder)!r} already holds files ({', '.join(holds[:3])}{', ...' if holds[3:] else ''}); "
            "choose another folder, or go on with that run by --resume auto."
        )
    if holds and not saved.exists():
        raise UserError(f"--output-dir {str(folder)!r} holds files but no config.yaml of a run; choose another folder.")
    if saved.exists():
        differing = differing_fields(load_config_file(saved, type(config)), config)
        if differing:
            raise UserError(
                f"--resume: the run in {str(folder)!r} was configured differently ({'; '.join(differing)}); "
                "give the same options, or another --output-dir."
            )
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_config(dataclasses.replace(config, output_dir=None, resume=None), saved)
    except OSError as error:
        raise UserError(f"--output-dir {str(folder)!r} cannot be written: {error.strerror or error}.") from error
    return folder
