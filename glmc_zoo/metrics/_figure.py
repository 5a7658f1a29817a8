"""Colours, style and saving shared by all plots. There is no pyplot here and no global state.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from os import PathLike
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from glmc_zoo.text import printable

from .longtail import GROUPS

INK, GREY = "#222222", "#6B6B6B"
BLUE, GREEN, VERMILION, SKY = "#0072B2", "#009E73", "#D55E00", "#56B4E9"
GROUP_COLOURS = (BLUE, GREEN, VERMILION)
GROUP_STYLES = {name: (name, colour) for name, colour in zip(GROUPS, GROUP_COLOURS, strict=True)}
ABOVE: dict[str, Any] = {
    "xycoords": "axes fraction",
    "textcoords": "offset points",
}  # keywords of a text above the axes


def new_figure(title: str, *, width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of ``width`` by ``height`` inches with a title and one row of axes without top and right spines."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(fill(escape_dollars(printable(title)), int(9.5 * width)), fontsize=13, fontweight="bold", color=INK)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(GREY)
        axis.tick_params(colors=INK, labelsize=9, color=GREY)
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.title.set_fontsize(11)
    return figure, axes


def escape_dollars(text: str) -> str:
    """Escape dollar signs, so that matplotlib does not read text between them as a formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, path: str | PathLike[str]) -> Figure:
    """Write ``figure`` to ``path`` and return it. A missing folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white")
    return figure
