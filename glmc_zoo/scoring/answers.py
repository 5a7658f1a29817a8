"""Collects a model's answers on a split for the report: confused pairs of classes, and a few images of each class."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from glmc_zoo.metrics import ImageScores

MAX_IMAGES = 1000
"""About so many images are shown in a report."""
_MAX_EACH, _MIN_EACH = 12, 3
_SIDE = 112

Integers = NDArray[np.int64]
_COLUMNS = ("label", "prediction", "probability", "position")


def images_of_each_class(num_classes: int) -> tuple[int, int]:
    """Number of images of each class in a report: most confident mistakes, and least confident right answers.

    All classes together have about `MAX_IMAGES` images, but each class has at least three.
    """
    per_class = min(_MAX_EACH, max(_MIN_EACH, MAX_IMAGES // num_classes))
    return per_class - per_class // 3, per_class // 3


@dataclass(frozen=True)
class Answers:
    """The answers of a model on one split: counts of all images, and K single images for the report."""

    pairs: Integers
    """(P, 3): true class, predicted class and number of images, for each pair that occurs, also of equal classes."""
    label: Integers
    """True class of each single image, (K,). The images of a class are together, its mistakes first, in the order of
    the report."""
    prediction: Integers
    """Predicted class, (K,)."""
    probability: NDArray[np.float64]
    """Probability of the predicted class, (K,)."""
    position: Integers
    """Position in the split, (K,); see `StreamSplit.batches` for that of a stream."""
    pixels: dict[int, bytes] = field(default_factory=dict)
    """A small JPEG of each single image by its position, for a split that cannot be read again; otherwise empty."""
    most_confident: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Probability and position of the surest right answer, by class; a class without a right answer has none."""


class AnswerCollector:
    """Collects the `Answers` of one pass. Its memory depends on the number of classes and not on that of images.

    Args:
        num_classes: Number of classes C.
    """

    def __init__(self, num_classes: int) -> None:
        self._classes, self._images_per_class = num_classes, images_of_each_class(num_classes)
        self._pairs: dict[int, int] = {}
        self._rows = _no_rows()
        self._pixels: dict[int, bytes] = {}
        self._most_confident: dict[int, tuple[float, int]] = {}

    def update(self, positions: Integers, images: ImageScores, pixels: Tensor | None = None) -> None:
        """Count one batch of B images.

        Args:
            positions: Position of each image in the split, (B,).
            images: Classes and probabilities, (B,).
            pixels: uint8 (B, 3, H, W), to keep small JPEGs; ``None`` to keep none.
        """
        codes, numbers = np.unique(images.label * self._classes + images.prediction, return_counts=True)
        for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
            self._pairs[code] = self._pairs.get(code, 0) + number
        batch = (images.label, images.prediction, images.confidence, positions)
        collected = {
            name: np.concatenate([self._rows[name], column]) for name, column in zip(_COLUMNS, batch, strict=True)
        }
        self._rows = _select_rows(collected, self._images_per_class)
        is_correct = images.label == images.prediction
        columns = (images.label[is_correct], images.confidence[is_correct], positions[is_correct])
        for label, *answer in zip(*(column.tolist() for column in columns), strict=True):
            self._most_confident[label] = _more_confident(self._most_confident.get(label), (answer[0], answer[1]))
        if pixels is not None:
            rows = {position: row for row, position in enumerate(positions.tolist())}
            selected_positions = self._rows["position"].tolist()
            self._pixels = {
                position: self._pixels.get(position) or _small_jpeg(pixels[rows[position]])
                for position in selected_positions
            }

    def gather(self) -> Answers:
        """The answers of all processes, the same in each."""
        parts = gather_object([(self._pairs, self._rows, self._pixels, self._most_confident)])
        totals: dict[int, int] = {}
        for pairs, *_ in parts:
            for code, number in pairs.items():
                totals[code] = totals.get(code, 0) + number
        rows = {name: np.concatenate([part[1][name] for part in parts]) for name in _COLUMNS}
        selected = _select_rows(rows, self._images_per_class)
        positions = set(selected["position"].tolist())
        pixels = {position: data for part in parts for position, data in part[2].items() if position in positions}
        most_confident: dict[int, tuple[float, int]] = {}
        for part in parts:
            most_confident |= {
                label: _more_confident(most_confident.get(label), answer) for label, answer in part[3].items()
            }
        table = [(*divmod(code, self._classes), number) for code, number in sorted(totals.items())]
        return Answers(
            np.array(table, np.int64).reshape(-1, 3), **selected, pixels=pixels, most_confident=most_confident
        )


def _more_confident(first: tuple[float, int] | None, second: tuple[float, int]) -> tuple[float, int]:
    """The answer of the larger probability; of equal ones that of the earlier position."""
    return second if first is None else max(first, second, key=lambda answer: (answer[0], -answer[1]))


def _no_rows() -> dict[str, NDArray[Any]]:
    return {name: np.zeros(0, np.float64 if name == "probability" else np.int64) for name in _COLUMNS}


def _select_rows(rows: dict[str, NDArray[Any]], images_per_class: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """The rows of the most confident mistakes and the least confident right answers of each class.

    ``images_per_class`` has the numbers of both. Rows of equal probability are in the order of the split, so that
    batches and processes do not change the choice.
    """
    label, is_correct = rows["label"], rows["label"] == rows["prediction"]
    rank = np.where(is_correct, rows["probability"], -rows["probability"])
    order = np.lexsort((rows["position"], rank, is_correct, label))
    groups = 2 * label[order] + is_correct[order]
    starts = np.searchsorted(groups, groups)  # index of the first row of the same kind
    selected = np.arange(len(order)) - starts < np.where(is_correct[order], images_per_class[1], images_per_class[0])
    return {name: column[order[selected]] for name, column in rows.items()}


def _small_jpeg(pixels: Tensor) -> bytes:
    """A small JPEG of an image, uint8 (3, H, W)."""
    image, file = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


class PixelRecorder:
    """Passes on the batches of a loader, and keeps the images of the last one in ``pixels``."""

    def __init__(self, loader: Iterable[Sequence[Any]]) -> None:
        self._loader = loader
        self.pixels: Tensor | None = None

    def __length_hint__(self) -> int:
        return length_hint(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            self.pixels = batch[0]
            yield batch
