"""One epoch of training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, skip_first_batches
from timm.task import TrainingTask
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm.auto import tqdm

from glmc_zoo.data import PairedBatch
from glmc_zoo.engine.checkpoint import Progress
from glmc_zoo.engine.hardware import Transfer
from glmc_zoo.engine.output import own_share
from glmc_zoo.engine.stages import StageClock
from glmc_zoo.engine.step import TrainStep
from glmc_zoo.errors import UserError
from glmc_zoo.method import SAM, GLMCTask, Mix

__all__ = ["NotFiniteError", "step_generator", "train_one_epoch"]

_LOOK_EVERY = 25  # steps between looks at the losses: each look waits for the device


class NotFiniteError(UserError):
    """A loss became infinite or not a number."""


def step_generator(seed: int, epoch: int, batch: int, rank: int) -> torch.Generator:
    """Random numbers of one step's mixing: another draw in each process, the same again after a resumption."""
    word = np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


class _Inputs:
    """From batches on the device to what the task is called with.

    The mixing of all steps is drawn when the first of them comes: later ones have nothing to wait for.
    """

    def __init__(
        self, task: TrainingTask, normalize: Callable[..., Tensor], draw: Callable[[int, int], list[Mix]]
    ) -> None:
        self.task, self.normalize, self._draw = task, normalize, draw
        self._mixes: Iterator[Mix] | None = None

    def __call__(self, batch: Any) -> tuple:
        if not isinstance(batch, PairedBatch):
            return self.normalize(batch.images, batch.draws), batch.targets
        assert isinstance(self.task, GLMCTask) and batch.second is not None and batch.second_targets is not None
        if self._mixes is None:
            self._mixes = iter(self._draw(*batch.first[0].shape[-2:]))
        first = _pair(self.normalize, batch.first, batch.first_draws)
        second = _pair(self.normalize, batch.second, batch.second_draws)
        return (self.task.mix(first, second, batch.first_targets, batch.second_targets, mix=next(self._mixes)),)


def _pair(normalize: Callable[..., Tensor], views: Sequence[Tensor], draws: Sequence[Any] | None) -> tuple:
    one, other = draws or (None, None)
    return normalize(views[0], one), normalize(views[1], other)


class _Losses:
    """Loss terms of an epoch, means over the processes, kept on the device and looked at now and then."""

    def __init__(self, accelerator: Accelerator, progress: Progress) -> None:
        self.accelerator, self.progress = accelerator, progress
        self.names: list[str] = []
        self.pending: list[Tensor] = []

    def add(self, result: dict[str, Tensor]) -> None:
        terms = {name: value.detach() for name, value in result.items() if name != "output"}
        self.names = list(terms)
        self.pending.append(torch.stack([value.float() for value in terms.values()]))

    def look(self, last_good: str) -> dict[str, float]:
        """Means so far; every pending step is checked first."""
        if not self.pending:
            return self._means()
        # What is not finite in one process is so in the mean: all of them stop together.
        values = self.accelerator.reduce(torch.stack(self.pending), "mean").cpu().double()
        bad = (~torch.isfinite(values)).any(dim=1).nonzero()
        if len(bad):
            row = int(bad[0])
            step = self.progress.step - len(self.pending) + row
            terms = ", ".join(f"{n} {float(v):g}" for n, v in zip(self.names, values[row], strict=True))
            raise NotFiniteError(
                f"The loss is not finite at step {step} (epoch {self.progress.epoch}): {terms}; the last good "
                f"checkpoint is {last_good}; lower --lr, set --clip-grad 1, or avoid fp16."
            )
        for name, total in zip(self.names, values.sum(dim=0).tolist(), strict=True):
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + total
        self.pending.clear()
        return self._means()

    def _means(self) -> dict[str, float]:
        return {name: total / max(self.progress.batch, 1) for name, total in self.progress.sums.items()}


def train_one_epoch(
    task: nn.Module,
    loader: Any,
    optimizer: torch.optim.Optimizer,
    normalize: Callable[..., Tensor],
    accelerator: Accelerator,
    progress: Progress,
    *,
    seed: int,
    frozen: Sequence[nn.Module] = (),
    clip_grad: float | None = None,
    sam: SAM | None = None,
    ema: ModelEmaV3 | None = None,
    checkpoint_steps: int = 0,
    save: Callable[[], Any] | None = None,
    last_good: Callable[[], str] = lambda: "none yet",
    clock: StageClock | None = None,
) -> dict[str, float]:
    """Train through the rest of epoch ``progress.epoch`` and return the mean of each loss term.

    Args:
        task: The prepared task; called once a batch, with SAM twice.
        loader: The prepared loader, its sampler already set to the epoch; its batches may lie on any device.
        optimizer: The prepared optimiser.
        normalize: From uint8 views and their draws to the network's input, on the device: `Normalize`.
        accelerator: Runs the backward pass, accumulation and clipping.
        progress: Advanced with every batch; batches it has already are left out.
        seed: Of the mixing, together with epoch, batch and process.
        frozen: Modules that stay as in evaluation, statistics and dropout included.
        clip_grad: Largest norm of the gradient.
        sam: Sharpness-aware minimisation, see `TrainStep`.
        ema: Updated after every optimiser step.
        checkpoint_steps: Call ``save`` every so many steps.
        save: Writes a checkpoint.
        last_good: Name of the newest checkpoint, for the message when the loss is not finite.
        clock: Adds up time by stage.

    Returns:
        Mean of each loss term over the epoch's batches, and ``images_per_second``: training images drawn by plain
        shuffling, over all processes, per second of wall time.

    Raises:
        NotFiniteError: A loss term is infinite or not a number.
    """
    plain_task = accelerator.unwrap_model(task, keep_torch_compile=False)
    epoch, length = progress.epoch, len(loader)
    done_before, images = progress.batch, 0
    losses = _Losses(accelerator, progress)
    clock = clock or StageClock(accelerator.device)
    step = TrainStep(task, optimizer, accelerator, clip_grad=clip_grad, sam=sam, clock=clock)
    transfer = Transfer(accelerator.device)

    def draw(height: int, width: int) -> list[Mix]:
        rank, rest = accelerator.process_index, range(done_before, length)
        return [plain_task.draw(height, width, step_generator(seed, epoch, batch, rank)) for batch in rest]

    inputs_of = _Inputs(plain_task, normalize, draw)
    task.train()
    for module in frozen:
        module.eval()
    bar = tqdm(
        total=length, initial=progress.batch, desc=f"epoch {epoch}", leave=False,
        disable=None if accelerator.is_main_process else True,
    )  # fmt: skip
    start = time.perf_counter()
    rest = skip_first_batches(loader, progress.batch) if progress.batch else loader
    due = False
    for batch in clock.batches(own_share(rest, accelerator)):
        with clock.stage("transfer"):
            batch = transfer(batch)
        with clock.stage("augment and mix"):
            inputs = inputs_of(batch)
        result = step(inputs)
        if ema is not None and accelerator.sync_gradients:
            ema.update(plain_task.trainable_module, step=progress.step)
        losses.add(result)
        progress.batch += 1
        progress.step += 1
        images += len(result["output"])
        clock.step_done()
        # Between two optimiser steps only: gradients that are still being added up are in no checkpoint.
        due = due or bool(checkpoint_steps and progress.step % checkpoint_steps == 0)
        stop = due and accelerator.sync_gradients and progress.batch < length
        if progress.batch % _LOOK_EVERY == 0 or progress.batch == length or stop:
            means = losses.look(last_good())
            speed = images * accelerator.num_processes / (time.perf_counter() - start)
            bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()} | {"images/s": f"{speed:.0f}"})
            bar.update(progress.batch - bar.n)
            if stop and save is not None:
                save()
                due = False
    bar.close()
    elapsed = time.perf_counter() - start
    trained = (progress.batch - done_before) and images * accelerator.num_processes
    means = {name: total / length for name, total in progress.sums.items()}
    return means | {"images_per_second": trained / elapsed if trained else 0.0}
