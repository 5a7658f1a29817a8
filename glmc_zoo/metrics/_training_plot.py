"""The course of a run: losses, scores and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from glmc_zoo.errors import UserError

from ._figure import GREEN, GREY, GROUP_COLOURS, INK, SKY, VERMILION, new_figure, save
from .longtail import GROUPS

__all__ = ["plot_training"]

_LOSSES = {
    "loss": ("total", INK),
    "conventional": ("conventional", SKY),
    "rebalanced": ("re-balanced", VERMILION),
    "consistency": ("consistency", GREEN),
}
_SCORES = {
    "top1": ("top-1", GREY),
    "balanced_accuracy": ("balanced accuracy", INK),
    **{name: (name, colour) for name, colour in zip(GROUPS, GROUP_COLOURS, strict=True)},
}
_MOST_MARKED = 30


class _Curve(NamedTuple):
    label: str
    colour: str
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


def plot_training(rows: Iterable[Mapping[str, Any]], path: str | PathLike[str], *, title: str) -> Figure:
    """Losses, scores and learning rate over the epochs of a run.

    Args:
        rows: Lines of ``metrics.jsonl``: ``epoch``, any of ``loss conventional rebalanced consistency lr``, and in some
            epochs scores as fractions of 1 under ``"test"`` or ``"validation"`` (the one with more epochs is drawn).
        path: Picture file; its ending chooses the format, and missing folders are made.
        title: What was trained on what.

    Raises:
        UserError: ``rows`` holds nothing to draw.
    """
    rows = list(rows)
    split = max(("test", "validation"), key=lambda name: sum(bool(row.get(name)) for row in rows))
    scores = [{**row[split], "epoch": row["epoch"]} for row in rows if row.get(split)]
    losses = _curves(rows, _LOSSES)
    fractions = _merge_equal(_curves(scores, _SCORES))
    rates = _curves(rows, {"lr": ("learning rate", INK)})
    kinds = [kind for kind, curves in (("loss", losses), ("score", fractions), ("rate", rates)) if curves]
    if not kinds:
        raise UserError("rows holds no loss, score or learning rate: pass the lines of a run's metrics.jsonl.")
    figure, axes = new_figure(title, width=4.6 * len(kinds), height=4.2, columns=len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if kind == "loss":
            _draw_losses(axis, losses)
        elif kind == "score":
            _draw_scores(axis, fractions, split)
        else:
            _draw_rates(axis, rates)
    return save(figure, path)


def _curves(rows: Sequence[Mapping[str, Any]], names: Mapping[str, tuple[str, str]]) -> list[_Curve]:
    curves = []
    for name, (label, colour) in names.items():
        points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            epochs, values = np.array(points, np.float64).T
            curves.append(_Curve(label, colour, epochs, values))
    return curves


def _merge_equal(curves: list[_Curve]) -> list[_Curve]:
    """On a balanced test set top-1 is the balanced accuracy: one line that says so, not one hidden by the other."""
    by_label = {curve.label: curve for curve in curves}
    first, second = by_label.get("top-1"), by_label.get("balanced accuracy")
    if first is None or second is None or not np.allclose(first.values, second.values):
        return curves
    return [second._replace(label="top-1 = balanced"), *curves[2:]]


def _draw_curves(axis: Axes, curves: list[_Curve], last: str) -> None:
    for curve in curves:
        few = len(curve.epochs) <= _MOST_MARKED
        label = f"{curve.label}  {last.format(curve.values[-1])}"
        heavy = curve.colour == INK
        axis.plot(
            curve.epochs,
            curve.values,
            color=curve.colour,
            linewidth=2.2 if heavy else 1.6,
            marker="o" if few else None,
            markersize=3.5,
            label=label,
            zorder=3 if heavy else 2,
        )


def _draw_losses(axis: Axes, curves: list[_Curve]) -> None:
    _draw_curves(axis, curves, "{:#.3g}")
    axis.set_title("Training loss (last value in the legend)")
    if min(curve.values.min() for curve in curves) < 0:
        axis.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    _legend_below(axis)


def _draw_scores(axis: Axes, curves: list[_Curve], split: str) -> None:
    _draw_curves(axis, [curve._replace(values=100 * curve.values) for curve in curves], "{:.1f}")
    axis.set_title(f"Accuracy on the {split} split, %")
    axis.set_ylim(0, 100)
    _legend_below(axis)


def _draw_rates(axis: Axes, curves: list[_Curve]) -> None:
    _draw_curves(axis, curves, "{:.3g}")
    axis.set_title("Learning rate")
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _legend_below(axis: Axes) -> None:
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)
