"""Data to evaluate on: splits where there are any, else every image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glmc_zoo.data import DataOptions, EvaluationData, load_data, load_evaluation_data
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts
from glmc_zoo.results import DataFacts

Write = Callable[..., Path]


def loaded(folder: Path | str, trained: tuple[DataFacts, ...] = (), **options: Any) -> EvaluationData:
    return load_evaluation_data(DataOptions(data=str(folder), **options), trained=trained)


@pytest.fixture
def flat(write_images: Write, tmp_path: Path) -> Path:
    """Class folders without splits."""
    return write_images(tmp_path / "flat", [10, 5, 1])


def test_a_folder_without_splits_is_scored_whole(flat: Path) -> None:
    data = loaded(flat)
    assert data.test.class_counts == [10, 5, 1] and data.val is None and data.class_counts is None
    assert (data.facts.train_images, data.facts.test_images, data.facts.image_format) == (None, 16, "PNG")
    assert data.notes == [
        "There is no training split: 16 images are scored.",
        "1 class has only 1 test image (class_2): its recall moves in steps of 100 points.",
    ]
    assert data.test.pixels is not None and data.name == "flat"
    assert data.facts.inventory is not None and data.facts.inventory.splits == [
        SplitFacts(name="test", source=".", images=16, how="there are no splits")
    ]


def test_a_test_split_alone_is_scored_whole(write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "new" / "test_set", [3, 2])
    data = loaded(tmp_path / "new")
    assert data.test.class_counts == [3, 2] and data.class_counts is None
    assert data.facts.inventory is not None and data.facts.inventory.splits[0].source == "test_set"


def test_splits_are_those_of_the_training(write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "split" / "train", [25, 24])
    write_images(tmp_path / "split" / "test", [2, 3])
    for name, options in ((tmp_path / "split", {"val_fraction": 0.2}), ("digits_lt", {"val_fraction": 0.1})):
        data, training = loaded(name, **options), load_data(name, **options)
        assert (data.test.rows == training.test.rows).all() and data.facts == training.facts
        assert data.val is not None and training.val is not None and (data.val.rows == training.val.rows).all()
        assert (data.class_counts, data.class_names) == (training.class_counts, training.class_names)


def test_a_training_split_alone_sets_a_fifth_aside(write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "half" / "train", [20, 15])
    data, training = loaded(tmp_path / "half"), load_data(tmp_path / "half")
    assert (data.test.rows == training.test.rows).all() and data.class_counts == training.class_counts


def test_images_that_a_model_was_trained_on_are_not_scored(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "flat", [30, 15])
    training = load_data(folder, val_fraction=0.2)
    data = loaded(folder, (training.facts,), val_fraction=0.2)
    assert (data.test.rows == training.test.rows).all() and data.class_counts == training.class_counts
    assert "A model was trained on flat: only the images that its training set aside" in data.notes[0]
    everything = loaded(folder, (load_data(folder, no_test=True).facts,))
    assert len(everything.test) == 45 and "A model was trained on all images of flat" in everything.notes[0]
    write_images(folder, [31, 15])  # another set by its number of images
    assert len(loaded(folder, (training.facts,)).test) == 46


def test_test_images_that_training_chose_in_another_way_may_have_been_trained_on(
    write_images: Write, tmp_path: Path
) -> None:
    write_images(tmp_path / "set" / "train", [30, 15])
    facts = load_data(tmp_path / "set").facts
    another_way = "chose its test images in another way"
    assert not any(another_way in note for note in loaded(tmp_path / "set", (facts,)).notes)
    for rule in (None, "groups by camera"):
        trained = dataclasses.replace(facts, split_rule=rule)
        assert any(another_way in note for note in loaded(tmp_path / "set", (trained,)).notes)
    write_images(tmp_path / "set" / "test", [3, 3])
    trained = dataclasses.replace(facts, split_rule=None)
    assert not any(another_way in note for note in loaded(tmp_path / "set", (trained,)).notes)


def test_a_set_with_duplicates_is_known_again(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "flat", [30, 15])
    training = load_data(folder)
    (path,) = (training.test.paths() or [])[:1]
    with Image.open(folder / str(path)) as image:  # other bytes, so that it may be put into training
        for level in range(9):
            image.save(folder / "class_1" / f"again{level}.png", compress_level=level)
    training = load_data(folder)
    assert training.facts.inventory is not None and training.facts.inventory.duplicates
    assert "only the images that its training set aside" in loaded(folder, (training.facts,)).notes[0]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"val_fraction": 0.1}, "flat has no training split to hold images out of: leave val_fraction=, split="),
        ({"imbalance_factor": 2.0}, "imbalance_factor=2.0 thins a training split, and flat has none: leave it out."),
    ],
)
def test_what_needs_a_training_split(flat: Path, options: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        loaded(flat, **options)


def test_unreadable_images_and_a_single_class(flat: Path, write_images: Write, tmp_path: Path) -> None:
    broken = flat / "class_0" / "000.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = loaded(flat, skip_bad_images=True)
    assert (len(data.test), data.facts.skipped_images) == (15, 1)
    with pytest.raises(UserError, match="only one class"):
        loaded(write_images(tmp_path / "one", [3]))
