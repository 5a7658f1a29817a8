"""Training where some or all classes have no test image: scores, files, card and what reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from glmc_zoo.hub import check_card, list_models
from glmc_zoo.results import RunResults

Train = Callable[..., Any]
SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 2, "--batch-size", 8, "--warmup-epochs", 0]


@pytest.fixture(autouse=True)
def cache(own_cache: None) -> None:
    """Every test has its own cache of ``datasets``."""


def test_a_rare_class_that_no_test_image_shows(train: Train, lab: Any, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "data", {"ant": 12, "bee": 8, "cat": 4})
    shutil.rmtree(images / "test" / "cat")
    shots = ["--many-threshold", 10, "--few-threshold", 10]
    outcome = train("--data", images, *SMALL, *shots, "--output-dir", tmp_path / "run", plots=True)
    assert outcome.status == 0, outcome.err
    assert "note: 1 class has no test image (cat)" in outcome.out and "few (1 of 2 cl., 5 img.)" in outcome.out
    results = RunResults.load(tmp_path / "run" / "results.json")
    assert results.class_counts == [12, 8, 4] and results.test is not None and results.class_recalls is not None
    assert results.class_recalls[2] is None and results.test.few == results.class_recalls[1]
    low, high = results.intervals["test"]["few"]
    assert low <= results.test.few <= high  # type: ignore[operator]  # it is tested
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| 2, 1 of them tested (5 images) |" in card and "In brackets: 95 % interval" in card


def test_without_a_test_split(train: Train, lab: Any, tmp_path: Path) -> None:
    """No scores but those of the validation split, which also chooses the epoch."""
    images = lab.images(tmp_path / "data", {"ant": 12, "bee": 8, "cat": 4})
    held = ["--val-fraction", 0.25, "--select", "best"]
    outcome = train("--data", images, *SMALL, "--no-test", *held, "--output-dir", tmp_path / "run", plots=True)
    assert outcome.status == 0, outcome.err
    assert "note: The test split of 15 images is not used" in outcome.out and "no test images" in outcome.out
    assert "validation scores in %" in outcome.out
    results = RunResults.load(tmp_path / "run" / "results.json")
    assert results.test is None and results.class_recalls is None and results.validation is not None
    assert results.intervals.keys() == {"validation"} and results.group_support == {}
    assert (results.data.no_test, results.data.test_images) == (True, None)
    assert results.data.train_images + results.data.val_images == 24 and results.data.val_images > 0
    assert results.plots == ["training.png"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{results.data.val_images} validation images" in page and 'id="class-table"' in page and "<img " in page
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "no images were left to test it on" in card and "that were held out for validation" in card
    check_card(card, scored=False)
    metadata: Any = ModelCard(card)
    assert metadata.data.eval_results is None and "None" not in card.partition("<details>")[0]
    (listed,) = list_models(tmp_path / "run")
    assert listed.scores == {}


def test_without_any_image_to_score(train: Train, lab: Any, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "data", {"ant": 9, "bee": 1}, test=0)
    outcome = train("--data", images / "train", *SMALL, "--no-test", "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert "no images were left for a test" in outcome.out
    results = RunResults.load(tmp_path / "run" / "results.json")
    assert results.class_counts == [9, 1] and results.test is results.validation is None and results.intervals == {}
    assert not [row for row in lab.rows(tmp_path / "run") if row.get("test") or row.get("validation")]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "No images were left to score this model on." in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "answers.json").exists()
    assert "Not evaluated: the model was trained without a test split." in card and "| Score |" not in card
