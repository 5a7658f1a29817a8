"""Which classes are rare, and what two runs are called."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from reports import evaluation

from glmc_zoo.errors import UserError
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.page.subject import Subject, rare_classes, short_names


def test_rare_classes(tmp_path: Path) -> None:
    counts, thresholds = [3, 50, 7, 1, 200, 30, 40], Thresholds(many=100, few=20)
    results = dataclasses.replace(evaluation(tmp_path, 7, 70).results, class_counts=counts, thresholds=thresholds)
    assert rare_classes(results) == [2, 0, 3]
    assert rare_classes(dataclasses.replace(results, class_counts=[90, 50, 60, 80, 200, 30, 40])) == [3, 2, 1, 6, 5]
    with pytest.raises(UserError, match=r"^The results do not say how many training images each class has: give"):
        rare_classes(dataclasses.replace(results, class_counts=None))


def test_names_are_as_long_as_needed(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", 3, 9, name="same")
    second, third = evaluation(tmp_path / "b", 3, 9, name="same"), evaluation(tmp_path / "c", 3, 9, name="other")
    assert short_names([first, third]) == ["same", "other"]
    assert short_names([first, second, third]) == [str(tmp_path / "a"), str(tmp_path / "b"), "other"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no results\.json: give the folder of a finished run\.$"):
        Subject.load(tmp_path)
