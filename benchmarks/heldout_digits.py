"""Score settings on the 862 digits that are in neither part of digits_lt, so that its test part chooses nothing.

    python benchmarks/heldout_digits.py --seeds 0 1 2 < settings.txt > benchmarks/results/digits_heldout.jsonl

Each line of standard input is a set of options of recipes/train.py; it is trained with every seed. Each line of the
output has the options, the scores of the runs with their mean and standard deviation in percent, commit, versions and
seconds.
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

from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.sources import open_digits
from glmc_zoo.engine.cli import parse_config
from glmc_zoo.engine.provenance import package_versions, source_commit
from glmc_zoo.engine.run import TrainingRun

SCORES = ("balanced_accuracy", "medium", "few")


def unused_digits(run: TrainingRun) -> ImageSplit:
    """The digits that thinning left over."""
    raw = open_digits()
    taken = np.concatenate((run.data.train.rows, run.data.test.rows))
    rows = np.setdiff1d(raw.train.rows, taken)
    return ImageSplit(raw.train.source, rows, raw.train.labels[rows])


def score(options: list[str], seed: int) -> dict[str, float]:
    """Scores of one run on the unused digits."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        extra = ["--seed", str(seed), "--output-dir", f"{folder}/run", "--eval-every", "1000"]
        run = TrainingRun(parse_config([*options, *extra], description=__doc__))
        for _ in run.epochs():
            run.finish_epoch(run.train_epoch())
        scores = run.evaluate(unused_digits(run)).scores()
    return {name: 100 * scores[name] for name in SCORES}


def main() -> None:
    """Read settings, print scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    for line in filter(None, map(str.strip, sys.stdin)):
        start = time.perf_counter()
        runs = [score(shlex.split(line), seed) for seed in seeds]
        values = {name: [round(run[name], 2) for run in runs] for name in SCORES}
        row = {"options": line, "seeds": seeds}
        for name, found in values.items():
            row[name] = {"mean": round(mean(found), 1), "std": round(stdev(found), 1) if len(found) > 1 else None}
            row[name]["runs"] = found
        seconds = round(time.perf_counter() - start, 1)
        how = {"commit": source_commit(), "versions": package_versions(), "wall_time_s": seconds}
        print(json.dumps({**row, **how}), flush=True)


if __name__ == "__main__":
    main()
