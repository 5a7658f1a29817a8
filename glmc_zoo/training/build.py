"""Builds the training loader, the optimiser and the learning rate schedule."""

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
from glmc_zoo.text import counted
from glmc_zoo.training.placement import ImagePlacement

_SECOND_DERIVATIVES = ("adahessian",)  # optimisers that need the graph of the gradients
_WITHOUT_END = ("step", "multistep", "constant")  # schedules that do not end at min_lr


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
    """The loader of the training images.

    Args:
        data: The data set.
        transform: Makes the views of an image.
        placement: Where the images stay, and how many processes load them.
        schedule: Batch size and seed.
        views: Views of each image.
        weights: Weight of each training image for drawing re-balanced partners, (N,); ``None`` for a method without
            partners, whose batches are not pairs.
        processes: Number of processes of the run.

    Raises:
        UserError: A batch of all processes is larger than the training split.
    """
    split, batch_size = data.train, schedule.batch_size
    if batch_size * processes > len(split):
        raise UserError(
            f"batch_size={batch_size}{f' on {processes} processes' if processes > 1 else ''} is larger than the "
            f"training split of {counted(len(split), 'image')}: give at most {len(split) // processes}."
        )
    return train_loader(
        split,
        transform,
        batch_size=batch_size,
        second_weights=weights,
        views=views,
        seed=schedule.seed,
        workers=placement.workers,
        # With several processes a partial last batch is dropped, so that their shares are disjoint and equally long.
        # One process drops only a last batch of one image, which batch-norm cannot use.
        drop_last=processes > 1 or len(split) % batch_size == 1,
        resident_on=placement.resident_on,
    )


def make_optimizer(
    schedule: ScheduleOptions, opt: str, task: nn.Module, groups: list[dict[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """The optimiser: ``sgd`` is plain SGD with weight decay on every parameter, other names are timm's.

    Args:
        schedule: Learning rate, momentum and weight decay.
        opt: Name of the optimiser.
        task: The task whose parameters are trained.
        groups: Parameter groups, each with its weight decay; ``None`` for one group of all trained parameters.

    Raises:
        UserError: timm has no optimiser ``opt``, or cannot build it.
    """
    if opt == "sgd":  # timm's "sgd" is Nesterov
        parameters: list[Any] = [parameter for parameter in task.parameters() if parameter.requires_grad]
        # The fused optimiser updates all parameters in one kernel, which matters for classifiers of many classes.
        return torch.optim.SGD(
            groups or parameters,
            lr=schedule.lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            fused=True,
        )
    names = [str(name) for name in list_optimizers(exclude_filters=["*_*", *_SECOND_DERIVATIVES])]
    if (name := opt.removeprefix("lookahead_")) in _SECOND_DERIVATIVES:
        raise UserError(f"opt={opt!r} needs second derivatives, which no step here computes: give sgd or adamw.")
    if name not in names:
        raise UserError(
            f"opt={opt!r} is unknown: give sgd or a name from timm.optim.list_optimizers().{did_you_mean(opt, names)}"
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
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"opt={opt!r} cannot be built ({reason}): give another, such as sgd or adamw.") from error


def make_scheduler(schedule: ScheduleOptions, optimizer: torch.optim.Optimizer) -> Scheduler:
    """A timm scheduler, whose ``step`` takes the index of the epoch that begins.

    The W epochs of warm-up have the rates ``lr / W``, ``2 lr / W``, ..., ``lr``. The schedule covers the other epochs
    and ends at ``min_lr``. ``step`` and ``multistep`` multiply the rate by 0.1 after 30, 60 and 90 % of these epochs
    (timm's defaults are for 300 epochs), ``poly`` is a straight line, and the others have timm's default shapes.

    Raises:
        UserError: ``sched`` is not one of timm's schedules by epoch, or does not end at a ``min_lr`` that is given.
    """
    if schedule.min_lr and schedule.sched in _WITHOUT_END:
        raise UserError(
            f"min_lr={schedule.min_lr:g} has no effect with sched={schedule.sched!r}, which does not end at it: leave "
            "one of them out."
        )
    warmup = max(schedule.warmup_epochs - 1, 0)  # the last epoch of warm-up is the first of the schedule
    epochs = schedule.epochs - warmup
    shapes: dict[str, dict[str, Any]] = {
        "step": {"decay_epochs": max(round(0.3 * epochs), 1)},
        "multistep": {"decay_milestones": [round(share * epochs) for share in (0.3, 0.6, 0.9)]},
        "poly": {"decay_rate": 1.0},  # of this schedule it is the power
    }
    try:
        scheduler: Scheduler | None = create_scheduler_v2(
            optimizer,
            sched=schedule.sched,
            num_epochs=epochs,
            min_lr=schedule.min_lr,
            warmup_epochs=warmup,
            warmup_lr=schedule.lr / (warmup + 1),
            warmup_prefix=True,
            **shapes.get(schedule.sched, {}),
        )[0]
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(
            f"sched={schedule.sched!r} cannot be built ({str(error).rstrip('.')}): give cosine, step or poly."
        ) from error
    if scheduler is None or schedule.sched == "plateau":
        raise UserError(f"sched={schedule.sched!r} is not a timm schedule by epoch: give cosine, step or poly.")
    return scheduler
