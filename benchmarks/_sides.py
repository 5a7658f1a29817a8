"""The two sides of the speed measurements: the package, and the reference loop.

Each side runs in a separate process, because threads, allocator and precision belong to a process. It builds its run
once. Then it reads tasks as lines of JSON, and answers each with a line of JSON: see `serve`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from _meter import Meter, count_flops, kernel_seconds, peak_mib, run_options, time_matmul
from reference_loop import ReferenceLoop, Settings

from glmc_zoo.data import load_split_data
from glmc_zoo.errors import UserError, as_command_line
from glmc_zoo.method import GLMCTask, backbone_config
from glmc_zoo.options.run import RunOptions, flatten_options

# Options of each side of the package. They override the command line.
SIDES: dict[str, dict[str, Any]] = {
    "ours": {},
    "plain": {"resident": False, "mixed_precision": "no", "compile": False, "compile_mode": None},
}
_RUN_OPTIONS = ("backbone", "data", "data_dir", "image_size", "batch_size", "threads", "mixed_precision", "workers")
_EPOCHS = 1000  # more than there are rounds; a round decides itself how many batches it takes


def side_options(options: argparse.Namespace, side: str) -> RunOptions:
    """The resolved options of the run of a side. The reference loop takes its learning rate and others from them."""
    values = {name: getattr(options, name) for name in (*_RUN_OPTIONS, "resident", "compile", "compile_mode")}
    values |= {"preset": "official", "epochs": _EPOCHS, "output_dir": str(Path(options.folder, side))}
    backbone_config(options.backbone)  # raises UserError for a name that timm does not know
    return run_options(**values | SIDES.get(side, {}))


def synthetic_batches(
    options: argparse.Namespace, size: int, classes: int, device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Two batches with two views each: four tensors (B, 3, size, size) of random values, and two of classes (B,)."""
    shape = (options.batch_size, 3, size, size)
    images = [torch.randn(shape, device=device) for _ in range(4)]
    return images, [torch.randint(classes, shape[:1], device=device) for _ in range(2)]


class MeteredLoader:
    """A loader whose epoch has ``length`` batches of another loader, and which calls the meter before each batch."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.meter = Meter(torch.device("cpu"), 0)
        self.length = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the loader."""
        self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        batches = chain.from_iterable(repeat(self.loader))
        for _ in range(self.length):
            self.meter.begin()
            batch = next(batches)
            self.meter.count(len(batch.first_targets))
            yield batch

    def close_workers(self) -> None:
        """End the workers, which outlive an epoch, so that none runs while another side is timed."""
        getattr(self.loader, "base_dataloader", self.loader)._iterator = None


class Side:
    """What both sides have in common."""

    options: argparse.Namespace
    device: torch.device
    matmul_dtype = torch.float32

    def _steps(
        self, items: Iterator[tuple[int, Any]], use: Callable[[Any], Any], steps: int, warmup: int
    ) -> dict[str, Any]:
        """Time ``use`` of the items, each of which comes with its number of samples."""
        meter = Meter(self.device, warmup)
        for _ in range(warmup + steps):
            meter.begin()
            samples, item = next(items)
            meter.count(samples)
            use(item)
        return meter.stop()

    def loop(self, steps: int, warmup: int) -> dict[str, Any]:
        """Whole training steps."""
        raise NotImplementedError

    def matmul(self, size: int, repeats: int) -> dict[str, Any]:
        """Speed of a matrix product in the precision of the step."""
        return time_matmul(size, self.matmul_dtype, self.device, repeats)

    def peak(self) -> dict[str, Any]:
        """Peak memory of this process in MiB: allocated on the GPU, or resident on a CPU."""
        cuda = self.device.type == "cuda"
        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_mib()}

    def busy(self, steps: int, warmup: int) -> dict[str, Any]:
        """Seconds in which the GPU computes in one step of the loop."""
        return {"busy_seconds": kernel_seconds(lambda: self.loop(steps, warmup)) / (steps + warmup)}


class PackageSide(Side):
    """The package: a `TrainingRun` with its loader and network."""

    def __init__(self, options: argparse.Namespace, side: str) -> None:
        from glmc_zoo.training.run import TrainingRun

        self.options = options
        self.run = TrainingRun(side_options(options, side))
        self.device = self.run.accelerator.device
        self.loader = MeteredLoader(self.run.loader)
        self.run.loader = self.run.trainer.loader = self.loader
        self.epochs = self.run.epochs()
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
        self.matmul_dtype = dtypes.get(self.run.accelerator.mixed_precision, torch.float32)

    def about(self) -> dict[str, Any]:
        """The settings of the run."""
        return {
            "threads": torch.get_num_threads(),
            "workers": self.run.placement.workers,
            "precision": self.run.accelerator.mixed_precision,
            "resident": self.run.placement.resident_on is not None,
            "compiled": self.run.options.machine.compile,
        }

    def _epoch(self, steps: int, warmup: int, work: Callable[[], Any]) -> dict[str, Any]:
        """Time ``work`` in an epoch of ``warmup + steps`` batches; then begin the next epoch without a checkpoint."""
        next(self.epochs)
        self.loader.length, self.loader.meter = warmup + steps, Meter(self.device, warmup)
        work()
        measured = self.loader.meter.stop()
        self.loader.close_workers()
        progress = self.run.progress
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
        return measured

    def loop(self, steps: int, warmup: int) -> dict[str, Any]:
        """Whole training steps, by `TrainingRun.train_epoch`."""
        return self._epoch(steps, warmup, self.run.train_epoch) | self.peak()

    def step(self, steps: int, warmup: int) -> dict[str, Any]:
        """Mixing, both views forward, backward and optimiser, on normalised images that are on the device."""
        run, task, size = self.run, self.run.task, self.run.spec.size
        assert isinstance(task, GLMCTask)
        run.trainer.step.task.train()
        # The memory layout of the images in the loop.
        layout = torch.contiguous_format if run.placement.resident_on is None else torch.channels_last
        images, (first, second) = synthetic_batches(self.options, size, len(run.data.class_names), self.device)
        a, b, c, d = (image.contiguous(memory_format=layout) for image in images)
        generator = torch.Generator().manual_seed(0)
        mixes = [task.draw(size, size, generator) for _ in range(warmup + steps)]

        def step(mix: Any) -> None:
            run.trainer.step((task.mix((a, b), (c, d), first, second, mix=mix),))

        return self._steps(((len(first), mix) for mix in mixes), step, steps, warmup)

    def flops(self) -> dict[str, Any]:
        """Floating-point operations of a step; ``None`` for a compiled one, whose operations cannot be counted."""
        compiled = self.run.options.machine.compile
        return {"flops": None if compiled else count_flops(lambda: self.step(1, 0))}

    def input(self, steps: int, warmup: int) -> dict[str, Any]:
        """Batches alone, as the mixing takes them: four normalised views on the device."""
        return self._epoch(steps, warmup, self._normalise_batches)

    def _normalise_batches(self) -> None:
        from glmc_zoo.machine.transfer import Transfer

        transfer = Transfer(self.device)
        for batch in map(transfer, self.loader):
            for views, params in ((batch.first, batch.first_params), (batch.second, batch.second_params)):
                for view, view_params in zip(views, params or repeat(None), strict=False):
                    self.run.trainer.normalize(view, view_params)

    def evaluation(self) -> dict[str, Any]:
        """Scores of the test split."""
        meter = Meter(self.device, 0)
        meter.begin()
        meter.count(self.run.evaluate(self.run.data.test).total)
        return meter.stop()


class ReferenceSide(Side):
    """The reference loop, measured in the same ways."""

    def __init__(self, options: argparse.Namespace, side: str) -> None:
        resolved = side_options(options, side)
        self.options, config = options, SimpleNamespace(**flatten_options(resolved))
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        data = load_split_data(resolved.data)
        size = config.image_size or data.image_size or 224
        self.settings = Settings(
            **{name: getattr(config, name) for name in ("backbone", "batch_size", "lr", "momentum", "weight_decay")},
            device=options.device,
            image_size=size,
            augment=data.augment,
            workers=options.reference_workers,
            sampler_power=config.sampler_power,
            class_weight_power=config.class_weight_power,
            gamma=config.consistency_weight,
            projection_dim=128 if size <= 32 else 256,
        )
        self.run = ReferenceLoop(data, config.data, self.settings)
        self.device = self.run.device

    def about(self) -> dict[str, Any]:
        """The settings of the run."""
        workers = 2 * self.settings.workers
        return {"threads": torch.get_num_threads(), "workers": workers, "precision": "no"}

    def loop(self, steps: int, warmup: int) -> dict[str, Any]:
        """Whole training steps."""
        return self._batches(steps, warmup, lambda batch: self.run.step(self.run.to_device(batch))) | self.peak()

    def input(self, steps: int, warmup: int) -> dict[str, Any]:
        """Batches alone, on the device."""
        return self._batches(steps, warmup, self.run.to_device)

    def _batches(self, steps: int, warmup: int, use: Callable[[Any], Any]) -> dict[str, Any]:
        self.run.model.train()
        batches = chain.from_iterable(self.run.batches() for _ in repeat(None))
        # When this generator is deleted, the loaders end their workers.
        return self._steps(((len(batch[0][1]), batch) for batch in batches), use, steps, warmup)

    def step(self, steps: int, warmup: int) -> dict[str, Any]:
        """Mixing, both views forward, backward and optimiser, on normalised images that are on the device."""
        self.run.model.train()
        images, classes = synthetic_batches(self.options, self.settings.image_size, self.run.classes, self.device)
        batch = [*images[:2], classes[0], *images[2:], classes[1]]
        return self._steps(repeat((len(classes[0]), batch)), self.run.step, steps, warmup)

    def flops(self) -> dict[str, Any]:
        """Floating-point operations of a step."""
        return {"flops": count_flops(lambda: self.step(1, 0))}

    def evaluation(self) -> dict[str, Any]:
        """Accuracy on the test split."""
        meter = Meter(self.device, 0)
        meter.begin()
        meter.count(len(self.run.test.dataset))  # type: ignore[arg-type]
        self.run.evaluate(self.run.test)
        return meter.stop()


def serve(options: argparse.Namespace, name: str) -> None:
    """Build the side with this name and answer with its settings. Then do each task on standard input and answer it."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # text that libraries print must not mix with the answers

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        side = ReferenceSide(options, name) if name == "reference" else PackageSide(options, name)
    except UserError as error:
        print(f"speed.py: error: {as_command_line(error.sentence, vars(options))}", file=sys.stderr)
        raise SystemExit(2) from None
    answer(side.about())
    for line in sys.stdin:
        task = json.loads(line)
        answer(getattr(side, task.pop("do"))(**task))
