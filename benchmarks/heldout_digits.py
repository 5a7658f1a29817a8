"""Score settings on the 862 digits that are in neither part of digits_lt, so that its test part chooses nothing.

    python benchmarks/heldout_digits.py < settings.txt > benchmarks/results/digits_heldout.jsonl

Each line of standard input is a set of options of recipes/train.py; it is trained with seeds 0, 1 and 2. Each line of
the output has the options and, in percent, mean and standard deviation over the seeds.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import tempfile
from statistics import mean, stdev

import numpy as np

from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.sources import open_digits
from glmc_zoo.engine.cli import parse_config
from glmc_zoo.engine.run import TrainingRun

SEEDS = (0, 1, 2)
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
    for line in filter(None, map(str.strip, sys.stdin)):
        runs = [score(shlex.split(line), seed) for seed in SEEDS]
        values = {name: [round(run[name], 2) for run in runs] for name in SCORES}
        summary = {
            name: {"mean": round(mean(v), 1), "std": round(stdev(v), 1), "runs": v} for name, v in values.items()
        }
        print(json.dumps({"options": line, "seeds": SEEDS, **summary}), flush=True)


if __name__ == "__main__":
    main()
