"""Time and peak memory of loading a data set of the size of ImageNet-LT or iNaturalist 2018.

    python benchmarks/index.py --folder EMPTY_FOLDER
    python benchmarks/index.py --folder EMPTY_FOLDER --sets imagenet_lt --forms hub --rounds 5 --json index.json

Makes each data set with as many images, classes and lines of its split file as the real one. ImageNet's 1.28 million
training images are made as a folder (links to one file of each class, so they take inodes and no space) and as parquet
files as on the Hub (with images of one pixel); iNaturalist 2018 as a folder. ``load_data`` is timed in a fresh process:
walking the folders or opening the table in the cache of ``datasets``, reading the split file, finding its images, and
counting classes. For parquet files the first call is reported as well, in which ``datasets`` converts them. Imports are
not timed. Peak memory is that of the process. Prints a table, and writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _meter import peak_mib, spread, with_range, write_report
from numpy.typing import NDArray


@dataclass(frozen=True)
class Size:
    """Size of a real data set."""

    classes: int
    train: int
    test: int
    listed: int
    """Lines of the split file of the training images."""
    largest: int
    """Images of the largest class in the split file."""
    smallest: int


SIZES = {
    "imagenet_lt": Size(1000, 1_281_167, 50_000, 115_846, 1280, 5),
    "inat18": Size(8142, 437_513, 24_426, 437_513, 1000, 2),
}
FORMS = {"imagenet_lt": ("folder", "hub"), "inat18": ("folder",)}


def long_tail(size: Size) -> list[int]:
    """Class counts that fall as a power of the rank, with the given total, largest and smallest class."""
    rank, low, high = np.arange(1, size.classes + 1), 0.0, 4.0

    def curve(power: float) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.maximum(size.largest * rank**-power, size.smallest).astype(int)
        counts[-1] = size.smallest
        return counts

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if curve(middle).sum() > size.listed else (low, middle)
    counts = curve(high)
    counts[1 : 1 + size.listed - counts.sum()] += 1
    assert (counts.sum(), counts.max(), counts.min()) == (size.listed, size.largest, size.smallest)
    return [int(count) for count in np.random.default_rng(0).permutation(counts)]


def imagenet_names(size: Size) -> tuple[list[list[str]], list[list[str]]]:
    """Names of the training and of the validation files of each class, without suffix."""
    wnids = [f"n{1_440_764 + 13_000 * label:08d}" for label in range(size.classes)]
    counts = [size.train // size.classes + (label < size.train % size.classes) for label in range(size.classes)]
    train = [[f"{wnid}_{7 * number + 13}" for number in range(n)] for wnid, n in zip(wnids, counts, strict=True)]
    test = [f"ILSVRC2012_val_{number + 1:08d}" for number in range(size.test)]
    return train, [test[label :: size.classes] for label in range(size.classes)]


def link_files(folder: Path, names: Sequence[str]) -> None:
    """Write one image, and links to it with the other names."""
    from PIL import Image

    folder.mkdir(parents=True)
    first = folder / names[0]
    Image.new("RGB", (80, 70)).save(first, "JPEG")
    for name in names[1:]:
        os.link(first, folder / name)


def make_imagenet(folder: Path, form: str) -> None:
    """Make the folder or the parquet files of ImageNet, and the split files of ImageNet-LT."""
    size = SIZES["imagenet_lt"]
    train, test = imagenet_names(size)
    wnids = [names[0].partition("_")[0] for names in train]
    if form == "folder":
        for wnid, train_names, test_names in zip(wnids, train, test, strict=True):
            link_files(folder / "train" / wnid, [f"{name}.JPEG" for name in train_names])
            link_files(folder / "val" / wnid, [f"{name}.JPEG" for name in test_names])
    else:
        write_parquet(folder / "data", "train", train, wnids, shards=20)
        write_parquet(folder / "data", "validation", test, wnids, shards=1)
    rng = np.random.default_rng(1)
    with (folder / "ImageNet_LT_train.txt").open("w") as lines:
        for label, count in enumerate(long_tail(size)):
            for index in rng.permutation(len(train[label]))[:count]:
                lines.write(f"train/{wnids[label]}/{train[label][index]}.JPEG {label}\n")
    with (folder / "ImageNet_LT_test.txt").open("w") as lines:
        for label, names in enumerate(test):
            lines.writelines(f"val/{wnids[label]}/{name}.JPEG {label}\n" for name in names)


def write_parquet(folder: Path, split: str, names: list[list[str]], wnids: list[str], *, shards: int) -> None:
    """Write shuffled rows with the columns of ``ILSVRC/imagenet-1k``."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=wnids)})
    rows = [(f"{name}_{wnids[label]}.JPEG", label) for label, members in enumerate(names) for name in members]
    folder.mkdir(parents=True, exist_ok=True)
    for part, positions in enumerate(np.array_split(np.random.default_rng(2).permutation(len(rows)), shards)):
        images = [{"bytes": buffer.getvalue(), "path": rows[row][0]} for row in positions]
        table = pa.table({"image": images, "label": [rows[row][1] for row in positions]}, schema=features.arrow_schema)
        pq.write_table(table, folder / f"{split}-{part:05d}-of-{shards:05d}.parquet")


def make_inat(folder: Path) -> None:
    """Make the folder of iNaturalist 2018 and its split files."""
    size = SIZES["inat18"]
    counts, rng = long_tail(size), np.random.default_rng(3)
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for label, count in enumerate(counts):
        class_folder = f"train_val2018/Super{label % 14}/{label}"
        names = [f"{rng.bytes(16).hex()}.jpg" for _ in range(count + size.test // size.classes)]
        link_files(folder / class_folder, names)
        for index, name in enumerate(names):
            lines["train" if index < count else "val"].append(f"{class_folder}/{name} {label}\n")
    for kind, entries in lines.items():
        (folder / f"iNaturalist18_{kind}.txt").write_text("".join(entries))


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Call ``load_data`` once in this process: seconds, peak memory, and the size of the result."""
    import datasets
    import pyarrow.compute  # noqa: F401  # imported before the clock starts

    from glmc_zoo.data.load import load_data

    datasets.disable_progress_bars()
    start = time.perf_counter()
    data = load_data(name, data_dir=folder, cache_bytes=0)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_mib": peak_mib(),
        "train_images": len(data.train),
        "test_images": len(data.test),
        "classes": data.num_classes,
        "largest_smallest": [max(data.class_counts), min(data.class_counts)],
    }


def in_a_child(name: str, folder: Path, cache: Path) -> dict[str, Any]:
    """Call `measure` in a fresh process."""
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "PYTHONPATH": str(root)}
    command = [sys.executable, __file__, "--folder", str(folder), "--child", name]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if process.returncode:
        sys.exit(process.stderr)
    measured: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return measured


def measure_form(name: str, form: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Make one data set in one form, measure and remove it, and return the row of the report."""
    source, cache = folder / f"{name}_{form}", folder / "cache"
    if name == "imagenet_lt":
        make_imagenet(source, form)
    else:
        make_inat(source)
    first = in_a_child(name, source, cache)
    runs = [in_a_child(name, source, cache) for _ in range(rounds)]
    for path in (source, cache):
        shutil.rmtree(path, ignore_errors=True)
    size = SIZES[name]
    for run in runs:
        assert (run["train_images"], run["classes"]) == (size.listed, size.classes), run
    row = {
        "set": name,
        "form": form,
        "names": size.train + size.test,
        **{key: first[key] for key in ("classes", "train_images", "test_images", "largest_smallest")},
        "seconds": spread([run["seconds"] for run in runs]),
        "peak_mib": max(run["peak_mib"] for run in runs),
    }
    if form == "hub":
        row |= {"first_seconds": first["seconds"], "first_peak_mib": first["peak_mib"]}
    return row


def main() -> None:
    """Make the data sets, measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="new or empty folder for the files; 1.4 M inodes")
    parser.add_argument("--sets", nargs="+", choices=list(SIZES), default=list(SIZES), help="data sets")
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=["folder", "hub"],
        default=["folder", "hub"],
        help="folders of images, or parquet files as on the Hub",
    )
    parser.add_argument("--rounds", type=int, default=3, help="calls of load_data, after a first one")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--child", choices=list(SIZES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.folder)))
        return

    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        parser.error(
            f"--folder {options.folder} is not empty: give a new or empty folder, in which files are made and removed"
        )
    rows = [
        measure_form(name, form, options.folder, options.rounds)
        for name in options.sets
        for form in FORMS[name]
        if form in options.forms
    ]
    print("set          form        names  list lines  seconds (range)        peak MiB  first time, s")
    for row in rows:
        what = f"{row['set']:11s}  {row['form']:6s}  {row['names']:9,d}  {row['train_images']:10,d}"
        first = f"{row['first_seconds']:13.1f}" if "first_seconds" in row else ""
        print(f"{what}  {with_range(row['seconds'], 2):20s}  {row['peak_mib']:9.0f}  {first}".rstrip())
    write_report(options.json, rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
