"""Time and memory of a training step without its input, for several numbers of classes.

    python benchmarks/step.py --backbone resnet50 --image-size 64 --batch-size 32 --classes 1000 8142
    python benchmarks/step.py --backbone resnet20_cifar --image-size 32 --batch-size 64 --classes 10

A step is mixing, forward with both views, backward and the optimiser, on synthetic images that are on the device. The
numbers of classes alternate. In images/s an image of the batch counts once, although its two views go through the
network. Peak memory is measured in a separate process for each number of classes. Prints a table, and writes JSON with
``--json FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _meter import alternate, peak_mib, ratios, run_options, spread, wait, with_range, write_report


def make_step(options: argparse.Namespace, classes: int) -> Callable[[], float]:
    """Return a function that does one training step with this number of classes and returns its seconds."""
    import torch

    from glmc_zoo import GLMCModel, GLMCTask
    from glmc_zoo.data import Normalize
    from glmc_zoo.machine.hardware import configure_device
    from glmc_zoo.method import preset_switches
    from glmc_zoo.training.build import make_optimizer

    device = torch.device(options.device)
    configure_device(device, options.threads)
    torch.manual_seed(0)
    schedule = run_options(backbone=options.backbone, preset="official", data="imagenet_lt").schedule
    model = GLMCModel(options.backbone, classes, image_size=options.image_size)
    counts = [max(1, 1000 - c * 1000 // classes) for c in range(classes)]
    switches = preset_switches("official", sampler_power=0.0)
    task = GLMCTask(model, class_counts=counts, epochs=100, switches=switches, device=device, verbose=False)
    task.to(device).to(memory_format=torch.channels_last).train()
    task.set_epoch(50)
    optimizer = make_optimizer(schedule, "sgd", task)
    normalize = Normalize((0.5,) * 3, (0.25,) * 3).to(device)
    shape = (options.batch_size, 3, options.image_size, options.image_size)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(4)]
    targets = [torch.randint(0, classes, (options.batch_size,), device=device) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)

    def step() -> float:
        start = time.perf_counter()
        views = [normalize(batch) for batch in images]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.bf16):
            mixed = task.mix((views[0], views[1]), (views[2], views[3]), targets[0], targets[1], generator)
            loss = task(mixed)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        wait(device)
        return time.perf_counter() - start

    return step


def peak_after_steps(options: argparse.Namespace) -> float:
    """Peak memory of this process in MiB after three steps: allocated on a GPU, or resident on a CPU."""
    import torch

    step = make_step(options, options.peak_of)
    for _ in range(3):
        step()
    return torch.cuda.max_memory_allocated() / 2**20 if options.device.startswith("cuda") else peak_mib()


def peak_memory(classes: int) -> float:
    """`peak_after_steps` of a separate process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", str(classes)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(process.stdout.split()[-1])


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50", help="any timm model")
    parser.add_argument("--image-size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=32, help="images in a step")
    parser.add_argument("--classes", type=int, nargs="+", default=[1000, 8142], help="numbers of classes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--rounds", type=int, default=9, help="steps of each number of classes")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of is not None:
        print(peak_after_steps(options))
        return

    steps = {classes: make_step(options, classes) for classes in options.classes}
    alternate(steps, 2)  # warm up
    seconds = alternate(steps, options.rounds)
    first = seconds[options.classes[0]]
    rows: list[dict[str, Any]] = []
    print("classes  ms a step, median (range)  times the first  peak MiB")
    for classes, times in seconds.items():
        row = {"classes": classes, "step_ms": spread([1000 * elapsed for elapsed in times])}
        row["images_per_second"] = spread([options.batch_size / elapsed for elapsed in times])
        row |= {"times_first": ratios(times, first), "peak_mib": peak_memory(classes)}
        rows.append(row)
        over = row["times_first"]["median"]
        print(f"{classes:7d}  {with_range(row['step_ms'], 1):25s}  {over:15.3f}  {row['peak_mib']:8.0f}")
    write_report(options.json, rows, device=options.device, rounds=options.rounds)


if __name__ == "__main__":
    main()
