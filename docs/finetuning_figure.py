"""Draw balanced accuracy over minutes as `finetuning.png` in this folder, with a line for each way to fine-tune.

    python docs/finetuning_figure.py

The values are the results in benchmarks/results/clothing/, of the suite `clothing` of benchmarks/suites.yaml. Run the
script again to draw new results. The label of a row is its way to fine-tune, a comma, and the size of its images.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import yaml
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
SUITE = "clothing"
RESULTS = ROOT / "benchmarks" / "results" / SUITE
# Colour (Okabe and Ito, 2008) and marker of each way, in the order of the suite.
STYLES = (("#CC79A7", "v"), ("#6B6B6B", "s"), ("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "D"), ("#000000", "*"))

__all__ = ["Point", "draw", "lines"]


class Point(NamedTuple):
    """The results of a row."""

    minutes: float
    """Minutes of the fastest run. Other work on the machine slowed it down least."""
    accuracies: list[float]
    """Balanced accuracy of each run, in percent."""
    size: str
    """Size of the images, such as ``96 pixels``."""


def lines() -> dict[str, list[Point]]:
    """The points of each way, in the order of the suite.

    Rows without results have none, and so have those that evaluate the model of another row: they take no time. Rows
    with ``--calibrate`` train on nine tenths of the images and are left out.
    """
    rows = yaml.safe_load((ROOT / "benchmarks" / "suites.yaml").read_text(encoding="utf-8"))[SUITE]["rows"]
    ways: dict[str, list[Point]] = {}
    for name, row in rows.items():
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(f"{name}_seed*.json"))]
        if runs and "after" not in row and "--calibrate" not in row["options"]:
            way, _, size = row["label"].rpartition(", ")
            minutes = min(run["wall_time_s"] for run in runs) / 60
            accuracies = [100 * run["test"]["balanced_accuracy"] for run in runs]
            ways.setdefault(way, []).append(Point(minutes, accuracies, size))
    return ways


def draw() -> Figure:
    """Draw the means as lines, and the range of the runs around each mean."""
    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    sizes: list[str] = []
    for (way, points), (colour, marker) in zip(lines().items(), STYLES, strict=False):
        minutes, means = [point.minutes for point in points], [mean(point.accuracies) for point in points]
        ranges = [
            [average - min(point.accuracies) for point, average in zip(points, means, strict=True)],
            [max(point.accuracies) - average for point, average in zip(points, means, strict=True)],
        ]
        if len(points) > 1:
            sizes = [point.size for point in points]
        label = f"{way}, {points[0].size}" if len(points) == 1 else way
        axes.errorbar(minutes, means, ranges, label=label, color=colour, marker=marker, markersize=8, capsize=3)
    axes.set_xscale("log")
    ticks = (0.5, 1, 2, 5, 10, 20, 40)
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.5, 80)
    axes.set(xlabel="minutes of the fastest run, on a machine with other work", ylabel="balanced accuracy, %")
    axes.grid(alpha=0.3)
    legend = figure.legend(
        loc="outside lower center", fontsize=9, title=f"points from left to right: {', '.join(sizes)}"
    )
    legend.get_title().set_fontsize(9)
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_name("finetuning.png"), dpi=120, metadata={"Software": None})
