from __future__ import annotations

import numpy as np
import pytest

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.data.splits import (
    hold_out,
    leave_test_out,
    make_test_split,
    settle_classes,
    thin,
    untested_note,
    whole_as_test,
)
from glmc_zoo.errors import UserError


def raw_split(counts: list[int]) -> RawSplit:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.RandomState(0).permutation(labels)
    return RawSplit(ArrayImages(np.zeros((len(labels), 2, 2, 3), np.uint8), "training"), labels, np.arange(len(labels)))


def raw_data(counts: list[int], test: list[int] | None = None) -> RawData:
    names = [f"class_{index}" for index in range(len(counts))]
    return RawData(names, raw_split(counts), None if test is None else raw_split(test))


def counts_of(split: RawSplit, num_classes: int) -> list[int]:
    return np.bincount(split.labels[split.rows], minlength=num_classes).tolist()


def test_a_fifth_of_each_class_is_set_aside() -> None:
    raw = raw_data([50, 10, 2, 7])
    make_test_split(raw)
    assert raw.test is not None
    assert counts_of(raw.test, 4) == [10, 2, 1, 1]
    assert counts_of(raw.train, 4) == [40, 8, 1, 6]
    assert not set(raw.test.rows) & set(raw.train.rows)
    assert "14 images" in raw.notes[0]
    again = raw_data([50, 10, 2, 7])
    make_test_split(again)
    assert again.test is not None and (again.test.rows == raw.test.rows).all()


def test_a_single_image_cannot_train_and_test() -> None:
    with pytest.raises(UserError, match="'class_1' has a single image"):
        make_test_split(raw_data([5, 1]))


def held_out(counts: list[int], fraction: float, seed: int) -> tuple[RawData, list[int]]:
    raw = raw_data(counts)
    hold_out(raw, fraction, seed)
    return raw, [] if raw.val is None else raw.val.rows.tolist()


def test_held_out_images_are_stratified_and_seeded() -> None:
    counts = [100, 20, 4, 2, 1]
    raw, rows = held_out(counts, 0.1, seed=0)
    assert raw.val is not None and counts_of(raw.val, 5) == [10, 2, 1, 1, 0]
    assert counts_of(raw.train, 5) == [90, 18, 3, 1, 1]
    assert not set(rows) & set(raw.train.rows)
    assert held_out(counts, 0.1, seed=0)[1] == rows
    assert held_out(counts, 0.1, seed=1)[1] != rows


def test_held_out_images_leave_every_class_an_image() -> None:
    assert counts_of(held_out([10, 2], 0.99, seed=0)[0].train, 2) == [1, 1]
    assert held_out([3, 3], 0.0, seed=0)[0].val is None
    with pytest.raises(UserError, match=r"val_fraction=0\.1 cannot be held out"):
        held_out([1, 1], 0.1, seed=0)


def test_thinning_takes_the_largest_class_as_head() -> None:
    raw = raw_data([100, 200, 150])
    thin(raw, DataOptions(imbalance_factor=10, max_count=None), strict=False)
    assert counts_of(raw.train, 3) == [100, 63, 20]
    assert "1 classes have fewer images" in raw.notes[0]
    exact = raw_data([100, 200, 150])
    thin(exact, DataOptions(imbalance_factor=10, max_count=100), strict=True)
    assert counts_of(exact.train, 3) == [100, 31, 10]
    assert exact.notes == []


def test_strict_thinning_names_the_class_that_is_short() -> None:
    with pytest.raises(UserError, match=r"'class_1' has 20 images .* needs 31"):
        thin(raw_data([100, 20, 150]), DataOptions(imbalance_factor=10, max_count=100), strict=True)
    with pytest.raises(UserError, match="when the first has 5"):
        thin(raw_data([100, 20]), DataOptions(imbalance_factor=10, max_count=5), strict=False)


def test_names_without_images_are_no_classes() -> None:
    raw = raw_data([4, 0, 3], [2, 0, 1])
    settle_classes(raw)
    assert raw.class_names == ["class_0", "class_2"]
    assert raw.test is not None
    assert (counts_of(raw.train, 2), counts_of(raw.test, 2)) == ([4, 3], [2, 1])
    assert "class_1" in raw.notes[0]


def test_a_class_without_training_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"'class_1' \(and 1 more\) has no training image"):
        settle_classes(raw_data([4, 0, 0, 1], [2, 2, 1, 1]))


def test_classes_without_test_images_are_noted() -> None:
    raw = raw_data([4, 2, 0, 2], [2, 0, 0, 0])
    settle_classes(raw)
    assert raw.class_names == ["class_0", "class_1", "class_3"]
    assert raw.notes[0].startswith("2 classes have no test image (class_1, class_3): their recalls are not known")
    names = [f"c{index}" for index in range(14)]
    assert "c8, c9 and 4 more)" in untested_note(names, [0] * 14)[0]
    assert untested_note(names, [1] * 14) == []


def test_one_split_becomes_the_test_split() -> None:
    raw = raw_data([4, 2])
    whole_as_test(raw)
    assert raw.test is not None and counts_of(raw.test, 2) == [4, 2] and len(raw.train.rows) == 0


def test_a_test_split_is_left_out_with_a_note() -> None:
    raw, without = raw_data([4, 2], [2, 1]), raw_data([4, 2])
    for each in (raw, without):
        leave_test_out(each)
    assert raw.test is None and "3 images is not used" in raw.notes[0] and without.notes == []
