"""What each image contributes to the scores: its classes, and how sure the model was of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Confidence bins, closed on the right: (0, 1/15] ... (14/15, 1] (Guo et al., ICML 2017, section 2)."""

_TOP = 5
_EDGES = np.linspace(0, 1, BINS + 1)
_LEAST_LOG = float(np.log(np.finfo(np.float64).tiny))


class ImageScores(NamedTuple):
    """A row for each of N images; the columns after ``prediction`` are empty where there are no probabilities."""

    label: NDArray[np.int64]
    """True class, (N,)."""
    prediction: NDArray[np.int64]
    """Predicted class, (N,)."""
    top5: NDArray[np.bool_]
    """Whether the true class is among the best ``min(5, C)``, (N,)."""
    bin: NDArray[np.int64]
    """Confidence bin, 0 to 14, (N,)."""
    confidence: NDArray[np.float64]
    """Probability of the predicted class, (N,)."""
    nll: NDArray[np.float64]
    """``-log p(true class)`` in nats, (N,)."""

    @classmethod
    def joined(cls, batches: "list[ImageScores]") -> "ImageScores":
        """The rows of one or more batches, in the order of the batches."""
        return cls(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))

    def select(self, rows: NDArray[np.int64]) -> "ImageScores":
        """These rows, in this order."""
        return self._replace(**{name: column[rows] for name, column in self._asdict().items() if len(column)})


def plain_rows(true: NDArray[np.int64], guess: NDArray[np.int64]) -> ImageScores:
    """Rows of images without probabilities."""
    nothing = np.zeros(0)
    return ImageScores(true, guess, nothing.astype(np.bool_), nothing.astype(np.int64), nothing, nothing)


def confident_rows(
    true: NDArray[np.int64],
    guess: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    log_probabilities: NDArray[np.float64],
) -> ImageScores:
    """Rows of images with logits or probabilities ``scores`` (B, C), and the logarithms of their probabilities."""
    rows, classes = np.arange(len(true)), scores.shape[1]
    of_true = scores[rows, true][:, None]
    earlier = np.arange(classes) < true[:, None]
    rank = ((scores > of_true) | ((scores == of_true) & earlier)).sum(axis=1)
    confidence = np.exp(log_probabilities[rows, guess])
    bins = np.clip(np.searchsorted(_EDGES, confidence, side="left") - 1, 0, BINS - 1)
    return ImageScores(true, guess, rank < min(_TOP, classes), bins, confidence, -log_probabilities[rows, true])


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Logarithms of the softmax of logits (B, C), in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True, initial=-np.inf)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    np.maximum(wide, _LEAST_LOG, out=wide)  # a masked true class (-inf) costs 708 nats, so that the sum stays finite
    return wide


def log_clipped(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Logarithms of probabilities (B, C), cut off below at the epsilon of their type."""
    least = np.finfo(probabilities.dtype).eps
    logs: NDArray[np.float64] = np.log(np.clip(probabilities, least, 1), dtype=np.float64)
    return logs
