"""The plot of mistakes between classes: a heat map of few classes, or bars for the pairs confused most often."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError
from glmc_zoo.text import printable

from ._figure import BLUE, GREY, INK, new_figure, plain, save

MOST_IN_MAP = 30
"""Classes of a heat map; more are shown as their worst pairs."""
_MOST_PAIRS = 20
_MOST_WITH_NUMBERS = 20
_LONGEST_NAME = 20
_RIGHT = "#E6E9EC"  # grey, so that colour stands for mistakes alone


def plot_class_confusion(
    pairs: ArrayLike,
    path: str | PathLike[str],
    *,
    class_names: Sequence[str],
    class_counts: Sequence[int] | None = None,
    title: str,
) -> Figure:
    """Which classes are taken for which.

    Up to 30 classes are shown as a heat map: a row for each true class, a column for each predicted one, and the share
    of the row in percent. The mistakes share one scale of a single hue; right answers are grey. Of more classes the 20
    pairs with the most images are shown as bars.

    Args:
        pairs: Integers (P, 3): true class, predicted class and number of images, each pair once.
        path: The file.
        class_names: Names of the C classes.
        class_counts: Training images of each class, (C,): the class with the most comes first.
        title: Heading: which model on which data.

    Raises:
        UserError: ``pairs`` has another shape, no images or a class without a name, or the counts are of other classes.
    """
    table, classes = np.asarray(pairs, np.int64), len(class_names)
    if table.ndim != 2 or table.shape[1] != 3 or table[:, 2].sum() <= 0:
        raise UserError(f"pairs has shape {table.shape}: give rows of true class, predicted class and images.")
    if table[:, :2].min() < 0 or table[:, :2].max() >= classes:
        raise UserError(f"pairs names class {table[:, :2].max()} of {classes}: give classes from 0 to {classes - 1}.")
    if class_counts is not None and len(class_counts) != classes:
        raise UserError(f"class_counts has {len(class_counts)} entries for {classes} classes: give one for each class.")
    if classes > MOST_IN_MAP:
        return _worst_pairs(table, path, class_names, title)
    counts = np.zeros((classes, classes), np.int64)
    counts[table[:, 0], table[:, 1]] = table[:, 2]
    order = np.arange(classes) if class_counts is None else np.argsort(-np.asarray(class_counts), kind="stable")
    return _heat_map(counts[np.ix_(order, order)], path, [_short(class_names[label]) for label in order], title)


def _short(name: str) -> str:
    name = printable(name)
    return plain(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def _heat_map(images: NDArray[np.int64], path: str | PathLike[str], names: list[str], title: str) -> Figure:
    classes = len(names)
    shares = 100 * images / np.maximum(images.sum(axis=1, keepdims=True), 1)
    right = np.eye(classes, dtype=bool)
    side = max(4.5, 1.5 + 0.42 * classes)
    figure, (axis,) = new_figure(title, width=side + 1.6, height=side + 0.6)
    highest = max(float(shares[~right].max(initial=0.0)), 1.0)
    shown = axis.imshow(np.ma.masked_array(shares, right), cmap="YlOrBr", vmin=0, vmax=highest)
    axis.imshow(np.ma.masked_array(np.zeros_like(shares), ~right), cmap=ListedColormap([_RIGHT]), vmin=0, vmax=1)
    if classes <= _MOST_WITH_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if images[row, column]:
                dark = row != column and share > 0.6 * highest
                text = f"{share:.0f}" if round(share) else "<1"
                axis.text(
                    column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else INK,
                    fontweight="bold" if row == column else "normal",
                )  # fmt: skip
    axis.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axis.set_yticks(range(classes), names, fontsize=9)
    axis.set_xlabel("predicted class", fontsize=10)
    axis.set_ylabel("true class", fontsize=10)
    axis.set_title("share of the images of each true class, %; grey: right answers", fontsize=9, color=GREY)
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02)
    bar.set_label("mistakes, % of the class", fontsize=9, color=GREY)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return save(figure, path)


def _worst_pairs(table: NDArray[np.int64], path: str | PathLike[str], names: Sequence[str], title: str) -> Figure:
    tested = np.bincount(table[:, 0], weights=table[:, 2], minlength=len(names)).astype(np.float64)
    wrong = table[table[:, 0] != table[:, 1]]
    worst = wrong[np.argsort(-wrong[:, 2], kind="stable")[:_MOST_PAIRS]]
    figure, (axis,) = new_figure(title, width=9, height=1.6 + 0.3 * max(len(worst), 2))
    if not len(worst):
        axis.text(0.5, 0.5, "no mistakes", ha="center", va="center", color=INK, transform=axis.transAxes)
    _pair_bars(axis, worst, tested)
    labels = [f"{_short(names[true])} as {_short(names[given])}" for true, given, _ in worst.tolist()]
    axis.set_yticks(range(len(worst)), labels, fontsize=9)
    axis.set_xlabel("images", fontsize=10)
    heading = f"the {len(worst)} pairs of classes confused most often, with the share of the true class"
    axis.set_title(heading, fontsize=9, color=GREY)
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    return save(figure, path)


def _pair_bars(axis: Axes, worst: NDArray[np.int64], tested: NDArray[np.float64]) -> None:
    for row, (true, _, images) in enumerate(worst.tolist()):
        axis.barh(row, images, height=0.7, color=BLUE)
        axis.text(
            images, row, f"  {images:,} ({100 * images / tested[true]:.0f} %)", va="center", fontsize=9, color=INK
        )
    if len(worst):
        axis.set_xlim(0, 1.2 * float(worst[0, 2]))
        axis.set_ylim(len(worst) - 0.4, -0.6)
