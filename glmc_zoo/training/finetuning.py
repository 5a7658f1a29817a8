"""Fine-tuning a trained model, on its classes or on others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from timm.task import TrainingTask
from timm.utils import unwrap_model
from torch import nn

from glmc_zoo.data import LongTailData
from glmc_zoo.errors import UserError
from glmc_zoo.fields import replaced, values_of
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.command import slug, without_folder
from glmc_zoo.method import GLMCModel, check_backbone
from glmc_zoo.method.switches import preset_switches
from glmc_zoo.options.model import DEFAULT_ADAPTER, MethodOptions, TuneOptions
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, flat
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions
from glmc_zoo.results import FinetuneFacts, HeadFacts, RunResults, SearchFacts, StartFacts
from glmc_zoo.scoring.calibration import undo_calibration
from glmc_zoo.text import counted
from glmc_zoo.training.adapters import add_adapters, merge_adapters
from glmc_zoo.training.folder import short_model_name
from glmc_zoo.training.inputs import InputSpec
from glmc_zoo.training.network_settings import describe_network, settings_for, settings_notes, uses_sgd
from glmc_zoo.training.stage import Stage
from glmc_zoo.training.tuning import (
    batch_norms,
    layer_decay_groups,
    scale_classifier,
    train_head,
    train_last_blocks,
)

_STARTS_FROM_HEAD = "balanced_softmax"  # the method whose classifier starts from the best one on frozen features
_FEW_IMAGES = 5  # of a class in the mean; with 3 the classifier alone was better, see docs/finetuning.md
_SEARCHED_ON = 0.75  # share of the training images that a search surely leaves to train on
HEAD = "head"
"""Name, in place of a method, of a classifier that was trained on features."""
_HEAD_TITLE = "one linear layer on features of the frozen network, chosen among several on held-out training images"


class FineTuning(Stage):
    """The stage of `recipes/finetune.py`: all, the classifier, the last blocks or adapters of a model are trained.

    The classifier starts as ``head_init`` says. Unless that is given, the source's goes on where the classes are the
    same, by name and in the same order. GLMC's other heads go on from the source's where it has them.
    """

    own_size = True

    def __init__(self, options: FinetuneStage, source: ModelSource) -> None:
        model, method, switches = options.model, options.method, options.switches
        super().__init__(model.model, method, switches, options.optimizer, source, pretrained=True)
        self.start, self.tune, self.defaults = source, options.model, options.defaults
        self.kept: list[str] = []
        self.begun: StartFacts | None = None
        """How the classifier began, once it has; ``None`` where it began anew or was the source's."""
        self.search: SearchFacts | None = None
        """What a search on held-out images chose, where there was one."""
        self._decided = False  # whether the settings are others than those of the recipe's network
        self.notes: list[str] = []
        """What network and images decided, a sentence each."""

    @property
    def starts_from_features(self) -> bool:
        """Whether the classifier starts from features of the network as it is before the training."""
        return self.tune.head_init in ("mean", "head")

    def settle(
        self, options: RunOptions, data: LongTailData, processes: int, before: Mapping[str, Any] | None
    ) -> RunOptions:
        """The options with what network and images decide, where nobody did.

        That is the start of the classifier, optimiser, learning rate, decays, and a batch that there are images for.
        What was decided when a resumed run began, by its options ``before``, stays.
        """
        if self.tune.head_init == "auto":
            keeps = self.start.class_names == data.class_names or self.tune.tune == "head"
            init = "head" if self.method.name == _STARTS_FROM_HEAD and not keeps else "fresh"
            values = values_of(self.tune) | {"head_init": init if before is None else before.get("head_init", "fresh")}
            self.tune = TuneOptions(**values)
        options = replace(options, stage=replace(options.stage, model=self.tune))  # type: ignore[arg-type]
        if self.tune.tune == "full" and len(data.train) < _FEW_IMAGES * len(data.class_names):
            self.notes.append(
                f"There are {len(data.train)} training images of {len(data.class_names)} classes. With so few the "
                "classifier alone was better than the whole network: tune='head', which takes seconds."
            )
        return self._settle_batch(self._settle_settings(options, before), len(data.train), processes, before)

    def _settle_batch(
        self, options: RunOptions, images: int, processes: int, before: Mapping[str, Any] | None
    ) -> RunOptions:
        """The options with a smaller batch than the recipe's, where nobody gave one and a set has fewer images."""
        size = recipe = options.schedule.batch_size
        if "batch_size" not in self.defaults:
            return options
        share = 1.0 if self.tune.search_minutes is None else _SEARCHED_ON
        most = int(share * images) // processes
        if before is not None:
            size = before.get("batch_size", recipe)
        elif 2 <= most < recipe:  # batch-norm takes two
            size = most
        if size != recipe:
            self.notes.append(f"A batch has {size} images and not {recipe}, as there are few training images.")
        return replace(options, schedule=replace(options.schedule, batch_size=size))

    def _settle_settings(self, options: RunOptions, before: Mapping[str, Any] | None) -> RunOptions:
        """The options with the settings that suit the network; see `settings_for`."""
        stage = options.stage
        if not isinstance(stage, FinetuneStage) or not stage.by_network:
            return options
        network, asked = describe_network(self.start.skeleton()), None if "opt" in stage.by_network else self.opt
        settings = settings_for(network, self.tune.tune, asked)
        values = {name: getattr(settings, name) for name in stage.by_network}
        recipe = {name: flat(options)[name] for name in values}
        if before is not None and values != recipe and all(before.get(name) == recipe[name] for name in values):
            return options  # it began before networks decided
        self.tune, self.optimizer = replaced(self.tune, values), replaced(self.optimizer, values)
        self.opt = self.optimizer.opt
        self._decided = not uses_sgd(self.opt) or network.layer_norm
        if self._decided:
            self.notes += settings_notes(network, self.tune.tune, values, settings.source)
        stage = replace(stage, model=self.tune, optimizer=self.optimizer)
        return replace(options, stage=stage, schedule=replaced(options.schedule, values))

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        return f"{short_model_name(self.name)}.finetuned.{self.method.name}_{Path(data).name or 'data'}.seed{seed}"

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The method's task with the source's weights, of which a part is trained."""
        check_colour(self.start)
        task = super().make_task(data, spec, schedule)
        self.kept = start_from(self.start, task, data.class_names)
        model, tune = timm_model_in(task), self.tune
        if tune.freeze_bn and not batch_norms(model):
            raise UserError(f"freeze_bn=True has no effect on {self.name}, which has no batch-norm: leave it out.")
        if self.starts_from_features:
            if model.get_classifier().bias is None:
                raise UserError(
                    f"head_init={tune.head_init!r} sets the bias of the classifier, and that of {self.name} has none: "
                    "give head_init='fresh'."
                )
            self.kept = [name for name in self.kept if name not in ("classifier", "conventional_classifier")]
        if tune.tune == "head":
            train_head(model)
        elif tune.tune == "blocks":
            train_last_blocks(model, tune.last_blocks or 1)
        elif tune.tune in ("lora", "adapter"):
            rank, kind = tune.lora_rank or 8, "lora" if tune.tune == "lora" else tune.adapter or DEFAULT_ADAPTER
            add_adapters(model, rank=rank, alpha=tune.lora_alpha or 2.0 * rank, image_size=spec.size, kind=kind)
        return task

    def frozen(self, task: TrainingTask) -> list[nn.Module]:
        """Frozen modules, and every batch-norm of the model where its statistics are kept."""
        return [*super().frozen(task), *(batch_norms(timm_model_in(task)) if self.tune.freeze_bn else [])]

    def parameter_groups(self, task: TrainingTask, weight_decay: float) -> list[dict[str, Any]] | None:
        """Groups with learning rates of their own, where layers or the classifier have them."""
        decay, scale, model = self.tune.layer_decay, self.tune.head_lr_scale, timm_model_in(task)
        groups = None
        if decay is not None and decay != 1:
            groups = layer_decay_groups(task, model, weight_decay=weight_decay, decay=decay)
        if scale == 1:
            return groups
        return scale_classifier(task, groups, classifiers_in(task), weight_decay=weight_decay, scale=scale)

    def before_export(self, timm_model: nn.Module) -> None:
        """Merge adapters into the layers that they adapt."""
        merge_adapters(timm_model)

    def facts(self, results: RunResults) -> RunResults:
        """The results with what was fine-tuned, and how."""
        start, name = self.start, without_folder(self.name)
        finetune = FinetuneFacts(
            model=name,
            kind=start.kind,
            commit=start.commit,
            tune=self.tune.tune,
            kept=self.kept,
            source_classes=len(start.class_names or []) or None,
            adapter=(self.tune.adapter or DEFAULT_ADAPTER) if self.tune.tune == "adapter" else None,
            start=self.begun,
        )
        model = replace(results.model, pretrained_from=name)
        return replace(results, model=model, finetune=finetune, search=self.search)

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """What is fine-tuned, and which values come from the recipe."""
        trained, total = trained_parameters(task)
        begins = {"mean": "starts from the class means", "head": "starts from the best one on frozen features"}
        classifier = begins.get(self.tune.head_init, "is a fresh one")
        kept = f"; goes on with its {', '.join(self.kept)}" if self.kept else ""
        kept += "" if "classifier" in self.kept else f"; the classifier {classifier}"
        lines = [
            *super().opening_lines(options, task),
            f"fine-tuning {self.name}, --tune {self.tune.tune}: {trained / 1e6:.2f} of {total / 1e6:.2f} M parameters "
            f"are trained{kept}",
        ]
        minutes = self.tune.search_minutes
        if minutes is not None and options.output.dry_run:
            lines.append(
                f"note: Learning rate and epochs will be searched for {minutes:g} minutes first; the estimate is for "
                f"{options.schedule.epochs} epochs after that."
            )
        if self.defaults:
            schedule = values_of(options.schedule)
            shown = " ".join(f"--{name.replace('_', '-')} {schedule[name]}" for name in self.defaults)
            why = "" if self._decided else " (chosen with sgd on a small network, see docs/settings.md)"
            lines.append(f"defaults: {shown}{why}")
        return lines


class HeadTuning(FineTuning):
    """The stage of a classifier that is trained on features: a `FineTuning` whose network is never trained."""

    def __init__(self, options: HeadStage, source: ModelSource) -> None:
        plain, switches = MethodOptions(method="ce", preset="official"), preset_switches("official")
        super().__init__(
            FinetuneStage(model=options.model, method=plain, switches=switches, optimizer=OptimizerOptions()), source
        )
        self.title = HEAD
        self.head: HeadFacts | None = None
        """How the classifier was trained, once it is."""

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        return f"{short_model_name(self.name)}.finetuned.{HEAD}_{Path(data).name or 'data'}.seed{seed}"

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The source's network with a fresh classifier of one linear layer on its features."""
        task = super().make_task(data, spec, schedule)
        model = timm_model_in(task).eval()
        try:
            check_backbone(model, spec.size)
        except UserError as error:
            raise UserError(
                f"tune='head' needs logits that are one linear layer on the features, which those of {self.name} are "
                f"not for images of {spec.size} pixels: give tune='full', or an image_size= that the model takes."
            ) from error
        self.kept = []  # the classifier starts anew, whatever the classes are
        return task

    def facts(self, results: RunResults) -> RunResults:
        """The results with how the classifier was trained."""
        results = super().facts(results)
        architecture, tag = results.model.name.partition(".")[0], f"{HEAD}_{slug(results.data.name)}"
        model = replace(results.model, tag=tag, name=f"{architecture}.{tag}")
        return replace(results, model=model, method=HEAD, method_title=_HEAD_TITLE, schedule=None, head=self.head)

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """What is trained on what."""
        tune = self.tune
        start = "the class means" if tune.head_init == "mean" else "zeros"
        return [
            f"classifier on frozen features of {self.name}: {counted(tune.feature_views, 'view')} of each image; "
            f"classifiers start from {start}"
        ]


def check_colour(source: ModelSource) -> None:
    """Refuse a model that does not take colour images."""
    channels = (source.config.get("input_size") or (3,))[0]
    if channels != 3:
        raise UserError(
            f"model={source.name!r} takes images of {channels} channels, and images are read in colour: give a model "
            "of three."
        )


def timm_model_in(task: TrainingTask) -> Any:
    """The timm model inside a task, without GLMC's heads."""
    model: Any = unwrap_model(task.get_trainable_module())
    return getattr(model, "timm_model", model)


def classifiers_in(task: TrainingTask) -> list[nn.Module]:
    """The classifier of the timm model in a task, and after it GLMC's conventional one where there is one."""
    wrapped = unwrap_model(task.get_trainable_module())
    conventional = getattr(wrapped, "conventional_classifier", None)
    return [timm_model_in(task).get_classifier(), *([] if conventional is None else [conventional])]


def start_from(source: ModelSource, task: TrainingTask, class_names: list[str]) -> list[str]:
    """Give a task the heads of a source that fit its classes, and fresh ones otherwise.

    Returns:
        Names of the heads that go on from the source's.
    """
    wrapped, model = task.get_trainable_module(), timm_model_in(task)
    same = source.class_names == class_names
    kept = ["classifier"] if same else []
    if not same:
        # timm keeps the old classifier where the number of classes is the same, whatever the classes are.
        model.reset_classifier(len(class_names))
        init_head = getattr(model, "init_head", None)
        if init_head is not None:
            init_head(model.get_classifier())
    elif source.results is not None:
        undo_calibration(model.get_classifier(), source.results.calibration)
    heads = source.training_heads()
    if heads is not None and isinstance(wrapped, GLMCModel):
        kept += wrapped.load_training_heads(heads, same_classes=same)
    return kept


def trained_parameters(task: TrainingTask) -> tuple[int, int]:
    """Number of parameters that are trained, and of all."""
    parameters = list(task.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
