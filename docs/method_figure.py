"""Draw how GLMC works as `method.png` in this folder, with views that the package itself mixed.

    python docs/method_figure.py

The two digits are images of the embedded data set. Their colours show which part of a view is from which image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from torch import Tensor

from glmc_zoo import Mix, MixedViews, cumulative_alpha, cut_box, load_data, mix_views
from glmc_zoo.data import LongTailData, train_transform

__all__ = ["draw", "mixed_digits"]

WIDTH, HEIGHT, DPI = 160, 80, 200  # a unit of the drawing is ten pixels
INK, GREY = "#222222", "#6B6B6B"
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito (2008)
FILL = {GREY: "#F1F1F1", GREEN: "#D5F0E6", PURPLE: "#FAEEF5"}
LETTERS = {GREY: "#555555", BLUE: "#005A8E", VERMILION: "#A84A00", GREEN: "#00664B", PURPLE: "#8A3F6E"}
LAM, CENTRE = 0.6, (11, 11)
FREQUENT, RARE = (0, 2, 1), (7, 3, 7)  # class, index among its training images, and sample seed
TOP, MIDDLE, BOTTOM = 57.0, 41.0, 25.0  # y of the global view, the encoder and the local view


def _tinted_views(data: LongTailData, label: int, index: int, seed: int, colour: str) -> tuple[Tensor, Tensor]:
    """Two augmented views of a digit in a colour on white, each (1, 3, S, S) with values from 0 to 1."""
    assert data.train.pixels is not None and data.image_size is not None
    position = np.flatnonzero(data.train.labels == label)[index]
    pixels = torch.from_numpy(data.train.pixels[[position]]).permute(0, 3, 1, 2)
    augment = train_transform(data.augment, data.image_size)
    rgb = torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]).reshape(1, 3, 1, 1)
    first, second = (1 - view / 255 * (1 - rgb) for view in augment(pixels, [seed]).images)
    return first, second


def mixed_digits(data: LongTailData) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], MixedViews, Mix]:
    """Two views each of a frequent and of a rare digit, their mixed views, and the mix."""
    first, second = _tinted_views(data, *FREQUENT, BLUE), _tinted_views(data, *RARE, VERMILION)
    side = first[0].shape[-1]
    mix = Mix(LAM, cut_box(side, side, LAM, CENTRE), (side, side))
    labels = torch.tensor([FREQUENT[0]]), torch.tensor([RARE[0]])
    return first, second, mix_views(first, second, *labels, mix, num_classes=data.num_classes), mix


def _text(axes: Axes, x: float, y: float, text: str, colour: str = INK, size: float = 7.5, **kwargs: Any) -> None:
    axes.text(x, y, text, color=LETTERS.get(colour, colour), fontsize=size, **{"ha": "center", "va": "center"} | kwargs)


def _draw_image(axes: Axes, image: Tensor, x: float, y: float, colour: str, title: str, note: str) -> None:
    axes.imshow(image[0].permute(1, 2, 0).numpy(), extent=(x - 8, x + 8, y - 8, y + 8), interpolation="nearest")
    axes.add_patch(Rectangle((x - 8, y - 8), 16, 16, fill=False, edgecolor=colour, linewidth=1.5))
    _text(axes, x, y + 10.3, title, colour, size=8, weight="bold")
    _text(axes, x, y - 10.3, note)


def _box(axes: Axes, x: float, y: float, size: tuple[float, float], colour: str, fill: str, **kwargs: Any) -> None:
    style: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=1.2",
        "linewidth": 1.3,
        "facecolor": fill,
        "edgecolor": colour,
    }
    axes.add_patch(FancyBboxPatch((x - size[0] / 2, y - size[1] / 2), *size, **style | kwargs))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, **style))


def _draw_views(axes: Axes, data: LongTailData) -> None:
    first, second, views, mix = mixed_digits(data)
    for y, pair, (label, *_), colour, title in (
        (TOP, first, FREQUENT, BLUE, "shuffled batch"),
        (BOTTOM, second, RARE, VERMILION, "re-balanced batch"),
    ):
        note = f"class {data.class_names[label]}: {data.class_counts[label]} images"
        _draw_image(axes, pair[0], 13, y, colour, title, note)
        for target in (TOP, BOTTOM):
            _arrow(axes, (22, y + (target - y) * 0.1), (36, target + (y - target) * 0.1), colour)
    shares = views.global_labels[0]
    note = f"label: {shares[FREQUENT[0]]:.0%} {FREQUENT[0]}, {shares[RARE[0]]:.0%} {RARE[0]}"
    _draw_image(axes, views.global_images, 46, TOP, INK, "global view: MixUp", note)
    _draw_image(axes, views.local_images, 46, BOTTOM, INK, "local view: CutMix", note)
    top, bottom, left, right = (side * 16 / views.local_images.shape[-1] for side in mix.box)
    corner = (38 + left, BOTTOM + 8 - bottom)
    axes.add_patch(
        Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=VERMILION, linewidth=1.5, zorder=3)
    )
    _text(axes, 29.5, 7.5, "each image is augmented twice,\nonce for either view", linespacing=1.2)


def _draw_network(axes: Axes) -> None:
    corners = [(62, BOTTOM - 6), (62, TOP + 6), (77, 53), (77, 29)]
    axes.add_patch(Polygon(corners, facecolor=FILL[GREEN], edgecolor=GREEN, linewidth=2.4, joinstyle="round"))
    _text(axes, 69.5, MIDDLE + 3.6, "encoder", size=8, weight="bold")
    _text(axes, 69.5, MIDDLE - 1.6, "any timm\nbackbone", linespacing=1.2)
    for y in (TOP, BOTTOM):
        _arrow(axes, (55, y), (61.3, y))
    heads = ((62.0, "conventional", "classifier", GREY), (45.0, "re-balanced", "timm's classifier", GREEN))
    for y, title, note, colour in heads:
        _box(axes, 94, y, (20.6, 10), colour, FILL[colour], linewidth=2.4 if colour == GREEN else 1.3)
        _text(axes, 94, y + 1.7, title, size=8, weight="bold")
        _text(axes, 94, y - 1.9, note)
    for y, title in ((27.5, "projection h"), (14.0, "prediction u")):
        _box(axes, 94, y, (20.6, 7), PURPLE, FILL[PURPLE])
        _text(axes, 94, y, title, size=8, weight="bold")
    for start, end in ((49.5, 60.0), (45.0, 45.0), (35.0, 27.5)):
        _arrow(axes, (77.8, start), (83.2, end))
    _arrow(axes, (94, 23.8), (94, 17.8), PURPLE)
    _text(axes, 69.5, 10.9, "green fill: kept as", GREEN, size=8, weight="bold")
    _text(axes, 69.5, 7.4, "a plain timm model", GREEN)


def _draw_losses(axes: Axes) -> None:
    for y, title, note, colour in (
        (62.0, "conventional loss", "cross-entropy,\nsoft labels", GREY),
        (45.0, "re-balanced loss", "cross-entropy,\nclass-weighted labels", GREEN),
    ):
        _arrow(axes, (104.8, y), (109, y), colour)
        _box(axes, 122, y, (25, 12), colour, "white")
        _text(axes, 122, y + 3.3, title, size=8, weight="bold")
        _text(axes, 122, y - 1.9, note, linespacing=1.2)
    _box(axes, 133.5, 21.5, (48, 22), PURPLE, "white")
    _text(axes, 133.5, 29.3, "consistency loss: negative cosine", size=8, weight="bold")
    for y, source, target in ((23.7, "global", "local"), (14.3, "local", "global")):
        for x, name in ((118.5, f"u {source}"), (148.5, f"h {target}")):
            _box(axes, x, y, (13.4, 4.8), PURPLE, FILL[PURPLE], boxstyle="round,pad=0,rounding_size=2.2")
            _text(axes, x, y, name)
        _arrow(axes, (126, y), (141, y), PURPLE)
    _text(axes, 133.5, 19, "stop-gradient at h", PURPLE)
    for y in (27.5, 14.0):
        _arrow(axes, (104.8, y), (109, y), PURPLE)


def _draw_schedule(axes: Axes) -> None:
    inset = axes.inset_axes((141, 43, 16, 21), transform=axes.transData)
    epochs = 100
    alpha = np.array([cumulative_alpha(epoch, epochs) for epoch in range(epochs + 1)])
    inset.plot(alpha, color=GREY, linewidth=2.4, clip_on=False)
    inset.plot(1 - alpha, color=GREEN, linewidth=2.4, clip_on=False)
    inset.spines[["top", "right"]].set_visible(False)
    inset.set(xticks=[0, epochs], xticklabels=["0", "T"], yticks=[0, 1], xlim=(0, epochs), ylim=(0, 1))
    inset.tick_params(labelsize=7.5, length=2, pad=2)
    inset.set_xlabel("epoch t", fontsize=7.5, labelpad=-7)
    _text(inset, 14, 0.78, r"$\alpha$", GREY, size=9)
    _text(inset, 27, 0.38, r"$1 - \alpha$", GREEN, size=9)
    _text(axes, 149, 67.5, r"$\alpha = 1 - (t\,/\,T)^2$", GREY, size=8)
    terms = (
        ("total  =", INK),
        (r"$\alpha$ conventional", GREY),
        ("+", INK),
        (r"$(1 - \alpha)$ re-balanced", GREEN),
        ("+", INK),
        (r"$\gamma$ consistency", PURPLE),
    )
    styles = ({"color": LETTERS.get(colour, colour), "fontsize": 8, "weight": "bold"} for _, colour in terms)
    parts: list[Artist] = [TextArea(text, textprops=style) for (text, _), style in zip(terms, styles, strict=True)]
    axes.add_artist(
        AnnotationBbox(HPacker(children=parts, pad=0, sep=4), (158.5, 4.5), frameon=False, box_alignment=(1, 0.5))
    )


def draw(data: LongTailData) -> Figure:
    """Draw the figure, 1600 x 800 pixels."""
    figure = Figure(figsize=(WIDTH * 10 / DPI, HEIGHT * 10 / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    for x, heading in ((13, "two batches"), (46, "two views"), (69.5, "one encoder"), (94, "four heads")):
        _text(axes, x, 75, heading, size=9.5)
    _text(axes, 133.5, 75, "three losses", size=9.5)
    _draw_views(axes, data)
    _draw_network(axes)
    _draw_losses(axes)
    _draw_schedule(axes)
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="auto")
    axes.axis("off")
    return figure


if __name__ == "__main__":
    draw(load_data("digits_lt")).savefig(Path(__file__).with_name("method.png"), metadata={"Software": None})
