"""A run that trains only the classifier: it computes the features once, then trains many classifiers together."""

import contextlib
import time
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glmc_zoo.data.folds import ALWAYS_TRAINS, training_folds
from glmc_zoo.data.load import load_split_data
from glmc_zoo.errors import UserError
from glmc_zoo.files import percent, remove, text_table
from glmc_zoo.hub import check_login
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.clock import StageClock
from glmc_zoo.machine.hardware import hardware_text, loading_workers, reserve_worker_cores
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.machine.signals import StopSignals
from glmc_zoo.options.run import RunOptions
from glmc_zoo.results import HeadFacts, HeadTrial, RunResults, Selection
from glmc_zoo.scoring.decoration import RERUN_FIX, Decorations
from glmc_zoo.scoring.loop import ScoredSplit
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.text import counted, printable, printable_lines
from glmc_zoo.training.assemble import make_stage, push_target, resolve_options, with_notes, with_precision
from glmc_zoo.training.default_model import with_default_model
from glmc_zoo.training.features import FEATURES, FeatureParts, compute_features, feature_folder, feature_key
from glmc_zoo.training.finetuning import HeadTuning, timm_model_in
from glmc_zoo.training.finished_run import finished_results, mark_finished, unmark_finished
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.head_search import FOLDS, LOSSES, WEIGHT_DECAYS, HeadChoice, head_facts, search_head
from glmc_zoo.training.inputs import image_size_notes
from glmc_zoo.training.label_suspects import SUSPECTS_FILE, suspects_note, write_suspects
from glmc_zoo.training.report import opening_lines, result_table
from glmc_zoo.training.scored_run import ScoredRun


class TrainedHead(NamedTuple):
    """The classifier that the main process trained, for all processes."""

    choice: HeadChoice
    facts: HeadFacts
    notes: list[str]
    """Notes on training images that fit another class better than their label."""
    warnings: list[str]
    """A warning where the list of these images could not be written."""


class HeadRun(ScoredRun):
    """Trains a classifier on features; `recipes/finetune.py` shows its use.

    Args:
        options: Resolved options whose stage is a `HeadStage`.

    Raises:
        UserError: Data, model, options or output folder do not fit; nothing already on disk is touched.
    """

    stage: HeadTuning

    def __init__(self, options: RunOptions) -> None:
        if options.output.resume not in (None, "auto"):
            raise UserError(
                f"resume={options.output.resume!r} names a checkpoint, and tune='head' writes none: give resume='auto'."
            )
        self._start_time = time.perf_counter()
        target = push_target(options.push)
        self.accelerator = make_accelerator(
            mixed_precision=options.machine.mixed_precision, threads=options.machine.threads
        )
        if target is not None:
            on_main_process(self.accelerator, check_login)
        options, model_notes = with_default_model(self.accelerator, options)
        data = main_process_first(self.accelerator, lambda: load_split_data(options.data))
        self.stage = cast(HeadTuning, main_process_first(self.accelerator, lambda: make_stage(options.stage)))
        self.data = with_notes(data, [*model_notes, *image_size_notes(options.images, self.stage.timm_name)])
        built = self.stage.build(self.data, options.images, options.schedule)
        self.spec, self._task = built.spec, built.task.to(self.accelerator.device)
        self._task.to(memory_format=torch.channels_last)
        self.options = resolve_options(with_precision(options, self.accelerator), self.data, self.spec)
        device = self.accelerator.device
        self.workers = loading_workers(options.images.workers, self.data.train.pixels is not None, device)
        reserve_worker_cores(self.workers, device, options.machine.threads)
        name = self.stage.run_name(self.data.name, options.schedule.seed)
        self.folder = RunFolder(self.accelerator, self.options, name)
        self.clock, self.signals = StageClock(self.accelerator), StopSignals(options.output.preempt_signal)
        self._finished: RunResults | None = None
        if options.output.resume is not None and not options.output.dry_run:
            path = self.folder.path
            self._finished = on_main_process(self.accelerator, lambda: finished_results(path, self.options, self.data))

    @property
    def model(self) -> nn.Module:
        """The model that is scored and exported."""
        model: nn.Module = timm_model_in(self._task)
        return model

    @property
    def seconds(self) -> float:
        """Wall time of this process in seconds; the time of an interrupted process before it is not known."""
        return time.perf_counter() - self._start_time

    def describe(self) -> None:
        """Print the model, the data and the settings of the run."""
        name = self.stage.name
        for line in opening_lines(self.options, self.stage.title, name, self.data, self.spec, self.timm_model):
            self.say(line)
        self.say(printable(f"results in {self.folder.path}"))
        self.say(hardware_text(self.accelerator, self.workers, resident=False))
        for line in self.stage.opening_lines(self.options, self._task):
            self.say(printable(line))

    def train(self) -> None:
        """Compute the features, train and choose the classifier, and put it into the network.

        Nothing is computed if the run is complete.

        Raises:
            UserError: No training image can be held out, or features cannot be written.
            RunStopped: A signal came. The features computed so far are on disk.
        """
        if self._finished is not None:
            self.say(printable(f"The run in {self.folder.path} is complete: nothing is computed again."))
            return
        with self.signals.raise_on_signal(self._stop_text("{signal}", "the features computed so far are on disk")):
            if self.accelerator.is_main_process:
                unmark_finished(self.folder.path)
            if self.options.output.resume is not None:
                self.folder.save_options()
            self._train()

    def _train(self) -> None:
        start_time, tune = time.perf_counter(), self.stage.tune
        config, accelerator = self.spec.data_config, self.accelerator
        classifier = Classifier.from_network(self.model, len(self.data.class_names), config, accelerator.device)
        key = feature_key(classifier, self.data.train, tune.feature_views, accelerator.mixed_precision)
        parts = FeatureParts(feature_folder(tune, self.folder.path), key)
        features = compute_features(
            classifier, self.data.train, parts, accelerator, views=tune.feature_views,
            batch_size=self.options.schedule.batch_size, workers=self.workers,
        )  # fmt: skip
        seconds = round(time.perf_counter() - start_time, 1)
        head = on_main_process(accelerator, lambda: self._search(cast(Tensor, features), seconds))
        layer: Any = self.timm_model.get_classifier()  # type: ignore[operator]  # timm's models have it
        with torch.no_grad():
            layer.weight.copy_(head.choice.weight)
            layer.bias.copy_(head.choice.bias)
        self.stage.head_facts, self._choice, self._warnings = head.facts, head.choice, head.warnings
        self.data = with_notes(self.data, head.notes)
        self.say("\n".join([head_table(head.facts), *(f"note: {note}" for note in head.notes)]))

    def _search(self, features: Tensor, seconds: float) -> TrainedHead:
        """Train and choose the classifier, in the main process."""
        data, tune = self.data, self.stage.tune
        fold = training_folds(data, FOLDS, self.options.schedule.seed)
        if (fold == ALWAYS_TRAINS).all():
            raise UserError(
                "Every class has one image or one group, so no training image can be held out to choose a classifier: "
                "give more images, or method='balanced_softmax', which holds none out."
            )
        choice = search_head(
            features, data.train.labels, fold, data.class_counts, init=tune.head_init,
            device=self.accelerator.device, cosine=tune.head_kind == "cosine", loss=tune.head_loss, show=True,
        )  # fmt: skip
        facts = head_facts(choice, tune, data, fold, features, init=tune.head_init, seconds=seconds)
        return TrainedHead(choice, facts, *self._list_suspects(choice))

    def _list_suspects(self, choice: HeadChoice) -> tuple[list[str], list[str]]:
        """Write the list of training images whose label is to be checked; returns notes and warnings."""
        decorations, rows = Decorations(), list[int]()

        def write() -> None:
            held_out, report = (choice.held_out_positions, choice.held_out_logits), self.options.output.report
            rows.append(write_suspects(self.folder.path, self.data, *held_out, report=report))

        decorations.attempt(f"The list {SUSPECTS_FILE}", write, fix=RERUN_FIX)
        return suspects_note(sum(rows), len(choice.held_out_labels)), decorations.warnings

    def _results(self, scored: dict[str, ScoredSplit]) -> RunResults:
        return replace(super()._results(scored), warnings=self._warnings)

    def held_out_logits(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Logits and classes of the training images that were held out in turn to choose the classifier."""
        choice = self._choice
        return choice.held_out_logits.double().numpy(), choice.held_out_labels.numpy()

    def finish(self) -> RunResults:
        """Score, export and report the model, and remove the features, unless they are in a ``feature_cache``.

        A run that is complete only shows its results, and pushes its model where that is asked for.
        """
        if self._finished is not None:
            return self._show_finished(self._finished)
        facts = self.stage.head_facts
        assert facts is not None
        description = f"chosen on {facts.held_out_images} held-out training images in {counted(facts.folds, 'fold')}"
        results = self.score_and_export(Selection(epoch=None, how=description))
        if self.accelerator.is_main_process:
            self._remove_features()
        self.folder.release()
        return results

    def push(self) -> None:
        """Mark the run as complete and push its model; a run whose push failed repeats the push alone."""
        if self._finished is None and self.accelerator.is_main_process:
            mark_finished(self.folder.path, self.options, self.data)
        super().push()

    def _remove_features(self) -> None:
        if self.stage.tune.feature_cache is None:
            with contextlib.suppress(OSError):  # the results are safe
                remove(self.folder.path / FEATURES)

    def _show_finished(self, results: RunResults) -> RunResults:
        results = replace(results, folder=self.folder.path)
        if self.accelerator.is_main_process:
            print(printable_lines(result_table(results, self.folder.path)))
            self._remove_features()
        self.push()
        self.folder.release()
        return results


def head_table(head: HeadFacts) -> str:
    """The table of the search for the screen: balanced accuracy on held-out images for each loss and weight decay."""
    cells = {(trial.loss, trial.weight_decay): trial for trial in head.trials}

    def cell(trial: HeadTrial) -> str:
        return percent(trial.balanced_accuracy) + ("*" if trial == head.chosen else " ")

    views, start = counted(head.views, "view"), "the class means" if head.init == "mean" else "zeros"
    losses = [loss for loss in LOSSES if any(trial.loss == loss for trial in head.trials)]
    rows = [[loss, *(cell(cells[loss, decay]) for decay in WEIGHT_DECAYS)] for loss in losses]
    chosen = head.chosen
    return "\n".join(
        [
            f"{views} of each image, {counted(head.features, 'feature')} each, in {head.feature_seconds} s; "
            f"{counted(len(head.trials), 'classifier')}, from {start}, in {head.search_seconds} s; balanced accuracy "
            "in % on "
            f"{counted(head.held_out_images, 'training image')} held out in "
            f"{counted(head.folds, 'fold')}{head.group_phrase}, "
            "by weight decay:",
            text_table([["loss", *(f"{decay:g} " for decay in WEIGHT_DECAYS)], *rows]),
            f"* chosen, with logit adjustment {chosen.logit_adjustment:g}, and trained again on all training images",
        ]
    )


def run_head(options: RunOptions) -> RunResults:
    """Run a whole `HeadRun`: describe, train, finish."""
    run = HeadRun(options)
    run.describe()
    run.train()
    return run.finish()
