"""Score settings on images that thinning left over, so that no test part chooses anything.

    python benchmarks/heldout.py --seeds 0 1 2 < settings.txt > benchmarks/results/digits_heldout.jsonl
    python benchmarks/heldout.py --images 500 --data-dir DATA/cifar10 < settings.txt > benchmarks/results/FILE.jsonl

Each line of standard input is a set of options of recipes/train.py, for a set that is thinned; it is trained with every
seed. Each line of the output has the options, the scores of the runs with their mean and standard deviation in percent,
commit, versions and seconds. Where a class keeps all its images, --max-count leaves some of them out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import tempfile
import time
from statistics import mean, stdev

import numpy as np

from glmc_zoo.data import list_data
from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.openers import open_entry
from glmc_zoo.data.parts import settle_classes
from glmc_zoo.engine.cli import parse_config
from glmc_zoo.engine.provenance import package_versions, source_commit
from glmc_zoo.engine.run import TrainingRun

SCORES = ("balanced_accuracy", "many", "medium", "few")


def left_over(run: TrainingRun, images: int | None) -> ImageSplit:
    """Images of the unthinned training part that the run does not train on, ``images`` of each class at most."""
    config = run.config
    columns = {name: getattr(config, name) for name in ("image_column", "label_column", "train_split", "test_split")}
    raw = open_entry(list_data()[config.data], config.data_dir, **columns)
    settle_classes(raw)
    rows = np.setdiff1d(raw.train.rows, run.data.train.rows)
    labels = raw.train.labels[rows]
    rng, kept = np.random.default_rng(0), []
    for label, name in enumerate(run.data.class_names):
        found = np.flatnonzero(labels == label)
        if not len(found):
            raise SystemExit(f"heldout.py: error: class {name} has no image left over: thin it by --max-count as well.")
        kept.append(rng.permutation(found)[:images])
    places = np.sort(np.concatenate(kept))
    return ImageSplit(raw.train.source, rows[places], labels[places])


def score(options: list[str], seed: int, images: int | None) -> dict[str, float]:
    """Scores of one run on what is left over."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        extra = ["--seed", str(seed), "--output-dir", f"{folder}/run", "--eval-every", "1000"]
        run = TrainingRun(parse_config([*options, *extra], description=__doc__))
        split = left_over(run, images)
        for _ in run.epochs():
            run.finish_epoch(run.train_epoch())
        scores = run.evaluate(split).scores()
    return {name: 100 * scores[name] for name in SCORES if scores[name] is not None}


def main() -> None:
    """Read settings, print scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, help="score on this many of each class at most; on all by default")
    parser.add_argument("--data-dir", help="where a catalogue set lies; kept out of what is written")
    args = parser.parse_args()
    seeds, place = args.seeds, [] if args.data_dir is None else ["--data-dir", args.data_dir]
    for line in filter(None, map(str.strip, sys.stdin)):
        start = time.perf_counter()
        runs = [score([*shlex.split(line), *place], seed, args.images) for seed in seeds]
        values = {name: [round(run[name], 2) for run in runs] for name in SCORES if name in runs[0]}
        row = {"options": line, "seeds": seeds}
        for name, found in values.items():
            row[name] = {"mean": round(mean(found), 1), "std": round(stdev(found), 1) if len(found) > 1 else None}
            row[name]["runs"] = found
        seconds = round(time.perf_counter() - start, 1)
        how = {"commit": source_commit(), "versions": package_versions(), "wall_time_s": seconds}
        print(json.dumps({**row, **how}), flush=True)


if __name__ == "__main__":
    main()
