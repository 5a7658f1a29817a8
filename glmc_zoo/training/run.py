"""A run of the training loop: built from its options and its stage, then driven epoch by epoch."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from timm.utils import ModelEmaV3
from torch import nn

from glmc_zoo.data import LongTailData, Normalize
from glmc_zoo.disk import name_folder_in_errors
from glmc_zoo.machine.accelerator import tracker_options
from glmc_zoo.machine.clock import StageClock
from glmc_zoo.machine.hardware import hardware_text
from glmc_zoo.machine.signals import StopSignals
from glmc_zoo.method import SAM
from glmc_zoo.options.run import RunOptions, flatten_options
from glmc_zoo.results import RunResults, Selection, StartFacts
from glmc_zoo.text import counted, printable
from glmc_zoo.training.assemble import assemble
from glmc_zoo.training.checkpoint import Checkpoints
from glmc_zoo.training.finetuning import FineTuning
from glmc_zoo.training.head_start import (
    ClassifierStart,
    begin_classifier,
    prior_shares,
    read_classifier_start,
    remove_features,
    start_clip,
)
from glmc_zoo.training.loop import CheckpointHook, EpochTrainer, NotFiniteError
from glmc_zoo.training.progress import Best, OptimizerState, Progress, Stateful
from glmc_zoo.training.report import (
    architecture_of,
    epoch_line,
    opening_lines,
    step_text,
    used_plugins,
)
from glmc_zoo.training.saving import SaveTimes
from glmc_zoo.training.scored_run import ScoredRun
from glmc_zoo.training.search_file import SearchFile
from glmc_zoo.training.space import check_space
from glmc_zoo.training.state_files import unreadable
from glmc_zoo.training.step import TrainStep


class TrainingRun(ScoredRun):
    """A training, a fine-tuning or a second stage; `recipes/train.py` shows its use.

    Args:
        options: Resolved options.
        data: A data set that is loaded already, used in place of the one that the options name.

    Raises:
        UserError: Data, model, options or output folder do not fit; nothing already on disk is touched.
    """

    def __init__(self, options: RunOptions, data: LongTailData | None = None) -> None:
        parts = assemble(options, data)
        self.options, self.accelerator, self.data = parts.options, parts.accelerator, parts.data
        self.stage, self.spec, self.task = parts.stage, parts.stage_parts.spec, parts.stage_parts.task
        self.optimizer, self.scheduler, self.loader = parts.optimizer, parts.scheduler, parts.loader
        self.placement, self.folder, self.workers = parts.placement, parts.folder, parts.placement.workers
        schedule, output = self.options.schedule, self.options.output
        self.progress, self.best, self.ema = Progress(), Best(), self._make_ema()
        plugins = {plugin.file: plugin.sha256 for plugin in used_plugins(self.options, self.timm_model)}
        self.checkpoints = Checkpoints(
            self.accelerator, self.folder.checkpoints, self._state(parts.constraints),
            keep=output.keep_checkpoints, plugins=plugins, data=parts.checkpoint_data,
        )  # fmt: skip
        self.signals = StopSignals(output.preempt_signal)
        self.save_times = SaveTimes(
            self.accelerator, self.signals, steps=output.checkpoint_steps, minutes=output.checkpoint_minutes
        )
        self._resumed_checkpoint = parts.checkpoint
        self._newest_checkpoint: str | None = None  # path of the newest checkpoint
        profiled = self.options.machine.profile and self.accelerator.is_main_process
        self.clock = StageClock(self.accelerator, self.folder.path / "profile" if profiled else None)
        self.trainer = EpochTrainer(
            TrainStep(
                parts.wrapped_task,
                self.optimizer,
                self.accelerator,
                clip_grad=schedule.clip_grad,
                sam=None if schedule.sam_rho is None else SAM(self.task.parameters(), schedule.sam_rho),
                sam_every=schedule.sam_every,
                clock=self.clock,
            ),
            self.loader,
            Normalize(self.spec.mean, self.spec.std).to(self.accelerator.device),
            self.progress,
            schedule.epochs,
            schedule.seed,
            eval_modules=self.stage.eval_modules(self.task),
            ema=self.ema,
            checkpoints=CheckpointHook(self.save_times, self.save, lambda: self._newest_checkpoint),
        )
        self._start_tracker()
        self._start_time = time.perf_counter()

    def _make_ema(self) -> ModelEmaV3 | None:
        decay = self.stage.ema_decay
        return None if decay is None else ModelEmaV3(self.task.trainable_module, decay=decay, use_warmup=True)

    def _state(self, constraints: list[Any]) -> dict[str, Stateful]:
        """The objects whose state a checkpoint holds, by the name of their files."""
        state: dict[str, Any] = {
            "model": self.task,
            "optimizer": OptimizerState(self.optimizer),
            "progress": self.progress,
        }
        if self.options.output.select == "best":
            state["best"] = self.best
        if self.ema is not None:
            state["ema"] = self.ema
        return state | {f"constraint_{i}": constraint for i, constraint in enumerate(constraints)}

    def _start_tracker(self) -> None:
        if self.options.output.tracker is None or self.options.output.dry_run:
            return
        self.accelerator.project_configuration.logging_dir = str(self.folder.path / "logs")
        values = {name: value for name, value in flatten_options(self.options).items() if value is not None}
        config = {name: ", ".join(value) if isinstance(value, list) else value for name, value in values.items()}
        tracker_names = tracker_options(self.folder.path)
        self.accelerator.init_trackers("glmc_zoo", config=config, init_kwargs=tracker_names)

    # ------------------------------------------------------------- checkpoint
    def resume(self) -> None:
        """Start the run: from the checkpoint if the option ``resume`` found one, else at its beginning.

        With ``resume`` set, this also writes ``config.yaml`` again and removes the lines of ``metrics.jsonl`` that are
        later than the checkpoint. A checkpoint that was given by its path also replaces the newer ones.

        Raises:
            UserError: A file of the checkpoint is damaged or does not fit the run.
        """
        resume, checkpoint = self.options.output.resume, self._resumed_checkpoint
        if isinstance(self.stage, FineTuning):
            self.stage.search = SearchFile(self.folder.path).facts()
        if checkpoint is not None:
            self.checkpoints.load(checkpoint)
            self._check_best(checkpoint)
            self._newest_checkpoint = str(checkpoint)
            read_classifier_start(self)
            if isinstance(self.stage, FineTuning):
                self._limit_gradient(self.stage.start_facts)
        else:
            self.begin()
        if resume is None:
            return
        if resume != "auto":
            self.checkpoints.remove_newer(Path(resume))
        self.folder.save_options()
        self.folder.drop_epochs_after(self.progress.epoch)
        if checkpoint is None:
            self.say("There is no checkpoint to resume from yet; the run starts at its beginning.")
            return
        epoch, batch = self.progress.epoch + 1, self.progress.batch + 1
        state = (
            "all epochs are done" if epoch > self.options.schedule.epochs else f"epoch {epoch}, batch {batch} is next"
        )
        self.say(printable(f"Resumed from {checkpoint}: {state}."))

    def begin(self) -> None:
        """Start the classifier from frozen features, where ``head_init`` of a fine-tuning says so."""
        start = begin_classifier(self, self.task)
        if start is not None:
            self.start_classifier(start)

    def start_classifier(self, start: ClassifierStart) -> None:
        """Start the classifiers from a `ClassifierStart`, and the moving average with them."""
        start.load_into(self.task, prior_shares(self.stage.method.name, self.stage.switches), self.data.class_counts)
        if self.ema is not None:
            self.ema.set(self.task.trainable_module)
        self._limit_gradient(start.facts)

    def _limit_gradient(self, facts: StartFacts | None) -> None:
        """Limit the gradient's norm where the classifier that the training started from asks for it."""
        self.trainer.step.clip_grad = start_clip(facts, self.options.schedule, self.stage.opt)

    def _check_best(self, checkpoint: Path) -> None:
        expected = {key: value.shape for key, value in self.model.state_dict().items()}
        shapes = {key: value.shape for key, value in self.best.weights.items()}
        if shapes not in ({}, expected):
            raise unreadable(checkpoint / "best.safetensors", ValueError("its weights are not those of the model"))

    @name_folder_in_errors
    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            NotFiniteError: The last step left weights that are not finite; no checkpoint is written.
            RunStopped: A signal asked the run to stop; the checkpoint is written first.
        """
        self.check_weights()
        self.progress.seconds, self._start_time = self.seconds, time.perf_counter()
        self._newest_checkpoint = str(self.checkpoints.save(self.progress))
        self.save_times.mark_saved()
        if self.save_times.stopping:
            self.trainer.close()
            self._stop(f"checkpoint {self._newest_checkpoint}")

    def check_weights(self) -> None:
        """Raise a `NotFiniteError` where a weight is infinite or not a number."""
        # The losses do not show this yet: none was computed after the last step changed the weights.
        if not torch.stack([parameter.isfinite().all() for parameter in self.task.parameters()]).all():
            raise NotFiniteError(
                f"The weights are not finite after step {self.progress.step} (epoch {self.progress.epoch + 1})",
                self._newest_checkpoint,
                self.accelerator.mixed_precision,
            )

    # ------------------------------------------------------------------ epoch
    def epochs(self) -> Iterator[int]:
        """The remaining epochs, counted from 0. For each, order, learning rate and the method's schedule are set.

        Raises:
            UserError: The disk has no room for a checkpoint.
        """
        if self.progress.epoch < self.options.schedule.epochs:
            check_space(self)
        while self.progress.epoch < self.options.schedule.epochs:
            epoch = self.progress.epoch
            with self._record_signals():  # as within an epoch: the first step of this one writes the checkpoint
                # Not on the sampler, because the prepared loader counts epochs itself and overwrites the sampler's.
                self.loader.set_epoch(epoch)
                self.scheduler.step(epoch)
                set_epoch = getattr(self.task, "set_epoch", None)
                if set_epoch is not None:
                    set_epoch(epoch)
            yield epoch

    def train_epoch(self) -> dict[str, float]:
        """Train through one epoch; returns the mean of each loss term and the images per second.

        Raises:
            NotFiniteError: A loss is infinite or not a number.
        """
        with self._record_signals():
            return self.trainer.train()

    def _record_signals(self) -> AbstractContextManager[None]:
        """Only record signals inside the block, where a checkpoint answers them; else they end the run at once."""
        return nullcontext() if self.trainer.checkpoints.times is None else self.signals.record()

    @name_folder_in_errors
    def finish_epoch(self, losses: dict[str, float]) -> None:
        """Evaluate and save where this epoch is due for it, and write its line to ``metrics.jsonl``.

        Args:
            losses: What `train_epoch` returned.
        """
        with self.signals.record():
            self._finish_epoch(losses)

    def _finish_epoch(self, losses: dict[str, float]) -> None:
        self.check_weights()
        output, epoch, epochs = self.options.output, self.progress.epoch, self.options.schedule.epochs
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        row: dict[str, Any] = {"epoch": epoch + 1, **losses, "lr": lr}
        last = epoch + 1 == epochs
        if last or (epoch + 1) % output.eval_every == 0:
            name, split = ("test", self.data.test) if self.data.val is None else ("validation", self.data.val)
            if len(split):
                row[name] = self.evaluate(split).scores()
            if output.select == "best":
                self.best.update(epoch, row[name]["balanced_accuracy"], self.model)
        self.folder.append(row)
        self.say(epoch_line(row, epochs))
        self._track(row)
        self.progress.epoch, self.progress.batch, self.progress.sums = epoch + 1, 0, {}
        if self.save_times.after_epoch() or last or (epoch + 1) % output.checkpoint_every == 0:
            self.save()

    def _track(self, row: dict[str, Any]) -> None:
        if self.options.output.tracker is None:
            return
        scores = row.get("test") or row.get("validation") or {}
        values = {key: value for key, value in row.items() if isinstance(value, float)}
        values |= {f"score/{key}": value for key, value in scores.items() if value is not None}
        self.accelerator.log(values, step=row["epoch"])

    # ------------------------------------------------------------------ score, finish
    @property
    def model(self) -> nn.Module:
        """The model that is scored and exported: the moving average of the weights where there is one."""
        model: Any = self.task.trainable_module if self.ema is None else self.ema.module
        return cast(nn.Module, model)

    @property
    def seconds(self) -> float:
        """Wall time of the run in seconds, without interruptions."""
        return self.progress.seconds + time.perf_counter() - self._start_time

    def finish(self) -> RunResults:
        """Score the chosen epoch on the test and validation splits, export the model, and write the results."""
        epochs = self.options.schedule.epochs
        last = "the only epoch" if epochs == 1 else f"last of {epochs} epochs"
        selection = Selection(epoch=self.progress.epoch, how=last)
        if self.options.output.select == "best":
            selection = Selection(epoch=self.best.epoch + 1, how="best on the held-out validation images")
            self.model.load_state_dict(self.best.weights)
        self.trainer.close()
        results = self.score_and_export(selection)
        remove_features(self)
        self.folder.release()
        return results

    def describe(self) -> None:
        """Print the model, the data and the settings of the run."""
        options, folder = self.options, self.folder.path
        steps = step_text(options.schedule, self.accelerator.num_processes)
        name = self.stage.name if self.stage.source is None else architecture_of(self.timm_model)
        for line in opening_lines(options, self.stage.title, name, self.data, self.spec, self.timm_model):
            self.say(line)
        epochs = counted(options.schedule.epochs, "epoch")
        self.say(printable(f"{epochs} of {steps}; results in {folder}"))
        resident = self.placement.resident_on is not None
        self.say(hardware_text(self.accelerator, self.placement.workers, resident=resident))
        for line in self.stage.opening_lines(options, self.task):
            self.say(printable(line))


def run_training(options: RunOptions, data: LongTailData | None) -> RunResults:
    """Run a whole training of a `TrainingRun`: describe, resume, every epoch, finish."""
    run = TrainingRun(options, data)
    run.describe()
    run.resume()
    for _ in run.epochs():
        run.finish_epoch(run.train_epoch())
    return run.finish()
