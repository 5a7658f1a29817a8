from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glmc_zoo.data.load import load_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.data.splits import (
    UNREADABLE_IMAGE,
    hold_out,
    leave_test_out,
    make_test_split,
    settle_classes,
    support_notes,
    thin,
    whole_as_test,
)
from glmc_zoo.errors import UserError


def raw_split(counts: list[int], seed: int = 0) -> RawSplit:
    """Random images of 2 x 2 pixels, so that all of them differ."""
    rng = np.random.RandomState(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = rng.randint(0, 256, (len(labels), 2, 2, 3)).astype(np.uint8)
    return RawSplit(ArrayImages(pixels, "training"), labels, np.arange(len(labels)))


def raw_data(counts: list[int], test: list[int] | None = None) -> RawData:
    names = [f"class_{index}" for index in range(len(counts))]
    return RawData(names, raw_split(counts), None if test is None else raw_split(test, seed=1))


def counts_of(split: RawSplit, num_classes: int) -> list[int]:
    return np.bincount(split.labels[split.rows], minlength=num_classes).tolist()


def contents(split: RawSplit) -> set[bytes]:
    assert isinstance(split.source, ArrayImages)
    return {split.source.pixels[row].tobytes() for row in split.rows}


def with_one_more(split: RawSplit, image: NDArray[np.uint8], label: int, at: int) -> RawSplit:
    assert isinstance(split.source, ArrayImages)
    pixels = np.insert(split.source.pixels, at, image, axis=0)
    return RawSplit(ArrayImages(pixels, "training"), np.insert(split.labels, at, label), np.arange(len(pixels)))


def test_about_a_fifth_is_set_aside_whatever_the_class() -> None:
    raw = raw_data([3000, 1000, 200])
    make_test_split(raw)
    assert raw.test is not None
    for held, images in zip(counts_of(raw.test, 3), (3000, 1000, 200), strict=True):
        assert abs(held - images / 5) < 4 * (images * 0.16) ** 0.5  # four standard deviations
    assert not set(raw.test.rows) & set(raw.train.rows)
    assert len(raw.test.rows) + len(raw.train.rows) == 4200
    assert f"{len(raw.test.rows)} images" in raw.notes[0]


def test_the_hash_of_the_content_decides() -> None:
    """Against the rule written out: BLAKE2b over shape and pixels, then over that digest with the salt as key."""
    raw = raw_data([40, 30])
    assert isinstance(raw.train.source, ArrayImages)
    expected = []
    for row, image in enumerate(raw.train.source.pixels):
        content = hashlib.blake2b(b"(2, 2, 3)" + image.tobytes(), digest_size=16).digest()
        hashed = int.from_bytes(hashlib.blake2b(content, digest_size=8, key=b"test").digest(), "little")
        if hashed / 2**64 < 0.2:
            expected.append(row)
    make_test_split(raw)
    assert raw.test is not None and raw.test.rows.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    fraction=st.sampled_from([0.05, 0.2, 0.5, 0.9]),
    value=st.integers(0, 255),
    place=st.floats(0, 1),
    label=st.integers(0, 4),
)
def test_one_more_image_moves_no_other(
    counts: list[int], fraction: float, value: int, place: float, label: int
) -> None:
    counts = [*counts, 40]  # so that something is held out
    before = raw_data(counts)
    image = np.full((2, 2, 3), value, np.uint8)
    after = raw_data(counts)
    after.train = with_one_more(after.train, image, label % len(counts), int(place * sum(counts)))
    for raw in (before, after):
        hold_out(raw, fraction, seed=1)
    assert before.val is not None and after.val is not None
    moved = contents(before.train) & contents(after.val)
    # The exception: the image that stayed, as its class had no other left, may go when the class has another.
    assert len(moved) <= 1 and (not moved or counts_of(before.train, len(counts))[label % len(counts)] == 1)
    assert not contents(before.val) & contents(after.train)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    fraction=st.sampled_from([0.2, 0.5, 0.99]),
    seed=st.integers(0, 50),
)
def test_every_class_stays_trainable(counts: list[int], fraction: float, seed: int) -> None:
    raw = raw_data(counts)
    try:
        hold_out(raw, fraction, seed)
    except UserError as error:
        assert "holds out none of" in str(error)
        return
    assert raw.val is not None and min(counts_of(raw.train, len(counts))) > 0
    assert [sum(pair) for pair in zip(counts_of(raw.train, len(counts)), counts_of(raw.val, len(counts)), strict=True)]


def test_the_image_with_the_largest_hash_stays() -> None:
    raw = raw_data([10, 2])
    hold_out(raw, 0.9999, seed=0)
    assert counts_of(raw.train, 2) == [1, 1]
    # A smaller fraction releases the images in the order of their hashes: the last to go is the one that stayed.
    (stayed,) = raw.train.rows[raw.train.labels[raw.train.rows] == 0]
    fractions = np.linspace(0.05, 0.95, 40)
    for fraction in fractions:
        other = raw_data([10, 2])
        try:
            hold_out(other, float(fraction), seed=0)
        except UserError:
            continue
        assert stayed in other.train.rows


def test_equal_images_stay_together_even_where_a_class_would_be_lost() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (12, 2, 2, 3)).astype(np.uint8)
    pixels[10:] = 7
    labels = np.asarray([0] * 10 + [1, 1])
    for seed in range(20):
        raw = RawData(["a", "b"], RawSplit(ArrayImages(pixels, "training"), labels, np.arange(12)), None)
        hold_out(raw, 0.95, seed)
        assert counts_of(raw.train, 2)[1] == 2


def test_other_seeds_and_the_test_split_choose_other_images() -> None:
    chosen = []
    for seed in (0, 0, 1):
        raw = raw_data([100, 50])
        hold_out(raw, 0.2, seed)
        assert raw.val is not None
        chosen.append(raw.val.rows.tolist())
    raw = raw_data([100, 50])
    make_test_split(raw)
    assert raw.test is not None
    assert chosen[0] == chosen[1] != chosen[2]
    assert raw.test.rows.tolist() not in chosen


def test_a_share_that_holds_nothing_out_is_refused() -> None:
    raw = raw_data([1, 1])
    hold_out(raw, 0.0, seed=0)
    assert raw.val is None
    with pytest.raises(UserError, match=r"^val_fraction=1e-06 holds out none of 2 training images: give a larger"):
        hold_out(raw, 1e-6, seed=0)
    with pytest.raises(UserError, match="none of 2 images can be set aside: give a test split, more images, or no_"):
        make_test_split(raw_data([1, 1]))


def test_of_a_set_so_small_that_no_image_falls_in_the_share_one_of_each_class_is_set_aside() -> None:
    raw = raw_data([3, 1, 4])
    hold_out(raw, 1e-6, seed=0)
    assert raw.val is not None and raw.val.counts(3).tolist() == [1, 0, 1]
    assert raw.train.counts(3).tolist() == [2, 1, 3]


def test_classes_without_a_test_image_are_named() -> None:
    raw = raw_data([200, *[1] * 12])
    make_test_split(raw)
    assert raw.test is not None and counts_of(raw.test, 13)[1:] == [0] * 12
    assert raw.notes[1:] == support_notes(raw.class_names, counts_of(raw.test, 13))
    assert raw.notes[1].startswith("12 classes have no test image (class_1, ")


def test_thinning_takes_the_largest_class_as_head() -> None:
    raw = raw_data([100, 200, 150])
    thin(raw, DataOptions(imbalance_factor=10, max_count=None), strict=False)
    assert counts_of(raw.train, 3) == [100, 63, 20]
    assert "1 class has fewer images than the long tail asks for and keeps all it has" in raw.notes[0]
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
    assert "class_1" in raw.notes[1] and raw.notes[0].startswith("2 classes have only 1 to 4 test images")


def test_a_class_without_training_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"'class_1' \(and 1 more\) has no training image"):
        settle_classes(raw_data([4, 0, 0, 1], [2, 2, 1, 1]))


def test_classes_without_test_images_are_noted() -> None:
    raw = raw_data([4, 2, 0, 2], [2, 0, 0, 0])
    settle_classes(raw)
    assert raw.class_names == ["class_0", "class_1", "class_3"]
    assert raw.notes[0].startswith("2 classes have no test image (class_1, class_3): their recalls are not known")
    names = [f"c{index}" for index in range(14)]
    assert "c8, c9 and 4 more)" in support_notes(names, [0] * 14)[0]
    assert support_notes(names, [5] * 14) == []


def test_classes_with_a_few_test_images_are_named_once() -> None:
    names = ["ant", "bee", "cow", "doe", "elk"]
    steps = "their recalls move in steps of 25 points or more."
    assert support_notes(names, [1, 4, 5, 90, 2]) == [
        f"3 classes have only 1 to 4 test images (ant, bee, elk): {steps}"
    ]
    assert support_notes(names, [9, 3, 9, 9, 9]) == [
        "1 class has only 3 test images (bee): its recall moves in steps of 33 points."
    ]
    untested, few = support_notes(names, [0, 1, 9, 9, 9], "validation")
    assert untested.startswith("1 class has no validation image (ant): its recall is not known")
    assert few == "1 class has only 1 validation image (bee): its recall moves in steps of 100 points."
    raw = raw_data([4, 0, 2], [6, 0, 3])  # the class without images is left out, and not noted as tested by few
    settle_classes(raw)
    assert raw.notes[0].startswith("1 class has only 3 test images (class_2)") and len(raw.notes) == 2


def test_one_split_becomes_the_test_split() -> None:
    raw = raw_data([4, 2])
    whole_as_test(raw)
    assert raw.test is not None and counts_of(raw.test, 2) == [4, 2] and len(raw.train.rows) == 0


def test_a_test_split_is_left_out_with_a_note() -> None:
    raw, without = raw_data([4, 2], [2, 1]), raw_data([4, 2])
    for each in (raw, without):
        leave_test_out(each)
    assert raw.test is None and "3 images is not used" in raw.notes[0] and without.notes == []


def test_images_that_cannot_be_read_are_named_as_left_out(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    folder = write_images(tmp_path, [8, 8], names=["ant", "bee"])
    (folder / "ant" / "bad.png").write_bytes(b"no image")
    data = load_data(folder, skip_bad_images=True)
    assert data.facts.inventory is not None
    (left,) = data.facts.inventory.left_out
    assert (left.reason, left.files, left.examples) == (UNREADABLE_IMAGE, 1, ["ant/bad.png"])
    assert data.facts.skipped_images == 1
