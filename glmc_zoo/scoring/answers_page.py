"""A page of test images of rare classes, with what each model says of them: one HTML file without other resources."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data import ImageSplit
from glmc_zoo.errors import UserError
from glmc_zoo.files import percent, replace_file
from glmc_zoo.metrics import GROUPS, group_of_classes
from glmc_zoo.results import EvaluationResults, group_heading
from glmc_zoo.text import printable

MOST_IMAGES = 24
"""Images of one class on the page."""
_SIDE = 128
_FEWEST_CLASSES = 5
_TEMPLATE = Path(__file__).with_name("answers.html.jinja")
_SCORES = {"top1": "top-1", "balanced_accuracy": "balanced"}


@dataclass(frozen=True)
class Answers:
    """What one model says of each image of a split, and its results there."""

    results: EvaluationResults
    label: NDArray[np.int64]
    """True class, (N,)."""
    prediction: NDArray[np.int64]
    """Most probable class, (N,)."""
    probability: NDArray[np.float64]
    """Probability of that class, (N,)."""

    @classmethod
    def read(cls, folder: Path) -> Answers:
        """Those in a folder that an evaluation left for one model."""
        from pyarrow import parquet

        table = parquet.read_table(folder / "predictions.parquet")
        columns = {name: table[name].to_numpy() for name in ("label", "prediction", "probability")}
        return cls(EvaluationResults.load(folder / "results.json"), **columns)

    @property
    def name(self) -> str:
        """The model, in short."""
        return self.results.model.name


def rare_classes(results: EvaluationResults) -> list[int]:
    """The few-shot classes, or the five rarest where there are none, the rarest last.

    Raises:
        UserError: The numbers of training images are not known.
    """
    counts, thresholds = results.class_counts, results.thresholds
    if counts is None or thresholds is None:
        raise UserError("The results have no class counts: give those of models that were trained on this data.")
    groups = group_of_classes(counts, many=thresholds.many, few=thresholds.few)
    order = sorted(range(len(counts)), key=lambda label: -counts[label])
    few = [label for label in order if groups[label] == GROUPS.index("few")]
    return few or order[-_FEWEST_CLASSES:]


def write_answers_page(path: Path, models: Sequence[Answers], split: ImageSplit) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        models: What each says of all images of ``split``, in the same order.
        split: The images that were scored.

    Raises:
        UserError: The answers are not those of the split, or the page cannot be written.
    """
    if any(not np.array_equal(one.label, split.labels) for one in models):
        raise UserError("The answers are not those of the images: give the split that was evaluated.")
    text = _render(models, split)
    try:
        replace_file(path, lambda file: file.write(text))
    except OSError as error:
        raise UserError(f"path={str(path)!r} cannot be written: {error.strerror or error}.") from error


def _render(models: Sequence[Answers], split: ImageSplit) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    first = models[0].results
    heads = [*_SCORES.values(), *(group_heading(first, group) for group in GROUPS)]
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        data=first.data,
        heads=heads,
        scores=[{"name": one.name, "cells": _cells(one.results)} for one in models],
        classes=[_class(label, models, split) for label in rare_classes(first)],
        most=MOST_IMAGES,
    )


def _cells(results: EvaluationResults) -> list[str]:
    intervals = results.intervals.get(results.split, {})
    return [percent(getattr(results.scores, name), intervals.get(name)) for name in (*_SCORES, *GROUPS)]


def _class(label: int, models: Sequence[Answers], split: ImageSplit) -> dict[str, Any]:
    """One class: its numbers, and its images with the answers of all models."""
    positions, first = np.flatnonzero(split.labels == label), models[0].results
    return {
        "name": first.class_names[label],
        "trained": (first.class_counts or [])[label],
        "tested": len(positions),
        "right": [(one.name, int((one.prediction[positions] == label).sum())) for one in models],
        "images": [
            {"source": _source(split, position), "answers": [_answer(one, position) for one in models]}
            for position in positions[:MOST_IMAGES].tolist()
        ],
    }


def _answer(model: Answers, position: int) -> dict[str, Any]:
    predicted = int(model.prediction[position])
    return {
        "model": model.name,
        "class": model.results.class_names[predicted],
        "right": predicted == int(model.label[position]),
        "probability": f"{100 * model.probability[position]:.0f}\N{NO-BREAK SPACE}%",
    }


def _source(split: ImageSplit, position: int) -> str:
    (image,) = split.images([position])
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
