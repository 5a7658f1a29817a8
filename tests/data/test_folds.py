"""Folds of the training images: classes are spread evenly, groups and equal images stay together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmc_zoo.data import load_data
from glmc_zoo.data.folds import ALWAYS_TRAINS, deal, stay_trained, training_folds


def contents(values: list[int]) -> Any:
    return np.asarray(values, dtype=">u8").view("V8")


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=60), folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_classes_are_spread_evenly_and_never_held_out_whole(labels: list[int], folds: int, seed: int) -> None:
    classes = np.asarray(labels)
    fold = deal(contents(list(range(len(labels)))), classes, folds, str(seed))
    for label in np.unique(classes):
        counts = np.bincount(fold[classes == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    final = stay_trained(fold, classes)
    for label in np.unique(classes):
        for number in range(folds):
            assert ((classes == label) & (final != number)).any()
    assert (final[final != ALWAYS_TRAINS] == fold[final != ALWAYS_TRAINS]).all()


def test_equal_images_share_a_fold() -> None:
    values = [number % 10 for number in range(40)]
    fold = deal(contents(values), np.zeros(40, dtype=np.int64), 5, "0")
    for value in range(10):
        assert len(set(fold[np.asarray(values) == value])) == 1


def test_groups_do_not_leak(lab: Any, tmp_path: Path) -> None:
    lab.images(tmp_path / "animals", {"ant": 30, "bee": 20, "cat": 10})
    data = load_data(tmp_path / "animals", split_by=r"path:(\d)\.png$")
    assert data.groups is not None and len(data.groups) == len(data.train)
    fold = training_folds(data, 4, seed=0)
    for group in np.unique(data.groups):
        assert len(set(fold[data.groups == group])) == 1
    for label in range(3):
        for number in range(4):
            assert ((data.train.labels == label) & (fold != number)).any()
    held = np.bincount(fold[fold >= 0], minlength=4)
    assert held.min() > 0 and held.sum() > len(fold) / 2


def test_a_group_with_a_whole_class_always_trains() -> None:
    labels, groups = np.asarray([0, 0, 1, 0, 0]), np.asarray(["a", "a", "a", "b", "c"])
    fold = stay_trained(np.asarray([0, 0, 0, 1, 2]), labels, groups)
    assert fold.tolist() == [ALWAYS_TRAINS] * 3 + [1, 2]


def test_without_groups_the_seed_chooses(lab: Any, tmp_path: Path) -> None:
    lab.images(tmp_path / "animals", {"ant": 30, "bee": 20, "cat": 10})
    data = load_data(tmp_path / "animals")
    assert data.groups is None
    one, again, other = (training_folds(data, 5, seed=seed) for seed in (0, 0, 1))
    assert (one == again).all() and (one != other).any()
    assert np.bincount(one[data.train.labels == 2], minlength=5).max() == pytest.approx(2, abs=1)
