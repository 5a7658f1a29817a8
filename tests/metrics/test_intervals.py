"""Intervals against a plain loop over resampled images, the binomial distribution, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import ImageScores, ScoreCounts, longtail_scores, score_intervals

COUNTS = [300, 200, 60, 30, 8, 5]
SIZES = [60, 40, 30, 20, 12, 0]
"""Test images of each class; the last class has none."""


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a model that is right more often than not."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(6), SIZES))
    logits = generator.normal(size=(len(labels), 6))
    logits[np.arange(len(labels)), labels] += 1.5
    powers = np.exp(logits)
    return labels, powers / powers.sum(axis=1, keepdims=True)


def rows_of(labels: np.ndarray, probabilities: np.ndarray) -> tuple[ScoreCounts, ImageScores]:
    counts = ScoreCounts.empty(COUNTS)
    return counts, counts.update(labels, probabilities=probabilities)


def by_loop(labels: np.ndarray, probabilities: np.ndarray, resamples: int) -> dict[str, np.ndarray]:
    """Scores of ``resamples`` test sets, each drawn image by image and scored anew."""
    generator, drawn = np.random.default_rng(7), []
    for _ in range(resamples):
        images: list[int] = []
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            images += [int(generator.choice(members)) for _ in members]
        guesses = probabilities[images].argmax(axis=1)
        drawn.append(longtail_scores(guesses, labels[images], COUNTS, probabilities=probabilities[images]))
    return {name: np.array([scores[name] for scores in drawn], np.float64) for name in drawn[0]}


def test_percentiles_are_those_of_a_plain_loop() -> None:
    labels, probabilities = example()
    counts, rows = rows_of(labels, probabilities)
    intervals, scores = score_intervals(rows, counts.groups, resamples=4000), counts.scores()
    expected = by_loop(labels, probabilities, 1500)
    assert intervals.keys() == {name for name, value in scores.items() if value is not None}
    for name, (low, high) in intervals.items():
        reference = np.quantile(expected[name], [0.025, 0.975])
        wanted = [min(reference[0], scores[name]), max(reference[1], scores[name])]
        # Percentiles of two finite samples differ: by about a tenth of their spread.
        assert [low, high] == pytest.approx(wanted, abs=0.3 * expected[name].std()), name
        assert low <= scores[name] <= high, name


def test_one_class_is_binomial() -> None:
    counts = ScoreCounts.empty([100, 100])
    rows = counts.update([0] * 50, predictions=[0] * 35 + [1] * 15)
    low, high = score_intervals(rows, counts.groups, resamples=20_000)["top1"]
    exact = binom.ppf([0.025, 0.975], 50, 0.7) / 50
    assert [low, high] == pytest.approx(exact.tolist(), abs=0.021)  # one image of 50


def test_ninety_five_of_a_hundred_intervals_hold_the_true_score() -> None:
    generator, classes, size = np.random.default_rng(3), 8, 40
    chances = np.linspace(0.5, 0.9, classes)
    labels, held, few_held, trials = np.repeat(np.arange(classes), size), 0, 0, 400
    counts = ScoreCounts.empty([500] * 5 + [5] * 3)
    for _ in range(trials):
        right = generator.random(len(labels)) < chances[labels]
        rows = (counts + counts).update(labels, predictions=np.where(right, labels, (labels + 1) % classes))
        intervals = score_intervals(rows, counts.groups, resamples=300)
        low, high = intervals["balanced_accuracy"]
        held += low <= chances.mean() <= high
        low, high = intervals["few"]
        few_held += low <= chances[5:].mean() <= high
    assert 0.915 < held / trials < 0.98 and 0.905 < few_held / trials < 0.98


def test_a_perfect_class_has_no_spread() -> None:
    counts = ScoreCounts.empty([500, 5])
    intervals = score_intervals(counts.update([0, 0, 0, 1], predictions=[0, 0, 1, 1]), counts.groups)
    assert intervals["few"] == [1.0, 1.0] and intervals["many"] == [0.0, 1.0]
    assert {"top5", "nll", "ece", "medium"}.isdisjoint(intervals)


def test_equal_rows_give_equal_intervals_in_any_batches() -> None:
    labels, probabilities = example()
    counts, rows = rows_of(labels, probabilities)
    again = ScoreCounts.empty(COUNTS)
    batches = [
        again.update(labels[part], probabilities=probabilities[part]) for part in np.array_split(np.arange(162), 5)
    ]
    assert score_intervals(ImageScores.concatenate(batches), again.groups) == score_intervals(rows, counts.groups)


def test_large_classes_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from glmc_zoo.metrics import intervals

    labels, probabilities = example()
    counts, rows = rows_of(labels, probabilities)
    whole = score_intervals(rows, counts.groups)
    monkeypatch.setattr(intervals, "_MAX_DRAWS_AT_ONCE", 200)
    pieces = score_intervals(rows, counts.groups)
    assert {name: pytest.approx(value, abs=0.02) for name, value in whole.items()} == pieces


def test_no_image_is_one_sentence() -> None:
    counts = ScoreCounts.empty(COUNTS)
    with pytest.raises(UserError, match="images has no rows"):
        score_intervals(counts.update([], predictions=[]), counts.groups)
