"""The images of a search: a digest that tells whether a search was made on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmc_zoo
from glmc_zoo.data import LongTailData
from glmc_zoo.training.search_data import hold_out, search_key


@pytest.fixture
def data(animals: Path) -> LongTailData:
    return glmc_zoo.load_data(animals, split_by=r"path:(\d)\.png$")


def with_train(data: LongTailData, **changes: Any) -> LongTailData:
    train = type(data.train).__new__(type(data.train))
    vars(train).update({**vars(data.train), **changes})
    return replace(data, train=train)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: with_train(data, rows=data.train.rows[:-1], labels=data.train.labels[:-1]),
        lambda data: with_train(data, rows=data.train.rows[::-1].copy()),
        lambda data: with_train(data, labels=np.roll(data.train.labels, 1)),
        lambda data: replace(data, groups=np.roll(data.groups, 1)),
        lambda data: replace(data, groups=None),
    ],
    ids=["fewer images", "another order", "other classes", "other groups", "no groups"],
)
def test_the_key_changes_with_images_classes_and_groups(
    data: LongTailData, change: Callable[[LongTailData], LongTailData]
) -> None:
    assert search_key(data) == search_key(replace(data)) and len(search_key(data)) == 16
    assert search_key(change(data)) != search_key(data)


def test_a_trial_has_as_many_images_as_a_step_takes(data: LongTailData) -> None:
    held = hold_out(data, 0)
    assert set(held.train) | set(held.test) == set(range(len(data.train))) and not set(held.train) & set(held.test)
    most = len(held.train)
    assert len(held.positions(1, 1)) < most == len(held.positions(1, most))
    part = held.of_trial(held.positions(1, most - 1))
    assert len(part.train) == sum(part.class_counts) >= most - 1 and part.groups is not None
    assert len(part.groups) == len(part.train) and list(part.test.rows) == list(data.train.rows[held.test])
