"""The second stage: only the classifier is trained, on a class-balanced loss, with its rows bounded by MaxNorm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.task import TrainingTask
from torch import Tensor, nn

from glmc_zoo.data import LongTailData
from glmc_zoo.errors import UserError
from glmc_zoo.files import percent
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.command import shorten_path
from glmc_zoo.method import ClassBalancedLoss, MaxNorm
from glmc_zoo.method.switches import preset_switches
from glmc_zoo.options.model import MethodOptions
from glmc_zoo.options.run import RunOptions, SecondStage, flatten_options
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions
from glmc_zoo.results import RunResults, SecondStageFacts
from glmc_zoo.text import counted
from glmc_zoo.training.finetuning import check_colour, load_source_heads, timm_model_in, trained_parameters
from glmc_zoo.training.first_stage import DEFAULTS, differing_options, inherited_options, training_results
from glmc_zoo.training.folder import short_model_name
from glmc_zoo.training.inputs import InputSpec
from glmc_zoo.training.stage import Stage
from glmc_zoo.training.tuning import train_head

METHOD = "class_balanced"


class ClassifierBall:
    """Applies `MaxNorm` to a classifier's weight ``(C, D)`` after every step of its optimiser.

    The radius is saved with every checkpoint, because it cannot be computed again from rows that were shrunk. The hook
    is on torch's own optimiser: Accelerate's wrapper is also called for batches that only accumulate gradients.
    """

    def __init__(self, weight: Tensor, threshold: float, optimizer: torch.optim.Optimizer) -> None:
        self.constraint = MaxNorm(weight, threshold)
        optimizer.register_step_post_hook(self._project)

    @property
    def limit(self) -> float:
        """Radius of the ball."""
        return float(self.constraint.limit)

    def _project(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        # The gradient scaler of fp16 also calls a fused optimiser for a skipped step, and then sets `found_inf`.
        skipped = getattr(optimizer, "found_inf", None)
        if skipped is None or not skipped.item():
            self.constraint.project_()

    def state_dict(self) -> dict[str, float]:
        """The radius."""
        return {"limit": self.limit}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` gave."""
        self.constraint.limit.fill_(state["limit"])


class ClassifierTraining(Stage):
    """The stage of `recipes/second_stage.py`: everything but the classifier is frozen, also batch-norm and dropout.

    Source: Alshammari et al., Long-Tailed Recognition via Weight Balancing, CVPR 2022, sections 4.2 and 5; loss: Cui et
    al., CVPR 2019.
    """

    use_model_size = True
    source: ModelSource

    def __init__(self, options: SecondStage, source: ModelSource) -> None:
        # No moving average: it would contain the initial rows, which are outside the ball.
        method, switches = MethodOptions(method="ce", preset="official"), preset_switches("official")
        super().__init__(options.model.model, method, switches, OptimizerOptions(), source, pretrained=True)
        self.first_results, self.first_options = training_results(source), inherited_options(source)
        self.model, self.inherited, self.title = options.model, options.inherited, METHOD
        self.top1 = None if self.first_results.test is None else self.first_results.test.top1
        self.ball: ClassifierBall | None = None

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        return f"{short_model_name(self.name)}.second_stage.{METHOD}_{Path(data).name or 'data'}.seed{seed}"

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The first stage's model with its classifier trainable, in a task with the class-balanced loss."""
        _check_classes(self.name, self.source.class_names, data.class_names)
        check_colour(self.source)
        task: Any = super().make_task(data, spec, schedule)
        load_source_heads(self.source, task, data.class_names)
        task.criterion = ClassBalancedLoss(data.class_counts, self.model.class_balanced_beta)
        train_head(timm_model_in(task))
        return task  # type: ignore[no-any-return]  # a LossTask

    def eval_modules(self, task: TrainingTask) -> list[nn.Module]:
        """The whole model: a dropout layer has no parameters, so it would not be recognised as frozen."""
        return [timm_model_in(task)]

    def constrain(self, task: TrainingTask, optimizer: torch.optim.Optimizer) -> list[Any]:
        """Keep the rows of the classifier within the ball, unless ``maxnorm=False``."""
        if self.model.maxnorm:
            weight = timm_model_in(task).get_classifier().weight
            self.ball = ClassifierBall(weight, self.model.maxnorm_threshold, optimizer)
        return [] if self.ball is None else [self.ball]

    def training_heads(self, model: nn.Module) -> dict[str, Tensor]:
        """The first stage's heads: they still fit, because the encoder did not change."""
        return self.source.training_heads() or {}

    def add_facts(self, results: RunResults) -> RunResults:
        """The results with the settings of the second stage and the origin of the first."""
        source, first_results = self.source, self.first_results
        kind = METHOD if self.ball is None else "maxnorm"
        tag = f"{first_results.model.tag}_{kind}"
        architecture = results.model.name.partition(".")[0]
        base = (
            source.name.partition(":")[2].partition("@")[0] if source.kind == "hub" else first_results.model.base_model
        )
        model = replace(results.model, tag=tag, name=f"{architecture}.{tag}", base_model=base)
        stage = SecondStageFacts(
            kind=kind,
            threshold=self.model.maxnorm_threshold if self.ball else None,
            beta=self.model.class_balanced_beta,
            limit=None if self.ball is None else self.ball.limit,
            source=shorten_path(self.name),
            source_commit=source.commit,
            source_test_top1=self.top1,
            source_command=first_results.origin.command,
            source_config=first_results.config,
            source_seeds=first_results.seeds,
        )
        return replace(
            results,
            model=replace(model, pretrained_from=first_results.model.pretrained_from),
            # The features are the first stage's, so cards and tables list the model under its method.
            method=first_results.method,
            method_title=first_results.method_title,
            preset=first_results.preset,
            plugins=first_results.plugins,
            finetune=first_results.finetune,
            second_stage=stage,
        )

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """What is trained, which options come from the first stage, and in which options the two stages differ."""
        stage, values = self.model, flatten_options(options)
        trained, total = trained_parameters(task)
        ball = "no bound on its rows"
        if self.ball is not None:
            ball = f"rows within {self.ball.limit:.4g} (MaxNorm, threshold {stage.maxnorm_threshold})"
        test_score = "" if self.top1 is None else f" (test top-1 {percent(self.top1)} %)"
        lines = [
            f"second stage of {self.name}{test_score}: its classifier alone, {trained:,} of {total:,} parameters; "
            f"class-balanced loss, beta {stage.class_balanced_beta}; {ball}"
        ]
        inherited = [name for name in self.inherited if name == "data" or values[name] != DEFAULTS.get(name)]
        if inherited:
            options_text = " ".join(f"--{name.replace('_', '-')} {values[name]}" for name in inherited)
            lines.append(f"from its first stage: {options_text}")
        differences = differing_options(values, self.first_options)
        if differences:
            lines.append(
                f"note: The first stage was trained with other options ({'; '.join(differences)}), so the classifier "
                "may be trained or tested on images that the first stage did not see, or saw in another split."
            )
        return lines


def _check_classes(name: str, names: list[str] | None, class_names: list[str]) -> None:
    if names == class_names:
        return
    if names is None:
        difference = "does not name its classes"
    elif sorted(names) == sorted(class_names):
        difference = "has the classes of the data in another order"
    elif len(names) == len(class_names):
        difference = "has other class names than the data"
    else:
        difference = f"has {counted(len(names), 'class')} and the data has {len(class_names)}"
    raise UserError(
        f"{name} {difference}, and the second stage goes on with its classifier: give the data that it was trained "
        "on, or fine-tune it on yours (glmc-zoo finetune)."
    )
