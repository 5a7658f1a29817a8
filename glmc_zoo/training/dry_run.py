"""A dry run: what a run would read and which options it would use, and how long it would take by a few of its steps."""

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
from glmc_zoo.options.run import HeadStage, RunOptions, saved
from glmc_zoo.text import counted, printable
from glmc_zoo.training.finetuning import FineTuning
from glmc_zoo.training.head_run import HeadRun
from glmc_zoo.training.loop import CheckpointHook
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.scored_run import ScoredRun

_T = TypeVar("_T")

_WARM_UP, _TIMED = 3, 5  # steps
_PREFETCHED = 2  # batches that each worker has ready: they come faster than those after them
_TIMED_BATCHES = 3  # of an evaluation


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a run would do, and what it would take; checkpoints, plots and the export come on top."""

    options: dict[str, Any]
    """All options by name, as ``config.yaml`` would have them."""
    inventory: Inventory | None
    epochs: int
    steps: int
    """Steps of an epoch."""
    step_seconds: float
    evaluations: int
    evaluation_seconds: float
    """Seconds of one evaluation."""
    views: int = 0
    """Views of each training image whose features the classifier starts from."""
    view_seconds: float = 0.0
    """Seconds for the features of one of them, of all training images."""
    memory_bytes: int
    """Largest memory of one process so far: GPU memory on CUDA, else main memory."""
    processes: int

    @property
    def seconds(self) -> float:
        """Estimate for the whole run."""
        training = self.epochs * self.steps * self.step_seconds + self.evaluations * self.evaluation_seconds
        return training + self.views * self.view_seconds

    @property
    def text(self) -> str:
        """The estimate in one line."""
        each = " a process" if self.processes > 1 else ""
        features = f"features of {counted(self.views, 'view')} x {self.view_seconds:.2g} s, " if self.views else ""
        return (
            f"about {_duration(self.seconds)}: {features}{self.epochs} epochs x {self.steps} steps x "
            f"{self.step_seconds:.2g} s, "
            f"plus {self.evaluations} evaluations x {self.evaluation_seconds:.2g} s; "
            f"memory {self.memory_bytes / 1e9:.1f} GB{each}"
        )


def dry_run(options: RunOptions) -> DryRun:
    """Build a run, describe it, and estimate it; nothing is written."""
    if isinstance(options.stage, HeadStage):
        head = HeadRun(options)
        head.describe()
        return print_head_estimate(head)
    run = TrainingRun(options)
    run.describe()
    return print_estimate(run)


def print_estimate(run: TrainingRun) -> DryRun:
    """Print the options of a run and what it would take, by a few steps of it in memory; it cannot go on afterwards."""
    each = step_seconds(run)
    split = run.data.test if run.data.val is None else run.data.val
    evaluation_seconds = _evaluation_seconds(run, split)
    starts = isinstance(run.stage, FineTuning) and run.stage.starts_from_features
    view_seconds = _evaluation_seconds(run, run.data.train) if starts else 0.0
    each, evaluation_seconds, view_seconds, memory = _slowest(
        run, each, evaluation_seconds, view_seconds, peak_memory(run.accelerator.device)
    )
    estimate = DryRun(
        options=saved(run.options),
        inventory=run.data.facts.inventory,
        epochs=run.options.schedule.epochs,
        steps=len(run.loader),
        step_seconds=each,
        evaluations=_evaluations(run, split),
        evaluation_seconds=evaluation_seconds,
        views=cast(FineTuning, run.stage).tune.feature_views if starts else 0,
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
            f"plus {self.evaluations} evaluations x {self.evaluation_seconds:.2g} s, and the classifiers; memory "
            f"{self.memory_bytes / 1e9:.1f} GB so far"
        )


def print_head_estimate(run: HeadRun) -> HeadDryRun:
    """The same for a classifier on features: a pass over the training images takes as long as scoring them."""
    scored = [split for split in (run.data.test, run.data.val) if split]
    each = sum(_evaluation_seconds(run, split) for split in scored) / max(len(scored), 1)
    view_seconds, evaluation_seconds, memory = _slowest(
        run, _evaluation_seconds(run, run.data.train), each, peak_memory(run.accelerator.device)
    )
    estimate = HeadDryRun(
        options=saved(run.options),
        inventory=run.data.facts.inventory,
        epochs=0,
        steps=0,
        step_seconds=0.0,
        evaluations=len(scored),
        evaluation_seconds=evaluation_seconds,
        views=run.stage.tune.feature_views,
        view_seconds=view_seconds,
        memory_bytes=int(memory),
        processes=run.accelerator.num_processes,
    )
    _print(run, estimate)
    return estimate


def _slowest(run: ScoredRun, *values: float) -> list[float]:
    """The largest of each value over all processes, which wait for the slowest."""
    measured = torch.tensor([values], dtype=torch.float64, device=run.accelerator.device)
    slowest: list[float] = run.accelerator.gather(measured).amax(dim=0).tolist()
    return slowest


def _print(run: ScoredRun, estimate: DryRun) -> None:
    if run.accelerator.is_local_main_process:  # the result of a dry run, which ``quiet`` shows too
        options = yaml.safe_dump(estimate.options, sort_keys=False).splitlines()
        print("options  as config.yaml would have them:", *(f"  {printable(line)}" for line in options), sep="\n")
        print(printable(estimate.text))


class _StepTimer(StageClock):
    """Ends an epoch after a few steps, and takes the time of the last of them."""

    def __init__(self, accelerator: Accelerator, warm_up: int, timed: int) -> None:
        super().__init__(accelerator)
        self.warm_up, self.timed, self.done = warm_up, timed, 0
        self._begun = self._now()
        self._ended = self._begun

    @property
    def full(self) -> bool:
        return self.done == self.warm_up + self.timed

    @property
    def step_seconds(self) -> float:
        return (self._ended - self._begun) / self.timed

    def batches(self, loader: Iterable[_T]) -> Iterator[_T]:
        for batch in loader:
            yield batch
            if self.full:
                return

    def step_done(self) -> None:
        self.done += 1
        if self.done == self.warm_up:
            self._begun = self._now()
        if self.full:
            self._ended = self._now()

    def _now(self) -> float:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter()


def step_seconds(run: TrainingRun) -> float:
    """Seconds of one step, by the real loader and model, once both have got going; the run cannot go on afterwards."""
    accumulated = run.options.schedule.grad_accum_steps
    workers, available = run.placement.workers, run.options.schedule.epochs * len(run.loader)
    timed = math.ceil(max(_TIMED, workers) / accumulated) * accumulated  # the last of them updates the weights
    warm_up = math.ceil((_WARM_UP + _PREFETCHED * workers) / accumulated) * accumulated
    timed = min(timed, available)
    timer = _StepTimer(run.accelerator, min(warm_up, available - timed), timed)
    step = run.trainer.step
    step.clock, run.trainer.checkpoints = timer, CheckpointHook()
    # Of so few steps none, or too many, would use SAM: all of them do, and a plain step takes half their time.
    share = 1.0 if step.sam is None else (1 + 1 / step.sam_every) / 2
    step.sam_every = 1
    for _ in run.epochs():
        run.train_epoch()
        run.progress.epoch, run.progress.batch, run.progress.sums = run.progress.epoch + 1, 0, {}
        if timer.full:
            break
    return share * timer.step_seconds


def _evaluation_seconds(run: ScoredRun, split: ImageSplit) -> float:
    """Seconds to score a split, by its first images."""
    if not len(split):
        return 0.0
    batch = max(run.options.schedule.batch_size, 128) * run.accelerator.num_processes
    batches: int = math.ceil(len(split) / batch)
    _time(run, split, batch)  # the first batch finds everything cold
    first = _time(run, split, batch)
    several = min(batches, _TIMED_BATCHES)
    if several == 1:
        return first
    each = max(_time(run, split, several * batch) - first, 0.0) / (several - 1)
    return first + (batches - 1) * each


def _evaluations(run: TrainingRun, split: ImageSplit) -> int:
    """After some of the epochs on this split, and at the end on every split that has images."""
    after_epochs = math.ceil(run.options.schedule.epochs / run.options.output.eval_every) if len(split) else 0
    return after_epochs + sum(1 for scored in (run.data.test, run.data.val) if scored is not None and len(scored))


def _time(run: ScoredRun, split: ImageSplit, images: int) -> float:
    first = copy(split)
    first.rows, first.labels = split.rows[:images], split.labels[:images]
    first.pixels = None if split.pixels is None else split.pixels[:images]
    start = time.perf_counter()
    run.evaluate(first)
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
