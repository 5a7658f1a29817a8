"""The search for learning rate and epochs: short trainings, scored on training images that were held out."""

import time
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from glmc_zoo.data import LongTailData, load_split_data
from glmc_zoo.data.folds import ALWAYS_TRAINS, stay_trained
from glmc_zoo.errors import UserError
from glmc_zoo.files import remove
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.command import resume_command
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.machine.signals import RunStopped, StopSignals
from glmc_zoo.options.defaults import FINETUNE_RECIPE
from glmc_zoo.options.machine import PushOptions
from glmc_zoo.options.method_values import warmup_epochs
from glmc_zoo.options.run import FinetuneStage, RunOptions
from glmc_zoo.results import SearchFacts, SearchTrial
from glmc_zoo.screen import say
from glmc_zoo.text import counted
from glmc_zoo.training.assemble import resolve_run, with_notes
from glmc_zoo.training.checkpoint import newest_checkpoint
from glmc_zoo.training.default_model import with_default_model
from glmc_zoo.training.dry_run import step_seconds
from glmc_zoo.training.features import feature_folder
from glmc_zoo.training.finetuning import FineTuning
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.head_start import ClassifierStart, find_start, start_features
from glmc_zoo.training.loop import CheckpointHook, NotFiniteError
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.search_data import hold_out, search_key
from glmc_zoo.training.search_file import SearchFile, search_table, trial_line
from glmc_zoo.training.search_plan import (
    SURVIVORS,
    SearchPlan,
    make_plan,
    next_rates,
    rank,
    rates_for,
)

_PLANNED_SHARE = 0.9  # of the time; the rest is a reserve
_TRIAL = "trial"  # name of a folder that does not exist: the run folder of trials, which write nothing


class SearchResult(NamedTuple):
    """The arguments of a `TrainingRun` after a search."""

    options: RunOptions
    data: LongTailData | None
    """The data set as the search loaded it; ``None`` without a search, where the run loads it itself."""


def search_settings(options: RunOptions) -> SearchResult:
    """The options with the learning rate and the epochs that a search chooses, if ``search_minutes`` asks for one.

    The search makes the run folder and writes ``search.jsonl`` there. A run with the returned options goes on in the
    same folder. Successive halving as in Jamieson and Talwalkar, AISTATS 2016, with fixed rounds.

    Raises:
        UserError: No training image can be held out, or options, data, model or folder do not fit.
    """
    stage = options.stage
    if not isinstance(stage, FinetuneStage) or stage.model.search_minutes is None or stage.searched:
        return SearchResult(options, None)
    search = _Search(options)
    facts = on_main_process(search.accelerator, search.finished_facts)
    finished = facts is not None
    facts = facts or search.run()
    say(search_table(facts), main_process=search.accelerator.is_local_main_process)
    return SearchResult(search.chosen_options(facts, finished=finished), search.data)


class _Search:
    """A search in its run folder. Only the main process reads the clock and the files, so that all decide alike."""

    def __init__(self, options: RunOptions) -> None:
        self.accelerator = make_accelerator(
            mixed_precision=options.machine.mixed_precision, threads=options.machine.threads
        )
        self.requested_options, notes = with_default_model(self.accelerator, options)
        for note in notes:
            say(f"note: {note}", main_process=self.accelerator.is_local_main_process)
        data = main_process_first(self.accelerator, lambda: load_split_data(options.data))
        self.data = with_notes(data, notes)  # the run gets a named model, so it cannot make these notes itself
        options, _ = resolve_run(self.requested_options, self.data, self.accelerator, resumed=True)
        schedule = self.requested_options.schedule
        self.options, self.stage = self._resolve(schedule.lr, schedule.epochs)
        self.minutes = cast(float, self.stage.tune.search_minutes)
        self.holdout = hold_out(self.data, options.schedule.seed)
        self._check_size()
        name = self.stage.run_name(self.data.name, options.schedule.seed)
        self.folder = RunFolder(self.accelerator, options, name)
        self.file = SearchFile(self.folder.path)
        self.key = search_key(self.data)
        self.signals = StopSignals(options.output.preempt_signal)
        self._start_time, self._earlier_seconds = time.perf_counter(), self.file.seconds_so_far(self.key)
        self._starts: dict[int, ClassifierStart] = {}  # by the number of images of a trial

    def _check_size(self) -> None:
        required, images = self._step_images, len(self.holdout.train)
        if images < required:
            raise UserError(
                f"search_minutes={self.minutes:g} holds training images out and leaves {images}, and a step takes "
                f"{required}: give a smaller batch_size=, or leave search_minutes= out."
            )

    def _check_unmixed(self, plan: SearchPlan) -> None:
        """Refuse more unmixed epochs than the shortest trials have: these would train without mixing."""
        unmixed = cast(FinetuneStage, self.requested_options.stage).switches.mix_off_epochs or 0
        if unmixed > plan.epochs:
            raise UserError(
                f"mix_off_epochs={unmixed} must not exceed the epochs of a trial, and search_minutes={self.minutes:g} "
                f"begins with trials of {counted(plan.epochs, 'epoch')}: begin in another output_dir= with a lower "
                "mix_off_epochs=, or without it."
            )

    @property
    def _step_images(self) -> int:
        """Training images of a step, over all processes."""
        images: int = self.options.schedule.batch_size * self.accelerator.num_processes
        return images

    @property
    def seconds_so_far(self) -> float:
        """Seconds of the search so far, by the clock of the main process."""
        return on_main_process(self.accelerator, lambda: self._earlier_seconds + time.perf_counter() - self._start_time)

    def finished_facts(self) -> SearchFacts | None:
        """The facts of a finished search, in the main process; ``None`` where a search has still to be made.

        A search on other images counts only if the training has begun with its learning rate and epochs.
        """
        facts = self.file.facts()
        if facts is None or self.file.plan(self.key) is not None or newest_checkpoint(self.folder.checkpoints):
            return facts
        return None

    def run(self) -> SearchFacts:
        """Train the trials that are not in the file yet, and choose the best.

        Raises:
            RunStopped: A signal came. The finished trials are in the file.
        """
        command = resume_command(self.folder.path, self.options.command)
        text = f"Stopped by {{signal}}, the finished trials of the search are on disk; to resume: {command}"
        try:
            with self.signals.raise_on_signal(text):
                on_main_process(self.accelerator, self._remove_old_trial)
                return self._run()
        except RunStopped:
            self.folder.release()
            raise

    def _remove_old_trial(self) -> None:
        """Remove the checkpoints of a trial, which an earlier version wrote; no trial could begin beside them."""
        folder = self.folder.path / _TRIAL
        if folder.is_dir() and not folder.is_symlink() and {path.name for path in folder.iterdir()} <= {"checkpoints"}:
            remove(folder)

    def _run(self) -> SearchFacts:
        plan = on_main_process(self.accelerator, lambda: self.file.plan(self.key)) or self._plan()
        self._check_unmixed(plan)
        trials = on_main_process(self.accelerator, self.file.trials)
        for round_ in range(len(SURVIVORS)):
            epochs = plan.epochs * 2**round_
            previous = [trial for trial in trials if trial.epochs == epochs // 2]
            finished_rates = {trial.lr for trial in trials if trial.epochs == epochs}
            for lr in next_rates(plan, previous, round_):
                if lr in finished_rates:
                    continue
                if trials and self.seconds_so_far + _expected_seconds(trials[-1], epochs) > 60 * self.minutes:
                    return self._finish(plan, trials)
                trials.append(self._trial(lr, epochs, plan))
        return self._finish(plan, trials)

    def _plan(self) -> SearchPlan:
        """Measure a step, and plan as many trials as the time allows."""
        if on_main_process(self.accelerator, self.file.lines):
            say(
                "note: The training images, their classes or their groups changed since the search, so it begins anew.",
                main_process=self.accelerator.is_local_main_process,
            )
        run = self._build(self.options.schedule.lr, 1, len(self.holdout.train))
        if self.stage.starts_from_features:
            self._all_features(run)  # first, so that the remaining time is known
        image_seconds = step_seconds(run) / self._step_images
        remaining = _PLANNED_SHARE * 60 * self.minutes - self.seconds_so_far

        def make_search_plan() -> SearchPlan:
            return make_plan(
                rates_for(self.stage.opt, self.stage.tune.tune),
                images=len(self.holdout.train),
                held_out=len(self.holdout.test),
                image_budget=max(remaining, 0) / image_seconds,
            )

        plan = on_main_process(self.accelerator, make_search_plan)
        seconds_so_far = self.seconds_so_far
        on_main_process(self.accelerator, lambda: self.file.begin(plan, self.key, seconds_so_far))
        return plan

    def _requested(self, lr: float, epochs: int) -> RunOptions:
        """The options that were given, with a learning rate, a number of epochs, and what follows from these."""
        warmup = warmup_epochs(FINETUNE_RECIPE, {"epochs": epochs})
        schedule = replace(self.requested_options.schedule, lr=lr, epochs=epochs, passes=None, warmup_epochs=warmup)
        stage = replace(cast(FinetuneStage, self.requested_options.stage), searched=True)
        return replace(self.requested_options, stage=stage, schedule=schedule)

    def _resolve(self, lr: float, epochs: int) -> tuple[RunOptions, FineTuning]:
        """Options and stage of a run on all training images with a learning rate and a number of epochs.

        Trials and the run after the search both get their options from here, so that they train the same method.
        """
        options, stage = resolve_run(self._requested(lr, epochs), self.data, self.accelerator, resumed=False)
        return options, cast(FineTuning, stage)

    def _build(self, lr: float, epochs: int, images: int) -> TrainingRun:
        """A training on part of the images, in memory: it writes nothing to disk and uses no test image."""
        options, _ = self._resolve(lr, epochs)
        stage = cast(FinetuneStage, options.stage)
        # The batch was decided for all training images, and the few images of a trial must not make it smaller.
        stage = replace(stage, defaults=tuple(name for name in stage.defaults if name != "batch_size"))
        output = replace(
            options.output, output_dir=str(self.folder.path / _TRIAL), resume=None, dry_run=True, tracker=None
        )
        machine = replace(options.machine, profile=False)
        trial = replace(options, stage=stage, output=output, machine=machine, push=PushOptions())
        run = TrainingRun(trial, self.holdout.of_trial(self.holdout.positions(images, self._step_images)))
        run.trainer.checkpoints = CheckpointHook()
        return run

    def _trial(self, lr: float, epochs: int, plan: SearchPlan) -> SearchTrial:
        """Train with the learning rate ``lr`` for ``epochs`` epochs, score on held-out images, and store the trial.

        A training whose loss or weights become infinite or NaN has scores of 0.
        """
        start_time, scores = time.perf_counter(), {"balanced_accuracy": 0.0, "top1": 0.0}
        run = self._build(lr, epochs, plan.images)
        if self.stage.starts_from_features:
            run.start_classifier(self._start_for(run, plan.images))
        try:
            for _ in run.epochs():
                run.train_epoch()
                run.progress.epoch, run.progress.batch, run.progress.sums = run.progress.epoch + 1, 0, {}
            run.check_weights()
            scored = run.evaluate(run.data.test).scores()  # a trial's test split holds held-out training images
            scores = {name: cast(float, scored[name]) for name in scores}
        except NotFiniteError:  # the learning rate is too high, so the trial has scores of 0
            pass
        seconds = on_main_process(self.accelerator, lambda: round(time.perf_counter() - start_time, 1))
        trial = SearchTrial(
            lr=lr,
            weight_decay=self.options.schedule.weight_decay,
            layer_decay=self.stage.tune.layer_decay,
            epochs=epochs,
            images=len(run.data.train),
            seconds=seconds,
            **scores,
        )
        seconds_so_far = self.seconds_so_far
        on_main_process(self.accelerator, lambda: self.file.add(trial, seconds_so_far))
        say(f"trial   {trial_line(trial)}", main_process=self.accelerator.is_local_main_process)
        return trial

    def _all_features(self, run: TrainingRun) -> Tensor:
        """Features of all training images, (views, N, D), in the main process; the run itself reads them again."""
        folder = feature_folder(self.stage.tune, self.folder.path)
        return cast(Tensor, start_features(run, run.task, self.data, folder))

    def _start_for(self, run: TrainingRun, images: int) -> ClassifierStart:
        """The start of the classifier in trials of so many images, found on their training images only."""
        if images not in self._starts:
            features = self._all_features(run)
            self._starts[images] = on_main_process(self.accelerator, lambda: self._find_start(run, images, features))
        return self._starts[images]

    def _find_start(self, run: TrainingRun, images: int, features: Tensor) -> ClassifierStart:
        data, positions = run.data, self.holdout.positions(images, self._step_images)
        # Fold 0 is held out, so no image of the trial is in it: the other folds move down by one.
        fold = self.holdout.folds[positions]
        fold = np.where(fold == ALWAYS_TRAINS, ALWAYS_TRAINS, fold - 1)
        folds = stay_trained(fold, data.train.labels, data.groups)
        selected = features[:, torch.from_numpy(positions)]
        start = find_start(selected, data, folds, self.stage.tune, device=self.accelerator.device)
        return start.with_relative_length(run.task)

    def _finish(self, plan: SearchPlan, trials: list[SearchTrial]) -> SearchFacts:
        facts = SearchFacts(
            minutes=self.minutes,
            seconds=round(self.seconds_so_far, 1),
            held_out_images=len(self.holdout.test),
            grouped_by=self.data.grouped_by,
            planned=plan.planned,
            trials=trials,
            chosen=max(trials, key=rank),
        )
        on_main_process(self.accelerator, lambda: self.file.finish(facts))
        return facts

    def chosen_options(self, facts: SearchFacts, *, finished: bool) -> RunOptions:
        """The options of the run that follows the search in the same folder, with the chosen learning rate and epochs.

        They are saved in ``config.yaml``, unless an earlier start had already ``finished`` the search.
        """
        chosen, output = facts.chosen, self.requested_options.output
        output = replace(output, output_dir=str(self.folder.path), resume=output.resume or "auto")
        options = replace(self._requested(chosen.lr, chosen.epochs), output=output)
        if not finished:
            self.folder.save_options(self._resolve(chosen.lr, chosen.epochs)[0])
        return options


def _expected_seconds(trial: SearchTrial, epochs: int) -> float:
    """Expected seconds of a trial of so many epochs, in proportion to those of a finished one."""
    return trial.seconds * epochs / trial.epochs
