"""Tables of a report: scores with what they rest on, the classes, and which classes are confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glmc_zoo.files import percent
from glmc_zoo.metrics import GROUPS
from glmc_zoo.results import EvaluationResults
from glmc_zoo.scoring.page.answer_file import AnswerFile
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.text import counted

MAX_PAIRS = 20
"""Confused pairs by their number of images, and as many by their share of a class."""
MAX_IN_MATRIX = 30
"""Classes of a confusion matrix that is shown in full."""

_SCORES = {
    "top1": "top-1",
    "balanced_accuracy": "balanced accuracy",
    **{group: f"{group}-shot classes" for group in GROUPS},
    "worst": "worst class",
    "macro_f1": "macro-F1",
    "top5": "top-5",
    "ece": "calibration error",
}


def score_rows(subject: Subject, baselines: Sequence[Subject]) -> list[dict[str, Any]]:
    """A row for each score: its value and interval in each column, and what it rests on."""
    if subject.scores is None:
        return []
    rows = []
    for key, label in _SCORES.items():
        if getattr(subject.scores, key) is None:
            continue
        cells = [_score_cell(column, key) for column in (subject, *baselines)]
        for cell in cells[1:]:
            if cell["value"] is not None:
                cell["change"] = _change(cells[0]["value"] - cell["value"])
        rows.append({"key": key, "label": label, "rests": _score_basis(subject, key), "cells": cells})
    return rows


def _score_cell(subject: Subject, key: str) -> dict[str, Any]:
    scores, interval = subject.scores, subject.intervals.get(key)
    if interval is not None and interval[0] == interval[1]:
        interval = None  # earlier versions gave a score on few images an interval without a width
    value = None if scores is None else getattr(scores, key)
    return {
        "value": value,
        "text": percent(value),
        "interval": None if interval is None else f"{percent(interval[0])} to {percent(interval[1])}",
        "ends": interval,
    }


def _change(difference: float) -> str:
    """A difference of fractions in points, with its sign, such as ``+1.2``; a true minus sign reads better."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _score_basis(subject: Subject, key: str) -> str:
    """What a score rests on: classes and images."""
    supports = {group: support for group in GROUPS if (support := subject.support(group)) is not None}
    if key in supports:
        return _amount(supports[key].classes, supports[key].images)
    tested, recalls = subject.scored_images, subject.recalls
    classes = sum(recall is not None for recall in recalls)
    if key == "worst" and classes:
        lowest = min(recall for recall in recalls if recall is not None)
        worst = [label for label, recall in enumerate(recalls) if recall == lowest]
        name = subject.results.class_names[worst[0]]
        if len(worst) > 1:
            return f"{name} and {len(worst) - 1} more"
        return f"{name}, {counted(tested[worst[0]], 'image')}" if tested else name
    images = sum(tested) if tested else sum(group_support.images for group_support in supports.values())
    if not images:
        return ""
    return counted(images, "image") if key in ("top1", "top5", "ece") else _amount(classes, images)


def _amount(classes: int, images: int) -> str:
    return f"{counted(classes, 'class')}, {counted(images, 'image')}"


def class_rows(subject: Subject, baselines: Sequence[Subject], order: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each class, in this order; none where the recalls are not known."""
    results, recalls, groups, tested = subject.results, subject.recalls, subject.groups, subject.scored_images
    baseline_recalls = [baseline.recalls for baseline in baselines]
    mistakes = _most_frequent_mistake(subject.answers)
    rows = []
    for label in order if recalls else ():
        recall = recalls[label]
        changes = [_recall_change(recall, baseline[label] if baseline else None) for baseline in baseline_recalls]
        mistake = mistakes.get(label)
        rows.append(
            {
                "label": label,
                "name": results.class_names[label],
                "group": None if groups is None else groups[label],
                "trained": None if results.class_counts is None else results.class_counts[label],
                "tested": None if tested is None else tested[label],
                "recall": recall,
                "text": percent(recall),
                "changes": changes,
                "mistaken": None if mistake is None else f"{results.class_names[mistake[0]]} ({mistake[1]:,})",
            }
        )
    return rows


def _recall_change(recall: float | None, baseline_recall: float | None) -> dict[str, Any]:
    if recall is None or baseline_recall is None:
        return {"value": None, "text": "-"}
    return {"value": recall - baseline_recall, "text": _change(recall - baseline_recall)}


def _most_frequent_mistake(answers: AnswerFile | None) -> dict[int, tuple[int, int]]:
    """The class that images of each class are most often taken for, and their number."""
    mistakes: dict[int, tuple[int, int]] = {}
    for label, prediction, images in answers.pairs if answers is not None else ():
        if label != prediction and images > mistakes.get(label, (0, 0))[1]:
            mistakes[label] = prediction, images
    return mistakes


def confused_pairs(subject: Subject) -> list[dict[str, Any]]:
    """The pairs of classes with the most confused images, and those where they are the largest share of their class.

    A share of a single image says nothing, so that such a pair is among the first alone.
    """
    answers, tested = subject.answers, subject.scored_images
    if answers is None or tested is None:
        return []
    mistakes = sorted(
        (-images, label, prediction) for label, prediction, images in answers.pairs if label != prediction
    )
    by_images = [(label, prediction, -images) for images, label, prediction in mistakes]
    by_share = sorted((pair for pair in by_images if pair[2] > 1), key=lambda pair: -pair[2] / tested[pair[0]])
    selected = {*by_images[:MAX_PAIRS], *by_share[:MAX_PAIRS]}
    pairs = [pair for pair in by_images if pair in selected]
    names, groups = subject.results.class_names, subject.groups
    return [
        {
            "label": label,
            "true": names[label],
            "given": names[prediction],
            "group": None if groups is None else groups[label],
            "images": images,
            "share": images / tested[label],
            "of": tested[label],
        }
        for label, prediction, images in pairs
    ]


def group_block(subject: Subject) -> list[dict[str, Any]]:
    """Rows of the confusion of shot groups, those without images left out; empty where it is not known."""
    confusion = np.asarray(subject.results.group_confusion or [], np.int64)
    if confusion.shape != (len(GROUPS), len(GROUPS)):
        return []
    rows = []
    for group, images in zip(GROUPS, confusion, strict=True):
        if total := int(images.sum()):
            cells = [{"images": int(number), "share": int(number) / total} for number in images]
            rows.append({"name": group, "images": total, "cells": cells})
    return rows


def matrix(subject: Subject, order: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the confusion matrix in this order of classes; empty where there are too many, or no answers."""
    answers = subject.answers
    if answers is None or len(order) > MAX_IN_MATRIX:
        return []
    counts = np.zeros((len(order), len(order)), np.int64)
    for label, prediction, number in answers.pairs:
        counts[label, prediction] = number
    counts, names = counts[np.ix_(order, order)], subject.results.class_names
    rows = []
    for index, (label, images) in enumerate(zip(order, counts, strict=True)):
        total = int(images.sum())
        cells = [
            {"images": int(cell_images), "share": int(cell_images) / total if total else 0.0, "right": column == index}
            for column, cell_images in enumerate(images)
        ]
        rows.append({"number": index + 1, "name": names[label], "images": total, "cells": cells})
    return rows


def plain_note(subject: Subject) -> str | None:
    """The scores without the corrections of an evaluation, as a sentence; ``None`` without corrections."""
    results = subject.results
    plain = results.plain_scores if isinstance(results, EvaluationResults) else None
    if plain is None:
        return None
    values = ", ".join(f"{_SCORES[key]} {percent(getattr(plain, key))}" for key in ("top1", "balanced_accuracy", "few"))
    return f"Without the corrections of the logits: {values}."
