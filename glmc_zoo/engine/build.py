"""From a resolved configuration to the objects of a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    LoggerType,
    ProjectConfiguration,
)
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask, TrainingTask
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from glmc_zoo.data import LongTailData, load_data, train_loader
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.finetune import FinetuneConfig
from glmc_zoo.engine.hardware import ImagePlace, best_precision, use_device
from glmc_zoo.engine.options import DataOptions
from glmc_zoo.engine.output import main_process_first
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.method import (
    BalancedSoftmaxLoss,
    GLMCModel,
    GLMCTask,
    backbone_config,
    check_backbone,
    create_backbone,
    sampling_weights,
)

__all__ = [
    "InputSpec",
    "input_spec",
    "load_run_data",
    "make_accelerator",
    "make_optimizer",
    "make_scheduler",
    "make_task",
    "make_train_loader",
]


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the network is fed: side in pixels, statistics of the three channels in 0 to 1, how images are resized."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float
    augment: str


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate as the user configured it; only what this run says by itself is overridden.

    Raises:
        UserError: the tracker is unknown or not installed, or the precision does not fit the device.
    """
    if config.tracker is not None:
        _check_tracker(config.tracker)
    precision = best_precision(os.environ) if config.mixed_precision == "auto" else config.mixed_precision
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=config.grad_accum_steps,
            log_with=config.tracker,
            # Trackers that write files ask for a folder now; the run puts its own here once it has claimed one.
            project_config=ProjectConfiguration(logging_dir="."),
            # The others wait while the main process prepares a data set, which takes longer than the default.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=3))],
        )
    except ValueError as error:
        raise UserError(f"Accelerate refuses the options: {' '.join(str(error).split())}") from error
    kind = accelerator.distributed_type
    if kind not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UserError(
            f"`accelerate config` asks for {kind.value}, which splits the model; this recipe runs in one process or "
            "with data parallelism (MULTI_GPU, MULTI_CPU)."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("--mixed-precision fp16 needs a GPU; on a CPU give bf16 or no.")
    use_device(accelerator.device, config.threads)
    return accelerator


def _check_tracker(name: str) -> None:
    # Accelerate leaves a tracker that is not installed out without a word.
    known = [str(kind) for kind in LoggerType.list()]
    if name not in known:
        raise UserError(f"Unknown tracker {name!r}: choose one of {', '.join(known)}.{did_you_mean(name, known)}")
    if name != "all" and name not in [str(kind) for kind in get_available_trackers()]:
        raise UserError(f"--tracker {name} needs a package that is not installed: pip install {name}.")


def load_run_data(config: DataOptions, accelerator: Accelerator) -> LongTailData:
    """The data set of the run; the main process loads first, so that what is prepared on disk is there for the others.

    Raises:
        UserError: as of `load_data`, in all processes.
    """
    return main_process_first(accelerator, lambda: load_data(config.data, **config.load_options()))


def make_train_loader(
    config: TrainConfig,
    data: LongTailData,
    transform: Callable[..., Any],
    processes: int,
    place: ImagePlace,
) -> DataLoader[Any]:
    """Pairs of batches for GLMC, single ones for the baselines; from the pictures at ``place``.

    Raises:
        UserError: a batch, in all processes together, is larger than the training set.
    """
    split = data.train
    assert config.batch_size is not None
    weights = None
    if config.method == "glmc":
        assert config.sampler_power is not None
        weights = sampling_weights(split.labels.tolist(), data.class_counts, config.sampler_power)
    if config.batch_size * processes > len(split):
        raise UserError(
            f"--batch-size {config.batch_size}{f' on {processes} processes' if processes > 1 else ''} is larger "
            f"than the training set of {len(split)} images; give at most {len(split) // processes}."
        )
    return train_loader(
        split,
        transform,
        batch_size=config.batch_size,
        second_weights=weights,
        views=2 if config.method == "glmc" else 1,
        seed=config.seed,
        workers=place.workers,
        # Several processes: dropping the tail keeps their shards disjoint and of equal length. One process: only a
        # last batch of a single image is dropped, which batch-norm cannot use.
        drop_last=processes > 1 or len(split) % config.batch_size == 1,
        resident_on=place.resident_on,
    )


def input_spec(config: TrainConfig, data: LongTailData) -> InputSpec:
    """Size, statistics and interpolation: from the options, else the data set, else the backbone's configuration.

    Where a trained model is fine-tuned, its own size goes before the data set's.
    """
    assert config.backbone is not None
    source = backbone_config(config.backbone)
    # Pretrained weights expect the statistics they were trained with; from scratch the data's own are better.
    mean, std = (source["mean"], source["std"]) if config.pretrained else (data.mean, data.std)
    native = source["input_size"][-1]
    usual = native if isinstance(config, FinetuneConfig) else data.image_size or native
    size = config.image_size or usual
    augment = config.augment or data.augment
    return InputSpec(
        size=size,
        mean=tuple(mean),
        std=tuple(std),
        interpolation=str(source.get("interpolation") or "bicubic"),
        crop_pct=0.875 if augment == "large" else 1.0,
        augment=augment,
    )


def make_task(config: TrainConfig, data: LongTailData, spec: InputSpec) -> TrainingTask:
    """The model inside the task of ``config.method``; GLMC and the baselines share backbone, data and schedule.

    Raises:
        UserError: the backbone is unknown, or refuses the size, an option or the heads.
    """
    task = _make_task(config, data, spec)
    if config.batch_size == 1 and any(isinstance(layer, _BatchNorm) for layer in task.modules()):
        name = getattr(config, "model", None) or config.backbone
        raise UserError(f"--batch-size 1 is too small for the batch-norm of {name!r}; give at least 2.")
    return task


def _make_task(config: TrainConfig, data: LongTailData, spec: InputSpec) -> TrainingTask:
    assert config.backbone is not None and config.epochs is not None
    classes = len(data.class_names)
    kwargs: dict[str, Any] = {"drop_rate": config.drop_rate} if config.drop_rate else {}
    if config.drop_path_rate is not None:
        kwargs["drop_path_rate"] = config.drop_path_rate
    if config.method != "glmc":
        model = create_backbone(config.backbone, classes, pretrained=config.pretrained, image_size=spec.size, **kwargs)
        check_backbone(model, spec.size)
        balanced = config.method == "balanced_softmax"
        tau = 1.0 if config.prior_tau is None else config.prior_tau
        criterion: nn.Module = BalancedSoftmaxLoss(data.class_counts, tau) if balanced else nn.CrossEntropyLoss()
        return ClassificationTask(model, criterion=criterion, verbose=False)
    switches = (
        *("consistency_weight", "class_weight_power", "rebalanced_loss", "prior_tau", "reduction", "beta"),
        *("correct_lam", "sampler_power", "cumulative_power", "constant_alpha", "views", "joint_views"),
    )
    options: dict[str, Any] = {name: getattr(config, name) for name in switches}
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
        **options,
        verbose=False,
    )


def make_optimizer(
    config: TrainConfig, task: nn.Module, groups: list[dict[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """Plain SGD with weight decay on every parameter, as published, or any optimiser of timm by name.

    Args:
        config: names optimiser, learning rate, momentum and weight decay.
        task: what is trained; parameters that need no gradient are left out.
        groups: parameter groups of the task, each with its weight decay, in place of one group of all.

    Raises:
        UserError: timm does not know the name, or cannot make the optimiser.
    """
    assert config.lr is not None and config.weight_decay is not None
    if config.opt == "sgd":  # timm's "sgd" is Nesterov
        trained: list[Any] = [parameter for parameter in task.parameters() if parameter.requires_grad]
        shared: dict[str, Any] = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
        # One kernel goes over all of them: with thousands of classes the classifiers make this a good part of a step.
        return torch.optim.SGD(groups or trained, fused=True, **shared)
    if config.opt.split("_")[-1] not in (known := [str(n) for n in list_optimizers(exclude_filters=["*_*"])]):
        raise UserError(
            f"Unknown optimiser {config.opt!r}: it must be one of timm.optim.list_optimizers()."
            f"{did_you_mean(config.opt, known)}"
        )
    try:
        return create_optimizer_v2(
            groups or task,
            opt=config.opt,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            filter_bias_and_bn=False,
        )
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"--opt {config.opt} is refused: {' '.join(str(error).split())}.") from error


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
