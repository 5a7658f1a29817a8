"""How fast training is, figure by figure, beside a plain reference loop that alternates with it.

    python benchmarks/speed.py loop --data-dir DATA/cifar10 --json FILE       # whole training steps, input included
    python benchmarks/speed.py step --backbone resnet32x4_cifar --data-dir DATA/cifar10 --steps 3
    python benchmarks/speed.py input --data-dir DATA/cifar10 --steps 200
    python benchmarks/speed.py input --data jpegs --image-size 224 --batch-size 32 --steps 20
    python benchmarks/speed.py evaluation --data-dir DATA/cifar10 --rounds 3
    python benchmarks/speed.py loop --device cuda --data-dir DATA/cifar10 --backbone resnet32x4_cifar --compile

Each side is a separate process that is idle while another is timed: `reference` is benchmarks/reference_loop.py,
`ours` the package (`TrainingRun`) with the options given, `plain` the same in single precision, uncompiled, with its
images sent to the device batch by batch. Every round runs each side once: it starts its loaders anew, does `--warmup`
steps and then `--steps` that are timed. Ratios are taken within a round; shown are medians and ranges over the rounds.

- loop: batch in, step done; for `ours` the bare step as well, and how much the loop takes beyond it. Peak memory of the
  process after its first loop (resident, or allocated by torch on a GPU), and what its workers do not share. On a GPU
  also the share of time in which no kernel runs: by the profiler, in separate steps, over the time of the steps without
  it. What an epoch does once, at its first batch, is in the warm-up; with `--warmup 0` it is timed, and the start of
  workers too.
- step: mixing, forward, backward and optimiser on synthetic images on the device; GFLOP/s beside those of a product of
  two 2048 x 2048 matrices in the same precision with the same threads. A multiplication with its addition is two.
- input: four normalised views of each sample on the device. Processor time is that of the workers, too.
- evaluation: images of the test split scored per second.

A sample is an image of the plainly shuffled loader with its partner: the network is fed two images for it. JPEG images
are 500 x 375 pixels, cut from the two images that scikit-learn brings.
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

from _meter import in_turn, ratios, shown, spread, write_report

FIGURES = {"loop": 2, "step": 2, "input": 4, "evaluation": 1}
"""Images that a sample stands for."""
SIDES = ("reference", "ours", "plain")

Rounds = list[dict[str, Any]]


class Side:
    """A side in its process; `about` holds its settings."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process
        self.about = self._answer()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have a task done, and wait for its result."""
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(self._process.wait() or 1)  # the process has printed why
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def start(name: str, options: argparse.Namespace, more: Sequence[str]) -> Iterator[Side]:
    """A side, ready for its first task; its process ends with the context."""
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if options.device == "cpu" else {})
    command = [sys.executable, __file__, *sys.argv[1:], *more, "--serve", name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield Side(name, process)


def write_jpegs(folder: Path, images: int) -> Path:
    """Write an image folder of about ``images`` training images in ten classes, imbalance factor 10."""
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
    return [done["samples"] / done[time] for done in rounds]


def summarise(figure: str, side: Side, rounds: dict[str, Rounds], base: Rounds | None) -> dict[str, Any]:
    """One row of the report: a side's rounds by task, beside those of the reference."""
    timed = rounds[figure]
    row: dict[str, Any] = {"figure": figure, "side": side.name, **side.about, "steps": timed[0]["steps"]}
    row["ms_per_step"] = spread([1000 * done["seconds"] / done["steps"] for done in timed])
    row["ms_of_median_step"] = spread([1000 * done["median_step_seconds"] for done in timed])
    row["samples_per_second"] = spread(speeds(timed))
    row["images_per_second"] = spread([FIGURES[figure] * speed for speed in speeds(timed)])
    row["cores_used"] = spread([done["processor_seconds"] / done["seconds"] for done in timed])
    row["samples_per_core_second"] = spread(speeds(timed, "processor_seconds"))
    if base is not None:
        row["times_reference"] = ratios(speeds(timed), speeds(base))
        row["times_reference_per_core"] = ratios(speeds(timed, "processor_seconds"), speeds(base, "processor_seconds"))
    if figure == "loop" and "step" in rounds:
        bare, whole = ([done["seconds"] / done["steps"] for done in rounds[what]] for what in ("step", "loop"))
        row["ms_of_bare_step"] = spread([1000 * seconds for seconds in bare])
        row["loop_over_bare_step"] = ratios(whole, bare)
    return row


def measure(options: argparse.Namespace, sides: Sequence[Side]) -> list[dict[str, Any]]:
    """All rounds of a figure, in which the sides alternate."""
    figure = options.figure
    size = {"steps": options.steps, "warmup": options.warmup}
    tasks: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {}
    for side in sides:
        tasks[side.name, figure] = partial(side.ask, figure, **({} if figure == "evaluation" else size))
        if figure == "loop" and side.name == "ours":
            tasks[side.name, "step"] = partial(side.ask, "step", **size)
        if figure == "step":
            tasks[side.name, "matmul"] = partial(
                side.ask, "matmul", size=2048, repeats=20 if options.device == "cuda" else 5
            )
    flops = sides[0].ask("flops")["flops"] if figure == "step" else None
    first = in_turn(tasks, 1)  # warms up, and compiles
    taken = in_turn(tasks, options.rounds)
    rows = []
    for side in sides:
        rounds = {what: done for (name, what), done in taken.items() if name == side.name}
        row = summarise(figure, side, rounds, taken.get(("reference", figure)))
        [start] = first[side.name, figure]
        if flops is not None:
            speed = [flops * done["steps"] / done["seconds"] / 1e9 for done in rounds["step"]]
            product = [done["gflops"] for done in rounds["matmul"]]
            row |= {"gflops": spread(speed), "gflops_of_matmul": spread(product)}
            row["share_of_matmul"] = ratios(speed, product)
        if side.about.get("compiled"):
            row["compile_s"] = start["warmup_seconds"] - options.warmup * row["ms_per_step"]["median"] / 1000
        if figure == "loop":
            row |= {name: start[name] for name in ("peak_mib", "workers_mib")}
            if options.device == "cuda":
                busy = side.ask("busy", steps=min(options.steps, 20), warmup=options.warmup)["busy_seconds"]
                row |= {"busy_ms": 1000 * busy, "idle_share": 1 - 1000 * busy / row["ms_per_step"]["median"]}
        rows.append(row)
    return rows


def report_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is printed."""
    columns = {
        "ms_per_step": "ms in all" if rows[0]["figure"] == "evaluation" else "ms a step",
        "samples_per_second": "samples/s",
        "cores_used": "cores used",
        "times_reference": "times reference",
        "times_reference_per_core": "the same per core",
    }
    digits = {"ms_per_step": 1, "samples_per_second": 0}
    yield "side       " + "  ".join(f"{title:24s}" for title in columns.values()).rstrip()
    for row in rows:
        cells = [shown(row[key], digits.get(key, 2)) if key in row else "-" for key in columns]
        yield f"{row['side']:9s}  " + "  ".join(f"{cell:24s}" for cell in cells).rstrip()
    for row in rows:
        if "loop_over_bare_step" in row:
            bare, over = shown(row["ms_of_bare_step"], 1), shown(row["loop_over_bare_step"], 3)
            yield f"{row['side']}: bare step {bare} ms; the loop takes {over} times that"
        if "gflops" in row:
            step, product = shown(row["gflops"], 0), shown(row["gflops_of_matmul"], 0)
            yield f"{row['side']}: {step} GFLOP/s, a matrix product {product}: {shown(row['share_of_matmul'], 2)} of it"
        if "peak_mib" in row:
            yield f"{row['side']}: peak memory {row['peak_mib']:,.0f} MiB, workers {row['workers_mib']:,.0f} MiB more"
        if "idle_share" in row:
            yield f"{row['side']}: no kernel runs in {row['idle_share']:.1%} of the time"
        if "compile_s" in row:
            yield f"{row['side']}: compiled in {row['compile_s']:.1f} s"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--backbone", default="resnet20_cifar", help="any timm model")
    parser.add_argument("--data", default="cifar10_lt", help="catalogue name, folder with train/ and test/, or jpegs")
    parser.add_argument("--data-dir", help="local copy of a set of the catalogue")
    parser.add_argument("--jpegs", type=int, default=2000, help="training images of --data jpegs, about")
    parser.add_argument("--image-size", type=int, help="side in pixels; the set's own by default, or the backbone's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="of torch, for every side; all cores by default")
    parser.add_argument("--mixed-precision", choices=["no", "bf16", "fp16", "auto"], default="auto", help="of ours")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="of ours")
    parser.add_argument("--compile-mode", help="of ours: default, reduce-overhead, max-autotune")
    parser.add_argument("--resident", action=argparse.BooleanOptionalAction, help="of ours; by itself by default")
    parser.add_argument("--workers", type=int, help="of ours and plain; the package's default by default")
    parser.add_argument("--reference-workers", type=int, default=2, help="of each of its two loaders")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["reference", "ours"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="timed in a round; far more than loaders hold in advance")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock in every round")
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
