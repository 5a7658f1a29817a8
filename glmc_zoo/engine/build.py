"""From a resolved configuration to the objects of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask, TrainingTask
from torch import nn

from glmc_zoo.data import LongTailData
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.method import BalancedSoftmaxLoss, GLMCModel, GLMCTask, check_backbone, create_backbone, native_size

__all__ = ["InputSpec", "input_spec", "make_accelerator", "make_optimizer", "make_scheduler", "make_task"]


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the network is fed: side in pixels, statistics of the three channels in 0 to 1, how images are resized."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float
    augment: str


def make_accelerator(config: TrainConfig, project_dir: str | None = None) -> Accelerator:
    """Accelerate as the user configured it; only what this run says by itself is overridden."""
    try:
        return Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.grad_accum_steps,
            log_with=config.tracker,
            project_dir=project_dir,
        )
    except ValueError as error:
        raise UserError(f"Accelerate refuses the options: {' '.join(str(error).split())}") from error


def input_spec(config: TrainConfig, data: LongTailData) -> InputSpec:
    """Size, statistics and interpolation: from the options, else the data set, else the backbone's configuration."""
    import timm

    assert config.backbone is not None
    source: dict[str, Any] = {}
    if ":" not in config.backbone:
        native = native_size(config.backbone)
        source = timm.get_pretrained_cfg(config.backbone).to_dict()
    else:
        native = 224
    # Pretrained weights expect the statistics they were trained with; from scratch the data's own are better.
    own = None if config.pretrained else data.mean
    mean = own or source.get("mean") or timm.data.IMAGENET_DEFAULT_MEAN
    std = (data.std if own else source.get("std")) or timm.data.IMAGENET_DEFAULT_STD
    size = config.image_size or data.image_size or native
    augment = config.augment or data.augment or ("large" if size >= 64 else "crop_flip")
    return InputSpec(
        size=size,
        mean=tuple(mean),
        std=tuple(std),
        interpolation=str(source.get("interpolation") or "bicubic"),
        crop_pct=0.875 if augment == "large" else 1.0,
        augment=augment,
    )


def make_task(config: TrainConfig, data: LongTailData, spec: InputSpec) -> TrainingTask:
    """The model inside the task of ``config.method``; GLMC and the baselines share backbone, data and schedule."""
    assert config.backbone is not None and config.epochs is not None
    classes = len(data.class_names)
    kwargs: dict[str, Any] = {"drop_rate": config.drop_rate} if config.drop_rate else {}
    if config.drop_path_rate is not None:
        kwargs["drop_path_rate"] = config.drop_path_rate
    if config.method != "glmc":
        model = create_backbone(
            config.backbone, classes, pretrained=config.pretrained, image_size=spec.size, **kwargs
        )
        check_backbone(model, spec.size)
        balanced = config.method == "balanced_softmax"
        criterion: nn.Module = BalancedSoftmaxLoss(data.class_counts) if balanced else nn.CrossEntropyLoss()
        return ClassificationTask(model, criterion=criterion, verbose=False)
    return GLMCTask(
        GLMCModel(
            config.backbone,
            classes,
            projection_dim=config.projection_dim,
            pretrained=config.pretrained,
            image_size=spec.size,
            **kwargs,
        ),
        class_counts=data.class_counts,
        epochs=config.epochs,
        consistency_weight=config.consistency_weight,
        class_weight_power=config.class_weight_power,
        rebalanced_loss=config.rebalanced_loss,
        reduction=config.reduction,
        beta=config.beta,
        correct_lam=config.correct_lam,
        joint_views=config.joint_views,
        verbose=False,
    )


def make_optimizer(config: TrainConfig, task: nn.Module) -> torch.optim.Optimizer:
    """Plain SGD with weight decay on every parameter, as published, or any optimiser of timm by name."""
    if config.opt == "sgd":  # timm's "sgd" is Nesterov
        return torch.optim.SGD(
            task.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    if config.opt.split("_")[-1] not in (known := list_optimizers(exclude_filters=["*_*"])):
        raise UserError(
            f"Unknown optimiser {config.opt!r}: it must be one of timm.optim.list_optimizers()."
            f"{did_you_mean(config.opt, known)}"
        )
    return create_optimizer_v2(
        task,
        opt=config.opt,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=False,
    )


def make_scheduler(config: TrainConfig, optimizer: torch.optim.Optimizer) -> Any:
    """A timm scheduler, to be stepped with the number of the epoch that begins.

    Warm-up of W epochs runs at ``lr / W``, ``2 lr / W``, ..., ``lr``; the schedule then covers the rest and ends on
    ``min_lr``.
    """
    assert config.lr is not None and config.epochs is not None
    rising = max((config.warmup_epochs or 0) - 1, 0)  # the last epoch of warm-up is the schedule's first
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=config.sched,
            num_epochs=config.epochs - rising,
            min_lr=config.min_lr,
            warmup_epochs=rising,
            warmup_lr=config.lr / (rising + 1),
            warmup_prefix=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(f"--sched {config.sched} is refused: {error}.") from error
    if scheduler is None or config.sched == "plateau":
        raise UserError(f"--sched {config.sched} is not one of timm's schedules by epoch, e.g. cosine, step, poly.")
    return scheduler
