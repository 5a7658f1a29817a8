"""Thresholds of the probability for each class, from which predictions reach a wanted precision."""

import math

import numpy as np
from numpy.typing import NDArray

PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99)
"""The precisions for which thresholds are stored."""


def precision_key(precision: float) -> str:
    """The key of a precision in the results, such as ``0.95``."""
    return f"{precision:g}"


def precision_thresholds(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, list[float | None]]:
    """The thresholds of all classes for each of `PRECISIONS`, from held-out images.

    Args:
        logits: Logits of the exported model, ``(N, C)``.
        labels: Class of each image, ``(N,)``.

    Returns:
        By `precision_key`, the threshold of each class; ``None`` where no threshold reaches the precision.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence, predicted = shifted.max(axis=1) / shifted.sum(axis=1), logits.argmax(axis=1)
    is_wrong = predicted != labels
    return {
        precision_key(precision): _thresholds(confidence, predicted, is_wrong, precision, logits.shape[1])
        for precision in PRECISIONS
    }


def _thresholds(
    confidence: NDArray[np.float64],
    predicted: NDArray[np.int64],
    is_wrong: NDArray[np.bool_],
    precision: float,
    num_classes: int,
) -> list[float | None]:
    """One threshold for each class; classes that are predicted too rarely share one.

    Above a threshold, ``(wrong + 1) / (images + 1) <= 1 - precision`` must hold: one error more than was seen, as in
    conformal risk control (Angelopoulos et al., ICLR 2024, equation 4). So 0.95 needs at least 19 images, all of them
    classified right.
    """
    min_images = math.ceil(1 / (1 - precision) - 1e-9) - 1
    images = np.bincount(predicted, minlength=num_classes)
    is_rare = (images < min_images)[predicted]
    shared_threshold = _smallest(confidence[is_rare], is_wrong[is_rare], precision)
    return [
        shared_threshold
        if count < min_images
        else _smallest(confidence[predicted == label], is_wrong[predicted == label], precision)
        for label, count in enumerate(images.tolist())
    ]


def _smallest(confidence: NDArray[np.float64], is_wrong: NDArray[np.bool_], precision: float) -> float | None:
    """The smallest confidence above which the precision is reached; ``None`` where it is never reached."""
    order = np.argsort(-confidence, kind="stable")
    confidence, errors = confidence[order], np.cumsum(is_wrong[order])
    is_reached = (errors + 1) / (np.arange(len(order)) + 2) <= 1 - precision + 1e-12
    # Images of equal confidence are all above a threshold or all below it.
    is_reached &= np.append(confidence[1:] < confidence[:-1], True)[: len(order)]
    return float(confidence[np.flatnonzero(is_reached)[-1]]) if is_reached.any() else None
