"""95 % intervals of the scores: how much they vary with the choice of test images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

from .images import BINS, ImageScores
from .longtail import GROUPS, mean_scores

RESAMPLES = 1000
"""Number of test sets that are drawn for an interval."""

_SEED = 0
_QUANTILES = (0.025, 0.975)
_NORMAL_QUANTILE = 1.959963984540054  # the 97.5th percentile of the standard normal distribution
_NO_SPREAD = 1e-12
_MAX_DRAWS_AT_ONCE = 1 << 20


def score_intervals(
    images: ImageScores, groups: NDArray[np.int64], *, resamples: int = RESAMPLES
) -> dict[str, list[float]]:
    """Compute the 95 % interval ``[low, high]`` of each score of `ScoreCounts.scores` that is not ``None``.

    The method is a bootstrap over the images of each class. Each of 1000 resamples draws ``n`` images with replacement
    from each class of ``n`` test images, and is scored like the test set. The interval runs from the 2.5th to the
    97.5th percentile of these scores. It is widened where the score itself lies outside. The seed is fixed, so equal
    rows give equal intervals.

    A class whose images are all right, or all wrong, is equal in every resample, however few images it has. The
    intervals of top-1, balanced accuracy and the shot groups are therefore widened where there are such classes: by
    the `wilson_interval` of their mean recall, with the number of images that gives the same variance. The two parts
    are combined by the root of the sum of their squares on each side (Newcombe, Statistics in Medicine 17, 1998,
    method 10). In a simulation of balanced accuracy with 1 to 30 classes, 1 to 20 images a class and recalls from 0.5
    to 0.95, these intervals hold the true value in 96 % of the test sets on average and in 85 % at least. The
    bootstrap alone holds it in 66 % on average; with one image a class its intervals have no width.

    Other scores that are equal in all resamples: ``worst``, and ``top5`` of more than five classes, have a
    `wilson_interval`; all others, such as ``hmean`` and ``macro_f1``, have no interval and are left out. ``nll`` and
    ``ece`` are also left out where all images are right or all are wrong, because resampling never changes that.

    Limits of these intervals:

    - They describe the choice of test images, not the variation between trainings.
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
    support = np.bincount(images.label, minlength=len(groups))
    correct, predicted, sums = _resample(images, support, resamples)
    scores: dict[str, NDArray[np.float64] | None] = {"top1": correct.sum(axis=1) / total}
    if len(images.nll):
        gaps = np.abs(sums[:, 2:]).sum(axis=1)
        scores |= {"top5": sums[:, 0] / total, "nll": sums[:, 1] / total, "ece": gaps / total}
    scores |= mean_scores(correct, support, predicted, groups)
    intervals = {name: _interval(values) for name, values in scores.items() if values is not None}
    return _add_constant_classes(intervals, correct[0], support, groups)


def _resample(
    images: ImageScores, support: NDArray[np.int64], resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw test sets of the same number of images of each class; row 0 of the result is the test set itself.

    Returns:
        Right images of each class (R + 1, C), images that were predicted as each class (R + 1, C), and the sums of
        `_columns` (R + 1, 17).
    """
    rng = np.random.default_rng(_SEED)
    correct, predicted = np.zeros((2, resamples + 1, len(support)))
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
    return correct, predicted, sums


def wilson_interval(share: ArrayLike, images: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the 95 % interval of a share of images (Wilson, Journal of the American Statistical Association, 1927).

    It has a width for a share of 0 or 1 too: it runs from 21 % to 100 % for one image that is classified correctly.

    Args:
        share: Share of the images, 0 to 1, of any shape.
        images: Number of images, above 0, of the same shape; effective numbers may be fractions.

    Returns:
        Lower and upper ends, float64 of that shape.

    Raises:
        UserError: A share is not between 0 and 1, or a number of images is not above 0.
    """
    share, images = np.asarray(share, np.float64), np.asarray(images, np.float64)
    for name, values, accepted, allowed in (
        ("share", share, (share >= 0) & (share <= 1), "a fraction between 0 and 1"),
        ("images", images, images > 0, "a number above 0"),
    ):
        if not accepted.all():
            raise UserError(f"{name}={values[~accepted].flat[0]:g} is not accepted: give {allowed}.")
    square = _NORMAL_QUANTILE**2
    centre = (share + square / (2 * images)) / (1 + square / images)
    spread = np.sqrt(share * (1 - share) / images + square / (4 * images**2))
    half = _NORMAL_QUANTILE / (1 + square / images) * spread
    # Rounding must not put the share outside its own interval.
    low, high = np.minimum(centre - half, share), np.maximum(centre + half, share)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def _add_constant_classes(
    intervals: dict[str, list[float]],
    correct: NDArray[np.float64],
    support: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> dict[str, list[float]]:
    """Widen or leave out the intervals that resampling makes too narrow, see `score_intervals`.

    ``correct`` and ``support`` are the right images and all images of each class, (C,).
    """
    tested = support > 0
    recall, images = correct[tested] / support[tested], support[tested]
    for name, weights in _class_weights(images, groups[tested]):
        intervals[name] = _widened(intervals[name], weights, recall, images)
    if correct.sum() in (0, support.sum()):
        intervals = {name: interval for name, interval in intervals.items() if name not in ("nll", "ece")}
    for name in [name for name, (low, high) in intervals.items() if high - low < _NO_SPREAD]:
        value = intervals[name][0]
        if name == "worst":
            # A lower end for classes that are all perfect comes from the smallest of them. The recall of the worst
            # class is at most that of any class, so the largest class without a right image bounds it best.
            number = images.min() if value > 0 else images[recall == 0].max()
            intervals[name] = [float(end) for end in wilson_interval(value, number)]
        elif name == "top5" and len(support) > 5:  # with fewer classes it is 1 by definition
            intervals[name] = [float(end) for end in wilson_interval(value, images.sum())]
        else:
            del intervals[name]
    return intervals


def _class_weights(images: NDArray[np.int64], groups: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and weights (C,) of each score that is a weighted mean of the recalls of the C tested classes."""
    yield "top1", images / images.sum()
    yield "balanced_accuracy", np.full(len(images), 1 / len(images))
    for group, name in enumerate(GROUPS):
        inside = groups == group
        if inside.any():
            yield name, inside / inside.sum()


def _widened(
    interval: list[float], weights: NDArray[np.float64], recall: NDArray[np.float64], images: NDArray[np.int64]
) -> list[float]:
    """Add the uncertainty of the classes that are all right or all wrong to the interval of a weighted mean."""
    constant = ((recall == 0) | (recall == 1)) & (weights > 0)
    if not constant.any():
        return interval
    score, share = weights @ recall, weights[constant].sum()
    mean = weights[constant] @ recall[constant] / share
    # Images of equal weight whose mean would have the same variance, if all recalls were equal.
    number = share**2 / (weights[constant] ** 2 / images[constant]).sum()
    low, high = wilson_interval(mean, number)
    below, above = (
        np.hypot(score - interval[0], share * (mean - low)),
        np.hypot(interval[1] - score, share * (high - mean)),
    )
    # The interval holds the score exactly, and `score` here may differ from it in the last bits.
    return [float(max(min(interval[0], score - below), 0.0)), float(min(max(interval[1], score + above), 1.0))]


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
