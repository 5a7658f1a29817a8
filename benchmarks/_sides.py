"""The two sides of the speed measurements, each in a process of its own: the engine, and the reference loop.

Of its own, because threads, allocator and precision belong to a process. A side builds its run once, then reads tasks
as lines of JSON and answers each with another: see `serve`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from _meter import Meter, count_flops, kernel_seconds, time_matmul
from _report import peak_mib
from reference_loop import ReferenceLoop, Settings

from glmc_zoo.data import ImageSplit, load_data
from glmc_zoo.engine.config import TrainConfig, resolve
from glmc_zoo.errors import UserError
from glmc_zoo.method import GLMCTask, backbone_config

# What a side of the engine's says otherwise than the command line.
ENGINE_SIDES: dict[str, dict[str, Any]] = {
    "ours": {},
    "plain": {"resident": False, "mixed_precision": "no", "compile": False, "compile_mode": None},
}
_PASSED_ON = ("backbone", "data", "data_dir", "image_size", "batch_size", "threads", "mixed_precision", "workers")
_EPOCHS = 1000  # more than there are rounds; an epoch's length has nothing to do with it


def make_config(options: argparse.Namespace, side: str) -> TrainConfig:
    """The options of a run of ``side``; the reference loop takes its numbers from them, too."""
    given = {name: getattr(options, name) for name in (*_PASSED_ON, "resident", "compile", "compile_mode")}
    given |= {"preset": "official", "epochs": _EPOCHS, "output_dir": str(Path(options.folder, side))}
    given |= ENGINE_SIDES.get(side, {})
    backbone_config(options.backbone)  # refuses in one sentence what timm does not know
    return resolve({name: value for name, value in given.items() if value is not None})


def synthetic(
    options: argparse.Namespace, size: int, classes: int, device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Two views of two batches of pictures, normalised, and their classes."""
    shape = (options.batch_size, 3, size, size)
    pictures = [torch.randn(shape, device=device) for _ in range(4)]
    return pictures, [torch.randint(classes, shape[:1], device=device) for _ in range(2)]


def endless(loader: Any) -> Iterator[Any]:
    """The batches of a loader again and again."""
    return chain.from_iterable(repeat(loader))


def part_of(split: ImageSplit, images: int | None) -> ImageSplit:
    """The first images of a split; all of it without a number."""
    if images is None or images >= len(split):
        return split
    part = copy.copy(split)
    part.rows, part.labels = split.rows[:images], split.labels[:images]
    part.pixels = None if split.pixels is None else split.pixels[:images]
    return part


class MeteredLoader:
    """So many batches of a prepared loader, with a call of the meter before each: an epoch for `train_one_epoch`."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.meter = Meter(torch.device("cpu"), 0)
        self.length = 0

    def set_epoch(self, epoch: int) -> None:
        """As of the loader."""
        self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        batches = endless(self.loader)
        for _ in range(self.length):
            self.meter.begin()
            batch = next(batches)
            self.meter.count(len(batch.first_targets))
            yield batch

    def close_workers(self) -> None:
        """End workers that outlive an epoch: none is to run while another side is timed."""
        getattr(self.loader, "base_dataloader", self.loader)._iterator = None


class Engine:
    """The real thing: `TrainingRun` and what it prepared."""

    def __init__(self, options: argparse.Namespace, side: str) -> None:
        from glmc_zoo.engine.run import TrainingRun

        self.options = options
        self.run = TrainingRun(make_config(options, side))
        self.device = self.run.accelerator.device
        self.run.loader = self.loader = MeteredLoader(self.run.loader)
        self.epochs = self.run.epochs()

    def about(self) -> dict[str, Any]:
        """What the run settled on."""
        run = self.run
        return {
            "threads": torch.get_num_threads(),
            "workers": run.config.workers,
            "precision": run.accelerator.mixed_precision,
            "resident": run.place.resident_on is not None,
            "compiled": run.config.compile,
        }

    def loop(self, steps: int, warmup: int) -> dict[str, Any]:
        """Whole training steps, by `TrainingRun.train_epoch`, on an epoch of so many batches."""
        next(self.epochs)
        self.loader.length, self.loader.meter = warmup + steps, Meter(self.device, warmup)
        self.run.train_epoch()
        done = self.loader.meter.stop()
        self.loader.close_workers()
        # What `finish_epoch` does, without an evaluation and a checkpoint.
        self.run.progress.epoch, self.run.progress.batch, self.run.progress.sums = self.run.progress.epoch + 1, 0, {}
        return done

    def step(self, steps: int, warmup: int) -> dict[str, Any]:
        """Mixing, both views forward, backward and optimiser, on normalised pictures that lie on the device."""
        from glmc_zoo.engine.step import TrainStep

        run, task, meter = self.run, self.run.task, Meter(self.device, warmup)
        assert isinstance(task, GLMCTask)
        train = TrainStep(run.prepared, run.optimizer, run.accelerator, clip_grad=run.config.clip_grad, sam=run.sam)
        run.prepared.train()
        # In the layout that the loop's own pictures have.
        layout = torch.contiguous_format if run.place.resident_on is None else torch.channels_last
        pictures, (first, second) = synthetic(self.options, run.spec.size, len(run.data.class_names), self.device)
        a, b, c, d = (picture.contiguous(memory_format=layout) for picture in pictures)
        generator = torch.Generator().manual_seed(0)
        mixes = [task.draw(run.spec.size, run.spec.size, generator) for _ in range(warmup + steps)]
        for mix in mixes:
            meter.begin()
            train((task.mix((a, b), (c, d), first, second, mix=mix),))
            meter.count(len(first))
        return meter.stop()

    def flops(self) -> dict[str, Any]:
        """Arithmetic of a step, where it is not compiled: what is compiled cannot be looked into."""
        return {"flops": None if self.run.config.compile else count_flops(lambda: self.step(1, 0))}

    def input(self, steps: int, warmup: int) -> dict[str, Any]:
        """Batches alone, up to what the mixing takes: four normalised views on the device."""
        from glmc_zoo.engine.hardware import Transfer

        next(self.epochs)
        self.loader.length, self.loader.meter = warmup + steps, Meter(self.device, warmup)
        transfer, normalize = Transfer(self.device), self.run.normalize
        for batch in self.loader:
            batch = transfer(batch)
            for views, draws in ((batch.first, batch.first_draws), (batch.second, batch.second_draws)):
                for view, draw in zip(views, draws or repeat(None), strict=False):
                    normalize(view, draw)
        done = self.loader.meter.stop()
        self.loader.close_workers()
        self.run.progress.epoch += 1
        return done

    def evaluation(self, images: int | None) -> dict[str, Any]:
        """Scores of the test part."""
        part, meter = part_of(self.run.data.test, images), Meter(self.device, 0)
        meter.begin()
        meter.count(self.run.evaluate(part).total)
        return meter.stop()

    def matmul(self, size: int, repeats: int) -> dict[str, Any]:
        """A matrix product in the precision of the step."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.run.accelerator.mixed_precision, torch.float32)
        return time_matmul(size, dtype, self.device, repeats)


class Reference:
    """The reference loop, in the ways in which the engine is measured."""

    def __init__(self, options: argparse.Namespace, side: str) -> None:
        self.options, config = options, make_config(options, side)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.data = load_data(config.data, data_dir=config.data_dir, imbalance_factor=config.imbalance_factor)
        size = config.image_size or self.data.image_size or 224
        numbers = ("backbone", "batch_size", "epochs", "lr", "momentum", "weight_decay")
        settings: dict[str, Any] = {name: getattr(config, name) for name in numbers}
        self.settings = Settings(
            **settings,
            device=options.device,
            image_size=size,
            augment=self.data.augment,
            workers=options.reference_workers,
            sampler_power=config.sampler_power or 0.0,
            class_weight_power=config.class_weight_power or 0.0,
            gamma=config.consistency_weight or 0.0,
            projection_dim=128 if size <= 32 else 256,
            blur=options.reference_blur,
        )
        self.run = ReferenceLoop(self.data, config.data, self.settings)
        self.device = self.run.device

    def about(self) -> dict[str, Any]:
        """What the run settled on."""
        workers = 2 * self.settings.workers
        return {"threads": torch.get_num_threads(), "workers": workers, "precision": "no"}

    def loop(self, steps: int, warmup: int) -> dict[str, Any]:
        """Whole training steps."""
        return self._batches(steps, warmup, lambda batch: self.run.step(self.run.to_device(batch)))

    def input(self, steps: int, warmup: int) -> dict[str, Any]:
        """Batches alone, on the device."""
        return self._batches(steps, warmup, self.run.to_device)

    def _batches(self, steps: int, warmup: int, use: Any) -> dict[str, Any]:
        self.run.model.train()
        meter, batches = Meter(self.device, warmup), chain.from_iterable(self.run.batches() for _ in repeat(None))
        for _ in range(warmup + steps):
            meter.begin()
            batch = next(batches)
            meter.count(len(batch[0][1]))
            use(batch)
        return meter.stop()  # and with this the iterators and their workers end

    def step(self, steps: int, warmup: int) -> dict[str, Any]:
        """Mixing, both views forward, backward and optimiser, on normalised pictures that lie on the device."""
        self.run.model.train()
        pictures, classes = synthetic(self.options, self.settings.image_size, self.run.classes, self.device)
        batch, meter = [*pictures[:2], classes[0], *pictures[2:], classes[1]], Meter(self.device, warmup)
        for _ in range(warmup + steps):
            meter.begin()
            self.run.step(batch)
            meter.count(len(classes[0]))
        return meter.stop()

    def flops(self) -> dict[str, Any]:
        """Arithmetic of a step."""
        return {"flops": count_flops(lambda: self.step(1, 0))}

    def evaluation(self, images: int | None) -> dict[str, Any]:
        """Accuracy on the test part."""
        run, loader = self.run, self.run.test
        if images is not None and images < len(loader.dataset):  # type: ignore[arg-type]
            part = torch.utils.data.Subset(loader.dataset, range(images))
            loader = torch.utils.data.DataLoader(part, batch_size=loader.batch_size, num_workers=loader.num_workers)
        meter = Meter(self.device, 0)
        meter.begin()
        meter.count(len(loader.dataset))  # type: ignore[arg-type]
        run.evaluate(loader)
        return meter.stop()

    def matmul(self, size: int, repeats: int) -> dict[str, Any]:
        """A matrix product in single precision."""
        return time_matmul(size, torch.float32, self.device, repeats)


def peak(side: Engine | Reference) -> dict[str, Any]:
    """Memory of this process at its largest: allocated on the GPU, or resident on a CPU."""
    cuda = side.device.type == "cuda"
    return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_mib()}


def busy(side: Engine | Reference, steps: int, warmup: int) -> dict[str, Any]:
    """Time during which the GPU computes in one step of the loop, in seconds."""
    return {"busy_seconds": kernel_seconds(lambda: side.loop(steps, warmup)) / (steps + warmup)}


def serve(options: argparse.Namespace, name: str) -> None:
    """Build the side of this name, say what it is, and do one task after the other until no more come."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        side = Reference(options, name) if name == "reference" else Engine(options, name)
    except UserError as error:
        print(f"speed.py: error: {error.sentence}", file=sys.stderr)
        raise SystemExit(2) from None
    answer(side.about())
    for line in sys.stdin:
        task = json.loads(line)
        what = task.pop("do")
        if what in ("peak", "busy"):
            answer({"peak": peak, "busy": busy}[what](side, **task))  # type: ignore[operator]
        else:
            answer(getattr(side, what)(**task))
