"""95 % intervals of the scores: how far they move when other test images of the same classes are drawn."""

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.errors import UserError

from .images import BINS, ImageScores
from .longtail import mean_scores

RESAMPLES = 1000
"""Test sets that are drawn for an interval."""

_SEED = 0
_QUANTILES = (0.025, 0.975)
_DRAWS_AT_ONCE = 1 << 20


def score_intervals(
    images: ImageScores, groups: NDArray[np.int64], *, resamples: int = RESAMPLES
) -> dict[str, list[float]]:
    """95 % interval ``[low, high]`` of each score of `ScoreCounts.scores` that is not ``None``, in the same units.

    A bootstrap over images within classes. Each of 1000 resamples draws, from each class of ``n`` test images, ``n``
    images with replacement, and is scored like the test set. The interval runs from the 2.5th to the 97.5th percentile
    of these scores, and further where the score itself lies outside. Classes, their numbers of images and the seed are
    fixed, so equal rows give equal intervals. The number of right images of a class is thus drawn from
    ``Binomial(n, right / n)``.

    What an interval does not say:

    - It is about other test images of the same kind, not about another training.
    - A class whose images are all right, or all wrong, has no spread, however few they are.
    - The variance of a class is too small by the factor ``(n - 1) / n``: intervals that rest on a handful of images
      are too narrow.
    - ``worst``, ``hmean``, ``gmean`` and ``ece`` are no means over images, and chance moves them one way: the worst
      class of a resample is worse than that of the test set. Their intervals lie to that side.

    Args:
        images: Rows of all test images; the seed draws by the order of the rows within each class.
        groups: Group of each class, int64 (C,), as in `ScoreCounts`.
        resamples: Test sets to draw.

    Raises:
        UserError: There is no image.
    """
    total = len(images.label)
    if not total:
        raise UserError("There is no image to score: check the split that was evaluated.")
    support, rng = np.bincount(images.label, minlength=len(groups)), np.random.default_rng(_SEED)
    # Row 0 stands for the test set itself.
    correct, predicted = np.zeros((2, resamples + 1, len(groups)))
    sums = np.zeros((resamples + 1, BINS + 2))
    by_class = np.split(np.argsort(images.label, kind="stable"), np.cumsum(support)[:-1])
    for label in np.flatnonzero(support):
        rows = images.select(by_class[label])
        guesses, which = np.unique(rows.prediction, return_inverse=True)
        table = np.hstack([np.eye(len(guesses))[which], _columns(rows)])
        step = max(1, _DRAWS_AT_ONCE // len(table))
        for start in range(0, resamples + 1, step):
            draws = slice(start, min(start + step, resamples + 1))
            times = _times_drawn(rng, draws.stop - start, len(table))
            if not start:
                times[0] = 1
            drawn = times @ table
            predicted[draws, guesses] += drawn[:, : len(guesses)]
            correct[draws, label] = drawn[:, : len(guesses)] @ (guesses == label)
            sums[draws] += drawn[:, len(guesses) :]
    scores: dict[str, NDArray[np.float64] | None] = {"top1": correct.sum(axis=1) / total}
    if len(images.nll):
        gaps = np.abs(sums[:, 2:]).sum(axis=1)
        scores |= {"top5": sums[:, 0] / total, "nll": sums[:, 1] / total, "ece": gaps / total}
    scores |= mean_scores(correct, support, predicted, groups)
    return {name: _interval(values) for name, values in scores.items() if values is not None}


def _columns(images: ImageScores) -> NDArray[np.float64]:
    """For each image (n, 17): whether it is right by top-5, its NLL, and confidence minus right in its bin's column."""
    columns = np.zeros((len(images.label), BINS + 2))
    if len(images.nll):
        columns[:, 0], columns[:, 1] = images.top5, images.nll
        right = images.prediction == images.label
        columns[np.arange(len(columns)), 2 + images.bin] = images.confidence - right
    return columns


def _times_drawn(rng: np.random.Generator, resamples: int, images: int) -> NDArray[np.float64]:
    """How often each image is drawn in each resample, (resamples, images)."""
    draws = rng.integers(images, size=(resamples, images), dtype=np.int32)
    draws += images * np.arange(resamples, dtype=np.int32)[:, None]
    return np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape).astype(np.float64)


def _interval(values: NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(values[1:], _QUANTILES)
    return [float(min(low, values[0])), float(max(high, values[0]))]
