"""The `Accelerator` of a run, as the user configured it."""

import os
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, InitProcessGroupKwargs, LoggerType, ProjectConfiguration

from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.machine.hardware import best_precision, use_device


def make_accelerator(
    *,
    mixed_precision: str | None = None,
    threads: int | None = None,
    grad_accum_steps: int = 1,
    tracker: str | None = None,
) -> Accelerator:
    """Accelerate as the user configured it; only what is given here is overridden.

    ``mixed_precision="auto"`` takes bf16 where the device has it. A tracker that is missing, or a precision that does
    not fit the device, is refused.
    """
    if tracker is not None:
        _check_tracker(tracker)
    precision = best_precision(os.environ) if mixed_precision == "auto" else mixed_precision
    # Accelerate keeps precision and accumulation in singletons. In a notebook, a second run would inherit the first's.
    # With several processes, the process group outlives the state.
    if not PartialState._shared_state or PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=grad_accum_steps,
            log_with=tracker,
            # Trackers that write files ask for a folder now; the run sets its own once it has claimed one.
            project_config=ProjectConfiguration(logging_dir="."),
            # The others wait while the main process prepares a data set, which takes longer than the default.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=3))],
        )
    except ValueError as error:
        raise UserError(f"Accelerate refuses the options: {' '.join(str(error).split())}") from error
    kind = accelerator.distributed_type
    if kind not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UserError(
            f"`accelerate config` asks for {kind.value}, which splits the model; glmc_zoo runs in one process or with "
            "data parallelism (MULTI_GPU, MULTI_CPU)."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("mixed_precision='fp16' needs a GPU; on a CPU give bf16 or no.")
    use_device(accelerator.device, threads)
    return accelerator


def tracker_options(folder: Path) -> dict[str, dict[str, str]]:
    """Options of each tracker of Accelerate that has them: the name of the run, and a place inside its folder."""
    name, logs = folder.name, str(folder / "logs")
    return {
        "wandb": {"name": name, "dir": str(folder)},
        "trackio": {"name": name},
        "mlflow": {"run_name": name, "logging_dir": logs},
        "clearml": {"task_name": name},
        "dvclive": {"dir": logs},
        "swanlab": {"experiment_name": name, "logdir": logs},
    }


def _check_tracker(name: str) -> None:
    # Accelerate leaves a tracker that is not installed out silently.
    known = [str(kind) for kind in LoggerType.list()]
    if name not in known:
        raise UserError(f"tracker={name!r} is unknown: choose one of {', '.join(known)}.{did_you_mean(name, known)}")
    if name != "all" and name not in [str(kind) for kind in get_available_trackers()]:
        raise UserError(f"tracker={name!r} needs a package that is not installed: pip install {name}.")
