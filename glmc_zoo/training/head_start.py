"""The start of the classifier in a fine-tuning: class means of frozen features, or the best classifier on them."""

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from timm.task import TrainingTask
from torch import Tensor

from glmc_zoo.data import LongTailData
from glmc_zoo.data.folds import ALWAYS_TRAINS, training_folds
from glmc_zoo.documents import read_json
from glmc_zoo.fields import from_json
from glmc_zoo.files import remove, write_json
from glmc_zoo.machine.processes import on_main_process
from glmc_zoo.method import log_prior
from glmc_zoo.method.linear_heads import class_means, mean_anchor
from glmc_zoo.method.registry import loss_names, loss_switches
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.model import TuneOptions
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.results import StartFacts
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.training.features import FEATURES, FeatureParts, compute_features, feature_folder, feature_key
from glmc_zoo.training.finetuning import FineTuning, classifiers_in, timm_model_in
from glmc_zoo.training.head_run import head_table
from glmc_zoo.training.head_search import FOLDS, LOSSES, MEAN_LENGTH, head_facts, search_head
from glmc_zoo.training.network_settings import uses_sgd
from glmc_zoo.training.scored_run import ScoredRun

LONG, LONG_CLIP = 2.0, 2.0
"""Relative length of the weights from which the gradient's norm is limited, and its limit; see docs/settings.md."""
_FILE = "start.json"
_FIX = "Restore it, or begin in another output_dir=."
_NO_HELD_OUT_IMAGE = (
    "Every class has one image or one group, so no training image can be held out to choose a classifier: the "
    "classifier starts from the class means."
)


@dataclass(frozen=True)
class ClassifierStart:
    """A linear classifier on the network's features; its logits are corrected to equal class frequencies."""

    weight: Tensor
    """float32 (C, D), on the CPU."""
    bias: Tensor
    """float32 (C,)."""
    facts: StartFacts

    def with_relative_length(self, task: TrainingTask) -> "ClassifierStart":
        """The same start, whose facts compare its weights with those of the task's classifier."""
        classifier: Any = classifiers_in(task)[0]
        length = self.weight.norm(dim=1).mean() / classifier.weight.detach().float().norm(dim=1).mean().cpu()
        return replace(self, facts=replace(self.facts, relative_length=float(length)))

    @torch.no_grad()
    def load_into(self, task: TrainingTask, shares: tuple[float, float], class_counts: list[int]) -> None:
        """Copy weight and bias into the classifiers of a task; ``shares`` come from `prior_shares`.

        Balanced softmax adds the log frequencies of the classes to the logits inside the loss, so its classifier starts
        without them. Cross-entropy does not, so they are added to the bias. The loss sees the same logits either way.
        """
        for layer, share in zip(classifiers_in(task), shares, strict=False):
            linear: Any = layer
            linear.weight.copy_(self.weight)
            linear.bias.copy_(self.bias + (1 - share) * log_prior(class_counts))


def start_clip(facts: StartFacts | None, schedule: ScheduleOptions, opt: str) -> float | None:
    """Limit of the gradient's norm in a training that starts from a classifier; ``None`` for no limit.

    The best classifier on frozen features can have weights many times as long as a fresh one's, and the gradients of
    the layers before it are as much longer. A few steps of SGD then undo what the network has learnt.
    """
    length = None if facts is None else facts.relative_length
    if schedule.clip_grad is not None or length is None or length <= LONG or not uses_sgd(opt):
        return schedule.clip_grad
    return LONG_CLIP


def prior_shares(method: str, switches: GLMCSwitches) -> tuple[float, float]:
    """The factor of the log class frequencies that the loss supplies, so that the classifier does not learn them.

    Returns:
        The factor for the exported classifier, and for GLMC's conventional one. It is ``prior_tau`` for balanced
        softmax, ``class_weight_power`` for a re-weighted loss, and 0 for any other loss.
    """
    loss = switches.rebalanced_loss if method == "glmc" else method
    if loss == "reweighted":
        return switches.class_weight_power, 0.0
    used_switches = loss_switches(loss) if loss in loss_names() else []
    for name in ("prior_tau", "class_weight_power"):
        if name in used_switches:
            return float(getattr(switches, name)), 0.0
    return 0.0, 0.0


def start_features(run: ScoredRun, task: TrainingTask, data: LongTailData, folder: Path) -> Tensor | None:
    """Features of all training images, float32 (views, N, D), in the main process; ``None`` in the others.

    Features that are in ``folder`` already are read; the others are computed and stored there.
    """
    accelerator, views = run.accelerator, cast(FineTuning, run.stage).tune.feature_views
    classifier = Classifier.from_network(
        timm_model_in(task), len(data.class_names), run.spec.data_config, accelerator.device
    )
    key = feature_key(classifier, data.train, views, accelerator.mixed_precision)
    return compute_features(
        classifier, data.train, FeatureParts(folder, key), accelerator, views=views,
        batch_size=max(run.options.schedule.batch_size, 128), workers=run.workers,
    )  # fmt: skip


def find_start(
    features: Tensor,
    data: LongTailData,
    fold: NDArray[np.int64],
    tune: TuneOptions,
    *,
    device: torch.device,
    seconds: float = 0.0,
) -> ClassifierStart:
    """The classifier that a training starts from. Only the main process calls this.

    Args:
        features: Features of the training images, float32 (views, N, D).
        data: The data set of the run.
        fold: Fold of each training image, (N,), from `glmc_zoo.data.folds.training_folds`.
        tune: Its ``head_init`` is ``mean`` or ``head``. Where no image can be held out, ``head`` becomes ``mean``.
        device: Device on which the classifiers are trained.
        seconds: Seconds that computing the features took, for the results.
    """
    views, counts = len(features), data.class_counts
    if tune.head_init == "mean" or (fold == ALWAYS_TRAINS).all():
        reason = None if tune.head_init == "mean" else _NO_HELD_OUT_IMAGE
        weight, bias = _from_means(features.to(device), torch.from_numpy(data.train.labels).to(device), len(counts))
        return ClassifierStart(weight.cpu(), bias.cpu(), StartFacts(init="mean", views=views, reason=reason))
    choice = search_head(
        features, data.train.labels, fold, counts, init="mean", device=device, cosine=tune.head_kind == "cosine",
        show=True,
    )  # fmt: skip
    # The loss and the logit adjustment together have taken out this multiple of the log frequencies; exactly 1 is
    # wanted here, so the rest is added back.
    excess = LOSSES[choice.chosen.loss] + choice.chosen.logit_adjustment - 1
    head = head_facts(choice, tune, data, fold, features, init="mean", seconds=seconds)
    facts = StartFacts(init="head", views=views, head=head)
    return ClassifierStart(choice.weight, choice.bias + excess * log_prior(counts), facts)


def _from_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,): each class has the direction of its mean, as in the start of `search_head`."""
    flat = features.flatten(0, 1)
    mean = flat.mean(dim=0)
    length = (flat - mean).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
    scaled = (flat - mean) / length
    means = class_means(scaled, labels.repeat(len(features)), classes, scaled.new_ones(len(scaled)))
    weight = mean_anchor(means, MEAN_LENGTH) / length
    return weight, -weight @ mean


def begin_classifier(run: ScoredRun, task: TrainingTask) -> ClassifierStart | None:
    """The start of the classifiers in a new fine-tuning; ``None`` where they stay as the task was built.

    The facts of the choice are written to ``start.json`` in the run folder, for a resumed run.
    """
    stage, accelerator = run.stage, run.accelerator
    if not isinstance(stage, FineTuning) or not stage.starts_from_features:
        return None
    start_time, tune = time.perf_counter(), stage.tune
    features = start_features(run, task, run.data, feature_folder(tune, run.folder.path))
    seconds = round(time.perf_counter() - start_time, 1)

    def find_classifier() -> ClassifierStart:
        fold = training_folds(run.data, FOLDS, run.options.schedule.seed)
        start = find_start(cast(Tensor, features), run.data, fold, tune, device=accelerator.device, seconds=seconds)
        return start.with_relative_length(task)

    start = on_main_process(accelerator, find_classifier)
    stage.start_facts = start.facts
    if accelerator.is_main_process:
        write_json(run.folder.path / _FILE, asdict(start.facts))
    for line in start_lines(start.facts):
        run.say(line)
    clip = start_clip(start.facts, run.options.schedule, stage.opt)
    if clip is not None and run.options.schedule.clip_grad is None:
        run.say(
            f"Its weights are {start.facts.relative_length:.1f} times as long as those that it replaces, so the norm "
            f"of the gradient is limited to {clip:g}; --clip-grad overrides this."
        )
    return start


def start_lines(start: StartFacts) -> list[str]:
    """Lines for the screen that say where the classifier starts."""
    if start.head is not None:
        return [head_table(start.head), "The training starts from this classifier."]
    return [start.reason or "The classifier starts from the class means of frozen features."]


def read_classifier_start(run: ScoredRun) -> None:
    """Read ``start.json`` of a resumed run: how its classifier started."""
    file = run.folder.path / _FILE
    if isinstance(run.stage, FineTuning) and file.is_file():
        run.stage.start_facts = from_json(StartFacts, read_json(file, str(file), fix=_FIX), _FILE)


def remove_features(run: ScoredRun) -> None:
    """Remove the features in the run folder, once the run is finished; a ``feature_cache`` stays."""
    if isinstance(run.stage, FineTuning) and run.accelerator.is_main_process:
        with contextlib.suppress(OSError):  # the results are safe
            remove(run.folder.path / FEATURES)
