"""The page of an inspection: one HTML file that needs no other file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmc_zoo.data.thumbnails import Thumbnail
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.files import replace_file
from glmc_zoo.scoring.page.html import html_environment

if TYPE_CHECKING:
    from glmc_zoo.scoring.inspection import Inspection

_CHART = (1000, 240)  # width and height in units of the SVG


def write_page(path: Path, inspection: Inspection, thumbnails: dict[int, list[Thumbnail]]) -> None:
    """Write the page, completely or not at all.

    Args:
        path: The HTML file.
        inspection: The inspection.
        thumbnails: Example images of each class, by class.

    Raises:
        UserError: The page cannot be written.
    """
    text = render_page(inspection, thumbnails)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(text))
    except OSError as error:
        raise UserError(f"output={str(path)!r} cannot be written: {error.strerror or error}.") from error


def render_page(inspection: Inspection, thumbnails: dict[int, list[Thumbnail]]) -> str:
    """The page as text. Names of classes and files are escaped, as they may come from anybody."""
    from glmc_zoo.scoring.inspection import image_lines

    template = html_environment().get_template("inspection.html.jinja")
    names, order = inspection.class_names, inspection.order
    return template.render(
        inspection=inspection,
        notes=list(map(for_screen, inspection.notes)),
        refusal=None if inspection.refusal is None else for_screen(inspection.refusal),
        inventory=inspection.inventory,
        facts=image_lines(inspection, pairs=len(inspection.near_duplicate_examples)),
        bars=_bars(inspection),
        chart_width=_CHART[0],
        chart_height=_CHART[1],
        classes=[
            {
                "name": names[label],
                "counts": [counts[label] for counts in inspection.class_counts.values()],
                "group": None if inspection.groups is None else inspection.groups[label],
                "images": [{"name": image.name, "source": image.source} for image in thumbnails.get(label, [])],
            }
            for label in order
        ],
        columns=1 + len(inspection.class_counts) + (inspection.groups is not None),
    )


def _bars(inspection: Inspection) -> list[dict[str, Any]]:
    """A bar for each class, the largest class first, with a logarithmic height so that rare classes are visible."""
    split = "train" if "train" in inspection.class_counts else next(iter(inspection.class_counts))
    counts, order = inspection.class_counts[split], inspection.order
    largest = max([1, *counts])
    height, step = _CHART[1], _CHART[0] / max(len(order), 1)
    bars = []
    for index, label in enumerate(order):
        bar_height = height * math.log1p(counts[label]) / math.log1p(largest)
        bars.append(
            {
                "x": round(index * step, 2),
                "y": round(height - bar_height, 2),
                "width": round(max(step * 0.85, 0.1), 2),
                "height": round(bar_height, 2),
                "group": "all" if inspection.groups is None else inspection.groups[label],
                "name": inspection.class_names[label],
                "title": f"{inspection.class_names[label]}: {counts[label]:,}",
            }
        )
    return bars
