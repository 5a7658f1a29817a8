"""95 % bootstrap intervals of the scores: how much they vary with the choice of test images."""

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.errors import UserError

from .images import BINS, ImageScores
from .longtail import mean_scores

RESAMPLES = 1000
"""Number of test sets that are drawn for an interval."""

_SEED = 0
_QUANTILES = (0.025, 0.975)
_MAX_DRAWS_AT_ONCE = 1 << 20


def score_intervals(
    images: ImageScores, groups: NDArray[np.int64], *, resamples: int = RESAMPLES
) -> dict[str, list[float]]:
    """Compute the 95 % interval ``[low, high]`` of each score of `ScoreCounts.scores` that is not ``None``.

    The method is a bootstrap over the images of each class. Each of 1000 resamples draws ``n`` images with replacement
    from each class of ``n`` test images, and is scored like the test set. The interval runs from the 2.5th to the
    97.5th percentile of these scores. It is widened where the score itself lies outside. The number of correct images
    of a class is thus drawn from ``Binomial(n, correct / n)``. The seed is fixed, so equal rows give equal intervals.

    Limits of these intervals:

    - They describe the choice of test images, not the variation between trainings.
    - A class whose images are all correct, or all wrong, has no spread, however few images it has.
    - The variance of a class is too small by the factor ``(n - 1) / n``, so intervals of a few images are too narrow.
    - ``worst``, ``hmean``, ``gmean`` and ``ece`` are not means over images, and resampling shifts them in one
      direction: the worst class of a resample is usually worse than that of the test set. Their intervals are shifted
      in the same direction.

    Args:
        images: Rows of all test images. Their order within a class decides which images the seed draws.
        groups: Group of each class, int64 (C,), as in `ScoreCounts`.
        resamples: Number of test sets to draw.

    Returns:
        Intervals by name of the score, in the units of the score.

    Raises:
        UserError: There are no images.
    """
    total = len(images.label)
    if not total:
        raise UserError("images has no rows: score a split that has images.")
    support, rng = np.bincount(images.label, minlength=len(groups)), np.random.default_rng(_SEED)
    # Row 0 is the test set itself.
    correct, predicted = np.zeros((2, resamples + 1, len(groups)))
    sums = np.zeros((resamples + 1, BINS + 2))
    by_class = np.split(np.argsort(images.label, kind="stable"), np.cumsum(support)[:-1])
    for label in np.flatnonzero(support):
        rows = images.select(by_class[label])
        predicted_classes, prediction_index = np.unique(rows.prediction, return_inverse=True)
        table = np.hstack([np.eye(len(predicted_classes))[prediction_index], _columns(rows)])
        step = max(1, _MAX_DRAWS_AT_ONCE // len(table))
        for start in range(0, resamples + 1, step):
            block = slice(start, min(start + step, resamples + 1))
            occurrences = _draw_occurrences(rng, block.stop - start, len(table))
            if not start:
                occurrences[0] = 1
            totals = occurrences @ table
            predicted[block, predicted_classes] += totals[:, : len(predicted_classes)]
            correct[block, label] = totals[:, : len(predicted_classes)] @ (predicted_classes == label)
            sums[block] += totals[:, len(predicted_classes) :]
    scores: dict[str, NDArray[np.float64] | None] = {"top1": correct.sum(axis=1) / total}
    if len(images.nll):
        gaps = np.abs(sums[:, 2:]).sum(axis=1)
        scores |= {"top5": sums[:, 0] / total, "nll": sums[:, 1] / total, "ece": gaps / total}
    scores |= mean_scores(correct, support, predicted, groups)
    return {name: _interval(values) for name, values in scores.items() if values is not None}


def _columns(images: ImageScores) -> NDArray[np.float64]:
    """Columns that are summed over images (n, 17): top-5 correct, NLL, and per bin the confidence minus correct."""
    columns = np.zeros((len(images.label), BINS + 2))
    if len(images.nll):
        columns[:, 0], columns[:, 1] = images.top5, images.nll
        is_correct = images.prediction == images.label
        columns[np.arange(len(columns)), 2 + images.bin] = images.confidence - is_correct
    return columns


def _draw_occurrences(rng: np.random.Generator, resamples: int, images: int) -> NDArray[np.float64]:
    """Draw with replacement, and count how often each image occurs in each resample, (resamples, images)."""
    indices = rng.integers(images, size=(resamples, images), dtype=np.int32)
    indices += images * np.arange(resamples, dtype=np.int32)[:, None]
    return np.bincount(indices.ravel(), minlength=indices.size).reshape(indices.shape).astype(np.float64)


def _interval(values: NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(values[1:], _QUANTILES)
    return [float(min(low, values[0])), float(max(high, values[0]))]
