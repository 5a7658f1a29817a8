"""Decides where the training images stay: all on the device, or loaded batch by batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.feeding.resident import LARGEST_RESIDENT_SIDE, RESIDENT_SHARE, free_memory, resident_bytes
from glmc_zoo.errors import UserError
from glmc_zoo.machine.hardware import loading_workers, reserve_worker_cores
from glmc_zoo.machine.processes import local_processes
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.options.machine import MachineOptions


class ImagePlacement(NamedTuple):
    """Where the training images stay, and how they are loaded."""

    resident_on: torch.device | None
    """The device that holds all decoded images; ``None`` where each batch is copied there."""
    workers: int
    """Number of processes that load images."""


def place_images(
    split: ImageSplit,
    transform: Callable[..., Any],
    device: torch.device,
    machine: MachineOptions,
    images: ImageOptions,
) -> ImagePlacement:
    """Decide where the training images stay, and reserve CPU cores for the workers.

    Args:
        split: The training images.
        transform: The training transform.
        device: The device of this process.
        machine: Its ``resident`` is ``None`` to decide by the free memory.
        images: Its ``workers`` is ``None`` to decide by the number of cores.

    Raises:
        UserError: ``resident=True`` is not possible for these images, or the memory is too small.
    """
    workers = loading_workers(images.workers, split.pixels is not None, device)
    reserve_worker_cores(workers, device, machine.threads)
    required, free = resident_bytes(split, transform), free_memory(device)
    if required is None:
        if machine.resident:
            raise UserError(
                "resident=True keeps decoded images of at most 64 pixels a side on the device, with "
                "augment='crop_flip' or 'shift', and the images of this run are read anew in each epoch: leave it out."
            )
        return ImagePlacement(None, workers)
    fits = _fits_device(required, free, device, resident=machine.resident, image_size=images.image_size or 0)
    return ImagePlacement(device if fits else None, workers)


def _fits_device(required: int, free: int, device: torch.device, *, resident: bool | None, image_size: int) -> bool:
    """Whether the images stay on the device. Without ``resident=True``, only small images that take little memory."""
    is_untested = device.type not in ("cpu", "cuda") or image_size > LARGEST_RESIDENT_SIDE
    if resident is False or (resident is None and is_untested):
        return False
    # On a CPU each process holds a copy in the same memory.
    copies = local_processes() if device.type == "cpu" else 1
    if required * copies <= (1.0 if resident else RESIDENT_SHARE) * free:
        return True
    if resident:
        raise UserError(
            f"resident=True needs {required * copies / 2**20:,.0f} MiB for the training images, and "
            f"{free / 2**20:,.0f} MiB are free on {device}: leave it out."
        )
    return False
