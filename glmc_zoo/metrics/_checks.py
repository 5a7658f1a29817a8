"""Checks of the inputs of the metrics. Each raises a `UserError` that says what to give instead."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

# The sum of a bfloat16 softmax differs from 1 by a few thousandths at most; the sum of logits by far more.
_ROW_SUM_TOLERANCE = 1e-2


def check_class_counts(class_counts: ArrayLike) -> NDArray[np.int64]:
    """Return ``class_counts`` as int64 (C,). There must be at least one class, and no count may be negative."""
    counts = np.asarray(class_counts)
    if counts.ndim != 1 or counts.size == 0:
        raise UserError(
            f"class_counts has shape {counts.shape}: give one number of training images for each class, shape (C,)."
        )
    for count in counts.tolist():
        # Infinity modulo 1 is NaN, which is true.
        if isinstance(count, bool) or not isinstance(count, int | float) or not count >= 0 or count % 1:
            raise UserError(f"class_counts holds {count!r}: give whole numbers of images, 0 or more.")
    return counts.astype(np.int64)


def check_labels(name: str, labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Return ``labels`` as int64 (B,), each from 0 to ``num_classes - 1``. The batch may be empty."""
    array = np.asarray(labels)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{name} has shape {array.shape} and type {array.dtype}: give one integer per image, shape (B,)."
        )
    outside = np.flatnonzero((array < 0) | (array >= num_classes))
    if outside.size:
        raise UserError(
            f"{name} holds class {array[outside[0]]} at position {outside[0]}, but class_counts has {num_classes} "
            f"classes: labels run from 0 to {num_classes - 1}, so use the same class list for both."
        )
    return array.astype(np.int64)


def check_logits(logits: ArrayLike, images: int, num_classes: int) -> NDArray[Any]:
    """Return ``logits`` as a float array (images, num_classes). NaN and +inf are refused; -inf masks a class."""
    array = _check_table("logits", logits, images, num_classes)
    if np.isnan(array).any() or np.isposinf(array).any():
        raise UserError("logits hold NaN or +inf: the model has diverged, so score a checkpoint from before that.")
    return array


def check_probabilities(probabilities: ArrayLike, images: int, num_classes: int) -> NDArray[Any]:
    """Return ``probabilities`` as a float array (images, num_classes). Each row must lie in 0..1 and sum to 1."""
    array = _check_table("probabilities", probabilities, images, num_classes)
    in_range = (array >= 0) & (array <= 1 + _ROW_SUM_TOLERANCE)  # also False for NaN
    sums = array.sum(axis=1, dtype=np.float64)
    invalid = np.flatnonzero(~in_range.all(axis=1) | (np.abs(sums - 1) > _ROW_SUM_TOLERANCE))
    if invalid.size:
        row = array[invalid[0]]
        raise UserError(
            f"probabilities at position {invalid[0]} run from {row.min():.4g} to {row.max():.4g} and sum to "
            f"{sums[invalid[0]]:.4g}: rows must be from 0 to 1 and sum to 1, so take a softmax of the logits first."
        )
    return array


def _check_table(name: str, table: ArrayLike, images: int, num_classes: int) -> NDArray[Any]:
    array = np.asarray(table)
    if array.size == 0 and images == 0:
        return np.zeros((0, num_classes))
    if array.shape != (images, num_classes):
        raise UserError(
            f"{name} has shape {array.shape}: give one row for each of the {images} references and one column for each "
            f"of the {num_classes} classes, shape ({images}, {num_classes})."
        )
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
