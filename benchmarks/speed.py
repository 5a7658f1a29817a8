"""Speed of training, compared with a plain reference loop that alternates with it.

    python benchmarks/speed.py loop --data-dir DATA/cifar10 --json FILE       # whole training steps, input included
    python benchmarks/speed.py step --backbone resnet32x4_cifar --data-dir DATA/cifar10 --steps 3
    python benchmarks/speed.py input --data-dir DATA/cifar10 --steps 200
    python benchmarks/speed.py input --data jpegs --image-size 224 --batch-size 32 --steps 20
    python benchmarks/speed.py evaluation --data-dir DATA/cifar10 --rounds 3
    python benchmarks/speed.py loop --device cuda --data-dir DATA/cifar10 --backbone resnet32x4_cifar --compile

Each side runs in a separate process, which is idle while another side is timed:

- reference: benchmarks/reference_loop.py.
- ours: the package (`TrainingRun`) with the options of the command line.
- plain: the package in single precision, not compiled, with images that are copied to the device batch by batch.

Every round runs each side once. A side starts its loaders, does `--warmup` steps, and then `--steps` steps that are
timed. The table has medians and ranges over the rounds; a ratio is computed within each round.

- loop: whole training steps with their input. For `ours` the step alone is timed too, to show what the loop adds. Peak
  memory of the process (resident, or allocated by torch on a GPU) and memory of its workers are those after the first
  loop. On a GPU the share of time without any kernel is measured: the profiler counts kernel time in separate steps,
  which is compared with the time of steps without profiler. Work that an epoch does once, at its first batch, is in the
  warm-up. With `--warmup 0` this work and the start of the workers are timed.
- step: mixing, forward, backward and optimiser on synthetic images on the device. Its GFLOP/s are compared with those
  of a product of two 2048 x 2048 matrices in the same precision. A multiplication and an addition are two operations.
- input: four normalised views of each sample on the device. Processor time includes the workers.
- evaluation: images of the test split scored per second.

A sample is an image of the shuffled loader with its partner, so the network gets two images for it. JPEG images are
500 x 375 pixels, cut from the two sample images of scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from _meter import alternate, ratios, spread, with_range, write_report

MEASUREMENTS = {"loop": 2, "step": 2, "input": 4, "evaluation": 1}
"""Images that count for each sample, by measurement."""
SIDES = ("reference", "ours", "plain")

Rounds = list[dict[str, Any]]


class Side:
    """A side in its process, see `_sides.serve`. `about` has its settings."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process
        self.about = self._answer()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a task, and wait for its result."""
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(self._process.wait() or 1)  # the process printed the reason
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def start(name: str, options: argparse.Namespace, more: Sequence[str]) -> Iterator[Side]:
    """Start a side, which ends with the context. ``more`` has further words of its command line."""
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if options.device == "cpu" else {})
    command = [sys.executable, __file__, *sys.argv[1:], *more, "--serve", name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield Side(name, process)


def write_jpegs(folder: Path, images: int) -> Path:
    """Write a folder with about ``images`` training images in ten classes, imbalance factor 10, and test images."""
    from augment import jpegs

    from glmc_zoo import longtail_counts

    counts = longtail_counts(10, max(images // 4, 10), 10)
    files = jpegs(min(sum(counts), 256))
    for split, numbers in (("train", counts), ("test", [max(counts) // 10] * 10)):
        for label, count in enumerate(numbers):
            class_folder = folder / split / f"class {label}"
            class_folder.mkdir(parents=True)
            for index in range(count):
                (class_folder / f"{index}.jpg").write_bytes(files[(index + label) % len(files)])
    return folder


def speeds(rounds: Rounds, time: str = "seconds") -> list[float]:
    """Samples a second in each round."""
    return [measured["samples"] / measured[time] for measured in rounds]


def summarise(measurement: str, side: Side, rounds: dict[str, Rounds], base: Rounds | None) -> dict[str, Any]:
    """One row of the report.

    Args:
        measurement: One of `MEASUREMENTS`.
        side: The side that was measured.
        rounds: Its rounds by task.
        base: The rounds of the reference loop, to compare with; ``None`` if it did not run.
    """
    timed = rounds[measurement]
    row: dict[str, Any] = {"measurement": measurement, "side": side.name, **side.about, "steps": timed[0]["steps"]}
    row["ms_per_step"] = spread([1000 * measured["seconds"] / measured["steps"] for measured in timed])
    row["ms_of_median_step"] = spread([1000 * measured["median_step_seconds"] for measured in timed])
    row["samples_per_second"] = spread(speeds(timed))
    row["images_per_second"] = spread([MEASUREMENTS[measurement] * speed for speed in speeds(timed)])
    row["cores_used"] = spread([measured["processor_seconds"] / measured["seconds"] for measured in timed])
    row["samples_per_core_second"] = spread(speeds(timed, "processor_seconds"))
    if base is not None:
        row["times_reference"] = ratios(speeds(timed), speeds(base))
        row["times_reference_per_core"] = ratios(speeds(timed, "processor_seconds"), speeds(base, "processor_seconds"))
    if measurement == "loop" and "step" in rounds:
        bare, whole = (
            [measured["seconds"] / measured["steps"] for measured in rounds[task]] for task in ("step", "loop")
        )
        row["ms_of_bare_step"] = spread([1000 * seconds for seconds in bare])
        row["loop_over_bare_step"] = ratios(whole, bare)
    return row


def measure(options: argparse.Namespace, sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Run all rounds, in which the sides alternate, and return the rows of the report."""
    measurement = options.measurement
    size = {"steps": options.steps, "warmup": options.warmup}
    tasks: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {}
    for side in sides:
        tasks[side.name, measurement] = partial(side.ask, measurement, **({} if measurement == "evaluation" else size))
        if measurement == "loop" and side.name == "ours":
            tasks[side.name, "step"] = partial(side.ask, "step", **size)
        if measurement == "step":
            tasks[side.name, "matmul"] = partial(
                side.ask, "matmul", size=2048, repeats=20 if options.device == "cuda" else 5
            )
    flops = sides[0].ask("flops")["flops"] if measurement == "step" else None
    first = alternate(tasks, 1)  # warms up, and compiles
    results = alternate(tasks, options.rounds)
    rows = []
    for side in sides:
        rounds = {task: measured for (name, task), measured in results.items() if name == side.name}
        row = summarise(measurement, side, rounds, results.get(("reference", measurement)))
        [start] = first[side.name, measurement]
        if flops is not None:
            speed = [flops * measured["steps"] / measured["seconds"] / 1e9 for measured in rounds["step"]]
            product = [measured["gflops"] for measured in rounds["matmul"]]
            row |= {"gflops": spread(speed), "gflops_of_matmul": spread(product)}
            row["share_of_matmul"] = ratios(speed, product)
        if side.about.get("compiled"):
            row["compile_s"] = start["warmup_seconds"] - options.warmup * row["ms_per_step"]["median"] / 1000
        if measurement == "loop":
            row |= {name: start[name] for name in ("peak_mib", "workers_mib")}
            if options.device == "cuda":
                busy = side.ask("busy", steps=min(options.steps, 20), warmup=options.warmup)["busy_seconds"]
                row |= {"busy_ms": 1000 * busy, "idle_share": 1 - 1000 * busy / row["ms_per_step"]["median"]}
        rows.append(row)
    return rows


def report_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines that are printed: a table, and what only some measurements have."""
    columns = {
        "ms_per_step": "ms in all" if rows[0]["measurement"] == "evaluation" else "ms a step",
        "samples_per_second": "samples/s",
        "cores_used": "cores used",
        "times_reference": "times reference",
        "times_reference_per_core": "the same per core",
    }
    digits = {"ms_per_step": 1, "samples_per_second": 0}
    yield "side       " + "  ".join(f"{title:24s}" for title in columns.values()).rstrip()
    for row in rows:
        cells = [with_range(row[key], digits.get(key, 2)) if key in row else "-" for key in columns]
        yield f"{row['side']:9s}  " + "  ".join(f"{cell:24s}" for cell in cells).rstrip()
    for row in rows:
        if "loop_over_bare_step" in row:
            bare, over = with_range(row["ms_of_bare_step"], 1), with_range(row["loop_over_bare_step"], 3)
            yield f"{row['side']}: bare step {bare} ms; the loop takes {over} times that"
        if "gflops" in row:
            step, product = with_range(row["gflops"], 0), with_range(row["gflops_of_matmul"], 0)
            share = with_range(row["share_of_matmul"], 2)
            yield f"{row['side']}: {step} GFLOP/s, {share} times those of a matrix product, {product}"
        if "peak_mib" in row:
            yield f"{row['side']}: peak memory {row['peak_mib']:,.0f} MiB, workers {row['workers_mib']:,.0f} MiB more"
        if "idle_share" in row:
            yield f"{row['side']}: no kernel runs in {row['idle_share']:.1%} of the time"
        if "compile_s" in row:
            yield f"{row['side']}: compiled in {row['compile_s']:.1f} s"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measurement", choices=MEASUREMENTS, help="what is timed")
    parser.add_argument("--backbone", default="resnet20_cifar", help="any timm model")
    parser.add_argument(
        "--data",
        default="cifar10_lt",
        help="catalogue name, folder with train/ and test/, or `jpegs`",
    )
    parser.add_argument("--data-dir", help="local copy of the data set of the catalogue")
    parser.add_argument("--jpegs", type=int, default=2000, help="approximate number of training images of --data jpegs")
    parser.add_argument("--image-size", type=int, help="side in pixels; by default as in training, 224 for jpegs")
    parser.add_argument("--batch-size", type=int, default=64, help="samples in a step")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the steps run")
    parser.add_argument("--threads", type=int, help="threads of torch in every side; all cores by default")
    parser.add_argument(
        "--mixed-precision", choices=["no", "bf16", "fp16", "auto"], default="auto", help="precision of `ours`"
    )
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compile `ours`")
    parser.add_argument("--compile-mode", help="mode for `ours`: default, reduce-overhead, max-autotune")
    parser.add_argument(
        "--resident",
        action=argparse.BooleanOptionalAction,
        help="keep images on the device, for `ours`",
    )
    parser.add_argument("--workers", type=int, help="worker processes of `ours` and `plain`; by default as in training")
    parser.add_argument("--reference-workers", type=int, default=2, help="worker processes of each of the two loaders")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["reference", "ours"], help="what is compared")
    parser.add_argument("--rounds", type=int, default=7, help="times that each side is measured")
    parser.add_argument("--steps", type=int, default=40, help="timed steps in a round, many more than are prefetched")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones in every round")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure, print, and write."""
    parser = make_parser()
    options = parser.parse_args()
    if min(options.rounds, options.steps) < 1 or options.warmup < 0:
        parser.error("--rounds and --steps must be at least 1, and --warmup at least 0")
    if options.data == "jpegs" and options.image_size is None:
        options.image_size = 224
    if options.serve:
        from _sides import serve

        return serve(options, options.serve)
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("--device cuda is not available: give --device cpu")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        more = ["--folder", folder]
        if options.data == "jpegs":
            more += ["--data", str(write_jpegs(Path(folder, "jpegs"), options.jpegs)), "--image-size"]
            more += [str(options.image_size)]
        rows = measure(options, [stack.enter_context(start(name, options, more)) for name in options.sides])
    print("\n".join(report_lines(rows)))
    write_report(options.json, rows, device=options.device, rounds=options.rounds)


if __name__ == "__main__":
    main()
