"""When a checkpoint is due within an epoch, and when a run stops: decided alike in all processes."""

import time
from collections.abc import Callable

import torch
from accelerate import Accelerator

from glmc_zoo.machine.signals import StopSignals

_MOST_STEPS = 25  # between two exchanges of several processes


class SaveTimes:
    """Decides after each step whether a checkpoint is written and whether the run stops.

    Steps are counted alike in all processes; the time and the signals are not. About once a second the processes
    exchange what they know, at a step that they agreed on in the exchange before: each one waits for the device, which
    would cost too much after every step. The main process alone decides by the time.

    Args:
        accelerator: That of the run.
        signals: What asks the run to stop; signals of one process stop all.
        steps: A checkpoint is due after each multiple of so many; 0 for none.
        minutes: A checkpoint is due so many minutes after the last one; 0 for none.
        clock: Seconds.
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
        self._saved = self._since = clock()
        self._due, self._done, self._left = False, 0, 1

    def begin(self) -> None:
        """An epoch begins: the time before it says nothing about its steps."""
        self._since, self._done = self._clock(), 0

    def after_step(self, step: int, *, between: bool) -> bool:
        """Whether a checkpoint is written now.

        Args:
            step: Steps of the run so far.
            between: Whether the optimiser stepped: a checkpoint holds no gradients that are still being added up.
        """
        self._due = self._due or bool(self.steps and step % self.steps == 0)
        self._done, self._left = self._done + 1, self._left - 1
        if not between:
            return False
        if self.accelerator.num_processes == 1:
            self._due, self.stopping = self._due or self._is_time(), self.signals.number is not None
        elif self._left <= 0:
            self._exchange()
        return self._due or self.stopping

    def after_epoch(self) -> bool:
        """Whether the run stops now; called by all processes together."""
        if self.accelerator.num_processes == 1:
            self.stopping = self.signals.number is not None
        else:
            self._exchange()
        return self.stopping

    def saved(self) -> None:
        """A checkpoint was written."""
        self._due, self._saved = False, self._clock()

    def _is_time(self) -> bool:
        return bool(self.seconds and self._clock() - self._saved >= self.seconds)

    def _exchange(self) -> None:
        """Share the signal that came, and take from the main process whether it is time, and the next exchange."""
        passed = max(self._clock() - self._since, 1e-6)
        following = min(max(int(self._done / passed), 1), _MOST_STEPS)
        known = torch.tensor([[self.signals.number or 0, self._is_time(), following]], dtype=torch.float32)
        rows = self.accelerator.gather(known.to(self.accelerator.device)).tolist()
        number = int(max(row[0] for row in rows))
        if number:
            self.signals.number, self.stopping = number, True
        self._due = self._due or bool(rows[0][1])
        self._left = int(rows[0][2])
        self._since, self._done = self._clock(), 0
