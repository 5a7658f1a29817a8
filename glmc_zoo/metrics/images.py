"""Scores per image: true class, predicted class, and the confidence of the prediction."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Confidence bins, closed on the right: (0, 1/15] ... (14/15, 1] (Guo et al., ICML 2017, section 2)."""

_TOP_K = 5
_EDGES = np.linspace(0, 1, BINS + 1)
_MIN_LOG = float(np.log(np.finfo(np.float64).tiny))


class ImageScores(NamedTuple):
    """One row for each of N images. Without probabilities the columns after ``prediction`` are empty."""

    label: NDArray[np.int64]
    """True class, (N,)."""
    prediction: NDArray[np.int64]
    """Predicted class, (N,)."""
    top5: NDArray[np.bool_]
    """Whether the true class is among the ``min(5, C)`` classes with the highest scores, (N,)."""
    bin: NDArray[np.int64]
    """Confidence bin, 0 to 14, (N,)."""
    confidence: NDArray[np.float64]
    """Probability of the predicted class, (N,)."""
    nll: NDArray[np.float64]
    """``-log p(true class)`` in nats, (N,)."""

    @classmethod
    def concatenate(cls, batches: "list[ImageScores]") -> "ImageScores":
        """Concatenate the rows of one or more batches, in the order of the batches."""
        return cls(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))

    def select(self, rows: NDArray[np.int64]) -> "ImageScores":
        """Return the rows with these indices, in this order."""
        return self._replace(**{name: column[rows] for name, column in self._asdict().items() if len(column)})


def rows_without_probabilities(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> ImageScores:
    """Make the rows of images without probabilities, from true and predicted classes (B,)."""
    empty = np.zeros(0)
    return ImageScores(true, predicted, empty.astype(np.bool_), empty.astype(np.int64), empty, empty)


def rows_with_probabilities(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    log_probabilities: NDArray[np.float64],
) -> ImageScores:
    """Make the rows of images with probabilities.

    Args:
        true: True classes, (B,).
        predicted: Predicted classes, (B,).
        scores: Logits or probabilities, which rank the classes, (B, C).
        log_probabilities: Logarithms of the probabilities, (B, C).
    """
    rows, classes = np.arange(len(true)), scores.shape[1]
    true_scores = scores[rows, true][:, None]
    precedes = np.arange(classes) < true[:, None]
    rank = ((scores > true_scores) | ((scores == true_scores) & precedes)).sum(axis=1)
    confidence = np.exp(log_probabilities[rows, predicted])
    bins = np.clip(np.searchsorted(_EDGES, confidence, side="left") - 1, 0, BINS - 1)
    return ImageScores(true, predicted, rank < min(_TOP_K, classes), bins, confidence, -log_probabilities[rows, true])


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Compute the log-softmax of logits (B, C) in float64."""
    log_probabilities = logits.astype(np.float64)
    log_probabilities -= log_probabilities.max(axis=1, keepdims=True, initial=-np.inf)
    log_probabilities -= np.log(np.exp(log_probabilities).sum(axis=1, keepdims=True))
    # A masked true class (-inf) counts 708 nats, so the sum stays finite.
    np.maximum(log_probabilities, _MIN_LOG, out=log_probabilities)
    return log_probabilities


def log_clipped(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Compute the logarithms of probabilities (B, C), clipped from below to the epsilon of their dtype."""
    epsilon = np.finfo(probabilities.dtype).eps
    logs: NDArray[np.float64] = np.log(np.clip(probabilities, epsilon, 1), dtype=np.float64)
    return logs
