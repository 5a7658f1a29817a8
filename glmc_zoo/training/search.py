"""The search for learning rate and epochs: short trainings, scored on training images that are held out of them."""

import copy
import time
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.data import ImageSplit, LongTailData, load_split_data
from glmc_zoo.data.fingerprint import ordered_digest
from glmc_zoo.data.folds import ALWAYS_TRAINS, stay_trained, training_folds
from glmc_zoo.errors import UserError
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.options.machine import PushOptions
from glmc_zoo.options.method_values import short_warmup
from glmc_zoo.options.resolve import FINETUNE_RECIPE
from glmc_zoo.options.run import FinetuneStage, RunOptions
from glmc_zoo.results import SearchFacts, SearchTrial
from glmc_zoo.screen import say
from glmc_zoo.training.assemble import settle_run, with_notes
from glmc_zoo.training.default_model import settle_model
from glmc_zoo.training.dry_run import step_seconds
from glmc_zoo.training.finetuning import FineTuning
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.head_search import FOLDS
from glmc_zoo.training.head_start import Start, feature_folder, find_start, start_features
from glmc_zoo.training.loop import NotFiniteError
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.search_file import SearchFile, search_table, trial_line
from glmc_zoo.training.search_plan import SURVIVORS, SearchPlan, make_plan, next_rates, rank, rates_for, reduced

_HELD_OUT = 0  # number of the fold
_RESERVE = 0.9  # share of the time that is planned for


class Searched(NamedTuple):
    """What a `TrainingRun` is made of after a search."""

    options: RunOptions
    data: LongTailData | None
    """The images as the search loaded them; ``None`` without a search, as the run loads them itself."""


def search_settings(options: RunOptions) -> Searched:
    """The options with the learning rate and the epochs that a search chooses, if ``search_minutes`` asks for one.

    The run folder is claimed, and holds ``search.jsonl``; the run with the options that are returned goes on in it.

    Raises:
        UserError: No training image can be held out, or options, data, model or folder do not fit.
    """
    stage = options.stage
    if not isinstance(stage, FinetuneStage) or stage.model.search_minutes is None or stage.searched:
        return Searched(options, None)
    search = _Search(options)
    facts = on_main_process(search.accelerator, search.file.facts)
    finished = facts is not None
    facts = facts or search.run()
    say(search_table(facts), main_process=search.accelerator.is_local_main_process)
    return Searched(search.chosen(facts, finished=finished), search.data)


@dataclass(frozen=True)
class _Held:
    """The training images without the fold that is held out."""

    train: NDArray[np.int64]
    """Positions of the images that trials may be trained on."""
    test: NDArray[np.int64]
    """Positions of those that are held out."""
    folds: NDArray[np.int64]
    """Fold of every training image."""


class _Search:
    """A search in its run folder; what is asked of the clock or of a file is asked by the main process."""

    def __init__(self, options: RunOptions) -> None:
        self.accelerator = make_accelerator(
            mixed_precision=options.machine.mixed_precision, threads=options.machine.threads
        )
        self.asked, notes = settle_model(self.accelerator, options)
        for note in notes:
            say(f"note: {note}", main_process=self.accelerator.is_local_main_process)
        loaded = main_process_first(self.accelerator, lambda: load_split_data(options.data))
        self.data = with_notes(loaded, notes)  # the run itself finds the model named, and has no note on it
        settled = settle_run(self.asked, self.data, self.accelerator, resumed=True)
        self.options, self.stage = settled[0], cast(FineTuning, settled[1])
        self.minutes = cast(float, self.stage.tune.search_minutes)
        self.held = _hold_out(self.data, options.schedule.seed)
        self._check_size()
        name = self.stage.run_name(self.data.name, options.schedule.seed)
        self.folder = RunFolder(self.accelerator, self.options, name)
        self.file = SearchFile(self.folder.path)
        self.key = ordered_digest(self.data.train)[:16]
        self._begun, self._before = time.perf_counter(), self.file.spent()
        self._starts: dict[int, Start] = {}  # by the images of a trial

    def _check_size(self) -> None:
        needed, images = self.options.schedule.batch_size * self.accelerator.num_processes, len(self.held.train)
        if images < needed:
            raise UserError(
                f"search_minutes={self.minutes:g} leaves {images} images to train on, and a step takes {needed}: give "
                "a smaller batch_size=, or leave search_minutes= out."
            )

    @property
    def spent(self) -> float:
        """Seconds of the search so far, by the clock of the main process."""
        return on_main_process(self.accelerator, lambda: self._before + time.perf_counter() - self._begun)

    def run(self) -> SearchFacts:
        """Train the trials that are left and choose."""
        plan = on_main_process(self.accelerator, lambda: self.file.plan(self.key)) or self._plan()
        trials = on_main_process(self.accelerator, self.file.trials)
        for round_ in range(len(SURVIVORS)):
            epochs = plan.epochs * 2**round_
            before = [trial for trial in trials if trial.epochs == epochs // 2]
            done = {trial.lr for trial in trials if trial.epochs == epochs}
            for lr in next_rates(plan, before, round_):
                if lr in done:
                    continue
                if trials and self.spent + _expected(trials[-1], epochs) > 60 * self.minutes:
                    return self._finish(plan, trials)
                trials.append(self._trial(lr, epochs, plan))
        return self._finish(plan, trials)

    def _plan(self) -> SearchPlan:
        """Measure a step, and plan as much as the time allows."""
        run = self._build(self.options.schedule.lr, 1, len(self.held.train))
        if self.stage.starts_from_features:
            self._features(run)  # before the time that is left is shared out
        each = step_seconds(run) / (self.options.schedule.batch_size * self.accelerator.num_processes)
        left = _RESERVE * 60 * self.minutes - self.spent

        def plan() -> SearchPlan:
            return make_plan(
                rates_for(self.stage.opt, self.stage.tune.tune),
                images=len(self.held.train),
                held_out=len(self.held.test),
                affordable=max(left, 0) / each,
            )

        made = on_main_process(self.accelerator, plan)
        spent = self.spent
        on_main_process(self.accelerator, lambda: self.file.begin(made, self.key, spent))
        return made

    def _build(self, lr: float, epochs: int, images: int) -> TrainingRun:
        """A training in memory on part of the images; it leaves nothing on disk, and sees no test image."""
        options, data = self.options, self._part(images)
        warmup = short_warmup(FINETUNE_RECIPE, {"epochs": epochs})
        schedule = replace(options.schedule, lr=lr, epochs=epochs, passes=None, warmup_epochs=warmup)
        output = replace(
            options.output, output_dir=str(self.folder.path / "trial"), resume=None, dry_run=True, tracker=None
        )
        machine = replace(options.machine, profile=False)
        trial = replace(options, schedule=schedule, output=output, machine=machine, push=PushOptions())
        return TrainingRun(trial, data)

    def _positions(self, images: int) -> NDArray[np.int64]:
        """Positions of the training images of a trial, at least as many as a step takes."""
        positions = reduced(self.data.train.labels, self.held.train, images, self.options.schedule.seed)
        missing = self.options.schedule.batch_size * self.accelerator.num_processes - len(positions)
        if missing <= 0:
            return positions
        rest = np.setdiff1d(self.held.train, positions)
        return np.sort(np.concatenate([positions, rest[:missing]]))

    def _part(self, images: int) -> LongTailData:
        """The images of a trial, with those that are held out as its test split."""
        positions = self._positions(images)
        train = _take(self.data.train, positions)
        groups = None if self.data.groups is None else self.data.groups[positions]
        return replace(
            self.data, train=train, test=_take(self.data.train, self.held.test), val=None,
            class_counts=train.class_counts, groups=groups,
        )  # fmt: skip

    def _trial(self, lr: float, epochs: int, plan: SearchPlan) -> SearchTrial:
        """Train and score one setting, and write it down."""
        begun, scores = time.perf_counter(), {"balanced_accuracy": 0.0, "top1": 0.0}
        run = self._build(lr, epochs, plan.images)
        if self.stage.starts_from_features:
            run.start_from(self._start(run, plan.images))
        try:
            for _ in run.epochs():
                run.train_epoch()
                run.progress.epoch, run.progress.batch, run.progress.sums = run.progress.epoch + 1, 0, {}
            run.check_weights()
            scored = run.evaluate(run.data.test).scores()
            scores = {name: cast(float, scored[name]) for name in scores}
        except NotFiniteError:  # the learning rate is too high
            pass
        seconds = on_main_process(self.accelerator, lambda: round(time.perf_counter() - begun, 1))
        trial = SearchTrial(
            lr=lr,
            weight_decay=self.options.schedule.weight_decay,
            layer_decay=self.stage.tune.layer_decay,
            epochs=epochs,
            images=len(run.data.train),
            seconds=seconds,
            **scores,
        )
        spent = self.spent
        on_main_process(self.accelerator, lambda: self.file.add(trial, spent))
        say(f"trial   {trial_line(trial)}", main_process=self.accelerator.is_local_main_process)
        return trial

    def _features(self, run: TrainingRun) -> Tensor:
        """Features of all training images, which the run itself uses again; in the main process."""
        folder = feature_folder(self.stage.tune, self.folder.path)
        return cast(Tensor, start_features(run, run.task, self.data, folder))

    def _start(self, run: TrainingRun, images: int) -> Start:
        """What the classifier of the trials starts from, by their own training images alone."""
        if images not in self._starts:
            features = self._features(run)
            self._starts[images] = on_main_process(self.accelerator, lambda: self._find(run, images, features))
        return self._starts[images]

    def _find(self, run: TrainingRun, images: int, features: Tensor) -> Start:
        data, positions = run.data, self._positions(images)
        # The fold that is held out of the trial has no image in it; the numbers of the others close up.
        fold = np.where(self.held.folds[positions] == ALWAYS_TRAINS, ALWAYS_TRAINS, self.held.folds[positions] - 1)
        folds = stay_trained(fold, data.train.labels, data.groups)
        selected = features[:, torch.from_numpy(positions)]
        start = find_start(selected, data, folds, self.stage.tune, device=self.accelerator.device)
        return start.compared_with(run.task)

    def _finish(self, plan: SearchPlan, trials: list[SearchTrial]) -> SearchFacts:
        facts = SearchFacts(
            minutes=self.minutes,
            seconds=round(self.spent, 1),
            held_out_images=len(self.held.test),
            grouped_by=self.data.grouped_by,
            planned=plan.planned,
            trials=trials,
            chosen=max(trials, key=rank),
        )
        on_main_process(self.accelerator, lambda: self.file.finish(facts))
        return facts

    def chosen(self, facts: SearchFacts, *, finished: bool) -> RunOptions:
        """The options of the run itself, which goes on in the folder.

        Unless the search was ``finished`` before, ``config.yaml`` is written with what was chosen.
        """
        asked, epochs = self.asked, facts.chosen.epochs
        warmup = short_warmup(FINETUNE_RECIPE, {"epochs": epochs})
        schedule = replace(asked.schedule, lr=facts.chosen.lr, epochs=epochs, passes=None, warmup_epochs=warmup)
        output = replace(asked.output, output_dir=str(self.folder.path), resume=asked.output.resume or "auto")
        stage = replace(cast(FinetuneStage, asked.stage), searched=True)
        options = replace(asked, stage=stage, schedule=schedule, output=output)
        if not finished:
            settled, _ = settle_run(options, self.data, self.accelerator, resumed=False)
            self.folder.save_options(settled)
        return options


def _hold_out(data: LongTailData, seed: int) -> _Held:
    folds = training_folds(data, FOLDS, seed)
    held = folds == _HELD_OUT
    if not held.any():
        raise UserError(
            "search_minutes= needs training images that can be held out, and every class has one image or one group: "
            "give lr= and epochs= instead."
        )
    return _Held(np.flatnonzero(~held), np.flatnonzero(held), folds)


def _take(split: ImageSplit, positions: NDArray[np.int64]) -> ImageSplit:
    """Part of a split."""
    part = copy.copy(split)
    part.rows, part.labels = split.rows[positions], split.labels[positions]
    part.pixels = None if split.pixels is None else split.pixels[positions]
    return part


def _expected(trial: SearchTrial, epochs: int) -> float:
    """Seconds of a trial of so many epochs, by those of another."""
    return trial.seconds * epochs / trial.epochs
