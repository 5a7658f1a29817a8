"""The training loop of one epoch."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, skip_first_batches
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from glmc_zoo.data import Normalize, PairedBatch
from glmc_zoo.errors import UserError
from glmc_zoo.machine.processes import local_batches
from glmc_zoo.machine.transfer import Transfer
from glmc_zoo.method import Mix, MixedLossTask
from glmc_zoo.screen import progress_bar
from glmc_zoo.training.progress import Progress
from glmc_zoo.training.saving import SaveTimes
from glmc_zoo.training.step import TrainStep

_READ_EVERY = 25  # steps between readings of the losses, because each reading waits for the device


class NotFiniteError(UserError):
    """A loss or a weight became infinite or not a number.

    Args:
        description: What is not finite and where: the beginning of the sentence.
        newest: The newest checkpoint; ``None`` where none was written.
        precision: Precision of the run, as Accelerate names it.
    """

    def __init__(self, description: str, newest: str | None, precision: str) -> None:
        checkpoint = "no checkpoint was written yet" if newest is None else f"the last good checkpoint is {newest}"
        other_precision = ", or without mixed_precision='fp16'" if precision == "fp16" else ""
        super().__init__(
            f"{description}; {checkpoint}: begin in another output_dir= with a lower lr= or with "
            f"clip_grad=1{other_precision}."
        )


@dataclass(frozen=True)
class CheckpointHook:
    """Writes checkpoints within an epoch."""

    times: SaveTimes | None = None
    """Decides when to write one and when to stop; ``None`` for never."""
    save: Callable[[], Any] = lambda: None
    """Writes a checkpoint; it raises `RunStopped` where the run stops."""
    newest: Callable[[], str | None] = lambda: None
    """Path of the newest checkpoint, for the message of a `NotFiniteError`; ``None`` before the first."""


def step_generator(seed: int, epoch: int, batch: int, rank: int) -> torch.Generator:
    """The generator for the mixing of one step: different in each process, and the same again after a resumption."""
    seed_word = np.random.SeedSequence([seed, epoch, batch, rank]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed_word >> np.uint64(1)))


class _TaskInputs:
    """Turns batches on the device into the arguments of the task.

    The mixing of all steps is drawn at the first batch, so that later steps need not wait for it.
    """

    def __init__(self, task: Any, normalize: Normalize, draw: Callable[[int, int], list[Mix]]) -> None:
        self.task, self.normalize, self._draw = task, normalize, draw
        self._mixes: Iterator[Mix] | None = None

    def __call__(self, batch: Any) -> tuple[Any, ...]:
        if not isinstance(batch, PairedBatch):
            images, targets = self.normalize(batch.images, batch.params), batch.targets
            if not isinstance(self.task, MixedLossTask):
                return images, targets
            return self._mix((images,), (images.flip(0),), targets, targets.flip(0))
        first = self._views(batch.first, batch.first_params)
        if batch.second is None or batch.second_targets is None:
            return first, batch.first_targets
        second = self._views(batch.second, batch.second_params)
        return self._mix(first, second, batch.first_targets, batch.second_targets)

    def _mix(
        self, first: tuple[Tensor, ...], second: tuple[Tensor, ...], targets: Tensor, second_targets: Tensor
    ) -> tuple[Any, ...]:
        if self._mixes is None:
            self._mixes = iter(self._draw(*first[0].shape[-2:]))
        return (self.task.mix(first, second, targets, second_targets, mix=next(self._mixes)),)

    def _views(self, views: Sequence[Tensor], params: Sequence[Any] | None) -> tuple[Tensor, ...]:
        params = params or [None] * len(views)
        return tuple(self.normalize(view, parameters) for view, parameters in zip(views, params, strict=True))


class _Losses:
    """Loss terms of an epoch, averaged over the processes. They stay on the device and are read every few steps."""

    def __init__(self, accelerator: Accelerator, progress: Progress) -> None:
        self.accelerator, self.progress = accelerator, progress
        self.names: list[str] = []
        self.pending: list[Tensor] = []

    def add(self, result: dict[str, Tensor]) -> None:
        terms = {name: value.detach() for name, value in result.items() if name != "output"}
        self.names = list(terms)
        self.pending.append(torch.stack([value.float() for value in terms.values()]))

    def read(self, newest: str | None) -> dict[str, float]:
        """Mean of each loss term so far, once every pending step was checked; ``newest`` is for the error.

        Raises:
            NotFiniteError: A term is infinite or not a number.
        """
        if not self.pending:
            return self._means()
        # A value that is not finite in one process makes the mean not finite, so that all processes stop together.
        gathered = self.accelerator.gather(torch.stack(self.pending)[None]).cpu().double()
        values = gathered.mean(dim=0)
        not_finite = (~torch.isfinite(values)).any(dim=1).nonzero()
        if len(not_finite):
            row = int(not_finite[0])
            step = self.progress.step - len(self.pending) + row + 1  # counted from 1, as checkpoints are
            terms = ", ".join(f"{name} {float(value):g}" for name, value in zip(self.names, values[row], strict=True))
            raise NotFiniteError(
                f"The loss is not finite at step {step} (epoch {self.progress.epoch + 1}; {terms})",
                newest,
                self.accelerator.mixed_precision,
            )
        # Added one by one, so that the last bits of a sum do not depend on where a checkpoint interrupted it.
        for terms_of_step in values.tolist():
            for name, value in zip(self.names, terms_of_step, strict=True):
                self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
        self.pending.clear()
        return self._means()

    def _means(self) -> dict[str, float]:
        return {name: total / max(self.progress.batch, 1) for name, total in self.progress.sums.items()}


@dataclass
class EpochTrainer:
    """Trains through epochs, each from its first batch or from where it was interrupted."""

    step: TrainStep
    """The training step, with the prepared task."""
    loader: Any
    """The prepared loader, its sampler already set to the epoch; its batches may be on any device."""
    normalize: Normalize
    progress: Progress
    """Advanced with every batch; batches that it counts already are skipped."""
    epochs: int
    """Number of epochs in the whole run."""
    seed: int
    """Seed of the mixing; the epoch, the batch and the rank are mixed into it."""
    eval_modules: Sequence[nn.Module] = ()
    """Modules that stay in evaluation mode, so that their batch-norm statistics and dropout do too."""
    ema: ModelEmaV3 | None = None
    """Updated after every optimiser step."""
    checkpoints: CheckpointHook = field(default_factory=CheckpointHook)
    _bar: Any = field(default=None, init=False)

    def train(self) -> dict[str, float]:
        """Train through the rest of epoch ``progress.epoch``.

        Returns:
            The mean of each loss term over the epoch's batches, and ``images_per_second``: images of all processes per
            second of wall time, where an image and its partner count as one.

        Raises:
            NotFiniteError: A loss is infinite or not a number.
        """
        accelerator, progress, clock = self.step.accelerator, self.progress, self.step.clock
        task: Any = accelerator.unwrap_model(self.step.task, keep_torch_compile=False)
        length, first_batch, images, times = len(self.loader), progress.batch, 0, self.checkpoints.times
        losses, transfer = _Losses(accelerator, progress), Transfer(accelerator.device)
        make_inputs = _TaskInputs(
            task, self.normalize, lambda height, width: self._mixes(task, height, width, range(first_batch, length))
        )
        self.step.task.train()
        for module in self.eval_modules:
            module.eval()
        bar = self._progress_bar(length)
        self.step.begin(progress.epoch, progress.batch, length)
        if times is not None:
            times.begin()
        start = time.perf_counter()
        for batch in clock.batches(local_batches(self._remaining_batches(), accelerator)):
            with clock.stage("transfer"):
                batch = transfer(batch)
            with clock.stage("augment and mix"):
                inputs = make_inputs(batch)
            result = self.step(inputs)
            if self.ema is not None and accelerator.sync_gradients:
                self.ema.update(task.trainable_module, step=self.step.step_index - 1)
            losses.add(result)
            progress.batch += 1
            progress.step += 1
            images += len(result["output"])
            bar.update()
            clock.step_done()
            is_due = times is not None and times.after_step(progress.step, optimizer_stepped=accelerator.sync_gradients)
            # The end of an epoch writes a checkpoint by itself, after the evaluation. Only a run that stops saves here,
            # because it skips the evaluation.
            save = is_due and (progress.batch < length or (times is not None and times.stopping))
            if progress.batch % _READ_EVERY == 0 or progress.batch == length or save:
                means = losses.read(self.checkpoints.newest())
                speed = images * accelerator.num_processes / (time.perf_counter() - start)
                bar.set_postfix({"loss": f"{means['loss']:.3f}", "images/s": f"{speed:.0f}"}, refresh=False)
                if save:
                    self.checkpoints.save()
        elapsed = time.perf_counter() - start
        means = {name: total / progress.batch for name, total in progress.sums.items()}
        return means | {"images_per_second": images * accelerator.num_processes / elapsed if images else 0.0}

    def close(self) -> None:
        """Close the progress bar at the end of the run."""
        if self._bar is not None:
            self._bar.close()

    def _progress_bar(self, length: int) -> Any:
        """The progress bar of the whole run, labelled with the current epoch; ``length`` is the batches of an epoch."""
        if self._bar is None:
            total, finished = self.epochs * length, self.progress.epoch * length + self.progress.batch
            # `smoothing=0` uses the mean speed of the whole run, which includes the evaluations.
            self._bar = progress_bar(
                total=total,
                initial=finished,
                desc="",
                unit="step",
                main_process=self.step.accelerator.is_main_process,
                smoothing=0,
            )
        self._bar.set_description(f"epoch {self.progress.epoch + 1}/{self.epochs}", refresh=False)
        return self._bar

    def _remaining_batches(self) -> Any:
        """The remaining batches; none where accepted new data made the epoch shorter than the part already done."""
        finished = self.progress.batch
        if finished >= len(self.loader):
            return ()
        return skip_first_batches(self.loader, finished) if finished else self.loader

    def _mixes(self, task: Any, height: int, width: int, batches: range) -> list[Mix]:
        epoch, rank = self.progress.epoch, self.step.accelerator.process_index
        draw, first_step = task.draw, epoch * len(self.loader)
        generators = {batch: step_generator(self.seed, epoch, batch, rank) for batch in batches}
        if "step" not in inspect.signature(draw).parameters:  # a plug-in need not take the step
            return [draw(height, width, generator) for generator in generators.values()]
        return [draw(height, width, generator, step=first_step + batch) for batch, generator in generators.items()]
