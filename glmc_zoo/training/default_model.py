"""Chooses the model of a fine-tuning with ``model="auto"``; the run stores the choice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from glmc_zoo.hub.load.default import choose_default, default_note
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions
from glmc_zoo.training.folder import initial_options
from glmc_zoo.training.resumption import resumed_options


def with_default_model(accelerator: Accelerator, options: RunOptions) -> tuple[RunOptions, list[str]]:
    """Replace ``model="auto"`` in the options by the name of a model.

    Returns the options and a list with a note on the choice, which is empty if the user named a model. A resumed run
    keeps the model that it began with, whether the Hub can be reached or not.

    Raises:
        UserError: No default model can be read. It is raised in all processes.
    """
    stage = options.stage
    if not isinstance(stage, FinetuneStage | HeadStage) or stage.model.model != "auto":
        return options, []
    name = on_main_process(accelerator, lambda: (_options_to_resume(options) or {}).get("model") or choose_default())
    resolved_stage = replace(stage, model=replace(stage.model, model=name))
    return replace(options, stage=resolved_stage), [default_note(name)]


def _options_to_resume(options: RunOptions) -> dict[str, Any] | None:
    """The options of the resumed run; without ``output_dir``, of the newest fine-tuning of this data set in runs/."""
    output = options.output
    if output.resume != "auto" or output.output_dir:
        return resumed_options(options)
    configs = Path("runs").glob("*.finetuned.*/config.yaml")
    for config in sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True):
        initial = initial_options(config.parent, "auto")
        if initial and initial.get("data") == options.data.data:
            return initial
    return None
