"""The pieces of one training run, in the order in which a recipe uses them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.logging import get_logger
from accelerate.utils import set_seed
from timm.task import TrainingTask
from timm.utils import ModelEmaV3, distribute_bn, unwrap_model
from torch import Tensor, nn

from glmc_zoo.data import ImageSplit, Normalize, build_transforms, eval_loader
from glmc_zoo.engine.build import (
    input_spec,
    load_run_data,
    make_accelerator,
    make_optimizer,
    make_scheduler,
    make_task,
    make_train_loader,
)
from glmc_zoo.engine.checkpoint import Best, Checkpoints, Progress
from glmc_zoo.engine.config import TrainConfig, with_scaled_lr
from glmc_zoo.engine.evaluation import evaluate
from glmc_zoo.engine.hardware import hardware_text, place_images
from glmc_zoo.engine.loop import NotFiniteError, train_one_epoch
from glmc_zoo.engine.options import shown_options
from glmc_zoo.engine.output import RunFolder, on_main_process
from glmc_zoo.engine.push import check_push_run, push_run
from glmc_zoo.engine.report import describe_run, epoch_line, opening_lines, result_table, write_outputs
from glmc_zoo.engine.stages import StageClock
from glmc_zoo.engine.tuning import frozen_modules
from glmc_zoo.hub import ModelSource, check_login, open_model, source_license
from glmc_zoo.method import SAM, GLMCTask
from glmc_zoo.metrics import ScoreCounts, tercile_thresholds

__all__ = ["TrainingRun"]

_log = get_logger(__name__)
_Config = TypeVar("_Config", bound=TrainConfig)


class TrainingRun:
    """A training run, built from a resolved configuration; `recipes/train.py` shows its use.

    Raises:
        UserError: Data, backbone, options or output folder do not fit; nothing already on disk is touched.
    """

    def __init__(self, config: TrainConfig) -> None:
        check_push_run(config)
        self.accelerator = make_accelerator(config)
        if config.push_to_hub is not None:
            on_main_process(self.accelerator, check_login)
        self.ema: ModelEmaV3 | None = None
        # The same seed in every process: weights start equal, and what must differ has generators of its own.
        set_seed(config.seed)
        self.data = load_run_data(config, self.accelerator)
        config = self._with_groups(config)
        self.source = self._open_source(config)
        # For building alone: where the weights of a model from the Hub lie once they were downloaded and checked.
        building = config if self.source is None else dataclasses.replace(config, backbone=self.source.timm_name)
        self.spec = input_spec(building, self.data)
        # As resolved, so that config.yaml says it.
        resolved: dict[str, Any] = {"image_size": self.spec.size, "augment": self.spec.augment}
        if config.mixed_precision == "auto":
            resolved["mixed_precision"] = self.accelerator.mixed_precision
        self.config = config = dataclasses.replace(config, **resolved)
        self.task = self._make_task(dataclasses.replace(building, **resolved))
        # The faster layout for convolutions on GPUs and CPUs alike; weights of other kinds are not changed by it.
        self.task.to(memory_format=torch.channels_last)
        if config.compile:
            self.task.compile(mode=None if config.compile_mode == "default" else config.compile_mode)
        self.frozen = frozen_modules(self.task)
        self.normalize = Normalize(self.spec.mean, self.spec.std).to(self.accelerator.device)
        self.train_transform, self.eval_transform = build_transforms(
            self.spec.augment, self.spec.size, interpolation=self.spec.interpolation, crop_pct=self.spec.crop_pct
        )
        self.place = place_images(config, self.data.train, self.train_transform, self.accelerator)
        processes = self.accelerator.num_processes
        loader = make_train_loader(config, self.data, self.train_transform, processes, self.place)
        scaled = with_scaled_lr(config, processes)
        optimizer = make_optimizer(scaled, self.task, self._parameter_groups())
        self.scheduler = make_scheduler(scaled, optimizer)
        self.folder = RunFolder(self.accelerator, config)
        # Batches are brought to the device by the loop, beside the step before (`Transfer`).
        self.prepared, self.optimizer, self.loader = self.accelerator.prepare(
            self.task, optimizer, loader, device_placement=[True, True, False]
        )
        self.sam = None if config.sam_rho is None else SAM(self.task.parameters(), config.sam_rho)
        # Weights are equal now; dropout is not to be.
        set_seed(config.seed, device_specific=True)
        self.progress, self.best = Progress(), Best()
        self.accelerator.register_for_checkpointing(self.progress)
        if config.select == "best":
            self.accelerator.register_for_checkpointing(self.best)
        if config.ema_decay is not None:
            self.ema = ModelEmaV3(self.task.trainable_module, decay=config.ema_decay, use_warmup=True)
            self.accelerator.register_for_checkpointing(self.ema)
        self.checkpoints = Checkpoints(self.accelerator, self.folder.checkpoints, keep=config.keep_checkpoints)
        traced = config.profile and self.accelerator.is_main_process
        self.clock = StageClock(self.accelerator.device, self.folder.path / "profile" if traced else None)
        self._newest = "none yet"
        self._clock = time.perf_counter()
        if config.tracker is not None:
            self.accelerator.project_configuration.logging_dir = str(self.folder.path / "logs")
            options = {key: value for key, value in shown_options(config).items() if value is not None}
            self.accelerator.init_trackers("glmc_zoo", config=options)

    # ------------------------------------------------- what fine-tuning does in another way
    def _open_source(self, config: TrainConfig) -> ModelSource | None:
        """Where the weights come from that training starts with, unless timm itself is to find them."""
        name = str(config.backbone)
        return open_model(name) if config.pretrained and ":" in name else None

    def _make_task(self, config: TrainConfig) -> TrainingTask:
        return make_task(config, self.data, self.spec)

    def _parameter_groups(self) -> list[dict[str, Any]] | None:
        return None

    def _before_export(self) -> None:
        """Leave in `model` the plain timm model that is scored and exported."""

    def _training_heads(self) -> dict[str, Tensor]:
        """What only training needs, to be exported beside the model."""
        heads: dict[str, Tensor] = getattr(self.model, "training_heads", dict)()
        return heads

    def _describe_results(self, results: dict[str, Any]) -> None:
        """Add what this kind of run has to say."""

    def _with_groups(self, config: _Config) -> _Config:
        if config.groups == "thresholds":
            return config
        many, few = tercile_thresholds(self.data.class_counts)
        return dataclasses.replace(config, many_threshold=many, few_threshold=few)

    # ------------------------------------------------------------- checkpoint
    def resume(self) -> None:
        """Go on where the checkpoint that ``--resume`` names left off; from the start when there is none yet."""
        asked = self.config.resume
        if asked is None:
            return
        newest = on_main_process(self.accelerator, self.checkpoints.newest) if asked == "auto" else Path(asked)
        if newest is not None:
            self.checkpoints.load(newest)
            self._newest = str(newest)
        if asked != "auto":
            self.checkpoints.drop_newer(Path(asked))
        self.folder.keep_epochs(self.progress.epoch)
        if newest is None:
            self.say("No checkpoint to resume from yet; the run starts at its beginning.")
            return
        self.say(f"Resumed from {newest}: epoch {self.progress.epoch}, batch {self.progress.batch}.")

    def save(self) -> None:
        """Write a checkpoint of this moment.

        Raises:
            NotFiniteError: The last step left weights that are not finite; no checkpoint is made of them.
        """
        self._check_weights()
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self._clock = now
        self._newest = str(self.checkpoints.save(self.progress))

    def _check_weights(self) -> None:
        # The losses were checked as they came; of what the last step did to the weights there is no loss yet.
        if not torch.stack([parameter.isfinite().all() for parameter in self.task.parameters()]).all():
            raise NotFiniteError(
                f"The weights are not finite after step {self.progress.step - 1} (epoch {self.progress.epoch}); "
                f"the last good checkpoint is {self._newest}; lower --lr or set --clip-grad 1."
            )

    # ------------------------------------------------------------------ epoch
    def epochs(self) -> Iterator[int]:
        """Epochs still to do; each begins by setting order, learning rate and the cumulative schedule."""
        assert self.config.epochs is not None
        while self.progress.epoch < self.config.epochs:
            epoch = self.progress.epoch
            # Not on the sampler itself: the prepared loader counts its own epochs, and sets the sampler to its count.
            self.loader.set_epoch(epoch)
            self.scheduler.step(epoch)
            if isinstance(self.task, GLMCTask):
                self.task.set_epoch(epoch)
            yield epoch

    def train_epoch(self) -> dict[str, float]:
        """Train through one epoch; mean of each loss term and images per second."""
        return train_one_epoch(
            self.prepared,
            self.loader,
            self.optimizer,
            self.normalize,
            self.accelerator,
            self.progress,
            frozen=self.frozen,
            seed=self.config.seed,
            clip_grad=self.config.clip_grad,
            sam=self.sam,
            ema=self.ema,
            checkpoint_steps=self.config.checkpoint_steps,
            save=self.save,
            last_good=lambda: self._newest,
            clock=self.clock,
        )

    def finish_epoch(self, losses: dict[str, float]) -> None:
        """Evaluate when it is time, write the epoch's line, and save.

        Raises:
            NotFiniteError: The last step left weights that are not finite.
        """
        self._check_weights()
        config, epoch = self.config, self.progress.epoch
        assert config.epochs is not None
        row: dict[str, Any] = {
            "epoch": epoch,
            **losses,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
        }
        last = epoch + 1 == config.epochs
        if last or (epoch + 1) % config.eval_every == 0:
            name = "test" if self.data.val is None else "validation"
            counts = self.evaluate(self.data.test if self.data.val is None else self.data.val)
            row[name] = counts.scores()
            if config.select == "best":
                self.best.offer(epoch, row[name]["balanced_accuracy"], self.model)
        self.folder.append(row)
        self._tell(row)
        self.progress.epoch, self.progress.batch, self.progress.sums = epoch + 1, 0, {}
        if last or (epoch + 1) % config.checkpoint_every == 0:
            self.save()

    def _tell(self, row: dict[str, Any]) -> None:
        self.say(epoch_line(row, self.config))
        scores = row.get("test") or row.get("validation") or {}
        flat = {key: value for key, value in row.items() if isinstance(value, float)}
        flat |= {f"score/{key}": value for key, value in scores.items() if value is not None}
        if self.config.tracker is not None:
            self.accelerator.log(flat, step=row["epoch"])

    # ------------------------------------------------------------------ score
    @property
    def model(self) -> nn.Module:
        """The model that is scored and exported: the moving average of the weights where one is kept."""
        model: nn.Module | None = self.task.get_trainable_module() if self.ema is None else self.ema.module
        assert model is not None
        return model

    @property
    def timm_model(self) -> nn.Module:
        """The plain timm model inside `model`."""
        model = unwrap_model(self.model)  # of the baselines the model itself is what is compiled
        return getattr(model, "timm_model", model)

    def evaluate(self, split: ImageSplit) -> ScoreCounts:
        """Counts of ``split``, each image once, over all processes."""
        assert self.config.batch_size is not None
        if self.accelerator.num_processes > 1:
            # Each process has batch-norm statistics of its own; the main one's are saved and exported, so they count.
            distribute_bn(self.model, self.accelerator.num_processes, reduce=False)
        loader = eval_loader(
            split,
            self.eval_transform,
            batch_size=max(self.config.batch_size, 128),
            workers=self.place.workers,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        config = self.config
        empty = ScoreCounts.empty(self.data.class_counts, many=config.many_threshold, few=config.few_threshold)
        with self.clock.stage("evaluation"):
            return evaluate(self.model, loader, self.normalize, empty, self.accelerator, total=len(split))

    # ----------------------------------------------------------------- finish
    def finish(self) -> dict[str, Any]:
        """Score the chosen epoch on the test part, export, and write everything that a run leaves."""
        config = self.config
        if config.select == "best":
            epoch, how = self.best.epoch, "best on the held-out validation part"
            self.model.load_state_dict(self.best.weights)
        else:
            epoch, how = self.progress.epoch - 1, f"last of {config.epochs} epochs"
        self._before_export()
        # Scored in the layout in which it is exported: layouts differ in the last bits of what they compute.
        self.model.to(memory_format=torch.contiguous_format)
        counts = self.evaluate(self.data.test)
        self.progress.seconds += time.perf_counter() - self._clock
        results = describe_run(config, self.data, self.spec, self.timm_model, self.accelerator)
        results["selection"] = {"epoch": epoch, "how": how}
        if config.license is None and config.pretrained:
            # Weights that go on from others are theirs to license, whatever this package would choose.
            results["model"]["license"] = source_license(self.source, str(config.backbone))
        self._describe_results(results)
        if self.data.val is not None:
            results["validation"] = self.evaluate(self.data.val).scores()
        results["wall_time_s"] = round(self.progress.seconds, 1)
        if self.accelerator.is_main_process:
            results = write_outputs(
                self.folder.path,
                results,
                counts,
                self.folder.rows(),
                self.timm_model,
                self._training_heads(),
                half=config.export_half,
                encoder=config.export_encoder,
                repo_id=config.push_to_hub,
            )
            print(result_table(results, self.folder.path))
            if config.profile:
                print(self.clock.report())
        if config.push_to_hub is not None:
            on_main_process(self.accelerator, self._push)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return results

    def _push(self) -> None:
        result = push_run(self.folder.path / "model", self.config)
        print(f"pushed  {result.pull_request_url or result.url}")

    def say(self, text: str) -> None:
        """One line on the screen, once."""
        self.accelerator.print(text)

    def describe(self) -> None:
        """Say what is about to be trained."""
        processes = self.accelerator.num_processes
        for line in opening_lines(self.config, self.data, self.spec, self.timm_model, self.folder.path, processes):
            self.say(line)
        self.say(hardware_text(self.accelerator, self.place))
