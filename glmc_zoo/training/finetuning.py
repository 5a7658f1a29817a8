"""The stages that fine-tune a trained model, on its own classes or on others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from timm.task import TrainingTask
from timm.utils import unwrap_model
from torch import nn

from glmc_zoo.data import LongTailData
from glmc_zoo.errors import UserError
from glmc_zoo.fields import replace_options, values_of
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.command import shorten_path, slug
from glmc_zoo.method import GLMCModel, UnsuitableClassifier, check_backbone
from glmc_zoo.method.switches import preset_switches
from glmc_zoo.options.model import DEFAULT_ADAPTER, MethodOptions, TuneOptions
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, flatten_options
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
    scale_classifier_lr,
    train_head,
    train_last_blocks,
)

_STARTS_FROM_HEAD = "balanced_softmax"  # the method whose classifier starts from the best one on frozen features
_FEW_IMAGES = 5  # mean images of a class; with 3 the classifier alone was better, see docs/finetuning.md
_SEARCH_SHARE = 0.75  # of the training images: a search leaves at least so many for its trials
HEAD = "head"
"""Takes the place of a method's name for a classifier that was trained on features."""
_HEAD_TITLE = "one linear layer on features of the frozen network, chosen among several on held-out training images"


class FineTuning(Stage):
    """The stage of `recipes/finetune.py`: trains the whole model, its classifier, its last blocks, or adapters.

    ``head_init`` decides where the classifier starts. Without it, the source's classifier is kept if its classes have
    the same names in the same order. GLMC's other heads are kept where the source has them.
    """

    use_model_size = True
    source: ModelSource

    def __init__(self, options: FinetuneStage, source: ModelSource) -> None:
        model, method, switches = options.model, options.method, options.switches
        super().__init__(model.model, method, switches, options.optimizer, source, pretrained=True)
        self.tune, self.defaults = options.model, options.defaults
        self.kept: list[str] = []
        self.start_facts: StartFacts | None = None
        """How the classifier started from features; ``None`` until then, and for a fresh or kept classifier."""
        self.search: SearchFacts | None = None
        """What a search on held-out images chose; ``None`` without a search."""
        self._settings_differ = False  # whether the network or the optimiser is of another kind than the recipe's
        self.notes: list[str] = []
        """A sentence for each value that network and images decided."""

    @property
    def starts_from_features(self) -> bool:
        """Whether the classifier starts from features that the network gives before the training."""
        return self.tune.head_init in ("mean", "head")

    @property
    def replaces_classifier(self) -> bool:
        """Whether a classifier that is fitted to features replaces the source's, also for the same classes."""
        return self.starts_from_features

    def resolve(
        self, options: RunOptions, data: LongTailData, processes: int, initial: Mapping[str, Any] | None
    ) -> RunOptions:
        """The options with the values filled in that network and images decide, where the user gave none.

        These are the start of the classifier, the optimiser, the learning rate, the decays, and a smaller batch for few
        images. A resumed run keeps the values in ``initial``, the options with which it began.
        """
        if self.tune.head_init == "auto":
            keeps_classifier = self.source.class_names == data.class_names or self.tune.tune == "head"
            init = "head" if self.method.name == _STARTS_FROM_HEAD and not keeps_classifier else "fresh"
            values = values_of(self.tune) | {
                "head_init": init if initial is None else initial.get("head_init", "fresh")
            }
            self.tune = TuneOptions(**values)
        options = replace(options, stage=replace(options.stage, model=self.tune))  # type: ignore[arg-type]
        if self.tune.tune == "full" and len(data.train) < _FEW_IMAGES * len(data.class_names):
            self.notes.append(
                f"There are {len(data.train)} training images of {len(data.class_names)} classes. With so few, "
                "training only the classifier was better than training the whole network: give tune='head'."
            )
        return self._resolve_batch(
            self._resolve_network_settings(options, initial), len(data.train), processes, initial
        )

    def _resolve_batch(
        self, options: RunOptions, images: int, processes: int, initial: Mapping[str, Any] | None
    ) -> RunOptions:
        """The options with a batch that fits the training images, unless the user gave one."""
        size = recipe = options.schedule.batch_size
        if "batch_size" not in self.defaults:
            return options
        share = 1.0 if self.tune.search_minutes is None else _SEARCH_SHARE
        largest = int(share * images) // processes
        if initial is not None:
            size = initial.get("batch_size", recipe)
        elif 2 <= largest < recipe:  # batch-norm needs two images
            size = largest
        if size != recipe:
            self.notes.append(
                f"There are few training images, so a batch has {counted(size, 'image')} instead of {recipe}."
            )
        return replace(options, schedule=replace(options.schedule, batch_size=size))

    def _resolve_network_settings(self, options: RunOptions, initial: Mapping[str, Any] | None) -> RunOptions:
        """The options with the settings that suit the network; see `settings_for`."""
        stage = options.stage
        if not isinstance(stage, FinetuneStage) or not stage.decided_by_network:
            return options
        network, opt = describe_network(self.source.skeleton()), None if "opt" in stage.decided_by_network else self.opt
        settings = settings_for(network, self.tune.tune, opt)
        values = {name: getattr(settings, name) for name in stage.decided_by_network}
        recipe = {name: flatten_options(options)[name] for name in values}
        if initial is not None and values != recipe and all(initial.get(name) == recipe[name] for name in values):
            return options  # the run began with a version in which the network decided nothing
        self.tune, self.optimizer = replace_options(self.tune, values), replace_options(self.optimizer, values)
        self.opt = self.optimizer.opt
        self._settings_differ = not uses_sgd(self.opt) or network.layer_norm
        if self._settings_differ:
            self.notes += settings_notes(network, self.tune.tune, values, settings.source)
        stage = replace(stage, model=self.tune, optimizer=self.optimizer)
        return replace(options, stage=stage, schedule=replace_options(options.schedule, values))

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        return f"{short_model_name(self.name)}.finetuned.{self.method.name}_{Path(data).name or 'data'}.seed{seed}"

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The method's task with the source's weights; ``tune`` decides which of them are trained."""
        check_colour(self.source)
        task = super().make_task(data, spec, schedule)
        model, tune, keeps = timm_model_in(task), self.tune, not self.replaces_classifier
        self.kept = load_source_heads(self.source, task, data.class_names, trains_classifier=keeps)
        if tune.freeze_bn and not batch_norms(model):
            raise UserError(f"freeze_bn=True has no effect on {self.name}, which has no batch-norm: leave it out.")
        if self.replaces_classifier:
            if model.get_classifier().bias is None:
                raise self._missing_bias()
            self.kept = [name for name in self.kept if name not in ("classifier", "conventional_classifier")]
        if tune.tune == "head":
            train_head(model)
        elif tune.tune == "blocks":
            train_last_blocks(model, tune.last_blocks or 1)
        elif tune.tune in ("lora", "adapter"):
            rank, kind = tune.lora_rank or 8, "lora" if tune.tune == "lora" else tune.adapter or DEFAULT_ADAPTER
            add_adapters(model, rank=rank, alpha=tune.lora_alpha or 2.0 * rank, image_size=spec.size, kind=kind)
        return task

    def _missing_bias(self) -> UserError:
        init, fix = self.tune.head_init, "give head_init='fresh'"
        return UserError(
            f"head_init={init!r} sets the bias of the classifier, and that of {self.name} has none: {fix}."
        )

    def eval_modules(self, task: TrainingTask) -> list[nn.Module]:
        """Modules without trained parameters, and with ``freeze_bn`` every batch-norm of the model."""
        return [*super().eval_modules(task), *(batch_norms(timm_model_in(task)) if self.tune.freeze_bn else [])]

    def parameter_groups(self, task: TrainingTask, weight_decay: float) -> list[dict[str, Any]] | None:
        """Parameter groups by learning rate, for ``layer_decay`` and ``head_lr_scale``; ``None`` without both."""
        decay, scale, model = self.tune.layer_decay, self.tune.head_lr_scale, timm_model_in(task)
        groups = None
        if decay is not None and decay != 1:
            groups = layer_decay_groups(task, model, weight_decay=weight_decay, decay=decay)
        if scale == 1:
            return groups
        return scale_classifier_lr(task, groups, classifiers_in(task), weight_decay=weight_decay, scale=scale)

    def before_export(self, timm_model: nn.Module) -> None:
        """Merge the adapters into their layers."""
        merge_adapters(timm_model)

    def add_facts(self, results: RunResults) -> RunResults:
        """The results with what was fine-tuned, and how."""
        source, name = self.source, shorten_path(self.name)
        finetune = FinetuneFacts(
            model=name,
            kind=source.kind,
            commit=source.commit,
            tune=self.tune.tune,
            kept=self.kept,
            source_classes=len(source.class_names or []) or None,
            adapter=(self.tune.adapter or DEFAULT_ADAPTER) if self.tune.tune == "adapter" else None,
            start=self.start_facts,
        )
        model = replace(results.model, pretrained_from=name)
        return replace(results, model=model, finetune=finetune, search=self.search)

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """What is fine-tuned, and which values come from the recipe."""
        trained, total = trained_parameters(task)
        start_phrases = {"mean": "starts from the class means", "head": "starts from the best one on frozen features"}
        heads = f"; it keeps its {', '.join(self.kept)}" if self.kept else ""
        if "classifier" not in self.kept:
            heads += f"; the classifier {start_phrases.get(self.tune.head_init, 'is a fresh one')}"
        lines = [
            *super().opening_lines(options, task),
            f"fine-tuning {self.name}, --tune {self.tune.tune}: {trained / 1e6:.2f} of {total / 1e6:.2f} M parameters "
            f"are trained{heads}",
        ]
        minutes = self.tune.search_minutes
        if minutes is not None and options.output.dry_run:
            lines.append(
                f"note: The run first searches learning rate and epochs for {minutes:g} min; the estimate is for "
                f"the {counted(options.schedule.epochs, 'epoch')} after that."
            )
        if self.defaults:
            schedule = values_of(options.schedule)
            values = " ".join(f"--{name.replace('_', '-')} {schedule[name]}" for name in self.defaults)
            explanation = "" if self._settings_differ else " (chosen with sgd on a small network, see docs/settings.md)"
            lines.append(f"defaults: {values}{explanation}")
        return lines


class HeadTuning(FineTuning):
    """The stage of a classifier that is trained on features: a `FineTuning` whose network stays frozen."""

    def __init__(self, options: HeadStage, source: ModelSource) -> None:
        # `FineTuning` builds the network with these options. ``ce`` adds no heads to it. The other values have no
        # effect, because `search_head` fits the classifier with losses of its own.
        method, switches = MethodOptions(method="ce", preset="official"), preset_switches("official")
        super().__init__(
            FinetuneStage(model=options.model, method=method, switches=switches, optimizer=OptimizerOptions()), source
        )
        self.title = HEAD
        self.head_facts: HeadFacts | None = None
        """How the classifier was trained; ``None`` until it is trained."""

    @property
    def replaces_classifier(self) -> bool:
        """Always, also with ``head_init='fresh'``."""
        return True

    def _missing_bias(self) -> UserError:
        fix = "give tune='full' with head_init='fresh'"
        return UserError(f"tune='head' sets the bias of the classifier, and that of {self.name} has none: {fix}.")

    def run_name(self, data: str, seed: int) -> str:
        """Name of a fresh run folder."""
        return f"{short_model_name(self.name)}.finetuned.{HEAD}_{Path(data).name or 'data'}.seed{seed}"

    def make_task(self, data: LongTailData, spec: InputSpec, schedule: ScheduleOptions) -> TrainingTask:
        """The source's network with a fresh classifier: one linear layer on its features."""
        task = super().make_task(data, spec, schedule)
        model = timm_model_in(task).eval()
        try:
            check_backbone(model, spec.size)
        except UnsuitableClassifier as error:
            raise UserError(
                f"tune='head' needs a model whose logits are one linear layer on its features, and {self.name} is not "
                "one: give tune='full', or another model."
            ) from error
        self.kept = []  # the classifier is a fresh one, also for the same classes
        return task

    def add_facts(self, results: RunResults) -> RunResults:
        """The results with the facts of the classifier's training."""
        results = super().add_facts(results)
        architecture, tag = results.model.name.partition(".")[0], f"{HEAD}_{slug(results.data.name)}"
        model = replace(results.model, tag=tag, name=f"{architecture}.{tag}")
        return replace(results, model=model, method=HEAD, method_title=_HEAD_TITLE, schedule=None, head=self.head_facts)

    def opening_lines(self, options: RunOptions, task: TrainingTask) -> list[str]:
        """One line: the model, the views of each image, and the start of the classifiers."""
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
            f"model={source.name!r} takes images of {counted(channels, 'channel')}, and images are read in colour: "
            "give a model "
            "that takes 3 channels."
        )


def timm_model_in(task: TrainingTask) -> Any:
    """The timm model inside a task, without GLMC's heads."""
    model: Any = unwrap_model(task.get_trainable_module())
    return getattr(model, "timm_model", model)


def classifiers_in(task: TrainingTask) -> list[nn.Module]:
    """The classifier of the timm model in a task, followed by GLMC's conventional one where the task has it."""
    wrapped_model = unwrap_model(task.get_trainable_module())
    conventional = getattr(wrapped_model, "conventional_classifier", None)
    return [timm_model_in(task).get_classifier(), *([] if conventional is None else [conventional])]


def load_source_heads(
    source: ModelSource, task: TrainingTask, class_names: list[str], *, trains_classifier: bool = True
) -> list[str]:
    """Load the source's heads into a task where the classes are the same, and make fresh ones otherwise.

    The calibration of the source is undone, so that the training goes on with the logits that it trained. With
    ``trains_classifier``, a source that was corrected after its training is refused, because that cannot be undone.

    Returns:
        Names of the heads that were kept.
    """
    wrapped_model, model = task.get_trainable_module(), timm_model_in(task)
    same_classes = source.class_names == class_names
    loaded_heads = ["classifier"] if same_classes else []
    if not same_classes:
        # timm keeps the old classifier where the number of classes is the same, whatever the classes are.
        model.reset_classifier(len(class_names))
        init_head = getattr(model, "init_head", None)
        if init_head is not None:
            init_head(model.get_classifier())
    elif source.results is not None:
        if trains_classifier:
            source.check_uncorrected(
                "Fine-tuning on the same classes", fix=", or head_init='mean' for a new classifier"
            )
        undo_calibration(model.get_classifier(), source.results.calibration)
    heads = source.training_heads()
    if heads is not None and isinstance(wrapped_model, GLMCModel):
        loaded_heads += wrapped_model.load_training_heads(heads, same_classes=same_classes)
    return loaded_heads


def trained_parameters(task: TrainingTask) -> tuple[int, int]:
    """Number of parameters that are trained, and number of all parameters."""
    parameters = list(task.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
