"""Plots of a run and of its results. Each function writes one file and returns the matplotlib ``Figure``.

The ending of ``path`` chooses the format of the file, and missing folders are made. ``title`` is the heading: which
model on which data.
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
from ._figure import ABOVE, GREY, GROUP_COLOURS, GROUP_STYLES, INK, new_figure, plain, save
from ._training_plot import plot_training as plot_training
from .longtail import GROUPS, group_of_classes

_MOST_BARS = 40
_MOST_PLAIN_DOTS = 200
_TREND_POINTS = 60
_LONGEST_NAME = 24
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
    """Accuracy of every class over its number of training images: how far the tail is behind the head.

    ``class_counts`` are the training images of each class (C,); ``many`` and ``few`` are those of
    :func:`group_of_classes`. ``class_recalls`` are from 0 to 1, shape (C,); a class without a test image has NaN and is
    left out. Names of at most 40 classes are written under the bars, shortened to 24 characters.
    """
    groups = group_of_classes(class_counts, many=many, few=few)
    counts, recalls = np.asarray(class_counts), np.asarray(class_recalls, np.float64)
    for what, entries in (("class_recalls", recalls), ("class_names", class_names)):
        if entries is not None and len(entries) != len(counts):
            raise UserError(f"{what} has {len(entries)} entries, class_counts {len(counts)}: give one for each class.")
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
    if class_names is not None and len(counts) <= _MOST_BARS:
        # Whole names may be lists of synonyms, as ImageNet's are, and would leave no room for the bars.
        names = [_short(class_names[index]) for index in order]
        rotation, align = (45, "right") if sum(map(len, names)) > 90 else (0, "center")
        axis.set_xticks(range(1, len(names) + 1), names, rotation=rotation, ha=align, rotation_mode="anchor")
        axis.set_xlabel("class, most training images first")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlabel(f"rank of the class among {len(counts):,}, most training images first")
    return save(figure, path)


def _short(name: str) -> str:
    """A class name of at most 24 characters, cut between words where there are several."""
    name = printable(name)
    cut = shorten(name, _LONGEST_NAME, placeholder=" …")
    return plain(cut if cut.strip(" …") else name[: _LONGEST_NAME - 1] + "…")


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


def _spread(centres: list[float], gap: float = 0.29, edge: float = 0.12) -> list[float]:
    """Move label centres (0 to 1, ascending) apart where they would overlap, and in from the edges."""
    spread = list(centres)
    for index, centre in enumerate(spread):
        spread[index] = max(centre, spread[index - 1] + gap if index else edge)
    limit = 1 - edge
    for index in reversed(range(len(spread))):
        spread[index] = min(spread[index], limit)
        limit = spread[index] - gap
    return spread


def _draw_recalls(axis: Axes, groups: NDArray[np.int64], percent: NDArray[np.float64]) -> None:
    ranks = np.arange(1, len(percent) + 1)
    colours = [GROUP_COLOURS[group] for group in groups]
    if len(percent) <= _MOST_BARS:
        axis.bar(ranks, np.nan_to_num(percent), width=0.72, color=colours, alpha=0.5, zorder=2, label="bar: one class")
        for rank, value in enumerate(percent if len(percent) <= _MOST_BARS // 2 else (), start=1):
            text = "not tested" if np.isnan(value) else f"{value:.0f}"
            # At the foot, where no line crosses the number.
            axis.text(rank, 1.5, text, ha="center", va="bottom", fontsize=10, color=INK, zorder=6)
        return
    crowded = len(percent) > _MOST_PLAIN_DOTS
    size, alpha = (4, min(0.5, 350 / len(percent))) if crowded else (22, 0.8)
    axis.scatter(ranks, percent, s=size, c=colours, alpha=alpha, linewidths=0, zorder=2)
    axis.scatter([], [], s=16, c=GREY, label="dot: one class")
    if crowded:
        pieces = [piece for piece in np.array_split(ranks, _TREND_POINTS) if not np.isnan(percent[piece - 1]).all()]
        trend = [np.nanmean(percent[piece - 1]) for piece in pieces]
        label = f"thin: mean of {len(percent) // _TREND_POINTS} neighbouring classes"
        axis.plot([piece.mean() for piece in pieces], trend, color=INK, linewidth=1.2, zorder=4, label=label)


def _draw_counts(axis: Axes, counts: NDArray[np.int64]) -> None:
    twin = axis.twinx()
    shown = np.where(counts > 0, counts, np.nan)  # a log axis has no 0
    (line,) = twin.step(np.arange(1, len(counts) + 1), shown, where="mid", color=GREY, linewidth=1.4)
    line.set(linestyle=(0, (4, 2)), label="dashed: training images (right)")
    twin.set_yscale("log")
    twin.set_ylim(1, 10 ** np.ceil(np.log10(max(counts.max(), 10))))
    twin.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    twin.set_ylabel("training images of the class (log scale)", color=GREY)
    twin.tick_params(which="both", colors=GREY, labelsize=9)
    twin.spines[["top", "left", "bottom"]].set_visible(False)
    twin.spines["right"].set_color(GREY)


def plot_group_confusion(confusion: ArrayLike, path: str | PathLike[str], *, title: str) -> Figure:
    """Where the images of each group end up: in a class of which group.

    ``confusion`` is the ``group_confusion`` of ``ScoreCounts``, (3, 3). A group without test images gets no row, and no
    column either when nothing was predicted as one of its classes.
    """
    images = np.asarray(confusion)
    if images.shape != (len(GROUPS), len(GROUPS)) or images.sum() == 0:
        raise UserError(
            f"confusion has shape {images.shape} and {images.sum()} images: give the (3, 3) image counts of a test."
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
    """Balanced accuracy and the accuracy of each group, a panel each, with one bar for each model.

    The models are drawn from top to bottom, long names wrapped. ``scores`` holds any of ``balanced_accuracy many medium
    few`` of each model as fractions of 1; a panel for which no model has a score is left out. ``groups`` is the number
    of classes of each group, written above its panel, and ``tested`` the number of those that have a test image.
    """
    if not names or len(names) != len(scores):
        raise UserError(f"plot_comparison got {len(names)} names and {len(scores)} scores: give one of each per model.")
    panels = [key for key in _PANELS if any(score.get(key) is not None for score in scores)]
    if not panels:
        raise UserError("The scores hold no balanced_accuracy, many, medium or few: give those of LongTailMetrics.")
    values = np.array([[score.get(key) for key in panels] for score in scores], np.float64)  # None becomes NaN
    if (outside := values[(values < 0) | (values > 1)]).size:
        raise UserError(f"scores hold {outside[0]:g}: give fractions of 1, not percent.")
    labels = [plain(_wrapped(printable(name))) for name in names]
    height = sum(max(0.42, 0.12 + 0.19 * (label.count("\n") + 1)) for label in labels)
    figure, axes = new_figure(title, width=2.4 + 2.1 * len(panels), height=1.6 + height, columns=len(panels))
    for axis, key, column in zip(axes, panels, values.T, strict=True):
        heading, colour = _PANELS[key]
        _draw_bars(axis, 100 * column, colour)
        axis.annotate(heading, (0, 1), (0, 19), **ABOVE, fontsize=12, fontweight="bold", color=colour)
        if groups is not None:
            number, known = _classes(groups, key), groups if tested is None else tested
            text = f"{number:,} class{'' if number == 1 else 'es'}"
            if _classes(known, key) < number:
                text += f", {_classes(known, key):,} tested"
            axis.annotate(text, (0, 1), (0, 6), **ABOVE, fontsize=9, color=GREY)
        axis.set_yticks(range(len(names)), labels if axis is axes[0] else [""] * len(names), fontsize=10)
    figure.supxlabel("mean accuracy of the classes, %; the best of each panel is dark", fontsize=9, color=GREY)
    return save(figure, path)


def _classes(groups: Mapping[str, int], key: str) -> int:
    """Classes behind a panel: those of its group, or of all groups."""
    return groups[key] if key in groups else sum(groups.values())


def _wrapped(name: str) -> str:
    """``name`` in lines of at most 24 characters, broken after a space, full stop, underscore, hyphen or slash."""
    lines = [""]
    for piece in re.split(r"(?<=[ ._/-])(?=.)", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > _LONGEST_NAME:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _draw_bars(axis: Axes, percent: NDArray[np.float64], colour: str) -> None:
    best = np.round(np.nanmax(percent), 1)
    for row, value in enumerate(percent):
        if np.isnan(value):
            axis.text(2, row, "not tested", va="center", fontsize=9, color=GREY)
            continue
        leads = np.round(value, 1) == best
        # Mixed with white, and not transparent: no grid line shows through.
        lighter = [0.5 * channel + 0.5 for channel in to_rgb(colour)]
        axis.barh(row, value, height=0.66, color=colour if leads else lighter)
        weight = "bold" if leads else "normal"
        axis.text(value + 2, row, f"{value:.1f}", va="center", fontsize=10, color=INK, fontweight=weight)
    axis.set_xlim(0, 124)  # room for a number beside a full bar
    axis.set_xticks([0, 50, 100])
    axis.set_ylim(len(percent) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.grid(True, axis="x", color="#DDDDDD", linewidth=0.7)
    axis.tick_params(axis="y", length=0)
    axis.spines["bottom"].set_bounds(0, 100)
