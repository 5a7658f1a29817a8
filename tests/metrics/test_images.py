"""The row of each image against its softmax, and batches that give the rows of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from glmc_zoo.metrics import ImageScores, ScoreCounts

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 7, 50)
LOGITS = GENERATOR.normal(size=(50, 7))


def test_rows_hold_what_the_softmax_gives() -> None:
    rows = ScoreCounts.empty([9] * 7).update(LABELS, logits=LOGITS)
    powers = np.exp(LOGITS)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(rows.prediction, probabilities.argmax(axis=1))
    np.testing.assert_allclose(rows.confidence, probabilities.max(axis=1))
    np.testing.assert_allclose(rows.nll, -np.log(probabilities[np.arange(50), LABELS]))
    best = np.argsort(-probabilities, axis=1)[:, :5]
    np.testing.assert_array_equal(rows.top5, (best == LABELS[:, None]).any(axis=1))
    np.testing.assert_array_equal(rows.bin, np.ceil(15 * probabilities.max(axis=1)) - 1)


def test_rows_add_up_to_the_counts() -> None:
    counts = ScoreCounts.empty([9] * 7)
    rows = ImageScores.concatenate(
        [counts.update(LABELS[part], logits=LOGITS[part]) for part in (slice(30), slice(30, 50))]
    )
    assert rows.nll.sum() == pytest.approx(float(counts.nll_sum))
    assert rows.top5.sum() == counts.top5_correct.sum() and len(rows.label) == counts.total
    np.testing.assert_array_equal(np.bincount(rows.bin, minlength=15), counts.bin_images)


@pytest.mark.parametrize("given", [{"logits": LOGITS[:0]}, {"predictions": LABELS[:0]}])
def test_an_empty_batch_has_no_rows(given: dict[str, np.ndarray]) -> None:
    assert len(ScoreCounts.empty([9] * 7).update([], **given).label) == 0


def test_rows_without_probabilities_can_be_selected() -> None:
    rows = ScoreCounts.empty([9] * 7).update(LABELS, predictions=LABELS).select(np.array([3, 1]))
    assert rows.label.tolist() == LABELS[[3, 1]].tolist() and len(rows.nll) == 0
