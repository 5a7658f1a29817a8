"""Training curves: losses, scores and learning rate over the epochs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from glmc_zoo.errors import UserError

from ._figure import GREEN, GREY, GROUP_STYLES, INK, SKY, VERMILION, new_figure, save

_LOSSES = {
    "loss": ("total", INK),
    "conventional": ("conventional", SKY),
    "rebalanced": ("re-balanced", VERMILION),
    "consistency": ("consistency", GREEN),
}
_SCORES = {"top1": ("top-1", GREY), "balanced_accuracy": ("balanced accuracy", INK), **GROUP_STYLES}
_MAX_EPOCHS_WITH_MARKERS = 30


class _Curve(NamedTuple):
    label: str
    colour: str
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


def plot_training(rows: Iterable[Mapping[str, Any]], path: str | PathLike[str], *, title: str) -> Figure:
    """Plot losses, scores and learning rate over the epochs of a run.

    Each of the ``rows`` is a line of ``metrics.jsonl``. It has ``epoch`` and any of ``loss``, ``conventional``,
    ``rebalanced``, ``consistency`` and ``lr``. Evaluated epochs also have scores as fractions of 1 under ``"test"`` or
    ``"validation"``; the split with more evaluated epochs is drawn.

    Raises:
        UserError: No row has a loss, a score or a learning rate.
    """
    rows = list(rows)
    split = max(("test", "validation"), key=lambda name: sum(bool(row.get(name)) for row in rows))
    scores = [{**row[split], "epoch": row["epoch"]} for row in rows if row.get(split)]
    panels: list[tuple[list[_Curve], Callable[[Axes, list[_Curve]], None]]] = [
        (_curves(rows, _LOSSES), _draw_losses),
        (_merge_equal(_curves(scores, _SCORES, scale=100)), partial(_draw_scores, split=split)),
        (_curves(rows, {"lr": ("learning rate", INK)}), _draw_rates),
    ]
    panels = [(curves, draw) for curves, draw in panels if curves]
    if not panels:
        raise UserError("rows holds no loss, score or learning rate: pass the lines of a run's metrics.jsonl.")
    figure, axes = new_figure(title, width=4.6 * len(panels), height=4.2, columns=len(panels))
    for axis, (curves, draw) in zip(axes, panels, strict=True):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        draw(axis, curves)
    return save(figure, path)


def _curves(rows: Sequence[Mapping[str, Any]], names: Mapping[str, tuple[str, str]], scale: float = 1) -> list[_Curve]:
    curves = []
    for name, (label, colour) in names.items():
        points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            epochs, values = np.array(points, np.float64).T
            curves.append(_Curve(label, colour, epochs, scale * values))
    return curves


def _merge_equal(curves: list[_Curve]) -> list[_Curve]:
    """Merge top-1 and balanced accuracy where they are equal, as on a balanced test set, so neither hides the other."""
    by_label = {curve.label: curve for curve in curves}
    top1, balanced = by_label.get("top-1"), by_label.get("balanced accuracy")
    if top1 is None or balanced is None or not np.allclose(top1.values, balanced.values):
        return curves
    return [balanced._replace(label="top-1 = balanced"), *curves[2:]]


def _draw_curves(axis: Axes, curves: list[_Curve], title: str, value_format: str) -> None:
    axis.set_title(title)
    for curve in curves:
        label = f"{curve.label}  {value_format.format(curve.values[-1])}"
        (line,) = axis.plot(curve.epochs, curve.values, color=curve.colour, label=label, markersize=3.5)
        line.set(linewidth=2.2 if curve.colour == INK else 1.6, zorder=3 if curve.colour == INK else 2)
        if len(curve.epochs) <= _MAX_EPOCHS_WITH_MARKERS:
            line.set_marker("o")


def _draw_losses(axis: Axes, curves: list[_Curve]) -> None:
    _draw_curves(axis, curves, "Training loss (last value in the legend)", "{:#.3g}")
    if min(curve.values.min() for curve in curves) < 0:
        axis.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    _legend_below(axis)


def _draw_scores(axis: Axes, curves: list[_Curve], split: str) -> None:
    _draw_curves(axis, curves, f"Accuracy on the {split} split, %", "{:.1f}")
    axis.set_ylim(0, 100)
    _legend_below(axis)


def _draw_rates(axis: Axes, curves: list[_Curve]) -> None:
    _draw_curves(axis, curves, "Learning rate", "{:.3g}")
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _legend_below(axis: Axes) -> None:
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)
