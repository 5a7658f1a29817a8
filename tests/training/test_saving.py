"""When a checkpoint is due, and that all processes decide alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from glmc_zoo.machine.signals import StopSignals
from glmc_zoo.training.saving import SaveTimes


@dataclass
class Clock:
    """Seconds, set by the test."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Processes:
    """Stands for an accelerator: the other processes' rows of a `gather` are given by the test."""

    num_processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    others: list[list[float]] = field(default_factory=list)
    main: bool = True
    gathers: int = 0

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        self.gathers += 1
        rows = [mine, torch.tensor(self.others)] if self.main else [torch.tensor(self.others), mine]
        return torch.cat(rows)


def times(processes: Any = None, **options: Any) -> tuple[SaveTimes, Clock]:
    clock = Clock()
    return SaveTimes(processes or Processes(), StopSignals(), clock=clock, **options), clock


def test_by_steps_and_only_between_optimiser_steps() -> None:
    saving, _ = times(steps=4)
    due = []
    for step in range(1, 10):
        if saving.after_step(step, optimizer_stepped=step % 3 == 0):
            due.append(step)
            saving.mark_saved()
    assert due == [6, 9]


def test_by_minutes_since_the_last_checkpoint_of_any_kind() -> None:
    saving, clock = times(steps=5, minutes=10)
    due = []
    for step in range(1, 12):
        clock.now += 200
        if saving.after_step(step, optimizer_stepped=True):
            due.append(step)
            saving.mark_saved()
    assert due == [3, 5, 8, 10]  # 600 s; five steps; 600 s; ten steps
    saving, clock = times()
    clock.now = 1e9
    assert not saving.after_step(1, optimizer_stepped=True)


def test_a_signal_stops_at_the_next_step_that_can() -> None:
    saving, _ = times()
    assert not saving.after_step(1, optimizer_stepped=True) and not saving.stopping
    saving.signals.number = 15
    assert not saving.after_step(2, optimizer_stepped=False) and not saving.stopping
    assert saving.after_step(3, optimizer_stepped=True) and saving.stopping
    saving, _ = times()
    assert not saving.after_epoch()
    saving.signals.number = 2
    assert saving.after_epoch()


def test_processes_exchange_once_a_second_at_steps_that_the_main_one_chooses() -> None:
    processes = Processes(2, others=[[0, 0, 99]])
    saving, clock = times(processes)
    saving.begin()
    seen = []
    for step in range(1, 40):
        clock.now += 0.125
        before = processes.gathers
        assert not saving.after_step(step, optimizer_stepped=step % 2 == 0)
        seen += [step] if processes.gathers > before else []
    assert seen == [2, 10, 18, 26, 34]  # the first at once; then every 8 steps of an eighth of a second
    saving, clock = times(Processes(2, others=[[0, 0, 0]]))
    clock.now += 100.0
    saving.after_step(1, optimizer_stepped=True)
    assert saving._steps_left == 1  # slow steps: after each of them


def test_a_signal_of_one_process_stops_all_and_the_main_one_decides_by_time() -> None:
    saving, _ = times(Processes(2, others=[[15, 0, 1]]))
    assert saving.after_step(1, optimizer_stepped=True) and saving.stopping and saving.signals.number == 15

    # This process is the second one: its own time says nothing.
    other = Processes(2, others=[[0, 0, 1]], main=False)
    saving, clock = times(other, minutes=1)
    clock.now = 1000
    assert not saving.after_step(1, optimizer_stepped=True)
    other.others = [[0, 1, 1]]
    assert saving.after_step(2, optimizer_stepped=True) and not saving.stopping
