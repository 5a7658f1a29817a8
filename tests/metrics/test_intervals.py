"""Intervals against a plain loop over resampled images, the binomial distribution, and their coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import ImageScores, ScoreCounts, longtail_scores, score_intervals, wilson_interval

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


def wilson(correct: int, images: int) -> list[float]:
    """The interval of Wilson by SciPy."""
    interval = binomtest(correct, images).proportion_ci(method="wilson")
    return [interval.low, interval.high]


def intervals_of(correct: list[int], support: list[int], counts: list[int]) -> dict[str, list[float]]:
    """Intervals of classes with so many right images; all others are predicted as one more class without images."""
    classes = len(support)
    labels = np.repeat(np.arange(classes), support)
    first = np.concatenate([np.arange(images) for images in support])
    predictions = np.where(first < np.array(correct)[labels], labels, classes)
    scored = ScoreCounts.empty([*counts, 1000])
    return score_intervals(scored.update(labels, predictions=predictions), scored.groups)


@pytest.mark.parametrize(("correct", "images"), [(0, 1), (1, 1), (4, 4), (3, 5), (0, 20), (97, 100)])
def test_the_interval_of_a_share_is_that_of_scipy(correct: int, images: int) -> None:
    low, high = wilson_interval(correct / images, images)
    assert [float(low), float(high)] == pytest.approx(wilson(correct, images), abs=1e-12)
    assert low <= correct / images <= high


@pytest.mark.parametrize(
    ("share", "images", "sentence"),
    [
        (0.5, 0, "images=0 is not accepted: give a number above 0."),
        ([0.5, 97.0], [9, 100], "share=97 is not accepted: give a fraction between 0 and 1."),
        (float("nan"), 3, "share=nan is not accepted: give a fraction between 0 and 1."),
    ],
)
def test_an_interval_of_no_share_is_refused(share: Any, images: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        wilson_interval(share, images)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("share", [0, 1])
def test_a_score_of_0_or_100_percent_on_few_images_is_not_certain(share: int) -> None:
    intervals = intervals_of([3 * share, 2 * share], [3, 2], [500, 5])
    assert intervals["top1"] == pytest.approx(wilson(5 * share, 5))
    assert intervals["many"] == pytest.approx(wilson(3 * share, 3))
    assert intervals["few"] == pytest.approx(wilson(2 * share, 2))
    # Two classes of 3 and 2 images: the variance of their mean recall is that of 4.8 images of equal weight.
    low, high = wilson_interval(share, 4.8)
    assert intervals["balanced_accuracy"] == pytest.approx([float(low), float(high)])
    assert intervals["worst"] == pytest.approx(wilson(2, 2) if share else wilson(0, 3))
    assert intervals.keys().isdisjoint({"hmean", "gmean", "macro_f1", "top5", "nll", "ece", "medium"})


def test_one_image_a_class_gives_the_interval_of_their_share() -> None:
    """Resampling one image of each class repeats the test set, although two of ten images are wrong."""
    intervals = intervals_of([1] * 8 + [0] * 2, [1] * 10, [5] * 10)
    for name in ("top1", "balanced_accuracy", "few"):
        assert intervals[name] == pytest.approx(wilson(8, 10)), name
    assert intervals["worst"] == pytest.approx(wilson(0, 1))
    assert "hmean" not in intervals and "macro_f1" not in intervals


def test_constant_classes_widen_the_interval_of_the_others() -> None:
    alone = intervals_of([12], [20], [500])["many"]
    both = intervals_of([12, 2], [20, 2], [500, 500])["many"]
    assert both[0] == pytest.approx(0.8 - np.hypot((0.6 - alone[0]) / 2, (1 - wilson(2, 2)[0]) / 2), abs=0.02)
    assert both[1] == pytest.approx(0.8 + (alone[1] - 0.6) / 2, abs=0.02)


def test_classes_with_spread_keep_the_percentiles_of_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    from glmc_zoo.metrics import intervals

    labels, probabilities = example()
    counts, rows = rows_of(labels, probabilities)
    assert ((counts.correct > 0) & (counts.correct < counts.support))[counts.support > 0].all()
    expected = score_intervals(rows, counts.groups)
    monkeypatch.setattr(intervals, "_add_constant_classes", lambda intervals, *_: intervals)
    assert score_intervals(rows, counts.groups) == expected


def test_top5_of_more_than_five_classes_is_not_certain() -> None:
    for classes, expected in ((5, None), (6, wilson(12, 12))):  # of five classes it is 1 by definition
        probabilities = np.full((12, classes), 0.1 / (classes - 1))
        probabilities[:, 0] = 0.9
        counts = ScoreCounts.empty([50] * classes)
        rows = counts.update([0] * 9 + [1] * 3, probabilities=probabilities)
        intervals = score_intervals(rows, counts.groups)
        assert intervals.get("top5") == (None if expected is None else pytest.approx(expected))
        assert {"nll", "ece"}.isdisjoint(intervals)  # images of a class have the same probabilities


@pytest.mark.parametrize("right", [True, False])
def test_errors_of_probabilities_have_no_interval_without_both_outcomes(right: bool) -> None:
    labels, generator = np.arange(12) % 3, np.random.default_rng(0)
    confidence = generator.uniform(0.9, 0.99, 12)
    probabilities = np.repeat((1 - confidence[:, None]) / 2, 3, axis=1)
    probabilities[np.arange(12), labels if right else (labels + 1) % 3] = confidence
    counts = ScoreCounts.empty([50] * 3)
    rows = counts.update(labels, probabilities=probabilities)
    assert counts.correct.sum() == (12 if right else 0)
    assert {"nll", "ece"}.isdisjoint(score_intervals(rows, counts.groups))


@pytest.mark.parametrize(("classes", "images", "chance"), [(1, 3, 0.7), (3, 2, 0.9), (10, 1, 0.8), (10, 2, 0.95)])
def test_intervals_of_a_few_images_hold_the_true_score(classes: int, images: int, chance: float) -> None:
    """The bootstrap alone holds it in 0 % to 64 % of these test sets."""
    generator, trials, held = np.random.default_rng(5), 150, 0
    for _ in range(trials):
        correct = generator.binomial(images, chance, classes)
        low, high = intervals_of(correct.tolist(), [images] * classes, [500] * classes)["balanced_accuracy"]
        held += low <= chance <= high
    assert held / trials > 0.88


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
