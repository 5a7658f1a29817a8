"""Pictures of a run and of its result. Each function writes one file and returns the matplotlib ``Figure``."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

from ._comparison_plot import plot_comparison
from ._figure import GREY, GROUP_COLOURS, INK, new_figure, save
from ._training_plot import plot_training
from .longtail import GROUPS, group_of_classes

__all__ = ["plot_class_accuracy", "plot_comparison", "plot_group_confusion", "plot_training"]

_MOST_BARS = 40
_MOST_PLAIN_DOTS = 200
_TREND_POINTS = 60
_LONGEST_NAME = 24


def plot_class_accuracy(
    class_counts: ArrayLike,
    class_recalls: ArrayLike,
    path: str | PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    many: int = 100,
    few: int = 20,
    few_inclusive: bool = False,
    title: str,
) -> Figure:
    """Accuracy of every class over its number of training images: how far the tail is behind the head.

    Args:
        class_counts: Training images of each class (C,).
        class_recalls: Recall of each class, 0 to 1, shape (C,); a class without a test image has NaN and is left out.
        path: Picture file; its ending chooses the format, and missing folders are made.
        class_names: Name of each class; written under the bars when there are at most 40, shortened to 24 characters.
        many, few, few_inclusive: Thresholds of the groups, as in :func:`group_of_classes`.
        title: Which model on which data.

    Raises:
        UserError: Lengths that do not match, a recall outside 0 to 1, or bad counts or thresholds.
    """
    groups = group_of_classes(class_counts, many=many, few=few, few_inclusive=few_inclusive)
    counts, recalls = np.asarray(class_counts), np.asarray(class_recalls, np.float64)
    for what, entries in (("class_recalls", recalls), ("class_names", counts if class_names is None else class_names)):
        if len(entries) != len(counts):
            raise UserError(
                f"{what} has {len(entries)} entries and class_counts {len(counts)}: give one for each class."
            )
    if (outside := recalls[(recalls < 0) | (recalls > 1)]).size:
        raise UserError(f"class_recalls holds {outside[0]:g}: give fractions of 1, not percent.")
    order = np.argsort(-counts, kind="stable")
    groups, counts, percent = groups[order], counts[order], 100 * recalls[order]
    figure, (axis,) = new_figure(title, width=10, height=5.4)
    _draw_groups(axis, groups, percent, _group_rules(many, few, few_inclusive))
    _draw_recalls(axis, groups, percent)
    _draw_counts(axis, counts)
    axis.set_ylabel("accuracy of the class, %")
    axis.set_ylim(0, 102)
    axis.set_xlim(0.5, len(counts) + 0.5)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if class_names is not None and len(counts) <= _MOST_BARS:
        # Whole names may be lists of synonyms, as ImageNet's are, and would leave no room for the bars.
        names = [_short(class_names[index]) for index in order]
        slanted = sum(map(len, names)) > 90
        axis.set_xticks(
            range(1, len(names) + 1),
            names,
            rotation=45 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor",
        )
        axis.set_xlabel("class, most training images first")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_xlabel(f"rank of the class among {len(counts):,}, most training images first")
    return save(figure, path)


def _short(name: str) -> str:
    """A class name of at most 24 characters, cut between words where there are several."""
    cut = shorten(name, _LONGEST_NAME, placeholder=" …")
    return cut if len(cut) > 2 else name[: _LONGEST_NAME - 1] + "…"


def _group_rules(many: int, few: int, few_inclusive: bool) -> tuple[str, str, str]:
    if few_inclusive:
        return f"> {many}", f"{few + 1} to {many}", f"≤ {few}"
    return f"> {many}", f"{few} to {many}", f"< {few}"


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
        for text, height, style in (
            (heading, 20, {"color": colour, "fontsize": 12, "fontweight": "bold"}),
            (detail, 7, {"color": GREY, "fontsize": 9}),
        ):
            offset = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
            axis.annotate(text, (centre, 1), (0, height), **offset, **style)  # type: ignore[arg-type]
    axis.plot([], [], color=INK, linewidth=2.8, label="thick: mean of the group")


def _spread(centres: list[float], gap: float = 0.29, edge: float = 0.12) -> list[float]:
    """Move label centres (0 to 1, ascending) apart where they would overlap, and in from the edges."""
    placed: list[float] = []
    for centre in centres:
        placed.append(max(centre, placed[-1] + gap if placed else edge))
    limit = 1 - edge
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def _draw_recalls(axis: Axes, groups: NDArray[np.int64], percent: NDArray[np.float64]) -> None:
    ranks = np.arange(1, len(percent) + 1)
    colours = [GROUP_COLOURS[group] for group in groups]
    if len(percent) <= _MOST_BARS:
        axis.bar(ranks, np.nan_to_num(percent), width=0.72, color=colours, alpha=0.5, zorder=2, label="bar: one class")
        if len(percent) <= _MOST_BARS // 2:
            for rank, value in zip(
                ranks.tolist(), percent, strict=True
            ):  # at the foot, where no line crosses the number
                text = "not tested" if np.isnan(value) else f"{value:.0f}"
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
    shown = np.where(counts > 0, counts, np.nan)  # a log axis has no place for 0
    ranks = np.arange(1, len(counts) + 1)
    dashes = (0, (4, 2))
    twin.step(
        ranks, shown, where="mid", color=GREY, linewidth=1.4, linestyle=dashes, label="dashed: training images (right)"
    )
    twin.set_yscale("log")
    twin.set_ylim(1, 10 ** np.ceil(np.log10(max(counts.max(), 10))))
    twin.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    twin.set_ylabel("training images of the class (log scale)", color=GREY)
    twin.tick_params(which="both", colors=GREY, labelsize=9)
    twin.spines[["top", "left", "bottom"]].set_visible(False)
    twin.spines["right"].set_color(GREY)


def plot_group_confusion(confusion: ArrayLike, path: str | PathLike[str], *, title: str) -> Figure:
    """Where the images of each group end up: in a class of which group.

    Args:
        confusion: Images by true group (row) and group of the predicted class (column), whole numbers (3, 3): the
            ``group_confusion`` of ``ScoreCounts``. A group without test images gets no row, and no column either when
            nothing was predicted as one of its classes.
        path: Picture file; its ending chooses the format, and missing folders are made.
        title: Which model on which data.

    Raises:
        UserError: Another shape, or no image at all.
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
