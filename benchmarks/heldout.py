"""Score settings on training images that thinning left over, so that no setting is chosen on the test split.

    python benchmarks/heldout.py --seeds 0 1 2 < settings.txt > benchmarks/results/digits_heldout.jsonl
    python benchmarks/heldout.py --images 500 --data-dir DATA/cifar10 < settings.txt > benchmarks/results/FILE.jsonl

Each line of standard input has options of recipes/train.py, for a data set that is thinned to a long tail. The run is
trained with each seed. Each line of the output has the options, the passes over the training set, the scores in percent
(each run, mean, standard deviation, and from three seeds on the 95 % t interval of the mean), commit, versions and
seconds. If thinning would leave no image of a class over, give a lower --max-count. Settings that are chosen on a share
of the training images (--val-fraction) are rows of suites.yaml instead, which reproduce.py runs.
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
from typing import Any

import numpy as np
from _comparison import MIN_SEEDS
from _intervals import mean_interval
from _rows import passes

from glmc_zoo.data import ImageSplit, list_data
from glmc_zoo.data.sources import open_source
from glmc_zoo.data.splits import settle_classes
from glmc_zoo.machine.provenance import package_versions, source_commit
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import TRAIN
from glmc_zoo.training.run import TrainingRun

SCORES = ("balanced_accuracy", "many", "medium", "few")


def left_over_images(run: TrainingRun, images: int | None) -> ImageSplit:
    """Images that the run does not train on, of the training split before thinning; at most ``images`` of each class.

    Raises:
        SystemExit: No image of a class is left over.
    """
    raw = open_source(run.options.data, list_data().get(run.options.data.data))
    settle_classes(raw)
    rows = np.setdiff1d(raw.train.rows, run.data.train.rows)
    labels = raw.train.labels[rows]
    rng, chosen = np.random.default_rng(0), []
    for label, name in enumerate(run.data.class_names):
        members = np.flatnonzero(labels == label)
        if not len(members):
            raise SystemExit(f"heldout.py: error: class {name} has no image left over: give a lower --max-count.")
        chosen.append(rng.permutation(members)[:images])
    positions = np.sort(np.concatenate(chosen))
    return ImageSplit(raw.train.source, rows[positions], labels[positions], run.data.class_names)


def score(options: list[str], seed: int, images: int | None) -> tuple[dict[str, float], float]:
    """Train a run, and return its scores on the left-over images in percent and its passes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        words = [*options, "--seed", str(seed), "--output-dir", f"{folder}/run", "--eval-every", "1000"]
        run = TrainingRun(training_options(read_command_line(TRAIN, "", "", words)))
        split = left_over_images(run, images)
        for _ in run.epochs():
            run.finish_epoch(run.train_epoch())
        scores = run.evaluate(split).scores()
    percent = {name: 100 * value for name in SCORES if (value := scores[name]) is not None}
    return percent, passes(flatten_options(run.options))


def summarise_seeds(scores: list[float]) -> dict[str, Any]:
    """Mean, standard deviation and, from three seeds on, the 95 % t interval of the mean, rounded to one decimal."""
    interval = mean_interval(scores) if len(scores) >= MIN_SEEDS else None
    return {
        "mean": round(mean(scores), 1),
        "std": round(stdev(scores), 1) if len(scores) > 1 else None,
        "interval": None if interval is None else [round(interval.low, 1), round(interval.high, 1)],
        "runs": scores,
    }


def main() -> None:
    """Read settings from standard input, and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of each setting")
    parser.add_argument("--images", type=int, help="score at most this many images of each class; all by default")
    parser.add_argument("--data-dir", help="local copy of a catalogue data set; not in the output")
    args = parser.parse_args()
    data_dir = [] if args.data_dir is None else ["--data-dir", args.data_dir]
    for line in filter(None, map(str.strip, sys.stdin)):
        start = time.perf_counter()
        runs = [score([*shlex.split(line), *data_dir], seed, args.images) for seed in args.seeds]
        row = {"options": line, "seeds": args.seeds, "n": len(runs), "passes": runs[0][1]}
        for name in runs[0][0]:
            row[name] = summarise_seeds([round(scores[name], 2) for scores, _ in runs])
        row |= {"commit": source_commit(), "versions": package_versions()}
        print(json.dumps({**row, "wall_time_s": round(time.perf_counter() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
