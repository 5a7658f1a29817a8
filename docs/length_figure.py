"""Draw balanced accuracy over passes as `length.png` in this folder, with a line for each method.

    python docs/length_figure.py

The values are in benchmarks/results/cifar100_lt_length_heldout.jsonl, which benchmarks/heldout.py wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from glmc_zoo.options.length import MIXING_PASSES

ROOT = Path(__file__).resolve().parents[1]
VALUES = ROOT / "benchmarks" / "results" / "cifar100_lt_length_heldout.jsonl"
METHODS = {  # words of the options: label, colour (Okabe and Ito, 2008) and marker of the line
    ("--method balanced_softmax", "--views alternate"): ("balanced softmax, mixed", "#E69F00", "s"),
    ("--method balanced_softmax",): ("balanced softmax", "#0072B2", "o"),
    ("--preset tuned", "--views alternate"): ("GLMC, one mixed view", "#009E73", "^"),
    ("--preset tuned", "--views mixup_cutmix"): ("GLMC, two mixed views", "#D55E00", "D"),
}

__all__ = ["draw", "lines"]


def lines() -> dict[str, dict[float, list[float]]]:
    """Balanced accuracy in percent of each run, by the label of its method and its passes, fewest first."""
    runs: dict[str, dict[float, list[float]]] = {label: {} for label, _, _ in METHODS.values()}
    for text in VALUES.read_text(encoding="utf-8").splitlines():
        setting = json.loads(text)
        label = next(style[0] for words, style in METHODS.items() if all(word in setting["options"] for word in words))
        runs[label].setdefault(setting["passes"], []).extend(setting["balanced_accuracy"]["runs"])
    return {label: dict(sorted(values.items())) for label, values in runs.items()}


def draw() -> Figure:
    """Draw the means as lines, and the range of the runs where there are several."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    runs = lines()
    for label, colour, marker in METHODS.values():
        means = [mean(values) for values in runs[label].values()]
        ranges = [
            [average - min(values) for average, values in zip(means, runs[label].values(), strict=True)],
            [max(values) - average for average, values in zip(means, runs[label].values(), strict=True)],
        ]
        axes.errorbar([*runs[label]], means, ranges, label=label, color=colour, marker=marker, capsize=3)
    axes.axvline(MIXING_PASSES, color="#6B6B6B", linestyle=":", label="the preset tuned mixes from here on")
    axes.set_xscale("log")
    ticks = [*runs["balanced softmax"]]
    axes.set_xticks(ticks, [f"{passes:g}" for passes in ticks])
    axes.minorticks_off()
    axes.set(xlabel="passes over the training set (equal passes take equal time)", ylabel="balanced accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_name("length.png"), dpi=120, metadata={"Software": None})
