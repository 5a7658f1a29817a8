"""Plots of a run and of its results. Each function writes one file and returns the matplotlib ``Figure``.

The suffix of ``path`` decides the format of the file. Missing folders are made. ``title`` should name the model and the
data.
"""

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError
from glmc_zoo.text import printable

from ._confusion_plot import plot_class_confusion as plot_class_confusion
from ._figure import ABOVE, GREY, GROUP_COLOURS, GROUP_STYLES, INK, escape_dollars, new_figure, save
from ._training_plot import plot_training as plot_training
from .longtail import GROUPS, group_of_classes

_MAX_BARS = 40
_MAX_PLAIN_DOTS = 200
_TREND_POINTS = 60
_MAX_NAME_LENGTH = 24
_PANELS = {"balanced_accuracy": ("all classes", INK), **GROUP_STYLES}


def plot_class_accuracy(
    class_counts: ArrayLike,
    class_recalls: ArrayLike,
    path: str | PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    many: int = 100,
    few: int = 20,
    title: str,
) -> Figure:
    """Plot the accuracy of every class, sorted by its number of training images, most images first.

    ``class_counts`` is the number of training images of each class, (C,). ``many`` and ``few`` are as in
    :func:`group_of_classes`. ``class_recalls`` is from 0 to 1, (C,); a class without test images has NaN and is left
    out. Up to 40 classes are labelled with their names, shortened to 24 characters.

    Raises:
        UserError: Lengths differ, a recall is outside 0 to 1, or an argument of `group_of_classes` is refused.
    """
    groups = group_of_classes(class_counts, many=many, few=few)
    counts, recalls = np.asarray(class_counts), np.asarray(class_recalls, np.float64)
    for name, entries in (("class_recalls", recalls), ("class_names", class_names)):
        if entries is not None and len(entries) != len(counts):
            raise UserError(f"{name} has {len(entries)} entries, class_counts {len(counts)}: give one for each class.")
    if (outside := recalls[(recalls < 0) | (recalls > 1)]).size:
        raise UserError(f"class_recalls holds {outside[0]:g}: give fractions of 1, not percent.")
    order = np.argsort(-counts, kind="stable")
    groups, counts, percent = groups[order], counts[order], 100 * recalls[order]
    figure, (axis,) = new_figure(title, width=10, height=5.4)
    _draw_groups(axis, groups, percent, (f"> {many}", f"{few} to {many}", f"< {few}"))
    _draw_recalls(axis, groups, percent)
    _draw_counts(axis, counts)
    axis.set_ylabel("accuracy of the class, %")
    axis.set_ylim(0, 102)
    axis.set_xlim(0.5, len(counts) + 0.5)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if class_names is not None and len(counts) <= _MAX_BARS:
        # Full names may be lists of synonyms, as in ImageNet, and would leave no room for the bars.
        names = [_short(class_names[index]) for index in order]
        rotation, align = (45, "right") if sum(map(len, names)) > 90 else (0, "center")
        axis.set_xticks(range(1, len(names) + 1), names, rotation=rotation, ha=align, rotation_mode="anchor")
        axis.set_xlabel("class, most training images first")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlabel(f"rank of the class among {len(counts):,}, most training images first")
    return save(figure, path)


def _short(name: str) -> str:
    """Shorten a class name to 24 characters, between words where possible."""
    name = printable(name)
    shortened = shorten(name, _MAX_NAME_LENGTH, placeholder=" …")
    return escape_dollars(shortened if shortened.strip(" …") else name[: _MAX_NAME_LENGTH - 1] + "…")


def _draw_groups(
    axis: Axes, groups: NDArray[np.int64], percent: NDArray[np.float64], rules: tuple[str, str, str]
) -> None:
    spans = [(group, np.flatnonzero(groups == group)) for group in range(len(GROUPS)) if (groups == group).any()]
    centres = _spread([(inside[0] + inside[-1] + 1) / 2 / len(groups) for _, inside in spans])
    for (group, inside), centre in zip(spans, centres, strict=True):
        left, right, colour = inside[0] + 0.5, inside[-1] + 1.5, GROUP_COLOURS[group]
        axis.axvspan(left, right, color=colour, alpha=0.09, linewidth=0, zorder=0)
        tested = percent[inside][~np.isnan(percent[inside])]
        if tested.size:
            outline = [withStroke(linewidth=5, foreground="white")]
            axis.hlines(tested.mean(), left, right, color=colour, linewidth=2.8, zorder=5, path_effects=outline)
        heading = f"{GROUPS[group]}: {tested.mean():.1f} %" if tested.size else f"{GROUPS[group]}: not tested"
        detail = f"{inside.size:,} class{'es' if inside.size > 1 else ''} of {rules[group]} images"
        if 0 < tested.size < inside.size:
            detail += f", {tested.size:,} tested"
        axis.annotate(heading, (centre, 1), (0, 20), **ABOVE, ha="center", fontsize=12, fontweight="bold", color=colour)
        axis.annotate(detail, (centre, 1), (0, 7), **ABOVE, ha="center", fontsize=9, color=GREY)
    axis.plot([], [], color=INK, linewidth=2.8, label="thick: mean of the group")


def _spread(centres: list[float]) -> list[float]:
    """Move the centres of labels (0 to 1, ascending) so that labels do not overlap or cross the edges."""
    gap, edge, positions = 0.29, 0.12, list(centres)
    for index, centre in enumerate(positions):
        positions[index] = max(centre, positions[index - 1] + gap if index else edge)
    limit = 1 - edge
    for index in reversed(range(len(positions))):
        positions[index] = min(positions[index], limit)
        limit = positions[index] - gap
    return positions


def _draw_recalls(axis: Axes, groups: NDArray[np.int64], percent: NDArray[np.float64]) -> None:
    ranks = np.arange(1, len(percent) + 1)
    colours = [GROUP_COLOURS[group] for group in groups]
    if len(percent) <= _MAX_BARS:
        axis.bar(ranks, np.nan_to_num(percent), width=0.72, color=colours, alpha=0.5, zorder=2, label="bar: one class")
        for rank, value in enumerate(percent if len(percent) <= _MAX_BARS // 2 else (), start=1):
            text = "not tested" if np.isnan(value) else f"{value:.0f}"
            # At the bottom of the bar, where no line crosses the number.
            axis.text(rank, 1.5, text, ha="center", va="bottom", fontsize=10, color=INK, zorder=6)
        return
    crowded = len(percent) > _MAX_PLAIN_DOTS
    size, alpha = (4, min(0.5, 350 / len(percent))) if crowded else (22, 0.8)
    axis.scatter(ranks, percent, s=size, c=colours, alpha=alpha, linewidths=0, zorder=2)
    axis.scatter([], [], s=16, c=GREY, label="dot: one class")
    if crowded:
        chunks = [chunk for chunk in np.array_split(ranks, _TREND_POINTS) if not np.isnan(percent[chunk - 1]).all()]
        trend = [np.nanmean(percent[chunk - 1]) for chunk in chunks]
        label = f"thin: mean of {len(percent) // _TREND_POINTS} neighbouring classes"
        axis.plot([chunk.mean() for chunk in chunks], trend, color=INK, linewidth=1.2, zorder=4, label=label)


def _draw_counts(axis: Axes, counts: NDArray[np.int64]) -> None:
    right_axis = axis.twinx()
    positive_counts = np.where(counts > 0, counts, np.nan)  # a log axis cannot show 0
    (line,) = right_axis.step(np.arange(1, len(counts) + 1), positive_counts, where="mid", color=GREY, linewidth=1.4)
    line.set(linestyle=(0, (4, 2)), label="dashed: training images (right)")
    right_axis.set_yscale("log")
    right_axis.set_ylim(1, 10 ** np.ceil(np.log10(max(counts.max(), 10))))
    right_axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    right_axis.set_ylabel("training images of the class (log scale)", color=GREY)
    right_axis.tick_params(which="both", colors=GREY, labelsize=9)
    right_axis.spines[["top", "left", "bottom"]].set_visible(False)
    right_axis.spines["right"].set_color(GREY)


def plot_group_confusion(confusion: ArrayLike, path: str | PathLike[str], *, title: str) -> Figure:
    """Plot the group of the predicted class against the group of the true class.

    ``confusion`` is the ``group_confusion`` of `ScoreCounts`, (3, 3). A group without test images gets no row. It gets
    no column either if no image was predicted as one of its classes.

    Raises:
        UserError: ``confusion`` has another shape, or holds no images.
    """
    images = np.asarray(confusion)
    if images.shape != (len(GROUPS), len(GROUPS)) or images.sum() == 0:
        raise UserError(
            f"confusion has shape {images.shape} and {images.sum()} images: give the (3, 3) group_confusion of an "
            "evaluation."
        )
    rows = np.flatnonzero(images.sum(axis=1))
    columns = np.flatnonzero(images.sum(axis=1) + images.sum(axis=0))
    images = images[np.ix_(rows, columns)]
    shares = 100 * images / images.sum(axis=1, keepdims=True)
    figure, (axis,) = new_figure(title, width=2.2 + 1.5 * len(columns), height=1.9 + 1.1 * len(rows))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 55 else INK
        axis.text(column, row - 0.08, f"{share:.1f} %", ha="center", va="center", fontsize=15, color=colour)
        axis.text(column, row + 0.24, f"{images[row, column]:,}", ha="center", va="center", fontsize=9, color=colour)
    axis.set_xticks(range(len(columns)), [GROUPS[column] for column in columns], fontsize=11)
    axis.set_yticks(range(len(rows)), [f"{GROUPS[row]}\n{images[i].sum():,} images" for i, row in enumerate(rows)])
    axis.set_xlabel("group of the predicted class", fontsize=10)
    axis.set_ylabel("group of the true class", fontsize=10)
    axis.set_title("share of each row's images, and number", fontsize=9, color=GREY)
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return save(figure, path)


def plot_comparison(
    names: Sequence[str],
    scores: Sequence[Mapping[str, float | None]],
    path: str | PathLike[str],
    *,
    groups: Mapping[str, int] | None = None,
    tested: Mapping[str, int] | None = None,
    title: str,
) -> Figure:
    """Plot balanced accuracy and the accuracy of each group in one panel each, with one bar per model.

    The models are drawn from top to bottom; long names are wrapped. ``scores`` holds any of ``balanced_accuracy``,
    ``many``, ``medium`` and ``few`` of each model as fractions of 1. A panel is left out if no model has its score.
    ``groups`` is the number of classes of each group, which is written above its panel. ``tested`` is the number of
    these classes that have test images.

    Raises:
        UserError: Names and scores differ in number, no score is given, or a score is outside 0 to 1.
    """
    if not names or len(names) != len(scores):
        raise UserError(
            f"plot_comparison got {len(names)} names and {len(scores)} scores: give one of each for every model."
        )
    panels = [key for key in _PANELS if any(score.get(key) is not None for score in scores)]
    if not panels:
        raise UserError("scores hold no balanced_accuracy, many, medium or few: give scores of LongTailMetrics.")
    values = np.array([[score.get(key) for key in panels] for score in scores], np.float64)  # None becomes NaN
    if (outside := values[(values < 0) | (values > 1)]).size:
        raise UserError(f"scores hold {outside[0]:g}: give fractions of 1, not percent.")
    labels = [escape_dollars(_wrap(printable(name))) for name in names]
    height = sum(max(0.42, 0.12 + 0.19 * (label.count("\n") + 1)) for label in labels)
    figure, axes = new_figure(title, width=2.4 + 2.1 * len(panels), height=1.6 + height, columns=len(panels))
    for axis, key, column in zip(axes, panels, values.T, strict=True):
        heading, colour = _PANELS[key]
        _draw_bars(axis, 100 * column, colour)
        axis.annotate(heading, (0, 1), (0, 19), **ABOVE, fontsize=12, fontweight="bold", color=colour)
        if groups is not None:
            classes, tested_groups = _classes(groups, key), groups if tested is None else tested
            text = f"{classes:,} class{'' if classes == 1 else 'es'}"
            if _classes(tested_groups, key) < classes:
                text += f", {_classes(tested_groups, key):,} tested"
            axis.annotate(text, (0, 1), (0, 6), **ABOVE, fontsize=9, color=GREY)
        axis.set_yticks(range(len(names)), labels if axis is axes[0] else [""] * len(names), fontsize=10)
    figure.supxlabel("mean accuracy of the classes, %; the best of each panel is dark", fontsize=9, color=GREY)
    return save(figure, path)


def _classes(groups: Mapping[str, int], key: str) -> int:
    """Number of classes in a panel: those of its group, or of all groups."""
    return groups[key] if key in groups else sum(groups.values())


def _wrap(name: str) -> str:
    """Wrap ``name`` to lines of at most 24 characters, after a space, full stop, underscore, hyphen or slash."""
    lines = [""]
    for chunk in re.split(r"(?<=[ ._/-])(?=.)", name):
        if lines[-1] and len(lines[-1] + chunk.rstrip()) > _MAX_NAME_LENGTH:
            lines.append("")
        lines[-1] += chunk
    return "\n".join(line.rstrip() for line in lines)


def _draw_bars(axis: Axes, percent: NDArray[np.float64], colour: str) -> None:
    best = np.round(np.nanmax(percent), 1)
    for row, value in enumerate(percent):
        if np.isnan(value):
            axis.text(2, row, "not tested", va="center", fontsize=9, color=GREY)
            continue
        is_best = np.round(value, 1) == best
        # Mixed with white instead of transparent, so that no grid line shows through.
        lighter = [0.5 * channel + 0.5 for channel in to_rgb(colour)]
        axis.barh(row, value, height=0.66, color=colour if is_best else lighter)
        weight = "bold" if is_best else "normal"
        axis.text(value + 2, row, f"{value:.1f}", va="center", fontsize=10, color=INK, fontweight=weight)
    axis.set_xlim(0, 124)  # room for a number beside a full bar
    axis.set_xticks([0, 50, 100])
    axis.set_ylim(len(percent) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.grid(True, axis="x", color="#DDDDDD", linewidth=0.7)
    axis.tick_params(axis="y", length=0)
    axis.spines["bottom"].set_bounds(0, 100)
