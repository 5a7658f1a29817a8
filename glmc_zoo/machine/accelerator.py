"""The `Accelerator` of a run, as the user configured it."""

import os
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, InitProcessGroupKwargs, LoggerType, ProjectConfiguration

from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.machine.hardware import best_precision, configure_device


def make_accelerator(
    *,
    mixed_precision: str | None = None,
    threads: int | None = None,
    grad_accum_steps: int = 1,
    tracker: str | None = None,
) -> Accelerator:
    """Make an Accelerator as ``accelerate config`` or the launcher configured it. The arguments override that.

    Args:
        mixed_precision: ``no``, ``bf16``, ``fp16``, or ``auto`` for bf16 where the device computes it in hardware.
        threads: Threads of torch in this process; ``None`` as `cpu_threads` decides.
        grad_accum_steps: Batches that make one optimiser step.
        tracker: Name of a tracker of Accelerate, or ``all``.

    Raises:
        UserError: The tracker is unknown or not installed, the precision does not fit the device, or Accelerate is
            configured for anything but one process or data parallelism on CPUs or GPUs.
    """
    if tracker is not None:
        _check_tracker(tracker)
    precision = best_precision(os.environ) if mixed_precision == "auto" else mixed_precision
    # Accelerate keeps precision and accumulation in singletons, so a second run in a notebook would inherit those of
    # the first. With several processes the state stays, because the process group outlives it.
    if not PartialState._shared_state or PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=grad_accum_steps,
            log_with=tracker,
            # Trackers that write files need a folder here. The run replaces it after it has locked its run folder.
            project_config=ProjectConfiguration(logging_dir="."),
            # The other processes wait while the main one prepares a data set, which can exceed the default timeout.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=3))],
        )
    except ValueError as error:
        raise UserError(f"Accelerate refuses the options: {' '.join(str(error).split())}") from error
    distributed_type = accelerator.distributed_type
    if distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UserError(
            f"The distributed type {distributed_type.value} of `accelerate config` is not supported: choose one "
            "process (NO) or data parallelism (MULTI_GPU or MULTI_CPU) there."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("mixed_precision='fp16' needs a GPU: give 'bf16' or 'no' on a CPU.")
    configure_device(accelerator.device, threads)
    return accelerator


def tracker_options(folder: Path) -> dict[str, dict[str, str]]:
    """Return the options of each tracker: the name of the run, and a folder for its logs inside the run folder."""
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
    # Accelerate silently ignores a tracker that is not installed.
    names = [str(tracker) for tracker in LoggerType.list()]
    if name not in names:
        raise UserError(f"tracker={name!r} is unknown: choose one of {', '.join(names)}.{did_you_mean(name, names)}")
    if name != "all" and name not in [str(tracker) for tracker in get_available_trackers()]:
        raise UserError(
            f"tracker={name!r} needs a package that is not installed: pip install {name}. The extra "
            "glmc_zoo[trackers] installs tensorboard, trackio and wandb."
        )
