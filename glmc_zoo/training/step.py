"""One training step: gradients, clipping, optimiser."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from glmc_zoo.machine.clock import StageClock
from glmc_zoo.method import SAM
from glmc_zoo.method.losses import check_loss


class TrainStep:
    """Trains on one batch. The optimiser steps once Accelerate has accumulated ``grad_accum_steps`` batches.

    With SAM (Foret et al., ICLR 2021) each step computes two gradients over all its batches: one at the weights, whose
    losses are reported, and one at the perturbed weights, from the same inputs with the same dropout. The second pass
    leaves buffers, such as batch-norm statistics, and the random state as a step without SAM leaves them.

    Args:
        task: The prepared task.
        optimizer: The prepared optimiser.
        accelerator: The accelerator of the run.
        clip_grad: Largest norm of the gradient; with SAM, of the second gradient.
        sam: The perturbation; ``None`` for plain steps.
        sam_every: One in so many steps uses SAM, beginning with the first; the others are plain.
        clock: Measures the stages of a step.
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
        self.step_index = 0
        """Index of the optimiser's next step in the whole training."""
        self._task_name = type(accelerator.unwrap_model(task)).__name__
        # Inputs of the batches of this step, and the random state before each: the second pass needs both.
        self._window: list[tuple[tuple[Any, ...], list[Tensor]]] = []

    def begin(self, epoch: int, batch: int, batches: int) -> None:
        """Set the index of the next step, for a start at ``batch`` of ``epoch``; both are counted from 0.

        ``batches`` is the number of batches in an epoch.
        """
        accumulation = self.accelerator.gradient_accumulation_steps
        self.step_index = epoch * math.ceil(batches / accumulation) + batch // accumulation

    def __call__(self, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
        """Train on ``inputs``, the arguments of the task; returns its ``loss`` with its terms, and its ``output``."""
        with self.accelerator.accumulate(self.task):
            sam = self.sam if self.step_index % self.sam_every == 0 else None
            if sam is not None:
                self._window.append((inputs, _random_state(self.accelerator.device)))
            result = self._add_gradients(inputs)
            if sam is not None and self.accelerator.sync_gradients:
                self._compute_perturbed_gradients(sam)
            with self.clock.stage("optimiser"):
                if self.clip_grad is not None and self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.task.parameters(), self.clip_grad)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.step_index += self.accelerator.sync_gradients
        return result

    def _add_gradients(self, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
        with self.clock.stage("forward"):
            result: dict[str, Tensor] = self.task(*inputs)
            # Losses of `register_loss` are checked by name before; this is for the task of a user's own method.
            check_loss(f"The task {self._task_name} of method=", result["loss"])
        with self.clock.stage("backward"):
            self.accelerator.backward(result["loss"])
        return result

    def _compute_perturbed_gradients(self, sam: SAM) -> None:
        """Replace the gradients by those at the perturbed weights."""
        window, self._window = self._window, []
        sam.perturb_()
        self.optimizer.zero_grad()
        with _restore_buffers(self.task, self.accelerator.device):
            for number, (inputs, random_state) in enumerate(window, start=1):
                # As in the first pass, only the last batch exchanges gradients between processes.
                last = number == len(window)
                with nullcontext() if last else self.accelerator.no_sync(self.task):
                    _set_random_state(random_state, self.accelerator.device)
                    self._add_gradients(inputs)
        sam.restore_()


@contextmanager
def _restore_buffers(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore the buffers of ``module`` and the random state at the end of the block.

    Setting the momentum of batch-norm to 0 would be another way. A copy is exact, works for every kind of buffer, also
    after activations that are not finite, and does not make a compiled model compile again.
    """
    buffers = list(module.buffers())
    copies, random_state = [buffer.clone() for buffer in buffers], _random_state(device)
    yield
    if buffers:
        torch._foreach_copy_(buffers, copies)
    _set_random_state(random_state, device)


def _random_state(device: torch.device) -> list[Tensor]:
    """States of the generators that dropout on ``device`` uses: the CPU's, and the device's where it is another."""
    device_states = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *device_states]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    for device_state in state[1:]:
        torch.get_device_module(device).set_rng_state(device_state)
