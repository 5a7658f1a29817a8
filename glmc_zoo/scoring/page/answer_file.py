"""``answers.json`` beside the results: what a report shows of single images, so that it can be made again."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from glmc_zoo.data import ImageSplit, StreamSplit
from glmc_zoo.data.reading.images import image_name
from glmc_zoo.data.streaming import position_name
from glmc_zoo.data.thumbnails import Thumbnail, make_thumbnail
from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError
from glmc_zoo.fields import from_json
from glmc_zoo.files import replace_file
from glmc_zoo.scoring.answers import MAX_IMAGES, Answers

ANSWERS_FILE = "answers.json"
MAX_BYTES = 9_000_000
"""Limit of all data URIs of a report together, so that it stays well below 15 MB."""

_SCHEMA = 1
_SIDE = 112
_SOURCE = re.compile(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, kw_only=True)
class ReportImage:
    """One image, and the prediction of the model."""

    label: int
    """True class."""
    prediction: int
    probability: float
    """Probability of the predicted class."""
    position: int
    """Position in the split."""
    name: str
    """File of the image, relative to the data set's folder, or its position."""
    source: str | None = None
    """A small version as a data URI; ``None`` where it was left out."""

    @property
    def is_correct(self) -> bool:
        """Whether the answer is right."""
        return self.label == self.prediction


@dataclass(frozen=True, kw_only=True)
class AnswerFile:
    """The content of ``answers.json``."""

    split: str
    """``test`` or ``validation``."""
    pairs: list[list[int]]
    """True class, predicted class and number of images, for each pair that occurs."""
    images: list[ReportImage] = field(default_factory=list)
    """The class with the lowest recall first; those of a class together, mistakes first."""
    left_out: int = 0
    """Number of images that were left out to keep the page small."""

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_page_file(path, self)

    @classmethod
    def load(cls, path: Path, num_classes: int) -> AnswerFile:
        """The answers in a file, of a model of so many classes.

        Raises:
            UserError: It cannot be read, or is not of these classes.
        """
        fix = "evaluate the model again for another"
        answers: AnswerFile = read_page_file(cls, path, "answers", fix)
        classes = [label for pair in answers.pairs for label in pair[:2]]
        classes += [label for image in answers.images for label in (image.label, image.prediction)]
        has_classes = all(len(pair) == 3 for pair in answers.pairs) and all(
            0 <= label < num_classes for label in classes
        )
        check_page_file(path, [image.source for image in answers.images], fix, fits=has_classes)
        return answers


def write_page_file(path: Path, content: Any) -> None:
    """Write what a page shows, whole or not at all."""
    text = json.dumps({"schema": _SCHEMA, **dataclasses.asdict(content)}) + "\n"
    replace_file(path, lambda file: file.write(text))


def read_page_file(cls: Any, path: Path, content: str, fix: str) -> Any:
    """Read an object of ``cls`` from a file of `write_page_file`.

    Raises:
        UserError: The file cannot be read, is of another version, or holds other fields.
    """
    values = read_json(path, str(path), fix=f"{fix[0].upper()}{fix[1:]}.")
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise UserError(f"{path} holds no {content} that this version reads: {fix}.")
    return from_json(cls, values, str(path))


def check_page_file(path: Path, sources: Sequence[str | None], fix: str, *, fits: bool) -> None:
    """Refuse a file of other classes (``fits`` is false), or with an image that is neither JPEG nor PNG."""
    if not fits:
        raise UserError(f"{path} is of other classes than the results beside it: {fix}.")
    if any(source is not None and not _SOURCE.fullmatch(source) for source in sources):
        raise UserError(f"{path} holds an image that is neither JPEG nor PNG: {fix}.")


def rarest_first(num_classes: int, class_counts: Sequence[int] | None) -> list[int]:
    """The classes, those with the fewest training images first; in their own order where these are not known."""
    counts = [0] * num_classes if class_counts is None else class_counts
    return sorted(range(num_classes), key=lambda label: counts[label])


def lowest_recall_first(recalls: Sequence[float | None], class_counts: Sequence[int] | None) -> list[int]:
    """The classes, those with the lowest recall first; of equal recalls, the class of fewer training images.

    Classes without an image in the split, whose recall is ``None`` or NaN, come last.
    """
    keys = [math.inf if recall is None or math.isnan(recall) else recall for recall in recalls]
    return sorted(rarest_first(len(recalls), class_counts), key=keys.__getitem__)


def make_answer_file(
    name: str, answers: Answers, split: ImageSplit | StreamSplit, class_order: Sequence[int]
) -> AnswerFile:
    """The answers with names and small versions of the images, in the order of the classes.

    Args:
        name: ``test`` or ``validation``.
        answers: Those of the whole split.
        split: The images that were scored.
        class_order: Classes, the most important first: the last go without images where there are too many.
    """
    ranks = np.empty(len(class_order), np.int64)
    ranks[list(class_order)] = np.arange(len(class_order))
    order = np.argsort(ranks[answers.label], kind="stable")
    images, size = list[ReportImage](), 0
    for row in order[:MAX_IMAGES].tolist():
        position = int(answers.position[row])
        file_name, source = _name_and_thumbnail(answers, split, position, with_thumbnail=size < MAX_BYTES)
        if size + len(source or "") > MAX_BYTES:
            size, source = MAX_BYTES, None  # the others go without as well: the page says where they end
        size += len(source or "")
        images.append(
            ReportImage(
                label=int(answers.label[row]),
                prediction=int(answers.prediction[row]),
                probability=float(answers.probability[row]),
                position=position,
                name=file_name,
                source=source,
            )
        )
    left_out = len(order) - len(images)
    return AnswerFile(split=name, pairs=answers.pairs.tolist(), images=images, left_out=left_out)


def _name_and_thumbnail(
    answers: Answers, split: ImageSplit | StreamSplit, position: int, *, with_thumbnail: bool
) -> tuple[str, str | None]:
    """Name and data URI of one image."""
    if isinstance(split, ImageSplit):
        if not with_thumbnail:
            return image_name(split.source, int(split.rows[position])), None
        thumbnail = make_thumbnail(split, position, _SIDE)
        return thumbnail.name, thumbnail.source
    data = answers.pixels.get(position)
    return position_name(position), None if data is None else Thumbnail("", data).source
