"""What feeds and updates the network: loader, optimiser, schedule."""

from collections.abc import Callable
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.utils.data import DataLoader

from glmc_zoo.data import LongTailData, train_loader
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.training.placement import ImagePlacement


def make_train_loader(
    data: LongTailData,
    transform: Callable[..., Any],
    placement: ImagePlacement,
    schedule: ScheduleOptions,
    *,
    views: int,
    weights: torch.Tensor | None,
    processes: int,
) -> DataLoader[Any]:
    """A loader of the images at ``placement``: pairs of batches for a method with partners, else single batches."""
    split, batch_size = data.train, schedule.batch_size
    if batch_size * processes > len(split):
        raise UserError(
            f"batch_size={batch_size}{f' on {processes} processes' if processes > 1 else ''} is larger than the "
            f"training set of {len(split)} images; give at most {len(split) // processes}."
        )
    return train_loader(
        split,
        transform,
        batch_size=batch_size,
        second_weights=weights,
        views=views,
        seed=schedule.seed,
        workers=placement.workers,
        # Several processes: dropping the tail keeps their shards disjoint and of equal length. One process: only a
        # last batch of a single image is dropped, which batch-norm cannot use.
        drop_last=processes > 1 or len(split) % batch_size == 1,
        resident_on=placement.resident_on,
    )


def make_optimizer(
    schedule: ScheduleOptions, opt: str, task: nn.Module, groups: list[dict[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """Plain SGD with weight decay on every parameter, as published, or any optimiser of timm by name.

    ``groups`` are parameter groups of the task, each with its weight decay, instead of one group of all.
    """
    if opt == "sgd":  # timm's "sgd" is Nesterov
        trained: list[Any] = [parameter for parameter in task.parameters() if parameter.requires_grad]
        # One kernel updates all of them: with thousands of classes the classifiers make this a good part of a step.
        return torch.optim.SGD(
            groups or trained,
            lr=schedule.lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            fused=True,
        )
    if opt.split("_")[-1] not in (known := [str(n) for n in list_optimizers(exclude_filters=["*_*"])]):
        raise UserError(
            f"opt={opt!r} is unknown: it must be one of timm.optim.list_optimizers().{did_you_mean(opt, known)}"
        )
    try:
        return create_optimizer_v2(
            groups or task,
            opt=opt,
            lr=schedule.lr,
            weight_decay=schedule.weight_decay,
            momentum=schedule.momentum,
            filter_bias_and_bn=False,
        )
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"opt={opt!r} is refused: {' '.join(str(error).split())}.") from error


def make_scheduler(schedule: ScheduleOptions, optimizer: torch.optim.Optimizer) -> Scheduler:
    """A timm scheduler, to be stepped with the number of the epoch that begins.

    Warm-up of W epochs runs at ``lr / W``, ``2 lr / W``, ..., ``lr``; the schedule then covers the rest and ends on
    ``min_lr``.
    """
    rising = max(schedule.warmup_epochs - 1, 0)  # the last epoch of warm-up is the schedule's first
    try:
        scheduler: Scheduler | None = create_scheduler_v2(
            optimizer,
            sched=schedule.sched,
            num_epochs=schedule.epochs - rising,
            min_lr=schedule.min_lr,
            warmup_epochs=rising,
            warmup_lr=schedule.lr / (rising + 1),
            warmup_prefix=True,
        )[0]
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(
            f"sched={schedule.sched!r} is refused: {str(error).rstrip('.')}; give cosine, step or poly."
        ) from error
    if scheduler is None or schedule.sched == "plateau":
        raise UserError(f"sched={schedule.sched!r} is not one of timm's schedules by epoch, e.g. cosine, step, poly.")
    return scheduler
