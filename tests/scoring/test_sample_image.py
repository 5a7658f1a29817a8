"""The sample image of a card: which image it is, what its file holds, and whose images are shown without asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.errors import UserError
from glmc_zoo.metrics import ScoreCounts
from glmc_zoo.results import DataFacts
from glmc_zoo.scoring.answers import AnswerCollector, Answers
from glmc_zoo.scoring.sample_image import is_publishable, write_sample

COUNTS = [90, 5, 30]


def answers_of(labels: list[int], logits: list[list[float]], batch: int = 10) -> Answers:
    scored, collector = ScoreCounts.empty(COUNTS), AnswerCollector(len(COUNTS))
    for start in range(0, len(labels), batch):
        part = np.array(labels[start : start + batch])
        rows = scored.update(part, logits=np.array(logits[start : start + batch]))
        collector.update(np.arange(start, start + len(part)), rows)
    return collector.gather()


def split_of(labels: list[int], height: int, width: int) -> ImageSplit:
    noise = np.random.default_rng(0).integers(256, size=(len(labels), height, width, 3), dtype=np.uint8)
    return ImageSplit(ArrayImages(noise, "test"), np.arange(len(labels)), np.array(labels), ["a", "b", "c"])


def test_it_is_the_surest_right_answer_of_the_class_in_the_middle(tmp_path: Path) -> None:
    labels = [0, 2, 2, 2, 2, 1, 2]
    logits = [[9, 0, 0], [0, 0, 1], [0, 0, 3], [9, 0, 0], [0, 0, 2], [0, 9, 0], [0, 0, 3]]
    for batch in (10, 2):  # the same whatever the batches; of equal answers the earlier one
        answers = answers_of(labels, logits, batch)
        assert {label: position for label, (_, position) in answers.most_confident.items()} == {0: 0, 1: 5, 2: 2}
    split = split_of(labels, 32, 48)
    assert write_sample(tmp_path, answers, split, COUNTS) == "c"
    with Image.open(tmp_path / "sample.jpg") as image:
        (original,) = split.images([2])
        assert image.format == "JPEG" and image.size == (48, 32)
        assert np.abs(np.asarray(image).astype(int) - np.asarray(original)).mean() < 12


def test_the_file_is_small_and_holds_no_metadata(tmp_path: Path) -> None:
    split = split_of([0], 500, 900)
    write_sample(tmp_path, answers_of([0], [[9, 0, 0]]), split, COUNTS)
    path = tmp_path / "sample.jpg"
    assert path.stat().st_size <= 60_000
    with Image.open(path) as image:
        assert max(image.size) == 384 and not image.getexif() and set(image.info) <= {
            *("jfif", "jfif_version", "jfif_unit", "jfif_density"),
        }  # fmt: skip
    assert [one.name for one in tmp_path.iterdir()] == ["sample.jpg"]


def test_without_a_right_answer_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no image was classified correctly"):
        write_sample(tmp_path, answers_of([1], [[9, 0, 0]]), split_of([1], 8, 8), COUNTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("license", "in_catalogue", "shown"),
    [("cc-by-4.0", True, True), ("cc0-1.0", True, True), ("unknown", True, False), ("cc0-1.0", False, False)],
)
def test_images_of_the_user_are_not_shown_without_asking(license: str, in_catalogue: bool, shown: bool) -> None:
    assert is_publishable(DataFacts(name="d", license=license, in_catalogue=in_catalogue)) is shown
