"""Builds the parts of a run from its options, in order: machine, data, model, images, optimiser, run folder."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.scheduler.scheduler import Scheduler
from torch import nn

from glmc_zoo.data import LongTailData, load_split_data, train_transform
from glmc_zoo.data.feeding.view_params import make_view_augmentation
from glmc_zoo.errors import UserError
from glmc_zoo.fields import values_of
from glmc_zoo.hub import PushTarget, check_login, check_push, open_model
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.metrics import tercile_thresholds
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.options.length import resolve_method
from glmc_zoo.options.machine import PushOptions
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, SecondStage, TrainingStage
from glmc_zoo.training.build import make_optimizer, make_scheduler, make_train_loader
from glmc_zoo.training.checkpoint import CheckpointData
from glmc_zoo.training.default_model import with_default_model
from glmc_zoo.training.finetuning import FineTuning, HeadTuning
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.inputs import InputSpec, image_size_notes, input_spec
from glmc_zoo.training.placement import ImagePlacement, place_images
from glmc_zoo.training.resumption import find_resumption, resumed_options
from glmc_zoo.training.second_stage import ClassifierTraining
from glmc_zoo.training.stage import Stage, StageParts


@dataclass(frozen=True)
class RunParts:
    """The parts of a run."""

    options: RunOptions
    """The options, with the values filled in that data, model and machine decide."""
    accelerator: Accelerator
    data: LongTailData
    stage: Stage
    stage_parts: StageParts
    wrapped_task: nn.Module
    """The task as Accelerate wraps it."""
    optimizer: Any
    """The optimiser as Accelerate wraps it; the loader is wrapped too."""
    loader: Any
    scheduler: Scheduler
    placement: ImagePlacement
    folder: RunFolder
    checkpoint: Path | None
    """The checkpoint that the run resumes from; ``None`` for a start at the beginning."""
    checkpoint_data: CheckpointData | None
    """What checkpoints state about the data set; ``None`` in all processes but the main one."""
    constraints: list[Any]
    """Constraints that act after each step; their state is saved in every checkpoint."""


def assemble(options: RunOptions, data: LongTailData | None) -> RunParts:
    """Build the parts of a run; ``data`` is a loaded data set, used in place of the one that the options name."""
    # ---------------------------------------------------------------- machine
    make_view_augmentation(32, **_augmentations(options.images))  # refuses a wrong policy before any data is read
    target = push_target(options.push)
    accelerator = make_accelerator(
        mixed_precision=options.machine.mixed_precision,
        threads=options.machine.threads,
        grad_accum_steps=options.schedule.grad_accum_steps,
        tracker=options.output.tracker,
    )
    if target is not None:
        on_main_process(accelerator, check_login)
    # The same seed in every process, so that the weights start equal.
    set_seed(options.schedule.seed)

    # ---------------------------------------------------------------- data, model
    options, model_notes = with_default_model(accelerator, options)
    if data is None:
        data = main_process_first(accelerator, lambda: load_split_data(options.data))
    options, stage, stage_notes = _resolve_stage(options, data, accelerator)
    # The lock of a resumed run must be held until `RunFolder` takes it too, so it is bound to a name.
    resumption, checkpoint_data, _lock = find_resumption(
        accelerator, options, data, stage.run_name(data.name, options.schedule.seed)
    )
    options = options.with_values(**resumption.data_options)
    data = with_notes(data, [*model_notes, *stage_notes, *resumption.notes])
    parts = stage.build(data, options.images, options.schedule)
    options, task = resolve_options(options, data, parts.spec), parts.task
    # The faster memory layout for convolutions, on GPUs and CPUs; it changes no values.
    task.to(memory_format=torch.channels_last)
    if options.machine.compile:
        mode = options.machine.compile_mode
        task.compile(mode=None if mode == "default" else mode)

    # ---------------------------------------------------------------- images, optimiser
    spec, augmentations = parts.spec, _augmentations(options.images)
    transform = train_transform(spec.augment, spec.size, interpolation=spec.interpolation, **augmentations)
    placement = place_images(data.train, transform, accelerator.device, options.machine, options.images)
    processes = accelerator.num_processes
    loader = make_train_loader(
        data, transform, placement, options.schedule, views=stage.views, weights=parts.weights, processes=processes
    )
    schedule = options.schedule.scale_rates(processes)
    optimizer = make_optimizer(schedule, stage.opt, task, parts.groups)
    scheduler = make_scheduler(schedule, optimizer)

    # ---------------------------------------------------------------- run folder, what Accelerate wraps
    folder = RunFolder(accelerator, options, stage.run_name(data.name, schedule.seed))
    # Accelerate does not move batches: the loop copies each one while the step before it runs (`Transfer`).
    placement_flags = [True, True, False]
    wrapped_task, wrapped, loader = accelerator.prepare(task, optimizer, loader, device_placement=placement_flags)
    # From here on each process needs random numbers of its own, for its dropout.
    set_seed(schedule.seed, device_specific=True)
    constraints = stage.constrain(task, optimizer)
    return RunParts(
        options, accelerator, data, stage, parts, wrapped_task, wrapped, loader, scheduler, placement,
        folder, resumption.checkpoint, checkpoint_data, constraints,
    )  # fmt: skip


def _resolve_stage(
    options: RunOptions, data: LongTailData, accelerator: Accelerator, *, resumed: bool = True
) -> tuple[RunOptions, Stage, list[str]]:
    """The options with method, start and precision decided, their stage, and notes on what was decided."""
    initial = on_main_process(accelerator, lambda: resumed_options(options)) if resumed else None
    options, method_note = resolve_method(options, len(data.train), initial)
    stage = main_process_first(accelerator, lambda: make_stage(options.stage))
    if isinstance(stage, FineTuning):
        options = stage.resolve(options, data, accelerator.num_processes, initial)
    network_notes = stage.notes if isinstance(stage, FineTuning) else []
    notes = [
        *options.notes,
        *filter(None, [method_note]),
        *network_notes,
        *image_size_notes(options.images, stage.timm_name),
    ]
    return with_precision(options, accelerator), stage, notes


def resolve_run(
    options: RunOptions, data: LongTailData, accelerator: Accelerator, *, resumed: bool
) -> tuple[RunOptions, Stage]:
    """The options of a fine-tuning as `assemble` settles them, and its stage, without building the model.

    With ``resumed``, values that were decided when the run began stay as they are.
    """
    options, stage, _ = _resolve_stage(options, data, accelerator, resumed=resumed)
    if resumed:
        resumption, _, _ = find_resumption(accelerator, options, data, stage.run_name(data.name, options.schedule.seed))
        options = options.with_values(**resumption.data_options)
    spec = input_spec(
        options.images, data, stage.timm_name, pretrained=stage.pretrained, use_model_size=stage.use_model_size
    )
    return resolve_options(options, data, spec), stage


def _augmentations(images: ImageOptions) -> dict[str, Any]:
    """The options of the augmentation after the crop, as keywords of `train_transform`."""
    names = ("auto_augment", "random_erasing", "cutout")
    return {name: getattr(images, name) for name in names}


def make_stage(options: TrainingStage | FinetuneStage | HeadStage | SecondStage) -> Stage:
    """The stage that these options describe; the model that training starts from is opened and checked."""
    if isinstance(options, TrainingStage):
        name, pretrained = options.model.backbone, options.model.pretrained
        source = open_model(name) if pretrained and ":" in name else None
        if source is not None:
            source.check_plugin()
        return Stage(name, options.method, options.switches, options.optimizer, source, pretrained=pretrained)
    source = open_model(options.model.model)
    source.check_plugin()
    if isinstance(options, FinetuneStage):
        return FineTuning(options, source)
    if isinstance(options, HeadStage):
        return HeadTuning(options, source)
    return ClassifierTraining(options, source)


def with_precision(options: RunOptions, accelerator: Accelerator) -> RunOptions:
    """The options with ``mixed_precision="auto"`` replaced by the precision that the accelerator chose."""
    if options.machine.mixed_precision != "auto":
        return options
    return options.with_values(mixed_precision=accelerator.mixed_precision)


def with_notes(data: LongTailData, notes: list[str]) -> LongTailData:
    """The data set with more notes on what was decided for the user."""
    return replace(data, facts=replace(data.facts, notes=[*data.facts.notes, *notes]))


def resolve_options(options: RunOptions, data: LongTailData, spec: InputSpec) -> RunOptions:
    """The options with image size, augmentation and thresholds filled in, so that config.yaml states them."""
    values: dict[str, Any] = {"image_size": spec.size, "augment": spec.augment}
    if options.shots.groups == "terciles":
        many, few = tercile_thresholds(data.class_counts)
        values |= {"many_threshold": many, "few_threshold": few}
    return options.with_values(**values)


def push_target(options: PushOptions) -> PushTarget | None:
    """The repository that the finished model is pushed to; ``None`` without ``push_to_hub``.

    Raises:
        UserError: The push cannot succeed. The sentence names the options as a run does, such as ``push_private=``.
    """
    if options.push_to_hub is None:
        return None
    values = {name.removeprefix("push_"): value for name, value in values_of(options).items()}
    try:
        target = PushTarget(repo=values.pop("to_hub"), **values)
        check_push(target)
    except UserError as error:
        sentence = str(error).replace("repo=", "push_to_hub=")
        raise UserError(re.sub(rf"\b({'|'.join(values)})=", r"push_\1=", sentence)) from error
    return target
