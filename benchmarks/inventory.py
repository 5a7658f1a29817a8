"""Time and peak memory of the inventory of a large folder of images.

    python benchmarks/inventory.py --folder EMPTY_FOLDER
    python benchmarks/inventory.py --folder EMPTY_FOLDER --rounds 5 --json inventory.json

Makes 200,000 small files in 1,000 class folders, in three forms: class folders in split folders; class folders two
folders deep, without splits; and one folder with a CSV file. Each file is a link to one image of its class, so that it
takes an inode and no space. Timed is reading the source in a fresh process, from the path to the inventory: the walk,
the layout or the rows of the file, and the classes and splits of every image. No image is decoded or compared, and
imports are not timed; the peak is of the whole process. Prints a table, and writes JSON with ``--json FILE``.
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

from _meter import peak_mib, shown, spread, write_report
from index import link_files

CLASSES, EACH, TEST = 1000, 200, 20
FORMS = ("split folders", "deep folders", "csv")


def make(form: str, folder: Path) -> Path:
    """The files of one form; returns what is read."""
    if form == "csv":
        for number in range(CLASSES):
            link_files(folder / "images" / f"{number:04d}", [f"{index:05d}.jpg" for index in range(EACH)])
        lines = [
            f"images/{number:04d}/{index:05d}.jpg,class {number},{'test' if index < TEST else 'train'}\n"
            for number in range(CLASSES)
            for index in range(EACH)
        ]
        (folder / "labels.csv").write_text("path,label,split\n" + "".join(lines))
        return folder / "labels.csv"
    for number in range(CLASSES):
        names = [f"{index:05d}.jpg" for index in range(EACH)]
        if form == "split folders":
            link_files(folder / "train" / f"class_{number:04d}", names[TEST:])
            link_files(folder / "test" / f"class_{number:04d}", names[:TEST])
        else:
            for year in (2020, 2021):
                link_files(folder / f"class_{number:04d}" / str(year) / "camera", names[year - 2020 :: 2])
    return folder


def measure(source: Path) -> dict[str, Any]:
    """One reading in this process: seconds, peak, and what was read."""
    import torch  # noqa: F401  # not timed, like all imports

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
    """`measure` in a fresh process."""
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, __file__, "--folder", str(source), "--child"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        sys.exit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure_form(form: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Row of the report for one form; its files are made and removed again."""
    made = folder / form.replace(" ", "_")
    source = make(form, made)
    taken = [in_a_child(source) for _ in range(rounds)]
    shutil.rmtree(made)
    for run in taken:
        assert (run["images"], run["classes"]) == (CLASSES * EACH, CLASSES), run
    return {
        "form": form,
        "images": CLASSES * EACH,
        "classes": CLASSES,
        "seconds": spread([run["seconds"] for run in taken]),
        "peak_mib": max(run["peak_mib"] for run in taken),
    }


def main() -> None:
    """Make the files, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="empty folder for the made files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.folder)))
        return

    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        parser.error(f"--folder {options.folder} is not empty: give an empty one, because it is cleared")
    rows = [measure_form(form, options.folder, options.rounds) for form in FORMS]
    print("form            images  seconds (range)        peak MiB")
    for row in rows:
        print(f"{row['form']:13s}  {row['images']:7,d}  {shown(row['seconds'], 2):20s}  {row['peak_mib']:9.0f}")
    write_report(options.json, rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
