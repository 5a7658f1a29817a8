"""Time and peak memory of `glmc-zoo predict` on a folder of small images.

    python benchmarks/predict.py
    python benchmarks/predict.py --images 200000 --rounds 1 --json predict.json

Makes 20,000 PNG files of 32 x 32 noisy pixels in a temporary folder, and times ``glmc-zoo predict`` as a separate
process: imports, finding the files, decoding, the network, and the CSV file. Each round runs it with its default number
of threads and with one thread. If the machine has other load, threads wait for each other, so the processor seconds
with one thread are the most reliable number. Prints a table, and writes JSON with ``--json FILE``. The report has the
load of the machine before each round.
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
from _meter import alternate, spread, with_range, write_report
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
_FILES_PER_FOLDER = 1000

# The program of the separate process: the command, then a line with its peak memory.
_CHILD = """
import sys
sys.path.insert(0, {benchmarks!r})
from _meter import peak_mib
from glmc_zoo.cli import main
main({arguments!r})
print(peak_mib())
"""


def make_images(folder: Path, count: int) -> None:
    """Write ``count`` PNG files of 32 x 32 pixels: noise around a colour."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // _FILES_PER_FOLDER:03d}" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, 3) + rng.integers(-40, 41, (32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def measure(model: str, folder: Path, count: int, threads: int | None) -> dict[str, float]:
    """Run one prediction: its seconds, processor seconds and peak memory in MiB, and the load of the machine before.

    Args:
        model: Published name or folder of the model.
        folder: Folder of the images.
        count: Number of images, which is checked.
        threads: Value of ``OMP_NUM_THREADS``; ``None`` for the default number of threads.
    """
    output = folder / "predictions.csv"
    arguments = ["predict", "--model", model, "--images", str(folder), "--output", str(output), "--overwrite"]
    code = _CHILD.format(benchmarks=str(ROOT / "benchmarks"), arguments=arguments)
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    load, before, start = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(process.stderr)
    rows = len(output.read_text(encoding="utf-8").splitlines()) - 1
    if rows != count:
        sys.exit(f"predict.py: error: the predictions have {rows} rows for {count} images.")
    return {
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mib": float(process.stdout.splitlines()[-1]),
        "load_before": load,
    }


def as_row(name: str, rounds: list[dict[str, float]], images: int) -> dict[str, Any]:
    """A row of the report."""
    return {
        "threads": name,
        "images": images,
        "seconds": spread([run["seconds"] for run in rounds]),
        "processor_seconds": spread([run["processor_seconds"] for run in rounds]),
        "peak_mib": max(run["peak_mib"] for run in rounds),
        "load_before": spread([run["load_before"] for run in rounds]),
    }


def main() -> None:
    """Make the images, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar.glmc_digits_lt", help="published name or folder")
    parser.add_argument("--images", type=int, default=20_000, help="number of images")
    parser.add_argument("--rounds", type=int, default=3, help="predictions with each number of threads")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), options.images)
        measured = alternate(
            {
                name: partial(measure, options.model, Path(folder), options.images, threads)
                for name, threads in (("its own choice", None), ("1", 1))
            },
            options.rounds,
        )
    rows = [as_row(name, rounds, options.images) for name, rounds in measured.items()]
    print("threads         seconds (range)          processor seconds       peak MiB  load before")
    for row in rows:
        times = f"{with_range(row['seconds'], 1):23s}  {with_range(row['processor_seconds'], 1):22s}"
        print(f"{row['threads']:14s}  {times}  {row['peak_mib']:8.0f}  {with_range(row['load_before'], 1)}")
    write_report(options.json, rows, model=options.model, rounds=options.rounds)


if __name__ == "__main__":
    main()
