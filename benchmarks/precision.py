"""Compare trainings in bf16 and in single precision: loss curves and scores of the same runs.

    python benchmarks/precision.py --data-dir DATA/cifar10 --epochs 10 --threads 2 --out benchmarks/results
    python benchmarks/precision.py --data digits_lt

Each seed is trained once in single precision and once in bf16 autocast, by recipes/train.py: `digits_lt` with its
default options, and a short `cifar10_lt` with `resnet20_cifar`, imbalance factor 100 and the preset `tuned`, both by
GLMC with two mixed views. Finished runs are not repeated, and an interrupted run is resumed.

The rule was written down before the first run. The spread of an epoch is its largest minus its smallest loss in single
precision. An epoch is within the spread if the mean loss over the seeds in bf16 differs from the mean in single
precision by no more than that. A curve is within the spread if at least 80 % of its epochs are. Three seeds against
three other seeds of the same normal distribution are within the spread with probability 0.86. The rule for a final test
score is the same.

The second number of each curve is the share of bf16 losses between the smallest and the largest loss in single
precision. Other seeds would give one half. The same seeds, with next to no change by bf16, would give two thirds,
because the losses at the edges of the band move slightly in or out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _comparison import difference as difference_text
from _comparison import summary_with_n
from _meter import write_report
from numpy.typing import NDArray

from glmc_zoo.results import RunResults

ROOT = Path(__file__).resolve().parents[1]
TERMS = ("loss", "conventional", "rebalanced", "consistency")
SCORES = ("top1", "balanced_accuracy")
MIN_SHARE = 0.8  # of the epochs, by the rule above

Curves = NDArray[np.float64]


def train(options: argparse.Namespace, data: str, precision: str, seed: int) -> Path:
    """Train a run if it is not finished yet, and return its folder."""
    recipe = ["--data", data, "--eval-every", "1000", "--seed", str(seed), "--mixed-precision", precision]
    recipe += ["--method", "glmc", "--views", "mixup_cutmix"]  # not what the preset decides: `TERMS` are of GLMC
    name = data
    if data == "cifar10_lt":
        recipe += ["--data-dir", str(options.data_dir), "--imbalance-factor", "100", "--epochs", str(options.epochs)]
        recipe += ["--backbone", "resnet20_cifar", "--preset", "tuned", "--batch-size", "64"]
        name += f"_{options.epochs}_epochs"
        if options.max_count is not None:
            recipe += ["--max-count", str(options.max_count)]
            name += f"_max{options.max_count}"
    if options.threads is not None:
        recipe += ["--threads", str(options.threads)]
        name += f"_{options.threads}_threads"
    run: Path = options.work / f"{name}_{precision}_seed{seed}"
    if not (run / "results.json").is_file():
        recipe += ["--output-dir", str(run), "--resume", "auto"]
        subprocess.run([sys.executable, str(ROOT / "recipes" / "train.py"), *recipe], check=True)
    return run


def read_run(run: Path) -> dict[str, Any]:
    """The loss terms of each epoch, the final test scores and the command of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    results = RunResults.load(run / "results.json")
    return {
        "seed": results.config["seed"],
        "command": results.origin.command,
        "hardware": results.origin.hardware,
        "wall_time_s": results.wall_time_s,
        "curves": {term: [row[term] for row in rows] for term in TERMS},
        "test": {score: getattr(results.test, score) for score in SCORES},
    }


def compare(single: Curves, other: Curves) -> dict[str, Any]:
    """Compare losses with those of single precision, by the rule above.

    Args:
        single: Losses in single precision, (seeds, epochs).
        other: Losses to compare, (other seeds, epochs).
    """
    low, high = single.min(axis=0), single.max(axis=0)
    width = np.maximum(high - low, np.finfo(np.float64).tiny)
    drift = np.abs(other.mean(axis=0) - single.mean(axis=0))
    share = float((drift <= width).mean())
    return {
        "within_the_spread": share >= MIN_SHARE,
        "share_of_epochs_within": share,
        "largest_difference_of_means_over_spread": float((drift / width).max()),
        "share_of_losses_in_band": float(((low <= other) & (other <= high)).mean()),
    }


def compare_scores(single: list[float], other: list[float]) -> dict[str, Any]:
    """Compare final scores (0 to 1): means, ranges, the rule on the means, and texts in percent."""
    both = {"fp32": single, "other": other}
    statistics = {kind: {"mean": float(np.mean(s)), "min": min(s), "max": max(s)} for kind, s in both.items()}
    difference = statistics["other"]["mean"] - statistics["fp32"]["mean"]
    points = {kind: [100 * score for score in scores] for kind, scores in both.items()}
    texts = {kind: summary_with_n(values) for kind, values in points.items()}
    texts["difference"] = difference_text(points["other"], points["fp32"], digits=1)
    within = abs(difference) <= max(single) - min(single)
    return {**statistics, "difference": difference, "within": within, "percent": texts}


def compare_runs(single: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """`compare` for the total loss and for each of its terms, and `compare_scores` for each score."""

    def values(key: str, name: str) -> list[Any]:
        return [[run[key][name] for run in runs] for runs in (single, other)]

    curves = {term: compare(*map(np.array, values("curves", term))) for term in TERMS}
    return {"curves": curves, "scores": {name: compare_scores(*values("test", name)) for name in SCORES}}


def report_lines(data: str, compared: dict[str, Any]) -> list[str]:
    """The lines that are printed for one data set."""
    verdicts = {True: "within the spread", False: "NOT within the spread"}
    lines = [data, "  term          epochs within  in the band"]
    for term, result in compared["curves"].items():
        shares = f"{result['share_of_epochs_within']:14.0%} {result['share_of_losses_in_band']:12.0%}"
        lines.append(f"  {term:12s} {shares}  {verdicts[result['within_the_spread']]}")
    for name, result in compared["scores"].items():
        texts, verdict = result["percent"], verdicts[result["within"]]
        both = f"single precision {texts['fp32']}, bf16 {texts['other']}, difference {texts['difference']}"
        lines.append(f"  test {name}, %: {both}: {verdict}")
    return lines


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the losses of each data set in both precisions, and below minus the mean of single precision."""
    from matplotlib.ticker import MaxNLocator

    from glmc_zoo.metrics._figure import GREY, SKY, VERMILION, new_figure, save

    title = "Training loss in single precision and in bf16"
    figure, axes = new_figure(title, width=5.6 * len(rows), height=5.6, columns=len(rows))
    for axis, row in zip(axes, rows, strict=True):
        single, half = (np.array([run["curves"]["loss"] for run in row[kind]]) for kind in ("fp32", "bf16"))
        epochs = np.arange(1, single.shape[1] + 1)
        whole = axis.get_subplotspec()
        assert whole is not None
        grid = whole.subgridspec(2, 1, height_ratios=(3, 2))
        axis.set_subplotspec(grid[0])
        below = figure.add_subplot(grid[1])
        for panel, zero in ((axis, 0.0), (below, single.mean(axis=0))):
            low, high = (single - zero).min(axis=0), (single - zero).max(axis=0)
            panel.fill_between(epochs, low, high, color=SKY, alpha=0.35, linewidth=0, label="fp32, smallest to largest")
            lines = panel.plot(epochs, (single - zero).T, color=GREY, linewidth=0.8)
            lines[0].set_label(f"fp32, {len(single)} seeds")
            lines = panel.plot(epochs, (half - zero).T, color=VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
            lines[0].set_label(f"bf16, {len(half)} seeds")
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
        below.spines[["top", "right"]].set_visible(False)
        below.tick_params(labelsize=9)
        below.set_ylabel("minus the mean\nof fp32")
        share = row["bf16_compared"]["curves"]["loss"]["share_of_epochs_within"]
        axis.set_title(f"{row['data']}: means within the spread in {share:.0%} of {len(epochs)} epochs")
        axis.set_ylabel("training loss, mean of the epoch")
        axis.legend(frameon=False, fontsize=9)
    save(figure, path)


def main() -> None:
    """Train what is missing, compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("digits_lt", "cifar10_lt")
    parser.add_argument("--data", nargs="+", choices=names, default=names, help="data sets (default: both)")
    parser.add_argument("--data-dir", type=Path, help="copy of the Hub's uoft-cs/cifar10, for cifar10_lt")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of cifar10_lt")
    parser.add_argument("--max-count", type=int, help="images of the largest class of cifar10_lt, for a quick trial")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of both precisions, two or more")
    parser.add_argument("--threads", type=int, help="threads of a run; all cores by default")
    parser.add_argument("--work", type=Path, default=Path("runs/precision"), help="folder of the runs")
    parser.add_argument("--out", type=Path, help="folder for precision.json and precision.png")
    options = parser.parse_args()
    if len(set(options.seeds)) < 2:
        parser.error("--seeds needs two different seeds or more, because their range is the yardstick")
    if "cifar10_lt" in options.data and options.data_dir is None:
        parser.error("--data cifar10_lt needs --data-dir: give it, or --data digits_lt alone")

    rows: list[dict[str, Any]] = [{"data": data} for data in options.data]
    for row in rows:
        for kind, precision in (("fp32", "no"), ("bf16", "bf16")):
            row[kind] = [read_run(train(options, row["data"], precision, seed)) for seed in options.seeds]
        row["bf16_compared"] = compare_runs(row["fp32"], row["bf16"])
        print("\n".join(report_lines(row["data"], row["bf16_compared"])))
    if options.out is not None:
        import torch

        options.out.mkdir(parents=True, exist_ok=True)
        if options.threads is not None:
            torch.set_num_threads(options.threads)  # the report states the threads of this process
        hardware = sorted({run["hardware"] for row in rows for kind in ("fp32", "bf16") for run in row[kind]})
        write_report(options.out / "precision.json", rows, hardware=hardware, least_share=MIN_SHARE)
        plot(rows, options.out / "precision.png")


if __name__ == "__main__":
    main()
