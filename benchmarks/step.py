"""Time and memory of the training step alone, for several numbers of classes, alternating between them.

    python benchmarks/step.py --backbone resnet50 --image-size 64 --batch-size 32 --classes 1000 8142
    python benchmarks/step.py --backbone resnet20_cifar --image-size 32 --batch-size 64 --classes 10

A step is mixing, both views forward, backward and the optimiser, on synthetic images that lie on the device already.
An image of the batch counts once, although its two views are two images to the network. Each round times every number
of classes once, in turn, so that a slow moment of the machine touches all of them. Peak memory is of a process of its
own for each. Prints a table, and JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _report import peak_mib, write_report


def make_step(options: argparse.Namespace, classes: int) -> Callable[[], Any]:
    """One training step as the engine does it, without the input."""
    import torch

    from glmc_zoo import GLMCModel, GLMCTask
    from glmc_zoo.data import Normalize
    from glmc_zoo.engine.build import make_optimizer
    from glmc_zoo.engine.config import resolve
    from glmc_zoo.engine.memory import keep_freed_memory

    if options.keep_memory:
        keep_freed_memory()
    torch.manual_seed(0)
    device = torch.device(options.device)
    config = resolve({"backbone": options.backbone, "preset": "official", "data": "imagenet_lt"})
    model = GLMCModel(options.backbone, classes, image_size=options.image_size)
    counts = [max(1, 1000 - c * 1000 // classes) for c in range(classes)]
    task = GLMCTask(model, class_counts=counts, epochs=100, consistency_weight=10.0, device=device, verbose=False)
    task.to(device, memory_format=torch.channels_last).train()
    task.set_epoch(50)
    optimizer = make_optimizer(config, task)
    normalize = Normalize((0.5,) * 3, (0.25,) * 3).to(device)
    shape = (options.batch_size, 3, options.image_size, options.image_size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(4)]
    targets = [torch.randint(0, classes, (options.batch_size,), device=device) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        views = [normalize(batch) for batch in images]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.bf16):
            mixed = task.mix((views[0], views[1]), (views[2], views[3]), targets[0], targets[1], generator)
            loss = task(mixed)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def peak_memory(options: argparse.Namespace, classes: int) -> float:
    """MiB at the peak of a process that does three steps: of the device, or resident on a CPU."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_peak(options: argparse.Namespace) -> float:
    """The same, in this process."""
    import torch

    step = make_step(options, options.peak_of)
    for _ in range(3):
        step()
    if options.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mib()


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--classes", type=int, nargs="+", default=[1000, 8142])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2, help="steps of each before the clock")
    parser.add_argument(
        "--no-keep-memory", dest="keep_memory", action="store_false", help="leave the C library's allocator as it is"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of is not None:
        print(measure_peak(options))
        return

    steps = {classes: make_step(options, classes) for classes in options.classes}
    for step in steps.values():
        for _ in range(options.warmup):
            step()
    seconds: dict[int, list[float]] = {classes: [] for classes in steps}
    for _ in range(options.rounds):
        for classes, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[classes].append(time.perf_counter() - start)
    first = options.classes[0]
    rows = []
    for classes, taken in seconds.items():
        ratios = [one / base for one, base in zip(taken, seconds[first], strict=True)]
        rows.append(
            {
                "classes": classes,
                "step_ms": 1000 * median(taken),
                "step_ms_range": [1000 * min(taken), 1000 * max(taken)],
                "images_per_second": options.batch_size / median(taken),
                f"time_over_{first}": median(ratios),
                "peak_mib": peak_memory(options, classes),
            }
        )
    print("classes  step ms (median, range)    images/s  ratio  peak MiB")
    for row in rows:
        low, high = row["step_ms_range"]
        print(
            f"{row['classes']:7d}  {row['step_ms']:8.1f} ({low:.1f} to {high:.1f})  {row['images_per_second']:8.1f}  "
            f"{row[f'time_over_{first}']:5.3f}  {row['peak_mib']:8.0f}"
        )
    write_report(options.json, rows, device=options.device, rounds=options.rounds)


if __name__ == "__main__":
    main()
