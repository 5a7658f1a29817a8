"""Time and peak memory of predicting a folder of small images with a published model.

    python benchmarks/predict.py
    python benchmarks/predict.py --images 200000 --rounds 1 --json predict.json

Makes 20,000 PNG files of 32 x 32 noisy pixels in a temporary folder, and times ``glmc-zoo predict`` in a process of its
own, from its start to its end: imports, finding the files, decoding, the network, and the CSV file. The peak is of the
whole process. It runs once with its default threads, and once with one thread. On a machine with other load,
threads wait for each other, so the processor seconds with one thread are the most reliable. Prints a line for each, and
writes JSON with ``--json FILE``, with the load of the machine before each round.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _meter import in_turn, shown, spread, write_report
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
_EACH_FOLDER = 1000

# Prints the peak after the command, for the process that started it.
_CHILD = """
import sys
sys.path.insert(0, {benchmarks!r})
from _meter import peak_mib
from glmc_zoo.cli import main
main({arguments!r})
print(peak_mib())
"""


def make_images(folder: Path, count: int) -> None:
    """PNG files of 32 x 32 pixels, noise around a colour."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // _EACH_FOLDER:03d}" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, 3) + rng.integers(-40, 41, (32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def measure(model: str, folder: Path, count: int, threads: int | None) -> dict[str, float]:
    """Seconds, processor seconds and peak memory in MiB of one prediction; ``threads`` ``None``: its own choice."""
    output = folder / "predictions.csv"
    arguments = ["predict", "--model", model, "--images", str(folder), "--output", str(output), "--overwrite"]
    code = _CHILD.format(benchmarks=str(ROOT / "benchmarks"), arguments=arguments)
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    load, before, start = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    rows = len(output.read_text(encoding="utf-8").splitlines()) - 1
    if rows != count:
        sys.exit(f"predict.py: error: {output} has {rows} rows for {count} images")
    return {
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mib": float(done.stdout.splitlines()[-1]),
        "load_before": load,
    }


def as_row(name: str, rounds: list[dict[str, float]], images: int) -> dict[str, Any]:
    """Row of the report."""
    return {
        "threads": name,
        "images": images,
        "seconds": spread([one["seconds"] for one in rounds]),
        "processor_seconds": spread([one["processor_seconds"] for one in rounds]),
        "peak_mib": max(one["peak_mib"] for one in rounds),
        "load_before": spread([one["load_before"] for one in rounds]),
    }


def main() -> None:
    """Make the images, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar.glmc_digits_lt")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), options.images)
        taken = in_turn(
            {
                name: partial(measure, options.model, Path(folder), options.images, threads)
                for name, threads in (("its own choice", None), ("1", 1))
            },
            options.rounds,
        )
    rows = [as_row(name, rounds, options.images) for name, rounds in taken.items()]
    print("threads         seconds (range)          processor seconds       peak MiB  load before")
    for row in rows:
        times = f"{shown(row['seconds'], 1):23s}  {shown(row['processor_seconds'], 1):22s}"
        print(f"{row['threads']:14s}  {times}  {row['peak_mib']:8.0f}  {shown(row['load_before'], 1)}")
    write_report(options.json, rows, model=options.model, rounds=options.rounds)


if __name__ == "__main__":
    main()
