"""A dry run: prints data and options of a run, and estimates its time and memory from a few steps."""

import math
import time
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import yaml
from accelerate import Accelerator

from glmc_zoo.data import ImageSplit
from glmc_zoo.facts import Inventory
from glmc_zoo.machine.clock import StageClock
from glmc_zoo.machine.hardware import peak_memory
from glmc_zoo.options.run import HeadStage, RunOptions, saved_options
from glmc_zoo.text import counted, printable
from glmc_zoo.training.finetuning import FineTuning
from glmc_zoo.training.head_run import HeadRun
from glmc_zoo.training.loop import CheckpointHook
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.scored_run import ScoredRun

_T = TypeVar("_T")

_WARM_UP, _TIMED = 3, 5  # steps
_PREFETCHED = 2  # batches that each worker has ready before the first step, so they cost no loading time
_TIMED_BATCHES = 3  # of an evaluation


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Options, data, estimated time and memory of a run. Checkpoints, plots and the export are not included."""

    options: dict[str, Any]
    """All options by name, as ``config.yaml`` would have them."""
    inventory: Inventory | None
    """What the data set holds; ``None`` where it was not counted."""
    epochs: int
    steps: int
    """Steps of an epoch."""
    step_seconds: float
    """Seconds of one step."""
    evaluations: int
    """Evaluations in the whole run."""
    evaluation_seconds: float
    """Seconds of one evaluation."""
    views: int = 0
    """Views of each training image whose features are computed for the start of the classifier."""
    view_seconds: float = 0.0
    """Seconds for the features of one view of all training images."""
    memory_bytes: int
    """Peak memory of one process in these steps: GPU memory on CUDA, else main memory."""
    processes: int

    @property
    def seconds(self) -> float:
        """Estimated seconds of the whole run."""
        training = self.epochs * self.steps * self.step_seconds + self.evaluations * self.evaluation_seconds
        return training + self.views * self.view_seconds

    @property
    def text(self) -> str:
        """The estimate in one line."""
        per_process = " a process" if self.processes > 1 else ""
        features = f"features of {counted(self.views, 'view')} x {self.view_seconds:.2g} s, " if self.views else ""
        return (
            f"about {_duration(self.seconds)}: {features}{counted(self.epochs, 'epoch')} x "
            f"{counted(self.steps, 'step')} x {self.step_seconds:.2g} s, "
            f"plus {counted(self.evaluations, 'evaluation')} x {self.evaluation_seconds:.2g} s; "
            f"memory {self.memory_bytes / 1e9:.1f} GB{per_process}"
        )


def dry_run(options: RunOptions) -> DryRun:
    """Build a run, print what it would do, and estimate its time and memory; nothing is written.

    Raises:
        UserError: Data, model, options or output folder do not fit, as for the run itself.
    """
    if isinstance(options.stage, HeadStage):
        head = HeadRun(options)
        head.describe()
        return print_head_estimate(head)
    run = TrainingRun(options)
    run.describe()
    return print_estimate(run)


def print_estimate(run: TrainingRun) -> DryRun:
    """Print the options of a run, and its time and memory, measured on a few steps. The run cannot go on afterwards."""
    seconds_per_step = step_seconds(run)
    split = run.data.test if run.data.val is None else run.data.val
    evaluation_seconds = _evaluation_seconds(run, split)
    has_feature_start = isinstance(run.stage, FineTuning) and run.stage.starts_from_features
    view_seconds = _evaluation_seconds(run, run.data.train) if has_feature_start else 0.0
    seconds_per_step, evaluation_seconds, view_seconds, memory = _max_over_processes(
        run, seconds_per_step, evaluation_seconds, view_seconds, peak_memory(run.accelerator.device)
    )
    estimate = DryRun(
        options=saved_options(run.options),
        inventory=run.data.facts.inventory,
        epochs=run.options.schedule.epochs,
        steps=len(run.loader),
        step_seconds=seconds_per_step,
        evaluations=_evaluations(run, split),
        evaluation_seconds=evaluation_seconds,
        views=cast(FineTuning, run.stage).tune.feature_views if has_feature_start else 0,
        view_seconds=view_seconds,
        memory_bytes=int(memory),
        processes=run.accelerator.num_processes,
    )
    _print(run, estimate)
    return estimate


@dataclass(frozen=True, kw_only=True)
class HeadDryRun(DryRun):
    """A `DryRun` of a classifier on features, which has no epochs."""

    @property
    def text(self) -> str:
        """The estimate in one line."""
        return (
            f"about {_duration(self.seconds)}: features of {counted(self.views, 'view')} x {self.view_seconds:.2g} s, "
            f"plus {counted(self.evaluations, 'evaluation')} x {self.evaluation_seconds:.2g} s, and the training of "
            f"the classifiers; memory {self.memory_bytes / 1e9:.1f} GB so far"
        )


def print_head_estimate(run: HeadRun) -> HeadDryRun:
    """Print the options of a run that trains a classifier on features, and its time and memory.

    Computing the features of one view takes as long as scoring the training images, which is measured.
    """
    splits = [split for split in (run.data.test, run.data.val) if split]
    mean_seconds = sum(_evaluation_seconds(run, split) for split in splits) / max(len(splits), 1)
    view_seconds, evaluation_seconds, memory = _max_over_processes(
        run, _evaluation_seconds(run, run.data.train), mean_seconds, peak_memory(run.accelerator.device)
    )
    estimate = HeadDryRun(
        options=saved_options(run.options),
        inventory=run.data.facts.inventory,
        epochs=0,
        steps=0,
        step_seconds=0.0,
        evaluations=len(splits),
        evaluation_seconds=evaluation_seconds,
        views=run.stage.tune.feature_views,
        view_seconds=view_seconds,
        memory_bytes=int(memory),
        processes=run.accelerator.num_processes,
    )
    _print(run, estimate)
    return estimate


def _max_over_processes(run: ScoredRun, *values: float) -> list[float]:
    """The maximum of each value over all processes: in a run they wait for the slowest."""
    measured = torch.tensor([values], dtype=torch.float64, device=run.accelerator.device)
    maxima: list[float] = run.accelerator.gather(measured).amax(dim=0).tolist()
    return maxima


def _print(run: ScoredRun, estimate: DryRun) -> None:
    if run.accelerator.is_local_main_process:  # not by `say`: with ``quiet`` the result is still printed
        options = yaml.safe_dump(estimate.options, sort_keys=False).splitlines()
        print("options  as config.yaml would have them:", *(f"  {printable(line)}" for line in options), sep="\n")
        print(printable(estimate.text))


class _StepTimer(StageClock):
    """Times steps: the first ``warm_up`` steps do not count, and the epoch ends after ``timed`` more."""

    def __init__(self, accelerator: Accelerator, warm_up: int, timed: int) -> None:
        super().__init__(accelerator)
        self.warm_up, self.timed, self.steps_done = warm_up, timed, 0
        self._start = self._synchronized_time()
        self._end = self._start

    @property
    def is_complete(self) -> bool:
        return self.steps_done == self.warm_up + self.timed

    @property
    def step_seconds(self) -> float:
        return (self._end - self._start) / self.timed

    def batches(self, loader: Iterable[_T]) -> Iterator[_T]:
        for batch in loader:
            yield batch
            if self.is_complete:
                return

    def step_done(self) -> None:
        self.steps_done += 1
        if self.steps_done == self.warm_up:
            self._start = self._synchronized_time()
        if self.is_complete:
            self._end = self._synchronized_time()

    def _synchronized_time(self) -> float:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter()


def step_seconds(run: TrainingRun) -> float:
    """Seconds of one step, measured with the run's own loader and model after a warm-up.

    The steps change the weights, so the run cannot go on afterwards.
    """
    accumulation = run.options.schedule.grad_accum_steps
    workers, available = run.placement.workers, run.options.schedule.epochs * len(run.loader)
    timed = math.ceil(max(_TIMED, workers) / accumulation) * accumulation  # the last of them updates the weights
    warm_up = math.ceil((_WARM_UP + _PREFETCHED * workers) / accumulation) * accumulation
    timed = min(timed, available)
    timer = _StepTimer(run.accelerator, min(warm_up, available - timed), timed)
    step = run.trainer.step
    step.clock, run.trainer.checkpoints = timer, CheckpointHook()
    # With `sam_every` the share of SAM steps among so few would be wrong. So all of them use SAM, and a plain step is
    # counted as half of one.
    share = 1.0 if step.sam is None else (1 + 1 / step.sam_every) / 2
    step.sam_every = 1
    for _ in run.epochs():
        run.train_epoch()
        run.progress.epoch, run.progress.batch, run.progress.sums = run.progress.epoch + 1, 0, {}
        if timer.is_complete:
            break
    return share * timer.step_seconds


def _evaluation_seconds(run: ScoredRun, split: ImageSplit) -> float:
    """Estimated seconds to score a split, measured on its first batches."""
    if not len(split):
        return 0.0
    batch_size = max(run.options.schedule.batch_size, 128) * run.accelerator.num_processes
    batches: int = math.ceil(len(split) / batch_size)
    _time_evaluation(run, split, batch_size)  # warm-up
    first = _time_evaluation(run, split, batch_size)
    timed = min(batches, _TIMED_BATCHES)
    if timed == 1:
        return first
    per_batch = max(_time_evaluation(run, split, timed * batch_size) - first, 0.0) / (timed - 1)
    return first + (batches - 1) * per_batch


def _evaluations(run: TrainingRun, split: ImageSplit) -> int:
    """Number of evaluations: of ``split`` after every ``eval_every`` epochs, and of each split at the end."""
    after_epochs = math.ceil(run.options.schedule.epochs / run.options.output.eval_every) if len(split) else 0
    return after_epochs + sum(1 for scored in (run.data.test, run.data.val) if scored is not None and len(scored))


def _time_evaluation(run: ScoredRun, split: ImageSplit, images: int) -> float:
    subset = copy(split)
    subset.rows, subset.labels = split.rows[:images], split.labels[:images]
    subset.pixels = None if split.pixels is None else split.pixels[:images]
    start = time.perf_counter()
    run.evaluate(subset)
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
