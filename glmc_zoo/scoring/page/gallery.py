"""The images of a report: of each class the most confident mistakes and the least sure right answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from glmc_zoo.scoring.page.answer_file import AnswerFile, ReportImage, lowest_recall_first
from glmc_zoo.scoring.page.html import whole_percent
from glmc_zoo.scoring.page.subject import Predictions, Subject, short_names


def gallery(subject: Subject, baselines: Sequence[Subject], answers: AnswerFile) -> list[dict[str, Any]]:
    """The classes with their images, those with the lowest recall first.

    Where a baseline was evaluated on the same images, what it answered stands beside each.
    """
    results, groups, tested = subject.results, subject.groups, subject.scored_images or []
    correct = {label: images for label, prediction, images in answers.pairs if label == prediction}
    baseline_answers = _same_images(baselines, answers, sum(tested))
    blocks = [
        {
            "label": label,
            "name": results.class_names[label],
            "group": None if groups is None else groups[label],
            "trained": None if results.class_counts is None else results.class_counts[label],
            "tested": tested[label],
            "right": correct.get(label, 0),
            "images": [_image(image, results.class_names, baseline_answers) for image in images],
        }
        for label, images in groupby(answers.images, key=lambda image: image.label)
    ]
    # Files of earlier versions have the rarest class first.
    ranks = {label: rank for rank, label in enumerate(lowest_recall_first(subject.recalls, results.class_counts))}
    return sorted(blocks, key=lambda block: ranks[block["label"]])


def _same_images(baselines: Sequence[Subject], answers: AnswerFile, images: int) -> list[tuple[str, Predictions]]:
    """Name and predictions of each baseline that answered the same images, as far as their classes tell."""
    comparable = []
    for name, baseline in zip(short_names(baselines), baselines, strict=True):
        predictions = baseline.predictions()
        if predictions is None or baseline.split != answers.split or len(predictions.label) != images:
            continue
        if all(
            image.position < images and predictions.label[image.position] == image.label for image in answers.images
        ):
            comparable.append((name, predictions))
    return comparable


def _image(
    image: ReportImage, names: Sequence[str], baseline_answers: Sequence[tuple[str, Predictions]]
) -> dict[str, Any]:
    true_name, predicted_name, probability = (
        names[image.label],
        names[image.prediction],
        whole_percent(image.probability),
    )
    kind = "Right, but unsure" if image.is_correct else "Mistake"
    return {
        "right": image.is_correct,
        "given": predicted_name,
        "probability": probability,
        "file": image.name,
        "source": image.source,
        "alt": f"{kind}: {image.name}, true class {true_name}, given class {predicted_name} with probability "
        f"{probability}",
        "others": [
            {
                "model": name,
                "given": names[predicted := int(predictions.prediction[image.position])],
                "right": predicted == image.label,
                "probability": whole_percent(float(predictions.probability[image.position])),
            }
            for name, predictions in baseline_answers
        ],
    }
