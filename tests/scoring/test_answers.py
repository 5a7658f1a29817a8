"""What is kept of a pass over a split: all pairs of classes, and the images of each class that a report shows."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glmc_zoo.metrics import ImageScores, ScoreCounts
from glmc_zoo.scoring import answers as module
from glmc_zoo.scoring.answers import AnswerCollector, Answers, images_of_each_class

CLASSES, IMAGES = 7, 400


@pytest.fixture
def scored() -> ImageScores:
    """Rows of 400 images, some of equal logits."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=IMAGES)
    logits = rng.normal(size=(IMAGES, CLASSES)) + 1.5 * np.eye(CLASSES)[labels]
    logits[200:] = logits[:200]
    labels[200:] = labels[:200]
    return ScoreCounts.without_groups(CLASSES).update(labels, logits=logits)


def collected(scored: ImageScores, batches: list[np.ndarray[Any, Any]], pixels: torch.Tensor | None = None) -> Answers:
    collector = AnswerCollector(CLASSES)
    for batch in batches:
        collector.update(batch, scored.select(batch), None if pixels is None else pixels[torch.from_numpy(batch)])
    return collector.gather()


def test_the_images_are_those_of_a_plain_sort(scored: ImageScores) -> None:
    answers = collected(scored, [np.arange(IMAGES)])
    mistakes, unsure = images_of_each_class(CLASSES)
    expected = []
    for label in range(CLASSES):
        rows = [i for i in range(IMAGES) if scored.label[i] == label]
        wrong = [i for i in rows if scored.prediction[i] != label]
        right = [i for i in rows if scored.prediction[i] == label]
        expected += sorted(wrong, key=lambda i: -scored.confidence[i])[:mistakes]
        expected += sorted(right, key=lambda i: scored.confidence[i])[:unsure]
    assert answers.position.tolist() == expected and len(expected) == CLASSES * (mistakes + unsure)
    np.testing.assert_array_equal(answers.label, scored.label[expected])
    np.testing.assert_array_equal(answers.prediction, scored.prediction[expected])
    np.testing.assert_array_equal(answers.probability, scored.confidence[expected])
    pairs = Counter(zip(scored.label.tolist(), scored.prediction.tolist(), strict=True))
    assert answers.pairs.tolist() == [[*pair, number] for pair, number in sorted(pairs.items())]


def test_batches_and_processes_do_not_matter(scored: ImageScores, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collected(scored, [np.arange(IMAGES)])
    shuffled = np.random.default_rng(1).permutation(IMAGES)
    parts = []
    for share in (shuffled[::2], shuffled[1::2]):
        collector = AnswerCollector(CLASSES)
        for batch in np.array_split(share, 9):
            collector.update(batch, scored.select(batch))
        collector.update(np.zeros(0, np.int64), scored.select(np.zeros(0, np.int64)))
        with monkeypatch.context() as patch:
            patch.setattr(module, "gather_object", lambda objects: parts.extend(objects) or objects)
            collector.gather()
    monkeypatch.setattr(module, "gather_object", lambda objects: parts)
    joined = AnswerCollector(CLASSES).gather()
    for name, column in vars(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), column, err_msg=name)


def test_no_more_is_kept_than_a_report_shows(scored: ImageScores) -> None:
    pixels = torch.randint(256, (IMAGES, 3, 150, 90), dtype=torch.uint8)
    pixels[:] = torch.arange(IMAGES)[:, None, None, None] % 256
    batches = np.array_split(np.arange(IMAGES), 20)
    answers = collected(scored, batches, pixels)
    assert set(answers.pixels) == set(answers.position.tolist())
    for position, data in answers.pixels.items():
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG" and image.size == (67, 112)
            assert abs(int(np.asarray(image).mean()) - position % 256) <= 2


@pytest.mark.parametrize(("classes", "expected"), [(2, (8, 4)), (83, (8, 4)), (200, (4, 1)), (8142, (2, 1))])
def test_how_many_images_each_class_has(classes: int, expected: tuple[int, int]) -> None:
    assert images_of_each_class(classes) == expected
