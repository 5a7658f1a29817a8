"""One step of training: gradients, clipping, optimiser."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from glmc_zoo.machine.clock import StageClock
from glmc_zoo.method import SAM


class TrainStep:
    """Trains on one batch; the optimiser steps when Accelerate has seen as many batches as it accumulates.

    With SAM the gradient is taken twice over all batches of a step: first at the weights themselves, whose losses are
    reported, then at the perturbed weights, from the same inputs with the same dropout. The second pass changes neither
    buffers, such as the statistics of batch-norm, nor the random state: after the step both are what they are after a
    step without SAM. ``clip_grad`` limits the norm of the gradient, with SAM of the second one. ``sam_every`` is the
    number of steps of which one uses SAM, the first of them; the others are plain.
    """

    def __init__(
        self,
        task: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        *,
        clip_grad: float | None = None,
        sam: SAM | None = None,
        sam_every: int = 1,
        clock: StageClock | None = None,
    ) -> None:
        self.task, self.optimizer, self.accelerator = task, optimizer, accelerator
        self.clock = clock or StageClock(accelerator)
        self.clip_grad, self.sam, self.sam_every = clip_grad, sam, sam_every
        self._number = 0  # of the optimiser's next step, counted through the whole training
        # A second pass over the batches of this step needs their inputs, and the random state before each.
        self._window: list[tuple[tuple[Any, ...], list[Tensor]]] = []

    def begin(self, epoch: int, batch: int, batches: int) -> None:
        """Count on from this batch of an epoch of so many; both are counted from 0."""
        accumulated = self.accelerator.gradient_accumulation_steps
        self._number = epoch * math.ceil(batches / accumulated) + batch // accumulated

    def __call__(self, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
        """What the task returns for ``inputs``: ``loss`` with its terms, and ``output``."""
        with self.accelerator.accumulate(self.task):
            sam = self.sam if self._number % self.sam_every == 0 else None
            if sam is not None:
                self._window.append((inputs, _random_state(self.accelerator.device)))
            result = self._add_gradients(inputs)
            if sam is not None and self.accelerator.sync_gradients:
                self._take_gradients_nearby(sam)
            with self.clock.stage("optimiser"):
                if self.clip_grad is not None and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.task.parameters(), self.clip_grad)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self._number += self.accelerator.sync_gradients
        return result

    def _add_gradients(self, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
        with self.clock.stage("forward"):
            result: dict[str, Tensor] = self.task(*inputs)
        with self.clock.stage("backward"):
            self.accelerator.backward(result["loss"])
        return result

    def _take_gradients_nearby(self, sam: SAM) -> None:
        """Replace the gradients at the weights by those at the perturbed weights."""
        window, self._window = self._window, []
        sam.perturb_()
        self.optimizer.zero_grad()
        with _undisturbed(self.task, self.accelerator.device):
            for number, (inputs, random_state) in enumerate(window, start=1):
                # As in the first pass, processes share their gradients with the last batch alone.
                last = number == len(window)
                with nullcontext() if last else self.accelerator.no_sync(self.task):
                    _set_random_state(random_state, self.accelerator.device)
                    self._add_gradients(inputs)
        sam.restore_()


@contextmanager
def _undisturbed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers and random state at the end.

    They are copied rather than frozen (batch-norm with a momentum of 0): this works for every kind of statistics, is
    exact, keeps activations that are not finite out, and does not compile a compiled model again.
    """
    buffers = list(module.buffers())
    before, random_state = [buffer.clone() for buffer in buffers], _random_state(device)
    yield
    if buffers:
        torch._foreach_copy_(buffers, before)
    _set_random_state(random_state, device)


def _random_state(device: torch.device) -> list[Tensor]:
    """States of the generators that dropout on ``device`` uses: the CPU's, and the device's own."""
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *own]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    for own in state[1:]:
        torch.get_device_module(device).set_rng_state(own)
