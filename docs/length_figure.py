"""Draw balanced accuracy over passes as `length.png` in this folder, with a line for each method.

    python docs/length_figure.py

The values are in benchmarks/results/cifar100_lt_length_heldout.jsonl, which benchmarks/heldout.py wrote.
"""

from __future__ import annotations

import json
from pathlib import Path

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


def lines() -> dict[str, list[tuple[float, float]]]:
    """Passes and balanced accuracy in percent of each setting, by the label of its method."""
    points: dict[str, list[tuple[float, float]]] = {label: [] for label, _, _ in METHODS.values()}
    for text in VALUES.read_text(encoding="utf-8").splitlines():
        setting = json.loads(text)
        label = next(style[0] for words, style in METHODS.items() if all(word in setting["options"] for word in words))
        points[label].append((setting["passes"], setting["balanced_accuracy"]["mean"]))
    return {label: sorted(values) for label, values in points.items()}


def draw() -> Figure:
    """Draw the figure."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    points = lines()
    for label, colour, marker in METHODS.values():
        if points[label]:
            axes.plot(*zip(*points[label], strict=True), label=label, color=colour, marker=marker)
    axes.axvline(MIXING_PASSES, color="#6B6B6B", linestyle=":", label="the preset tuned mixes from here on")
    axes.set_xscale("log")
    ticks = [passes for passes, _ in points["balanced softmax"]]
    axes.set_xticks(ticks, [f"{passes:g}" for passes in ticks])
    axes.minorticks_off()
    axes.set(xlabel="passes over the training set (equal passes take equal time)", ylabel="balanced accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    draw().savefig(Path(__file__).with_name("length.png"), dpi=120, metadata={"Software": None})
