"""What a run takes of its machine: threads, precision, and how batches reach the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import recursively_apply, send_to_device

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.encoded import check_encoded_fits, keep_encoded
from glmc_zoo.data.resident import LARGEST_RESIDENT_SIDE, RESIDENT_SHARE, free_memory, resident_bytes
from glmc_zoo.data.workers import default_workers
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.memory import keep_freed_memory
from glmc_zoo.engine.output import on_main_process
from glmc_zoo.errors import UserError

__all__ = [
    "ImagePlace",
    "Transfer",
    "best_precision",
    "cpu_threads",
    "hardware_text",
    "keep_images_in_memory",
    "loading_workers",
    "own_cores",
    "place_images",
    "resident_device",
    "use_device",
]


def own_cores() -> int:
    """Physical cores that this process may run on."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def cpu_threads(asked: int | None, environment: Mapping[str, str], cores: int) -> int | None:
    """Threads of one training process on a CPU; ``None`` leaves them as they are.

    Launchers set ``OMP_NUM_THREADS=1`` where the user says nothing, which leaves all cores but one idle; so this value
    counts as said only without a launcher. The cores are shared evenly by the processes of a machine.

    Args:
        asked: What ``--threads`` says.
        environment: Of the process.
        cores: Of the machine.
    """
    if asked is not None:
        return asked
    launched = "LOCAL_WORLD_SIZE" in environment or "ACCELERATE_MIXED_PRECISION" in environment
    said = environment.get("OMP_NUM_THREADS")
    if said is not None and not (launched and said == "1"):
        return None
    return max(1, cores // int(environment.get("LOCAL_WORLD_SIZE", "1")))


def use_device(device: torch.device, threads: int | None) -> None:
    """Set threads (``None``: as `cpu_threads` says) and what else a device is faster with, for the whole process."""
    if device.type == "cpu":
        keep_freed_memory()
        threads = cpu_threads(threads, os.environ, own_cores())
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all batches of a run have one shape


def best_precision(environment: Mapping[str, str]) -> str:
    """``bf16`` where the device that Accelerate will take multiplies it in hardware, else ``no``."""
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
    if torch.cuda.is_available() and not on_cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if torch.backends.mps.is_available() and not on_cpu:
        return "no"
    # torch emulates bf16 on other CPUs, slower than single precision.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "no"


def resident_device(
    config: TrainConfig, split: ImageSplit, transform: Callable[..., Any], device: torch.device
) -> torch.device | None:
    """Where the training images stay for the whole run: ``device``, or nowhere, so that each batch is copied there.

    Unasked they stay when they are small and take a modest share of the memory that is free (`RESIDENT_SHARE`).

    Raises:
        UserError: ``--resident`` asks for what cannot be done.
    """
    needed = resident_bytes(split, transform)
    if needed is None:
        if config.resident:
            raise UserError(
                "--resident keeps decoded pictures of at most 64 pixels a side, augmented by crop_flip or shift; these "
                f"({config.augment}) are read anew in each epoch: leave it out."
            )
        return None
    unusual = device.type not in ("cpu", "cuda") or (config.image_size or 0) > LARGEST_RESIDENT_SIDE
    if config.resident is None and unusual:
        return None
    share = 1.0 if config.resident else RESIDENT_SHARE
    # On a CPU all processes of the machine draw on the same memory.
    copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1
    free = free_memory(device)
    if config.resident is False or needed * copies > share * free:
        if config.resident:
            raise UserError(
                f"--resident needs {needed * copies / 2**20:,.0f} MiB for the training images, and {free / 2**20:,.0f} "
                f"MiB are free on {device}: leave it out."
            )
        return None
    return device


def keep_images_in_memory(split: ImageSplit, accelerator: Accelerator) -> None:
    """Read the files of the training images into memory, in each process for itself.

    Raises:
        UserError: as of `check_encoded_fits`, in all processes, and of `keep_encoded`.
    """
    copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Asked by one process before any of them reads: what the others had taken by then would be counted twice.
    on_main_process(accelerator, lambda: check_encoded_fits(split, copies))
    keep_encoded(split, progress=accelerator.is_main_process)


def loading_workers(asked: int | None, decoded: bool, device: torch.device) -> int:
    """What ``--workers`` says, or as many as `default_workers` gives this machine."""
    if asked is not None:
        return asked
    return default_workers(decoded, device.type, own_cores(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class ImagePlace(NamedTuple):
    """Where a run has its training images."""

    resident_on: torch.device | None
    """The device that they stay on, decoded; ``None`` where each batch is copied there."""
    workers: int
    """Processes that load them."""


def place_images(
    config: TrainConfig, split: ImageSplit, transform: Callable[..., Any], accelerator: Accelerator
) -> ImagePlace:
    """Put the training images where ``config`` and the machine have them, and leave the workers their cores.

    Raises:
        UserError: as of `resident_device` and `keep_images_in_memory`.
    """
    device = accelerator.device
    workers = loading_workers(config.workers, split.pixels is not None, device)
    threads = cpu_threads(None, os.environ, own_cores()) if device.type == "cpu" and config.threads is None else None
    if threads is not None and workers:
        torch.set_num_threads(max(1, threads - workers))  # more would fight over the cores
    resident_on = resident_device(config, split, transform, device)
    if config.images_in_memory:
        keep_images_in_memory(split, accelerator)
    return ImagePlace(resident_on, workers)


def hardware_text(accelerator: Accelerator, place: ImagePlace) -> str:
    """Device, threads, precision and where the training images lie, in words."""
    device = accelerator.device
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    workers = f", {place.workers} workers" if place.workers else ""
    precision = "single precision" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    kept = "" if place.resident_on is None else "; training images kept on the device"
    return f"{device}{threads}{workers}, {precision}{kept}"


class Transfer:
    """Brings batches to the device; on CUDA on a stream of its own, so that it goes on beside the step before.

    Args:
        device: Of the run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Any) -> Any:
        """``batch`` with its tensors on the device, for use on the current stream; pinned ones are not waited for."""
        if self._stream is None:
            return send_to_device(batch, self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            moved = send_to_device(batch, self.device, non_blocking=True)
        current.wait_stream(self._stream)

        def used_here(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(current)  # its memory is not handed out anew before the step is through with it
            return tensor

        return recursively_apply(used_here, moved)
