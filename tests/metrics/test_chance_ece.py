"""The calibration error of perfect probabilities, compared with random draws and with the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest

from glmc_zoo.metrics import ScoreCounts, chance_ece
from glmc_zoo.metrics.chance_ece import _mean_absolute_deviation


@pytest.mark.parametrize(
    ("n", "p"), [(1, 0.3), (5, 0.98), (3, 1 / 3), (100, 0.5), (692, 0.8), (10, 0.999), (1_000_000, 0.7), (4, 0), (7, 1)]
)
def test_mean_absolute_deviation_is_that_of_the_binomial(n: int, p: float) -> None:
    binom = pytest.importorskip("scipy.stats").binom
    values = np.arange(n + 1)
    expected = (np.abs(values - n * p) * binom.pmf(values, n, p)).sum()
    assert _mean_absolute_deviation(n, float(p)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("images", [30, 700])
def test_it_is_the_mean_ece_of_labels_that_follow_the_probabilities(images: int) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(images, 3)) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors = []
    for _ in range(400):
        labels = (rng.random((images, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)
        counts = ScoreCounts.without_groups(3)
        counts.update(labels, probabilities=probabilities)
        errors.append(counts.scores()["ece"])
    standard_error = np.std(errors) / 20
    assert chance_ece(counts) == pytest.approx(np.mean(errors), abs=4 * standard_error + 0.001)


def test_more_images_have_less_of_it_and_certain_ones_none() -> None:
    def of(images: int, probability: float) -> float | None:
        counts = ScoreCounts.without_groups(2)
        counts.update([0] * images, probabilities=[[probability, 1 - probability]] * images)
        return chance_ece(counts)

    assert of(400, 0.8) == pytest.approx(of(100, 0.8) / 2, rel=0.01)
    assert of(50, 1.0) == 0
    assert of(2, 0.8) == pytest.approx((0.64 * 0.4 + 0.32 * 0.6 + 0.04 * 1.6) / 2)


def test_there_is_none_without_probabilities() -> None:
    counts = ScoreCounts.without_groups(2)
    counts.update([0, 1], predictions=[0, 1])
    assert chance_ece(counts) is None
