"""Labels to check, as the report shows them: ``label_suspects.json`` beside the results, and its section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from glmc_zoo.results import EvaluationResults, RunResults
from glmc_zoo.scoring.page.answer_file import check_page_file, read_page_file, write_page_file
from glmc_zoo.scoring.page.html import whole_percent

SUSPECTS_PAGE_FILE = "label_suspects.json"
MAX_SUSPECTS = 200
"""Images that a report shows."""

_MAX_EACH, _MIN_EACH = 12, 2


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A training image that fits another class better than its label."""

    given: int
    """Class of its label."""
    suggested: int
    """The class that it fits better."""
    self_confidence: float
    """Probability of the given class."""
    suggested_probability: float
    position: int
    """Position in the training split."""
    name: str
    """File of the image, relative to the data set's folder, or its position."""
    source: str | None = None
    """A small version as a data URI; ``None`` where the image cannot be read."""


@dataclass(frozen=True, kw_only=True)
class SuspectFile:
    """The content of ``label_suspects.json``."""

    total: int
    """Number of all suspects, including those that are not shown."""
    held_out: int
    """Number of training images that were examined."""
    images: list[Suspect] = field(default_factory=list)
    """The rarest given class first; those of a class together, the least probable label first."""

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_page_file(path, self)

    @classmethod
    def load(cls, path: Path, num_classes: int) -> SuspectFile:
        """The suspects in a file, of a model of so many classes.

        Raises:
            UserError: It cannot be read, or is not of these classes.
        """
        fix = "train the classifier again for another"
        suspects: SuspectFile = read_page_file(cls, path, "suspects", fix)
        classes = [label for suspect in suspects.images for label in (suspect.given, suspect.suggested)]
        fits = all(0 <= label < num_classes for label in classes)
        check_page_file(path, [suspect.source for suspect in suspects.images], fix, fits=fits)
        return suspects


def shown_suspects(labels: Sequence[int], class_order: Sequence[int]) -> list[int]:
    """Rows of the suspects that are shown, at most `MAX_SUSPECTS`: the first few of each given class.

    Args:
        labels: Given class of each suspect, the most suspect one first.
        class_order: Classes, the most important first: the last go without where there are too many.
    """
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    per_class = min(_MAX_EACH, max(_MIN_EACH, MAX_SUSPECTS // max(len(rows), 1)))
    shown_rows = [row for label in class_order for row in rows.get(label, [])[:per_class]]
    return shown_rows[:MAX_SUSPECTS]


def suspect_classes(results: RunResults | EvaluationResults, suspects: SuspectFile) -> list[dict[str, Any]]:
    """The given classes with their suspects, in the order of the file."""
    names, counts = results.class_names, results.class_counts
    return [
        {
            "label": label,
            "name": names[label],
            "trained": None if counts is None else counts[label],
            "images": [_image(suspect, names) for suspect in images],
        }
        for label, images in groupby(suspects.images, key=lambda suspect: suspect.given)
    ]


def _image(suspect: Suspect, names: Sequence[str]) -> dict[str, Any]:
    given_name, suggested_name = names[suspect.given], names[suspect.suggested]
    given_percent, suggested_percent = (
        whole_percent(suspect.self_confidence),
        whole_percent(suspect.suggested_probability),
    )
    return {
        "suggested": suggested_name,
        "probability": suggested_percent,
        "given_probability": given_percent,
        "file": suspect.name,
        "source": suspect.source,
        "alt": f"Label to check: {suspect.name}, labelled {given_name}, which has a probability of {given_percent}; "
        f"{suggested_name} has {suggested_percent}",
    }
