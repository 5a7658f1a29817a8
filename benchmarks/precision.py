"""Whether bf16 trains as single precision does: loss curves and scores of the same runs in both.

    python benchmarks/precision.py --data-dir DATA/cifar10 --epochs 10 --threads 2 --out benchmarks/results
    python benchmarks/precision.py --data digits_lt --control-seeds 3 4 5

Every seed of recipes/train.py runs once in single precision and once in bf16 autocast: `digits_lt` by its default
recipe, and a short `cifar10_lt` with `resnet20_cifar`, imbalance factor 100 and the preset tuned. Runs that are
finished are not done again, and one that was cut off goes on.

The rule, written down before any run: an epoch is *within the spread* where the means over the seeds of the two
training losses differ by no more than the largest less the smallest single-precision loss of that epoch. A curve is
called within the spread when that holds in at least 80 % of its epochs; of three seeds and three others that differ by
chance alone it holds in 86 % of the cases (normal distribution). The final test scores are held to the same rule.
``--control-seeds`` are single-precision runs in the place of bf16: what the rule says of other seeds.

Also printed: how many of the losses (one a seed and epoch) lie between the smallest and the largest single-precision
loss of their epoch, and how far the farthest lies outside, over that band's width and over the loss's fall, which is
what its mean covers in the run: the loss itself passes through zero. Other seeds would fall into the band half of the
time; the same seeds, if bf16 changed next to nothing, two thirds: those at its edges end up a little in or out of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
TERMS = ("loss", "conventional", "rebalanced", "consistency")
SCORES = ("top1", "balanced_accuracy")
LEAST_SHARE = 0.8  # of the epochs, by the rule above

Curves = NDArray[np.float64]


def train(options: argparse.Namespace, data: str, precision: str, seed: int) -> Path:
    """Folder of the finished run, which is trained where it is not there yet."""
    recipe = ["--data", data, "--eval-every", "1000", "--seed", str(seed), "--mixed-precision", precision]
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
    run = options.work / f"{name}_{precision}_seed{seed}"
    if not (run / "results.json").is_file():
        recipe += ["--output-dir", str(run), "--resume", "auto"]
        subprocess.run([sys.executable, str(ROOT / "recipes" / "train.py"), *recipe], check=True)
    return run


def read_run(run: Path) -> dict[str, Any]:
    """Loss terms of each epoch, final test scores, and the command of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return {
        "seed": results["config"]["seed"],
        "command": results["command"],
        "hardware": results["hardware"],
        "wall_time_s": results["wall_time_s"],
        "curves": {term: [row[term] for row in rows] for term in TERMS},
        "test": {score: results["test"][score] for score in SCORES},
    }


def compare(single: Curves, other: Curves) -> dict[str, Any]:
    """How the losses ``other`` lie in those of single precision.

    Args:
        single: shape (seeds, epochs).
        other: likewise, with as many epochs.
    """
    low, high = single.min(axis=0), single.max(axis=0)
    width = np.maximum(high - low, np.finfo(np.float64).tiny)
    outside = np.maximum(np.maximum(low - other, other - high), 0)
    drift = np.abs(other.mean(axis=0) - single.mean(axis=0))
    share = float((drift <= width).mean())
    return {
        "within_the_spread": share >= LEAST_SHARE,
        "share_of_epochs_within": share,
        "largest_difference_of_means_over_spread": float((drift / width).max()),
        "share_of_losses_in_band": float((outside == 0).mean()),
        "farthest_outside_over_width": float((outside / width).max()),
        "farthest_outside_over_fall": float(outside.max() / np.ptp(single.mean(axis=0))),
    }


def compare_scores(single: list[float], other: list[float]) -> dict[str, Any]:
    """Mean, smallest and largest final score of both, in fractions of 1, and the rule on their means."""

    def stated(scores: list[float]) -> dict[str, float]:
        return {"mean": float(np.mean(scores)), "min": min(scores), "max": max(scores)}

    drift = float(np.mean(other) - np.mean(single))
    spread = max(single) - min(single)
    return {"fp32": stated(single), "other": stated(other), "difference": drift, "within": abs(drift) <= spread}


def compare_runs(single: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """`compare` for the total loss and for each of its terms, and `compare_scores` for each score."""

    def stacked(runs: list[dict[str, Any]], term: str) -> Curves:
        return np.array([run["curves"][term] for run in runs])

    terms = {term: compare(stacked(single, term), stacked(other, term)) for term in TERMS}
    scores = {
        name: compare_scores([run["test"][name] for run in single], [run["test"][name] for run in other])
        for name in SCORES
    }
    return {"curves": terms, "scores": scores}


def report_lines(title: str, compared: dict[str, Any]) -> list[str]:
    """What is printed of one comparison."""
    lines = [title, "  term          epochs within  in the band  farthest outside: of the width, of the fall"]
    for term, found in compared["curves"].items():
        verdict = "within the spread" if found["within_the_spread"] else "NOT within the spread"
        lines.append(
            f"  {term:12s} {found['share_of_epochs_within']:14.0%} {found['share_of_losses_in_band']:12.0%} "
            f"{found['farthest_outside_over_width']:29.2f} {found['farthest_outside_over_fall']:12.2%}  {verdict}"
        )
    for name, found in compared["scores"].items():
        single, other = (
            "{:.1f} ({:.1f} to {:.1f})".format(*(100 * found[kind][key] for key in ("mean", "min", "max")))
            for kind in ("fp32", "other")
        )
        verdict = "within the spread" if found["within"] else "NOT within the spread"
        lines.append(f"  test {name}, %: single precision {single}, other {other}: {verdict}")
    return lines


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each data set: the band of single precision with bf16 over it, and below it both less the mean."""
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
        for place, zero in ((axis, 0.0), (below, single.mean(axis=0))):
            low, high = (single - zero).min(axis=0), (single - zero).max(axis=0)
            place.fill_between(epochs, low, high, color=SKY, alpha=0.35, linewidth=0, label="fp32, smallest to largest")
            lines = place.plot(epochs, (single - zero).T, color=GREY, linewidth=0.8)
            lines[0].set_label(f"fp32, {len(single)} seeds")
            lines = place.plot(epochs, (half - zero).T, color=VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
            lines[0].set_label(f"bf16, {len(half)} seeds")
            place.set_xlabel("epoch")
            place.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=6))
        below.spines[["top", "right"]].set_visible(False)
        below.tick_params(labelsize=9)
        below.set_ylabel("less the mean\nof fp32")
        share = row["bf16_compared"]["curves"]["loss"]["share_of_epochs_within"]
        axis.set_title(f"{row['data']}: means within the spread in {share:.0%} of {len(epochs)} epochs")
        axis.set_ylabel("training loss, mean of the epoch")
        axis.legend(frameon=False, fontsize=9)
    save(figure, path)


def main() -> None:
    """Train what is missing, compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ("digits_lt", "cifar10_lt")
    parser.add_argument("--data", nargs="+", choices=known, default=known, help="which sets (default: both)")
    parser.add_argument("--data-dir", type=Path, help="copy of the Hub's uoft-cs/cifar10")
    parser.add_argument("--epochs", type=int, default=10, help="of cifar10_lt")
    parser.add_argument("--max-count", type=int, help="images of the largest class of cifar10_lt, to try this out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of both precisions; two at least")
    parser.add_argument("--control-seeds", type=int, nargs="+", default=[], help="of single precision once more")
    parser.add_argument("--threads", type=int, help="threads of a run; its share of the cores by default")
    parser.add_argument("--work", type=Path, default=Path("runs/precision"), help="where runs are kept")
    parser.add_argument("--out", type=Path, help="folder for precision.json and precision.png")
    options = parser.parse_args()
    if len(set(options.seeds)) < 2 or set(options.seeds) & set(options.control_seeds):
        parser.error("give two different --seeds or more, and --control-seeds that are not among them")
    if "cifar10_lt" in options.data and options.data_dir is None:
        parser.error("cifar10_lt needs --data-dir; or give --data digits_lt alone")

    rows = []
    for data in options.data:
        seeds = {"fp32": options.seeds, "bf16": options.seeds, "control": options.control_seeds}
        row: dict[str, Any] = {"data": data}
        for kind, wanted in seeds.items():
            precision = "bf16" if kind == "bf16" else "no"
            row[kind] = [read_run(train(options, data, precision, seed)) for seed in wanted]
        rows.append(row)
    for row in rows:
        for kind, title in (("bf16", "bf16"), ("control", "control: single precision, other seeds")):
            if row[kind]:
                row[f"{kind}_compared"] = compare_runs(row["fp32"], row[kind])
                print("\n".join(report_lines(f"{row['data']}, {title}", row[f"{kind}_compared"])))
    if options.out is not None:
        import torch

        options.out.mkdir(parents=True, exist_ok=True)
        if options.threads is not None:
            torch.set_num_threads(options.threads)  # as in the runs: the report says it
        hardware = sorted(
            {run["hardware"] for row in rows for kind in ("fp32", "bf16", "control") for run in row[kind]}
        )
        write_report(options.out / "precision.json", rows, hardware=hardware, least_share=LEAST_SHARE)
        plot(rows, options.out / "precision.png")


if __name__ == "__main__":
    main()
