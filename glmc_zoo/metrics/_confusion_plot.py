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

from ._figure import BLUE, GREY, INK, escape_dollars, new_figure, save

MAX_HEAT_MAP_CLASSES = 30
"""Classes of a heat map; more are shown as their worst pairs."""
_MAX_PAIRS = 20
_MAX_NUMBERED_CLASSES = 20
_LONGEST_NAME = 20
_CORRECT_COLOUR = "#E6E9EC"  # grey, so that colour stands for mistakes alone


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
    if classes > MAX_HEAT_MAP_CLASSES:
        return _worst_pairs(table, path, class_names, title)
    counts = np.zeros((classes, classes), np.int64)
    counts[table[:, 0], table[:, 1]] = table[:, 2]
    order = np.arange(classes) if class_counts is None else np.argsort(-np.asarray(class_counts), kind="stable")
    return _heat_map(counts[np.ix_(order, order)], path, [_short(class_names[label]) for label in order], title)


def _short(name: str) -> str:
    name = printable(name)
    return escape_dollars(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def _heat_map(images: NDArray[np.int64], path: str | PathLike[str], names: list[str], title: str) -> Figure:
    classes = len(names)
    shares = 100 * images / np.maximum(images.sum(axis=1, keepdims=True), 1)
    correct = np.eye(classes, dtype=bool)
    side = max(4.5, 1.5 + 0.42 * classes)
    figure, (axis,) = new_figure(title, width=side + 1.6, height=side + 0.6)
    highest_share = max(float(shares[~correct].max(initial=0.0)), 1.0)
    heat_map = axis.imshow(np.ma.masked_array(shares, correct), cmap="YlOrBr", vmin=0, vmax=highest_share)
    axis.imshow(
        np.ma.masked_array(np.zeros_like(shares), ~correct), cmap=ListedColormap([_CORRECT_COLOUR]), vmin=0, vmax=1
    )
    if classes <= _MAX_NUMBERED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            if images[row, column]:
                is_dark = row != column and share > 0.6 * highest_share
                text = f"{share:.0f}" if round(share) else "<1"
                axis.text(
                    column, row, text, ha="center", va="center", fontsize=8, color="white" if is_dark else INK,
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
    colourbar = figure.colorbar(heat_map, ax=axis, shrink=0.6, pad=0.02)
    colourbar.set_label("mistakes, % of the class", fontsize=9, color=GREY)
    colourbar.ax.tick_params(labelsize=8, colors=INK)
    colourbar.outline.set_visible(False)
    return save(figure, path)


def _worst_pairs(table: NDArray[np.int64], path: str | PathLike[str], names: Sequence[str], title: str) -> Figure:
    test_images = np.bincount(table[:, 0], weights=table[:, 2], minlength=len(names)).astype(np.float64)
    mistakes = table[table[:, 0] != table[:, 1]]
    worst = mistakes[np.argsort(-mistakes[:, 2], kind="stable")[:_MAX_PAIRS]]
    figure, (axis,) = new_figure(title, width=9, height=1.6 + 0.3 * max(len(worst), 2))
    if not len(worst):
        axis.text(0.5, 0.5, "no mistakes", ha="center", va="center", color=INK, transform=axis.transAxes)
    _pair_bars(axis, worst, test_images)
    labels = [f"{_short(names[true])} as {_short(names[predicted])}" for true, predicted, _ in worst.tolist()]
    axis.set_yticks(range(len(worst)), labels, fontsize=9)
    axis.set_xlabel("images", fontsize=10)
    heading = f"the {len(worst)} pairs of classes confused most often, with the share of the true class"
    axis.set_title(heading, fontsize=9, color=GREY)
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    return save(figure, path)


def _pair_bars(axis: Axes, worst: NDArray[np.int64], test_images: NDArray[np.float64]) -> None:
    for row, (true, _, images) in enumerate(worst.tolist()):
        axis.barh(row, images, height=0.7, color=BLUE)
        axis.text(
            images, row, f"  {images:,} ({100 * images / test_images[true]:.0f} %)", va="center", fontsize=9, color=INK
        )
    if len(worst):
        axis.set_xlim(0, 1.2 * float(worst[0, 2]))
        axis.set_ylim(len(worst) - 0.4, -0.6)
