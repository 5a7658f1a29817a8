"""The stage of a run: the part that differs between training, fine-tuning and a second stage."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from glmc_zoo.data import LongTailData
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.command import shorten_path
from glmc_zoo.method import MethodSetup, create_backbone, get_method, get_sampler
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.options.model import MethodOptions
from glmc_zoo.options.run import RunOptions
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions
from glmc_zoo.results import RunResults
from glmc_zoo.training.inputs import InputSpec, input_spec
from glmc_zoo.training.tuning import frozen_modules


@dataclass(frozen=True)
class StageParts:
    """The objects that a stage builds from data and options."""

    spec: InputSpec
    task: TrainingTask
    """The task, which holds the model."""
    weights: Tensor | None
    """Weight of each training image for drawing the re-balanced partners, (N,); ``None`` without partners."""
    groups: list[dict[str, Any]] | None
    """Parameter groups of the optimiser; ``None`` for one group of all parameters."""


class Stage:
    """Decides where the weights come from, what is trained, what happens after each step, and what is reported.

    This class trains every parameter of a backbone, from scratch or from trained weights. Subclasses override what
    differs.
    """

    use_model_size = False
    """Whether the image size of the model overrides that of the data set."""

    def __init__(
        self,
        name: str,
        method: MethodOptions,
        switches: GLMCSwitches,
        optimizer: OptimizerOptions,
        source: ModelSource | None,
        *,
        pretrained: bool,
    ) -> None:
        self.name, self.pretrained = name, pretrained
        self.source = source
        """The source of trained weights; ``None`` from scratch, and for weights that timm downloads itself."""
        self.switches, self.optimizer = switches, optimizer
        self.opt, self.ema_decay = optimizer.opt, optimizer.ema_decay
        self.method = get_method(method.method)
        self.views = self.method.num_views(switches)
        notes: list[str] = [method.preset] if method.method == "glmc" else []
        if not switches.two_views or (method.method != "glmc" and switches.mixes_baseline):
            notes.append("one mixed view a step")
        self.title = f"{method.method} ({', '.join(notes)})" if notes else method.method

    @property
    def timm_name(self) -> str:
        """The name for ``timm.create_model``. For a model from the Hub it is the folder of the checked download."""
        return self.name if self.source is None else self.source.timm_name

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        model_name = self.name.replace(":", "_").replace("/", "_")
        return f"{model_name}.{self.method.name}_{Path(data).name or 'data'}.seed{seed}"

    def build(self, data: LongTailData, images: ImageOptions, schedule: ScheduleOptions) -> StageParts:
        """Build the input, the task with its model, the weights of the partners, and the parameter groups."""
        spec = input_spec(images, data, self.timm_name, pretrained=self.pretrained, use_model_size=self.use_model_size)
        task = self.make_task(data, spec, schedule)
        return StageParts(spec, task, self._partner_weights(data), self.parameter_groups(task, schedule.weight_decay))

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The task that is trained, with the model in it.

        Raises:
            UserError: The model or the image size does not fit, or a batch of one image is given to batch-norm.
        """
        classes = len(data.class_names)
        setup = MethodSetup(
            class_counts=data.class_counts,
            epochs=schedule.epochs,
            switches=self.switches,
            image_size=spec.size,
            make_backbone=lambda: make_backbone(
                self.timm_name, classes, spec.size, self.optimizer, pretrained=self.pretrained
            ),
        )
        task = self.method.build(setup)
        check_batch(task, schedule.batch_size, self.name)
        return task

    def _partner_weights(self, data: LongTailData) -> Tensor | None:
        if not self.method.partners:
            return None
        labels = torch.from_numpy(data.train.labels)
        sample = get_sampler(self.switches.sampler)
        return sample(labels, data.class_counts, sampler_power=self.switches.sampler_power)

    def parameter_groups(self, task: TrainingTask, weight_decay: float) -> list[dict[str, Any]] | None:
        """Parameter groups of the optimiser; ``None`` for one group of all parameters."""
        return None

    def eval_modules(self, task: TrainingTask) -> list[nn.Module]:
        """Modules that stay in evaluation mode while the task is trained."""
        return frozen_modules(task)

    def constrain(self, task: TrainingTask, optimizer: torch.optim.Optimizer) -> list[Any]:
        """Add constraints that act after each step of the optimiser; returns the objects to save in checkpoints."""
        return []

    def before_export(self, timm_model: nn.Module) -> None:
        """Change the trained model into the plain timm model that is scored and exported; nothing by default."""

    def training_heads(self, model: nn.Module) -> dict[str, Tensor]:
        """Tensors of heads that only training needs, to be exported beside the model."""
        heads: dict[str, Tensor] = getattr(model, "training_heads", dict)()
        return heads

    def add_facts(self, results: RunResults) -> RunResults:
        """The results with the facts of this stage."""
        pretrained_from = shorten_path(self.name) if self.pretrained else None
        # A name with a prefix, such as local-dir:, may hold a path of this machine, so the architecture replaces it.
        backbone = results.model.backbone if ":" in self.name else self.name
        return replace(results, model=replace(results.model, pretrained_from=pretrained_from, backbone=backbone))

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """Lines that this stage adds to the description of a run."""
        if self.method.name != "glmc" or options.schedule.epochs != 1 or self.switches.constant_alpha is not None:
            return []
        return [
            "note: GLMC does not train the re-balanced classifier, which is exported, in its first epoch, and this run "
            "has only one: give --epochs 2 or more, in another --output-dir."
        ]


def make_backbone(
    name: str, num_classes: int, image_size: int, optimizer: OptimizerOptions, *, pretrained: bool
) -> nn.Module:
    """The timm model with the dropout and stochastic depth of the options; see `create_backbone`."""
    kwargs: dict[str, Any] = {"drop_rate": optimizer.drop_rate} if optimizer.drop_rate else {}
    if optimizer.drop_path_rate is not None:
        kwargs["drop_path_rate"] = optimizer.drop_path_rate
    return create_backbone(name, num_classes, pretrained=pretrained, image_size=image_size, **kwargs)


def check_batch(task: TrainingTask, batch_size: int, name: str) -> None:
    """Refuse a batch of one image for a network with batch-norm."""
    if batch_size == 1 and any(isinstance(layer, _BatchNorm) for layer in task.modules()):
        raise UserError(f"batch_size=1 is too small for the batch-norm of {name!r}: give at least 2.")
