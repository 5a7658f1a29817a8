"""The model that is fine-tuned where ``model`` is ``auto``: decided once, and stored with the run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from glmc_zoo.hub.load.default import choose_default, default_note
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions
from glmc_zoo.training.folder import options_before
from glmc_zoo.training.resumption import options_of_resumed


def settle_model(accelerator: Accelerator, options: RunOptions) -> tuple[RunOptions, list[str]]:
    """The options with a named model, and a note on the choice where there was one.

    A run that is resumed goes on from its own model, whether or not the Hub can be reached by now.

    Raises:
        UserError: No default model can be read; in all processes.
    """
    stage = options.stage
    if not isinstance(stage, FinetuneStage | HeadStage) or stage.model.model != "auto":
        return options, []
    name = on_main_process(accelerator, lambda: (_options_of_run(options) or {}).get("model") or choose_default())
    settled = replace(stage, model=replace(stage.model, model=name))
    return replace(options, stage=settled), [default_note(name)]


def _options_of_run(options: RunOptions) -> dict[str, Any] | None:
    """The options of the run that is resumed; without a folder, of the newest fine-tuning of this data set."""
    output = options.output
    if output.resume != "auto" or output.output_dir:
        return options_of_resumed(options)
    configs = Path("runs").glob("*.finetuned.*/config.yaml")
    for config in sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True):
        before = options_before(config.parent, "auto")
        if before and before.get("data") == options.data.data:
            return before
    return None
