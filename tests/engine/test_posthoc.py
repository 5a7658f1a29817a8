"""Whether a search's held-out images were really kept out of a model's training; the search is in test_evaluate.py."""

from __future__ import annotations

from typing import Any

import pytest

from glmc_zoo.data import LongTailData, load_data
from glmc_zoo.engine.posthoc import was_held_out

SHAPE: dict[str, Any] = {"max_count": 20, "imbalance_factor": 4, "val_fraction": 0.2}


@pytest.fixture(scope="module")
def data() -> LongTailData:
    return load_data("digits_lt", **SHAPE)


def results_of(**options: Any) -> dict[str, Any]:
    """What a run on the digits says of its data."""
    trained = load_data("digits_lt", **SHAPE | options)
    return {"data": trained.info, "class_counts": trained.class_counts}


def test_the_same_images(data: LongTailData) -> None:
    assert was_held_out(results_of(), data) == (True, "its training held out the same images")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"val_fraction": 0.0}, "held none out"),
        ({"val_fraction": 0.3}, "differs in train_images, val_images"),
        ({"data_seed": 1}, "differs in data_seed"),
        ({"selection": "first"}, "differs in selection"),
        ({"imbalance_factor": 5}, "differs in imbalance_factor"),
    ],
)
def test_other_images(data: LongTailData, options: dict[str, Any], why: str) -> None:
    held_out, said = was_held_out(results_of(**options), data)
    assert not held_out and why in said


def test_the_source_of_a_fine_tuned_model_may_have_seen_them(data: LongTailData) -> None:
    tuned = results_of() | {"model": {"pretrained_from": "org/name"}}
    held_out, said = was_held_out(tuned, data)
    assert not held_out and "fine-tuned from org/name" in said


def test_what_is_not_known_does_not_count_as_held_out(data: LongTailData) -> None:
    assert not was_held_out(None, data)[0]
    elsewhere = {"data": {"name": "cifar10_lt"}}
    assert was_held_out(elsewhere, data) == (False, "it was trained on cifar10_lt, which may hold the same images")
    other_counts = results_of() | {"class_counts": [1] * 10}
    assert was_held_out(other_counts, data) == (False, "its training held out others (it differs in class_counts)")
