"""Decides when to write a checkpoint within an epoch and when to stop, the same in all processes."""

import time
from collections.abc import Callable

import torch
from accelerate import Accelerator

from glmc_zoo.machine.signals import StopSignals

_MAX_STEPS = 25  # between two exchanges


class SaveTimes:
    """Decides after each step whether a checkpoint is written and whether the run stops.

    All processes count the same steps, but their clocks and signals differ. So they exchange these about once a second,
    at a step that the previous exchange fixed. An exchange waits for the device, which would be too slow after every
    step. Only the clock of the main process counts.

    Args:
        accelerator: The accelerator of the run.
        signals: Signals that ask the run to stop; a signal to one process stops all.
        steps: Steps between checkpoints; 0 for no checkpoints by steps.
        minutes: Minutes between checkpoints; 0 for no checkpoints by time.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        signals: StopSignals,
        *,
        steps: int = 0,
        minutes: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accelerator, self.signals = accelerator, signals
        self.steps, self.seconds, self._clock = steps, 60 * minutes, clock
        self.stopping = False
        """Whether all processes know that the run stops."""
        self._save_time = self._exchange_time = clock()
        self._is_due, self._steps_done, self._steps_left = False, 0, 1

    def begin(self) -> None:
        """Called at the start of an epoch: time before it does not count towards the speed of its steps."""
        self._exchange_time, self._steps_done = self._clock(), 0

    def after_step(self, step: int, *, optimizer_stepped: bool) -> bool:
        """Whether to write a checkpoint now.

        Args:
            step: Steps of the run so far.
            optimizer_stepped: Whether the optimiser just stepped. Otherwise gradients are still accumulating, and a
                checkpoint does not hold those.
        """
        self._is_due = self._is_due or bool(self.steps and step % self.steps == 0)
        self._steps_done, self._steps_left = self._steps_done + 1, self._steps_left - 1
        if not optimizer_stepped:
            return False
        if self.accelerator.num_processes == 1:
            self._is_due, self.stopping = self._is_due or self._is_time(), self.signals.number is not None
        elif self._steps_left <= 0:
            self._exchange()
        return self._is_due or self.stopping

    def after_epoch(self) -> bool:
        """Whether the run stops now. All processes call this together."""
        if self.accelerator.num_processes == 1:
            self.stopping = self.signals.number is not None
        else:
            self._exchange()
        return self.stopping

    def mark_saved(self) -> None:
        """Called once a checkpoint was written."""
        self._is_due, self._save_time = False, self._clock()

    def _is_time(self) -> bool:
        return bool(self.seconds and self._clock() - self._save_time >= self.seconds)

    def _exchange(self) -> None:
        """Stop for a signal of any process; take the due time and the steps to the next exchange from the main one."""
        elapsed = max(self._clock() - self._exchange_time, 1e-6)
        steps_to_next = min(max(int(self._steps_done / elapsed), 1), _MAX_STEPS)
        state = torch.tensor([[self.signals.number or 0, self._is_time(), steps_to_next]], dtype=torch.float32)
        rows = self.accelerator.gather(state.to(self.accelerator.device)).tolist()
        number = int(max(row[0] for row in rows))
        if number:
            self.signals.number, self.stopping = number, True
        self._is_due = self._is_due or bool(rows[0][1])
        self._steps_left = int(rows[0][2])
        self._exchange_time, self._steps_done = self._clock(), 0
