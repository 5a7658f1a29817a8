"""One pass over a split: counts of every image, a row for each, and a noise where one is missed or comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from glmc_zoo.metrics import ScoreCounts, score_intervals
from glmc_zoo.scoring.calibration import split_logits
from glmc_zoo.scoring.loop import Predictions, ScoredSplit, score_split, top_classes
from glmc_zoo.scoring.model import Classifier

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])
CONFIG = {"input_size": (3, 1, 1), "mean": (0.0,) * 3, "std": (0.1,) * 3}
CONFIG |= {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"}


class Pixel(nn.Module):
    """Three logits of 0 to 10: the channels of the only pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(3)

    def forward(self, pixels: Tensor) -> Tensor:
        assert not self.training
        return pixels[:, :, 0, 0]


def images() -> Tensor:
    """Seven images whose values differ."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(256, generator=generator)[:3] for _ in LABELS]).to(torch.uint8)[..., None, None]


def batches(positions: list[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for batch in positions:
        yield images()[batch], LABELS[batch], torch.tensor(batch, dtype=torch.int64)


def score(positions: list[list[int]], **options: Any) -> ScoredSplit:
    classifier = Classifier.from_network(Pixel(), 3, CONFIG, torch.device("cpu"))
    classifier.network.train().frozen.eval()
    empty = ScoreCounts.empty([200, 50, 5])
    scored = score_split(classifier, batches(positions), empty, Accelerator(cpu=True), **{"total": 7, **options})
    assert classifier.network.training and not classifier.network.frozen.training  # as they were
    return scored


def test_counts_and_rows() -> None:
    scored = score([[4, 2, 0], [], [6, 5], [1, 3]], keep_predictions=True)
    logits = images()[..., 0, 0].double() / 25.5
    order = logits.argsort(dim=1, descending=True)
    assert scored.predictions is not None and scored.plain is None
    assert scored.predictions.index.tolist() == list(range(7)) and scored.predictions.label.tolist() == LABELS.tolist()
    assert scored.predictions.top.tolist() == order.tolist()
    np.testing.assert_allclose(scored.predictions.probabilities, logits.softmax(dim=1).gather(1, order), rtol=1e-5)
    hits = LABELS[order[:, 0] == LABELS]
    assert scored.counts.correct.tolist() == torch.bincount(hits, minlength=3).tolist()
    assert scored.counts.support.tolist() == [3, 2, 2] and scored.counts.total == 7


def test_logits_of_a_split_are_in_its_order() -> None:
    classifier = Classifier.from_network(Pixel(), 3, CONFIG, torch.device("cpu"))
    classifier.network.train().frozen.eval()
    logits, labels = split_logits(classifier, batches([[4, 2, 0], [6, 5], [1, 3]]), Accelerator(cpu=True))
    np.testing.assert_allclose(logits, images()[..., 0, 0].double() / 25.5, rtol=1e-5)
    assert labels.tolist() == LABELS.tolist()
    assert classifier.network.training and not classifier.network.frozen.training  # as they were


def test_logits_are_selected_and_then_corrected() -> None:
    options = {"select": lambda logits: logits[:, [2, 0, 1]], "correct": lambda logits: -logits}
    scored = score([[0, 1, 2, 3, 4, 5, 6]], keep_predictions=True, **options)
    selected = images()[..., 0, 0].long()[:, [2, 0, 1]]
    assert scored.predictions is not None and scored.plain is not None
    assert scored.predictions.top[:, 0].tolist() == selected.argmin(dim=1).tolist()
    for counts, guesses in ((scored.counts, selected.argmin(dim=1)), (scored.plain, selected.argmax(dim=1))):
        assert counts.predicted.tolist() == torch.bincount(guesses, minlength=3).tolist()


def test_intervals_are_those_of_the_images_in_the_order_of_the_split() -> None:
    """The same in any batches, with and without a correction."""
    counts = ScoreCounts.empty([200, 50, 5])
    expected = score_intervals(counts.update(LABELS, logits=images()[..., 0, 0].numpy() / 25.5), counts.groups)
    for positions in ([[4, 2, 0], [], [6, 5], [1, 3]], [list(range(7))]):
        scored = score(positions, intervals=True, correct=lambda logits: -logits)
        assert scored.plain_intervals == {name: pytest.approx(interval) for name, interval in expected.items()}
        # Without a right image in a class both means are 0 in every resample, which gives no interval.
        assert expected.keys() - scored.intervals.keys() == {"hmean", "gmean"}
        assert scored.counts.correct.min() == 0 and scored.intervals.keys() < expected.keys()
    assert score([list(range(7))]).intervals == {}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("positions", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 3], [3, 4, 5, 6]]])
def test_an_image_that_is_missed_or_comes_twice(positions: list[list[int]], keep: bool) -> None:
    with pytest.raises(RuntimeError, match=r"of a split of 7|for a split of 7"):
        score(positions, keep_predictions=keep)


def test_a_stream_of_unknown_length() -> None:
    """Positions may have gaps, which the rows close; none may come twice."""
    scored = score([[5, 0], [3]], keep_predictions=True, total=None)
    assert scored.predictions is not None and scored.counts.total == 3
    assert scored.predictions.index.tolist() == [0, 1, 2]
    assert scored.predictions.label.tolist() == LABELS[[0, 3, 5]].tolist()
    with pytest.raises(RuntimeError, match="gave 3 predictions"):
        score([[5, 0], [5]], keep_predictions=True, total=None)


def test_the_lower_of_equal_classes_comes_first() -> None:
    logits = torch.zeros(2, 40)
    logits[1, 7] = logits[1, 30] = 1
    order, probabilities = top_classes(logits, 5)
    assert order.tolist() == [[0, 1, 2, 3, 4], [7, 30, 0, 1, 2]]
    np.testing.assert_allclose(probabilities[0], 1 / 40)
    assert probabilities.dtype == torch.float64


def test_rows_of_several_batches_are_joined_in_the_order_of_the_split() -> None:
    logits = torch.eye(3)
    parts = [
        Predictions.from_batch(torch.tensor(index), torch.tensor(label), logits[label])
        for index, label in (([2, 5], [0, 1]), ([0, 1], [2, 1]))
    ]
    joined = Predictions.concatenate(parts)
    assert joined.index.tolist() == [0, 1, 2, 5]
    assert joined.label.tolist() == joined.top[:, 0].tolist() == [2, 1, 0, 1]
