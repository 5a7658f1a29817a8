"""Training images that fit another class better than their label, by classifiers that were trained without them.

Source: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal of Artificial
Intelligence Research 70, 2021, section 3.1: thresholds by the mean probability of each class.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.data import LongTailData
from glmc_zoo.data.thumbnails import make_thumbnail
from glmc_zoo.files import write_csv
from glmc_zoo.scoring.calibration import fit_temperature
from glmc_zoo.scoring.page.answer_file import rarest_first
from glmc_zoo.scoring.page.suspects import SUSPECTS_PAGE_FILE, Suspect, SuspectFile, shown_suspects
from glmc_zoo.text import escaped

SUSPECTS_FILE = "label_suspects.csv"
_SIDE = 112
"""Longer side of an image of the report, in pixels."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class LabelSuspects(NamedTuple):
    """Images that fit another class better than their label, the least probable label first; arrays of equal length."""

    row: Labels
    """Row in the probabilities."""
    given: Labels
    suggested: Labels
    self_confidence: Floats
    """Probability of the given class."""
    suggested_probability: Floats


def find_suspects(probabilities: Floats, labels: Labels) -> LabelSuspects:
    """The images that fit another class better than their label.

    The threshold of a class is the mean of its probability over the images that are labelled so. An image is a suspect
    where its given class is below its threshold, and another class reaches its own and is more probable than the given
    one. Of several such classes the most probable is suggested.

    Args:
        probabilities: float64 ``(N, C)``, each row by a classifier that was trained without the image.
        labels: Given class of each image, ``(N,)``; a class without an image here is never suggested.
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    label_probabilities = probabilities[rows, labels]
    support = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=label_probabilities, minlength=classes)
    thresholds = np.where(support > 0, sums / np.maximum(support, 1), np.inf)
    is_confident = (probabilities >= thresholds) & (probabilities > label_probabilities[:, None])
    suggested = np.where(is_confident, probabilities, -1.0).argmax(axis=1)
    positions = np.flatnonzero(is_confident.any(axis=1) & (label_probabilities < thresholds[labels]))
    order = positions[np.argsort(label_probabilities[positions], kind="stable")]
    return LabelSuspects(
        order, labels[order], suggested[order], label_probabilities[order], probabilities[order, suggested[order]]
    )


def held_out_probabilities(logits: Floats, labels: Labels) -> Floats:
    """Probabilities ``(N, C)`` of held-out logits, with the temperature that fits best, if there is one."""
    scaled = torch.from_numpy(logits / (fit_temperature(logits, labels) or 1.0))
    probabilities: Floats = scaled.softmax(dim=1).numpy()
    return probabilities


def write_suspects(folder: Path, data: LongTailData, positions: Tensor, logits: Tensor, *, report: bool) -> int:
    """Write `SUSPECTS_FILE` into a run folder, and give the number of its rows.

    Args:
        folder: The run folder.
        data: What the classifiers were trained on.
        positions: Positions in the training split of the images that were held out, int64 ``(n,)``.
        logits: Their logits by classifiers that were trained without them, ``(n, C)``.
        report: Also write ``label_suspects.json``, with small images, for the report; an older one goes in any case.
    """
    indices, paths, names = positions.numpy(), data.train.paths(), data.class_names
    labels = data.train.labels[indices]
    suspects = find_suspects(held_out_probabilities(logits.double().numpy(), labels), labels)
    rows = []
    for rank, (row, given, suggested, confidence, probability) in enumerate(zip(*suspects, strict=True), 1):
        index = int(indices[row])
        path = paths[index] if paths is not None else None
        classes = escaped(names[given]), escaped(names[suggested])
        rows.append((rank, index, escaped(path or ""), *classes, f"{confidence:.6f}", f"{probability:.6f}"))
    columns = ("rank", "index", "file", "given", "suggested", "self_confidence", "suggested_probability")
    write_csv(folder / SUSPECTS_FILE, columns, rows, quote_formulas=True)
    (folder / SUSPECTS_PAGE_FILE).unlink(missing_ok=True)
    if report:
        _page_file(suspects, data, indices).save(folder / SUSPECTS_PAGE_FILE)
    return len(rows)


def _page_file(suspects: LabelSuspects, data: LongTailData, indices: Labels) -> SuspectFile:
    """What the report shows of the suspects; ``indices`` are positions in the training split, by row."""
    order = rarest_first(len(data.class_names), data.class_counts)
    images = list[Suspect]()
    for row in shown_suspects(suspects.given.tolist(), order):
        position = int(indices[suspects.row[row]])
        thumbnail = make_thumbnail(data.train, position, _SIDE)
        images.append(
            Suspect(
                given=int(suspects.given[row]),
                suggested=int(suspects.suggested[row]),
                self_confidence=float(suspects.self_confidence[row]),
                suggested_probability=float(suspects.suggested_probability[row]),
                position=position,
                name=thumbnail.name,
                source=thumbnail.source,
            )
        )
    return SuspectFile(total=len(suspects.row), held_out=len(indices), images=images)


def suspects_note(suspects: int, images: int) -> list[str]:
    """A line on ``suspects`` of the held-out ``images``, for the results and the screen; none without suspects."""
    if not suspects:
        return []
    verb, label = ("fits", "its label") if suspects == 1 else ("fit", "their label")
    remark = " So many are mostly mistakes of the model: check the rare labels first." if suspects > images / 10 else ""
    return [
        f"{suspects:,} of {images:,} held-out training images {verb} another class better than {label}, which may be "
        f"wrong: see {SUSPECTS_FILE}.{remark}"
    ]
