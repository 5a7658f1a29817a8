"""How fast training is, figure by figure, beside a plain reference loop that alternates with it.

    python benchmarks/speed.py loop --data-dir DATA/cifar10 --json FILE       # whole training steps, input included
    python benchmarks/speed.py step --backbone resnet32x4_cifar --data-dir DATA/cifar10 --steps 3
    python benchmarks/speed.py input --data-dir DATA/cifar10 --steps 200
    python benchmarks/speed.py input --data jpegs --image-size 224 --batch-size 32 --steps 20
    python benchmarks/speed.py evaluation --data-dir DATA/cifar10 --rounds 3
    python benchmarks/speed.py memory --data-dir DATA/cifar10
    python benchmarks/speed.py loop --device cuda --data-dir DATA/cifar10 --backbone resnet32x4_cifar --compile

Sides, each in a process of its own that is idle while another is timed: `reference` is benchmarks/reference_loop.py,
`ours` the engine (`TrainingRun`) with the options given, `plain` the same in single precision, uncompiled, with its
pictures sent to the device batch by batch. Every round does each side once; in each it starts its loaders anew, does
`--warmup` steps and then `--steps` that are timed. Ratios are taken within a round; shown are medians and ranges over
the rounds.

- loop: batch in, step done; for `ours` the bare step as well, and how much the loop takes beyond it. On a GPU also the
  share of time in which no kernel runs: by the profiler, in steps apart, over the time of the steps without it. What an
  epoch does once, at its first batch, is in the warm-up; with `--warmup 0` it is timed, and the start of workers too.
- step: mixing, forward, backward and optimiser on synthetic pictures in place; GFLOP/s beside those of a product of two
  2048 x 2048 matrices in the same precision with the same threads. A multiplication with its addition is two.
- input: four normalised views of each sample on the device. Processor time is that of the workers, too.
- evaluation: images of the test part scored per second.
- memory: resident memory of a process at its peak, and what its workers have to themselves; on a GPU what torch
  allocates at its peak.

A sample is a picture of the plainly shuffled loader with its partner: the network is fed two images for it. Jpegs are
500 x 375 pixels, parts of two photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from _report import write_report

FIGURES = ("loop", "step", "input", "evaluation", "memory")
SIDES = ("reference", "ours", "plain")
_IMAGES = {"loop": 2, "step": 2, "input": 4, "evaluation": 1}  # that a sample stands for

Rounds = list[dict[str, Any]]


class Side:
    """A side in its process; `about` is what it says of itself."""

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
            raise SystemExit(self._process.wait() or 1)  # it has said why
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
    """An image folder of about so many training pictures in ten classes, imbalance factor 10."""
    from augment import jpegs

    from glmc_zoo import longtail_counts

    counts = longtail_counts(10, max(images // 4, 10), 10)
    files = jpegs(min(sum(counts), 256))
    for part, numbers in (("train", counts), ("test", [max(counts) // 10] * 10)):
        for place, count in enumerate(numbers):
            own = folder / part / f"class {place}"
            own.mkdir(parents=True)
            for index in range(count):
                (own / f"{index}.jpg").write_bytes(files[(index + place) % len(files)])
    return folder


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range of the rounds."""
    return {"median": median(values), "range": [min(values), max(values)]}


def ratios(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The first over the second, round by round."""
    return spread([one / other for one, other in zip(first, second, strict=True)])


def speeds(rounds: Rounds, time: str = "seconds") -> list[float]:
    """Samples a second in each round."""
    return [done["samples"] / done[time] for done in rounds]


def summarise(figure: str, side: Side, rounds: dict[str, Rounds], base: Rounds | None) -> dict[str, Any]:
    """One row of the report: a side's rounds, beside those of the reference."""
    own = rounds[figure]
    row: dict[str, Any] = {"figure": figure, "side": side.name, **side.about, "steps": own[0]["steps"]}
    row["ms_per_step"] = spread([1000 * done["seconds"] / done["steps"] for done in own])
    row["ms_of_median_step"] = spread([1000 * done["median_step_seconds"] for done in own])
    row["samples_per_second"] = spread(speeds(own))
    row["images_per_second"] = spread([_IMAGES[figure] * speed for speed in speeds(own)])
    row["cores_used"] = spread([done["processor_seconds"] / done["seconds"] for done in own])
    row["samples_per_core_second"] = spread(speeds(own, "processor_seconds"))
    if base is not None:
        row["times_reference"] = ratios(speeds(own), speeds(base))
        row["times_reference_per_core"] = ratios(speeds(own, "processor_seconds"), speeds(base, "processor_seconds"))
    if figure == "loop" and "step" in rounds:
        bare = [done["seconds"] / done["steps"] for done in rounds["step"]]
        whole = [done["seconds"] / done["steps"] for done in own]
        row["ms_of_bare_step"] = spread([1000 * seconds for seconds in bare])
        row["loop_over_bare_step"] = ratios(whole, bare)
    if figure == "step":
        flops = [rounds["flops"][0]["flops"] * done["steps"] / done["seconds"] / 1e9 for done in own]
        product = [done["gflops"] for done in rounds["matmul"]]
        row |= {"gflops": spread(flops), "gflops_of_matmul": spread(product), "share_of_matmul": ratios(flops, product)}
    return row


def measure(options: argparse.Namespace, sides: Sequence[Side]) -> list[dict[str, Any]]:
    """All rounds of a figure that alternates between the sides."""
    figure = options.figure
    size = {"steps": options.steps, "warmup": options.warmup}
    task = {"images": options.images} if figure == "evaluation" else size
    rounds: dict[str, dict[str, Rounds]] = {side.name: {} for side in sides}

    def do(side: Side, what: str, **arguments: Any) -> None:
        rounds[side.name].setdefault(what, []).append(side.ask(what, **arguments))

    first = {side.name: side.ask(figure, **({"images": 256} if figure == "evaluation" else size)) for side in sides}
    for side in sides:
        if figure == "loop" and side.name == "ours":
            side.ask("step", **size)  # compiled for pictures that are laid out in another way, if need be
    flops = sides[0].ask("flops") if figure == "step" else {}
    for _ in range(options.rounds):
        for side in sides:
            do(side, figure, **task)
            if figure == "loop" and side.name == "ours":
                do(side, "step", **size)
            if figure == "step":
                do(side, "matmul", size=2048, repeats=20 if options.device == "cuda" else 5)
    rows = []
    for side in sides:
        rounds[side.name]["flops"] = [flops]
        row = summarise(figure, side, rounds[side.name], rounds.get("reference", {}).get(figure))
        if side.about.get("compiled"):
            row["compile_s"] = first[side.name]["warmup_seconds"] - options.warmup * row["ms_per_step"]["median"] / 1000
        if figure == "loop" and options.device == "cuda":
            busy = side.ask("busy", steps=min(options.steps, 20), warmup=options.warmup)["busy_seconds"]
            row |= {"busy_ms": 1000 * busy, "idle_share": 1 - 1000 * busy / row["ms_per_step"]["median"]}
        rows.append(row)
    return rows


def measure_memory(options: argparse.Namespace, more: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each side, of a process that did nothing but steps of the loop."""
    rows = []
    for name in options.sides:
        with start(name, options, more) as side:
            done = side.ask("loop", steps=options.steps, warmup=options.warmup)
            rows.append({"figure": "memory", "side": name, **side.about, "workers_mib": done["workers_mib"]})
            rows[-1] |= side.ask("peak")
    return rows


def shown(value: dict[str, Any], digits: int) -> str:
    """Median and range in a cell."""
    low, high = value["range"]
    return f"{value['median']:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def report_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is printed."""
    if rows[0]["figure"] == "memory":
        for row in rows:
            yield f"{row['side']:9s}  peak {row['peak_mib']:,.0f} MiB, workers {row['workers_mib']:,.0f} MiB more"
        return
    evaluation = rows[0]["figure"] == "evaluation"
    columns = {
        "ms_per_step": "s in all" if evaluation else "ms a step",
        "samples_per_second": "samples/s",
        "cores_used": "cores used",
        "times_reference": "times reference",
        "times_reference_per_core": "the same per core",
    }
    yield "side       " + "  ".join(f"{title:24s}" for title in columns.values()).rstrip()
    for row in rows:
        cells = []
        for key in columns:
            value, digits = row.get(key), {"ms_per_step": 1, "samples_per_second": 0}.get(key, 2)
            if value and evaluation and key == "ms_per_step":
                value = {"median": value["median"] / 1000, "range": [one / 1000 for one in value["range"]]}
            cells.append(shown(value, digits) if value else "-")
        yield f"{row['side']:9s}  " + "  ".join(f"{cell:24s}" for cell in cells).rstrip()
    for row in rows:
        if "loop_over_bare_step" in row:
            yield f"{row['side']}: bare step {shown(row['ms_of_bare_step'], 1)} ms; the loop takes " + (
                f"{shown(row['loop_over_bare_step'], 3)} times that"
            )
        if "gflops" in row:
            yield f"{row['side']}: {shown(row['gflops'], 0)} GFLOP/s, a matrix product " + (
                f"{shown(row['gflops_of_matmul'], 0)}: {shown(row['share_of_matmul'], 2)} of it"
            )
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
    parser.add_argument("--jpegs", type=int, default=2000, help="training pictures of --data jpegs, about")
    parser.add_argument("--image-size", type=int, help="side in pixels; the set's own by default, or the backbone's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="of torch, for every side; all cores by default")
    parser.add_argument("--mixed-precision", choices=["no", "bf16", "fp16", "auto"], default="auto", help="of ours")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="of ours")
    parser.add_argument("--compile-mode", help="of ours: default, reduce-overhead, max-autotune")
    parser.add_argument("--resident", action=argparse.BooleanOptionalAction, help="of ours; by itself by default")
    parser.add_argument("--workers", type=int, help="of ours and plain; the engine's default by default")
    parser.add_argument("--reference-workers", type=int, default=2, help="of each of its two loaders")
    parser.add_argument("--reference-blur", choices=["pil", "torchvision"], default="pil", help="of photographs")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["reference", "ours"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="timed in a round; far more than loaders hold in advance")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock in every round")
    parser.add_argument("--images", type=int, help="evaluation: so many images of the test part; all by default")
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
            parser.error("--device cuda is not at hand: give --device cpu")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        more = ["--folder", folder]
        if options.data == "jpegs":
            more += ["--data", str(write_jpegs(Path(folder, "jpegs"), options.jpegs)), "--image-size"]
            more += [str(options.image_size)]
        if options.figure == "memory":
            rows = measure_memory(options, more)
        else:
            rows = measure(options, [stack.enter_context(start(name, options, more)) for name in options.sides])
    print("\n".join(report_lines(rows)))
    write_report(options.json, rows, device=options.device, rounds=options.rounds)


if __name__ == "__main__":
    main()
