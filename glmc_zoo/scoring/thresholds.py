"""Probabilities below which a prediction is not to be relied on: per class, for a stated precision."""

import math

import numpy as np
from numpy.typing import NDArray

PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99)
"""The precisions that thresholds are stored for."""


def precision_key(precision: float) -> str:
    """The key of a precision in the results: ``0.95``."""
    return f"{precision:g}"


def precision_thresholds(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, list[float | None]]:
    """The thresholds of each class for each of `PRECISIONS`, from held-out images.

    Args:
        logits: As they are exported, ``(N, C)``.
        labels: ``(N,)``.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence, predicted = shifted.max(axis=1) / shifted.sum(axis=1), logits.argmax(axis=1)
    wrong = predicted != labels
    return {
        precision_key(precision): _thresholds(confidence, predicted, wrong, precision, logits.shape[1])
        for precision in PRECISIONS
    }


def _thresholds(
    confidence: NDArray[np.float64],
    predicted: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    precision: float,
    num_classes: int,
) -> list[float | None]:
    """One threshold for each class; classes that are predicted too rarely to have one share one.

    A threshold needs ``(wrong + 1) / (images + 1) <= 1 - precision``, one error more than was seen, as in conformal
    risk control (Angelopoulos et al., ICLR 2024, equation 4). So 0.95 needs at least 19 images, all right.
    """
    needed = math.ceil(1 / (1 - precision) - 1e-9) - 1
    images = np.bincount(predicted, minlength=num_classes)
    rare = (images < needed)[predicted]
    shared = _smallest(confidence[rare], wrong[rare], precision)
    return [
        shared if count < needed else _smallest(confidence[predicted == c], wrong[predicted == c], precision)
        for c, count in enumerate(images.tolist())
    ]


def _smallest(confidence: NDArray[np.float64], wrong: NDArray[np.bool_], precision: float) -> float | None:
    """The smallest confidence from which on the precision is reached; ``None`` where it is not."""
    order = np.argsort(-confidence, kind="stable")
    confidence, errors = confidence[order], np.cumsum(wrong[order])
    reached = (errors + 1) / (np.arange(len(order)) + 2) <= 1 - precision + 1e-12
    # Images of equal confidence are above a threshold together.
    reached &= np.append(confidence[1:] < confidence[:-1], True)[: len(order)]
    return float(confidence[np.flatnonzero(reached)[-1]]) if reached.any() else None
