from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from glmc_zoo.data.images import ArrayImages
from glmc_zoo.data.parts import hold_out, make_test_part, settle_classes, thin
from glmc_zoo.data.raw import RawData, RawSplit
from glmc_zoo.errors import UserError


def part(counts: list[int]) -> RawSplit:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.RandomState(0).permutation(labels)
    return RawSplit(ArrayImages(np.zeros((len(labels), 2, 2, 3), np.uint8), "training"), labels, np.arange(len(labels)))


def raw_data(counts: list[int], test: list[int] | None = None) -> RawData:
    names = [f"class_{index}" for index in range(len(counts))]
    return RawData(names, part(counts), None if test is None else part(test))


def counts_of(split: RawSplit, num_classes: int) -> list[int]:
    return np.bincount(split.labels[split.rows], minlength=num_classes).tolist()


def test_a_fifth_of_each_class_is_set_aside() -> None:
    raw = raw_data([50, 10, 2, 7])
    test = make_test_part(raw)
    assert np.bincount(test.labels).tolist() == [10, 2, 1, 1]
    assert counts_of(raw.train, 4) == [40, 8, 1, 6]
    assert not set(test.rows) & set(raw.train.rows)
    assert "14 images" in raw.notes[0]
    assert (make_test_part(raw_data([50, 10, 2, 7])).rows == test.rows).all()


def test_a_single_image_cannot_train_and_test() -> None:
    with pytest.raises(UserError, match="'class_1' has a single image"):
        make_test_part(raw_data([5, 1]))


def test_held_out_part_is_stratified_and_seeded() -> None:
    counts = [100, 20, 4, 2, 1]
    first, second = part(counts), part(counts)
    rows = hold_out(first, 0.1, seed=0)
    assert [Counter(first.labels[rows].tolist())[c] for c in range(5)] == [10, 2, 1, 1, 0]
    assert counts_of(first, 5) == [90, 18, 3, 1, 1]
    assert not set(rows) & set(first.rows)
    assert (hold_out(second, 0.1, seed=0) == rows).all()
    assert (hold_out(part(counts), 0.1, seed=1) != rows).any()


def test_held_out_part_leaves_every_class_an_image() -> None:
    split = part([10, 2])
    hold_out(split, 0.99, seed=0)
    assert counts_of(split, 2) == [1, 1]
    assert len(hold_out(part([3, 3]), 0.0, seed=0)) == 0
    with pytest.raises(UserError, match=r"0\.1"):
        hold_out(part([1, 1]), 0.1, seed=0)


def test_thinning_takes_the_largest_class_as_head() -> None:
    raw = raw_data([100, 200, 150])
    thin(raw, 10, None, "exp", "ldam", 0, strict=False)
    assert counts_of(raw.train, 3) == [100, 63, 20]
    assert "1 classes have fewer images" in raw.notes[0]
    exact = raw_data([100, 200, 150])
    thin(exact, 10, 100, "exp", "ldam", 0, strict=True)
    assert counts_of(exact.train, 3) == [100, 31, 10]
    assert exact.notes == []


def test_strict_thinning_names_the_class_that_is_short() -> None:
    with pytest.raises(UserError, match=r"'class_1' has 20 images .* wants 31"):
        thin(raw_data([100, 20, 150]), 10, 100, "exp", "ldam", 0, strict=True)
    with pytest.raises(UserError, match="when the first has 0"):
        thin(raw_data([100, 20]), 10, 0, "exp", "ldam", 0, strict=False)


def test_names_without_images_are_no_classes() -> None:
    raw = raw_data([4, 0, 3], [2, 0, 1])
    settle_classes(raw)
    assert raw.class_names == ["class_0", "class_2"]
    assert raw.test is not None
    assert (counts_of(raw.train, 2), counts_of(raw.test, 2)) == ([4, 3], [2, 1])
    assert "class_1" in raw.notes[0]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([4, 2, 2], [2, 0, 0], r"^Class 'class_1' \(and 1 more\) has no test image: .*\.$"),
        ([4, 0], [2, 2], "'class_1' has no training image"),
    ],
)
def test_classes_in_one_part_only_are_refused(train: list[int], test: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settle_classes(raw_data(train, test))
