"""Checks that the disk has room for a checkpoint before a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glmc_zoo.disk import check_free_space
from glmc_zoo.machine.processes import on_main_process

if TYPE_CHECKING:
    from glmc_zoo.training.run import TrainingRun

_MARGIN = 1.05  # for random states, manifests and unused parts of disk blocks


def check_space(run: TrainingRun) -> None:
    """Refuse a run whose first checkpoint does not fit on the disk.

    Raises:
        UserError: Too little is free; the sentence names the folder and the size. It is raised in all processes.
    """
    if run.options.output.dry_run:
        return
    size = checkpoint_bytes(run)
    on_main_process(run.accelerator, lambda: check_free_space(run.folder.path, size))


def checkpoint_bytes(run: TrainingRun) -> int:
    """Estimated bytes of a checkpoint: weights, state of the optimiser, moving average and best epoch."""
    weights = _bytes(run.task.state_dict().values())
    average_copies = 0 if run.ema is None else 1
    best_copies = 1 if run.options.output.select == "best" else 0
    state = sum(_state_tensors(group) * _bytes(group["params"]) for group in run.optimizer.param_groups)
    return int(_MARGIN * (weights * (1 + average_copies + best_copies) + state))


def _state_tensors(group: dict[str, Any]) -> int:
    """Estimated number of optimiser state tensors for each parameter: 2 with betas (Adam), 1 with momentum, else 0."""
    if "betas" in group:
        return 2
    return 1 if group.get("momentum") else 0


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)
