"""Time and peak memory of the inventory of a large folder of images.

    python benchmarks/inventory.py --folder EMPTY_FOLDER
    python benchmarks/inventory.py --folder EMPTY_FOLDER --rounds 5 --json inventory.json

Makes 200,000 small files of 1,000 classes in three forms: class folders in split folders; class folders with two levels
of folders below, without splits; and one folder with a CSV file. Each file is a link to one image of its class, so it
takes an inode and no space. Time goes from the path to the inventory, in a fresh process: the walk over the files, the
layout or the rows of the CSV file, and class and split of every image. No image is decoded, and imports are not timed.
Peak memory is that of the process. Prints a table, and writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _meter import peak_mib, spread, with_range, write_report
from index import link_files

CLASSES, IMAGES_PER_CLASS, TEST = 1000, 200, 20
FORMS = ("split folders", "deep folders", "csv")


def make_form(form: str, folder: Path) -> Path:
    """Make the files of one form, and return the path of its data set."""
    if form == "csv":
        for number in range(CLASSES):
            link_files(folder / "images" / f"{number:04d}", [f"{index:05d}.jpg" for index in range(IMAGES_PER_CLASS)])
        lines = [
            f"images/{number:04d}/{index:05d}.jpg,class {number},{'test' if index < TEST else 'train'}\n"
            for number in range(CLASSES)
            for index in range(IMAGES_PER_CLASS)
        ]
        (folder / "labels.csv").write_text("path,label,split\n" + "".join(lines))
        return folder / "labels.csv"
    for number in range(CLASSES):
        names = [f"{index:05d}.jpg" for index in range(IMAGES_PER_CLASS)]
        if form == "split folders":
            link_files(folder / "train" / f"class_{number:04d}", names[TEST:])
            link_files(folder / "test" / f"class_{number:04d}", names[:TEST])
        else:
            for year in (2020, 2021):
                link_files(folder / f"class_{number:04d}" / str(year) / "camera", names[year - 2020 :: 2])
    return folder


def measure(source: Path) -> dict[str, Any]:
    """Read the data set once in this process: seconds, peak memory, number of images and classes, inventory."""
    import torch  # noqa: F401  # imported before the clock starts

    from glmc_zoo.data.inventory import inventory_lines, make_inventory
    from glmc_zoo.data.options import DataOptions
    from glmc_zoo.data.reading.split import ImageSplit
    from glmc_zoo.data.sources import open_source

    start = time.perf_counter()
    raw = open_source(DataOptions(data=str(source)), None)
    splits = {
        name: None if split is None else ImageSplit(split.source, split.rows, split.labels[split.rows], raw.class_names)
        for name, split in (("train", raw.train), ("test", raw.test))
    }
    inventory = make_inventory(raw, splits)
    assert inventory is not None
    lines = inventory_lines(inventory)
    seconds = time.perf_counter() - start
    images = sum(split.images for split in inventory.splits)
    return {"seconds": seconds, "peak_mib": peak_mib(), "images": images, "classes": inventory.classes, "lines": lines}


def in_a_child(source: Path) -> dict[str, Any]:
    """Call `measure` in a fresh process."""
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, __file__, "--folder", str(source), "--child"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if process.returncode:
        sys.exit(process.stderr)
    measured: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return measured


def measure_form(form: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Make the files of one form, measure and remove them, and return the row of the report."""
    form_folder = folder / form.replace(" ", "_")
    source = make_form(form, form_folder)
    runs = [in_a_child(source) for _ in range(rounds)]
    shutil.rmtree(form_folder)
    for run in runs:
        assert (run["images"], run["classes"]) == (CLASSES * IMAGES_PER_CLASS, CLASSES), run
    return {
        "form": form,
        "images": CLASSES * IMAGES_PER_CLASS,
        "classes": CLASSES,
        "seconds": spread([run["seconds"] for run in runs]),
        "peak_mib": max(run["peak_mib"] for run in runs),
    }


def main() -> None:
    """Make the files, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="new or empty folder for the files")
    parser.add_argument("--rounds", type=int, default=3, help="readings of each form")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.folder)))
        return

    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        parser.error(
            f"--folder {options.folder} is not empty: give a new or empty folder, in which files are made and removed"
        )
    rows = [measure_form(form, options.folder, options.rounds) for form in FORMS]
    print("form            images  seconds (range)        peak MiB")
    for row in rows:
        print(f"{row['form']:13s}  {row['images']:7,d}  {with_range(row['seconds'], 2):20s}  {row['peak_mib']:9.0f}")
    write_report(options.json, rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
