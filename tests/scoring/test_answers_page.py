"""The page of rare classes: which are shown, that answers stand beside their images, and what it refuses."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated import CLASSES, table
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.errors import UserError
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring import answers_page
from glmc_zoo.scoring.answers_page import Answers, rare_classes, write_answers_page

Recipe = Callable[..., Any]


@pytest.fixture
def answers(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> Answers:
    folder = tmp_path / "evaluation"
    outcome = evaluate("--model", run / "model", "--data", animals, "--groups", "terciles", "--output-dir", folder)
    assert outcome.status == 0, outcome.err
    return Answers.read(folder)


def named(answers: Answers, name: str) -> Answers:
    model = dataclasses.replace(answers.results.model, name=name)
    return dataclasses.replace(answers, results=dataclasses.replace(answers.results, model=model))


def test_answers_stand_beside_their_images(
    answers: Answers, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, rows = load_data(animals).test, table(tmp_path / "evaluation")
    sure = dataclasses.replace(named(answers, "<all cats>"), prediction=np.full(len(test), 2))
    write_answers_page(tmp_path / "page.html", [answers, sure], test)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<all cats>" not in page and "&lt;all cats&gt; 7." in page  # all seven cats are right
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    cats = np.flatnonzero(test.labels == 2)
    assert len(figures) == len(cats) == 7
    for figure, position in zip(figures, cats.tolist(), strict=True):
        encoded = re.search(r"base64,([^\"]*)", figure)
        assert encoded is not None
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1]))), dtype=float)
        distances = [np.abs(shown - np.asarray(image, dtype=float)).mean() for image in test.images(range(len(test)))]
        assert np.argmin(distances) == position
        said = re.findall(r'class="(right|wrong)">(.) <bdi>(\w+)</bdi>&nbsp;(\d+)\s%', figure)
        right = rows["correct"][position]
        expected = ("right" if right else "wrong", "✓" if right else "✗", CLASSES[rows["prediction"][position]])
        assert said[0] == (*expected, f"{100 * rows['probability'][position]:.0f}")
        assert said[1][:3] == ("right", "✓", "cat")
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere
    monkeypatch.setattr(answers_page, "MOST_IMAGES", 3)
    write_answers_page(tmp_path / "page.html", [answers], test)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 3 and "The first 3 are shown." in page


def test_rare_classes(answers: Answers) -> None:
    results = dataclasses.replace(
        answers.results, class_counts=[3, 50, 7, 1, 200, 30, 40], thresholds=Thresholds(many=100, few=20)
    )
    assert rare_classes(results) == [2, 0, 3]
    assert rare_classes(dataclasses.replace(results, class_counts=[90, 50, 60, 80, 200, 30, 40])) == [3, 2, 1, 6, 5]
    with pytest.raises(UserError, match=r"^The results have no class counts: give those of models that were trained"):
        rare_classes(dataclasses.replace(results, class_counts=None))


def test_answers_of_other_images_are_refused(answers: Answers, animals: Path, tmp_path: Path) -> None:
    data = load_data(animals)
    with pytest.raises(UserError, match=r"^The answers are not those of the images: give the split that was evaluated"):
        write_answers_page(tmp_path / "page.html", [answers], data.train)
    with pytest.raises(UserError, match=r"^path='.*nowhere.*' cannot be written: No such file or directory\.$"):
        write_answers_page(tmp_path / "nowhere" / "page.html", [answers], data.test)
