"""Several models side by side: the picture to show a colleague."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from glmc_zoo.errors import UserError

from ._figure import GREY, GROUP_COLOURS, INK, new_figure, save
from .longtail import GROUPS

__all__ = ["plot_comparison"]

_NAME_WIDTH = 24
_ABOVE: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
_PANELS = {
    "balanced_accuracy": ("all classes", INK),
    **{group: (group, colour) for group, colour in zip(GROUPS, GROUP_COLOURS, strict=True)},
}


def plot_comparison(
    names: Sequence[str],
    scores: Sequence[Mapping[str, float | None]],
    path: str | PathLike[str],
    *,
    groups: Mapping[str, int] | None = None,
    title: str,
) -> Figure:
    """Balanced accuracy and the accuracy of each group, a panel each, with one bar for each model.

    Args:
        names: Of the models, from top to bottom; long ones are wrapped.
        scores: Of each model, with any of ``balanced_accuracy many medium few`` as fractions of 1; a panel that no
            model has a score for is left out.
        path: Picture file; its ending chooses the format, and missing folders are made.
        groups: Number of classes of each group, written above its panel.
        title: What was scored.

    Raises:
        UserError: No model, lengths that do not match, a score outside 0 to 1, or no score at all.
    """
    if not names or len(names) != len(scores):
        raise UserError(f"plot_comparison got {len(names)} names and {len(scores)} scores: give one of each per model.")
    panels = [key for key in _PANELS if any(score.get(key) is not None for score in scores)]
    if not panels:
        raise UserError("The scores hold no balanced_accuracy, many, medium or few: give those of LongTailMetrics.")
    values = np.array(
        [[np.nan if (v := score.get(key)) is None else v for key in panels] for score in scores], np.float64
    )
    if (outside := values[(values < 0) | (values > 1)]).size:
        raise UserError(f"scores hold {outside[0]:g}: give fractions of 1, not percent.")
    labels = [_wrapped(name) for name in names]
    height = sum(max(0.42, 0.12 + 0.19 * (label.count("\n") + 1)) for label in labels)
    figure, axes = new_figure(title, width=2.4 + 2.1 * len(panels), height=1.6 + height, columns=len(panels))
    for axis, key, column in zip(axes, panels, values.T, strict=True):
        heading, colour = _PANELS[key]
        _draw_bars(axis, 100 * column, colour)
        axis.annotate(heading, (0, 1), (0, 19), **_ABOVE, fontsize=12, fontweight="bold", color=colour)
        if groups is not None:
            number = groups[key] if key in groups else sum(groups.values())
            text = f"{number:,} class{'' if number == 1 else 'es'}"
            axis.annotate(text, (0, 1), (0, 6), **_ABOVE, fontsize=9, color=GREY)
        axis.set_yticks(range(len(names)), labels if axis is axes[0] else [""] * len(names), fontsize=10)
    figure.supxlabel("mean accuracy of the classes, %; the best of each panel is dark", fontsize=9, color=GREY)
    return save(figure, path)


def _wrapped(name: str) -> str:
    """``name`` in lines of at most 24 characters, broken after a space, full stop, underscore, hyphen or slash."""
    lines = [""]
    for piece in re.split(r"(?<=[ ._/-])(?=.)", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _draw_bars(axis: Axes, percent: NDArray[np.float64], colour: str) -> None:
    best = np.round(np.nanmax(percent), 1)
    for place, value in enumerate(percent):
        if np.isnan(value):
            axis.text(2, place, "not tested", va="center", fontsize=9, color=GREY)
            continue
        leads = np.round(value, 1) == best
        axis.barh(place, value, height=0.66, color=colour if leads else _lighter(colour))
        weight = "bold" if leads else "normal"
        axis.text(value + 2, place, f"{value:.1f}", va="center", fontsize=10, color=INK, fontweight=weight)
    axis.set_xlim(0, 124)  # room for a number beside a full bar
    axis.set_xticks([0, 50, 100])
    axis.set_ylim(len(percent) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.grid(True, axis="x", color="#DDDDDD", linewidth=0.7)
    axis.tick_params(axis="y", length=0)
    axis.spines["bottom"].set_bounds(0, 100)


def _lighter(colour: str, share: float = 0.5) -> tuple[float, ...]:
    """Mixed with white, and not transparent: no grid line shows through."""
    return tuple(share * part + 1 - share for part in to_rgb(colour))
