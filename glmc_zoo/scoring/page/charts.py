"""Drawings of a report: curves over the epochs, and a bar for each class. The template writes them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glmc_zoo.metrics import GROUPS
from glmc_zoo.scoring.page.subject import Subject

WIDTH, HEIGHT = 360, 220
"""Units of a panel of curves."""
LEFT, TOP, RIGHT, BOTTOM = 44, 10, 10, 24
"""Margins of a panel: for the numbers at its axes."""
BARS = 1000, 200
"""Units of the drawing of the classes."""
MAX_BARS = 400

_LOSSES = {"loss": "total", "conventional": "conventional", "rebalanced": "re-balanced", "consistency": "consistency"}
_SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", **{group: group for group in GROUPS}}


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    key: str
    """Class of its style."""
    label: str
    points: str
    """Points of an SVG polyline."""
    dots: list[tuple[float, float]]
    last: str
    """Its last value as text."""


@dataclass(frozen=True)
class Panel:
    """Curves over the epochs, with the numbers at both axes."""

    title: str
    text: str
    """What the drawing shows, in a sentence."""
    curves: list[Curve]
    ticks: list[tuple[float, str]]
    """Height and number of each line of the grid."""
    epochs: list[tuple[float, str]]
    """Where the epochs with a number are."""


def training_panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The panels of the lines of ``metrics.jsonl``; none for what has fewer than two epochs."""
    first = min((row["epoch"] for row in rows), default=1)
    rows = [{**row, "epoch": row["epoch"] + (first == 0)} for row in rows]  # older runs count from 0
    split = max(("test", "validation"), key=lambda name: sum(bool(row.get(name)) for row in rows))
    scores = [{**row[split], "epoch": row["epoch"]} for row in rows if isinstance(row.get(split), dict)]
    losses = _panel("Loss of the training", _series(rows, _LOSSES), "{:.3g}")
    accuracies = _panel(f"Scores on the {split} images, %", _series(scores, _SCORES, 100.0), "{:.1f}", top=100.0)
    return [panel for panel in (losses, accuracies) if panel is not None]


_Series = dict[str, tuple[str, list[tuple[float, float]]]]


def _series(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], scale: float = 1.0) -> _Series:
    """Label and points of each quantity that has a finite number in two epochs or more."""
    series: _Series = {}
    for key, label in names.items():
        points = [
            (float(row["epoch"]), scale * row[key])
            for row in rows
            if isinstance(row.get(key), int | float) and math.isfinite(row[key])
        ]
        if len(points) > 1:
            series[key] = label, points
    first, second = series.get("top1"), series.get("balanced_accuracy")
    if first and second and all(math.isclose(a[1], b[1]) for a, b in zip(first[1], second[1], strict=False)):
        del series["top1"]  # on a balanced split both are one line
        series["balanced_accuracy"] = "top-1 = balanced", second[1]
    return series


def _panel(title: str, series: _Series, number: str, top: float | None = None) -> Panel | None:
    if not series:
        return None
    epochs = [x for _, points in series.values() for x, _ in points]
    values = [y for _, points in series.values() for _, y in points]
    ticks = _ticks(min(0.0, *values), max(values) if top is None else top)
    low, high, first, last = ticks[0], ticks[-1], min(epochs), max(epochs)

    def svg_point(x: float, y: float) -> tuple[float, float]:
        x_svg = LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / ((last - first) or 1)
        return round(x_svg, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low), 1)

    curves = []
    for key, (label, points) in series.items():
        svg_points = [svg_point(*point) for point in points]
        text = " ".join(f"{x},{y}" for x, y in svg_points)
        dots = svg_points if len(svg_points) <= 30 else []
        curves.append(Curve(key, label, text, dots, number.format(points[-1][1])))
    descriptions = (
        f"{label} goes from {number.format(points[0][1])} in epoch {points[0][0]:.0f} to "
        f"{number.format(points[-1][1])} in epoch {points[-1][0]:.0f}"
        for label, points in series.values()
    )
    epoch_ticks = sorted({round(first + (last - first) * quarter / 4) for quarter in range(5)})
    return Panel(
        title,
        f"{title}: {'; '.join(descriptions)}.",
        curves,
        [(svg_point(first, value)[1], f"{value:g}") for value in ticks],
        [(svg_point(epoch, low)[0], str(epoch)) for epoch in epoch_ticks],
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from below ``low`` to above ``high``."""
    span = high - low or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= 5)
    first = math.floor(low / step)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [float(f"{step * index:.6g}") for index in range(first, last + 1)]


def class_bars(subject: Subject, order: Sequence[int]) -> list[dict[str, Any]]:
    """A bar for the recall of each class in this order, or of several neighbours where there are many classes."""
    recalls, groups, names = subject.recalls, subject.groups, subject.results.class_names
    classes_per_bar = math.ceil(len(order) / MAX_BARS)
    bar_groups = [order[start : start + classes_per_bar] for start in range(0, len(order), classes_per_bar)]
    step, bars = BARS[0] / len(bar_groups), []
    for index, bar_classes in enumerate(bar_groups):
        tested = [recall for label in bar_classes if (recall := recalls[label]) is not None]
        mean = sum(tested) / len(tested) if tested else None
        name = names[bar_classes[0]] + (f" and {len(bar_classes) - 1} more" if len(bar_classes) > 1 else "")
        height = 0.0 if mean is None else round(BARS[1] * mean, 1)
        bars.append(
            {
                "x": round(index * step + 0.075 * step, 2),
                "y": round(BARS[1] - height, 1),
                "width": round(0.85 * step, 2),
                "height": height,
                "group": "all" if groups is None else groups[bar_classes[0]],
                "name": name,
                "title": f"{name}: " + ("no image tested" if mean is None else f"{100 * mean:.1f} %"),
            }
        )
    return bars
