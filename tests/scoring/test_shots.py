"""Whose training images the shot groups of an evaluation follow."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from card_results import minimal_results

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.options.images import EvaluationShotOptions
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.shots import ShotGroups, adjustment_counts, shot_groups, trained_counts

NAMES = ["ant", "bee", "cat"]


def model(
    counts: list[int] | None = None, names: list[str] | None = None, shots: tuple[int, int] | None = None
) -> ModelSource:
    """A model that was trained on these numbers of images with these thresholds; without ``counts`` an unknown one."""
    results = dataclasses.replace(minimal_results(classes=names or NAMES), class_counts=counts) if counts else None
    if results is not None and shots is not None:
        results = dataclasses.replace(results, thresholds=Thresholds(many=shots[0], few=shots[1]))
    return ModelSource(name="runs/a/model", kind="folder", timm_name="a", results=results)


def groups(data: list[int] | None, *models: ModelSource, names: list[str] | None = None, **options: Any) -> ShotGroups:
    by_name = {f"model{index}": one for index, one in enumerate(models)}
    return shot_groups(EvaluationShotOptions(**options), names or NAMES, data, by_name)


def test_the_model_comes_before_the_data() -> None:
    same = groups([200, 50, 5], model([200, 50, 5]))
    assert (same.class_counts, same.source, same.notes) == ([200, 50, 5], "model0", [])
    other = groups([10, 10, 10], model([200, 50, 5]))
    assert other.class_counts == [200, 50, 5] and other.sizes == {"many": 1, "medium": 1, "few": 1}
    assert other.notes[0].startswith("The shot groups follow the images that model0 was trained on; the training split")
    whole = groups(None, model(), model([200, 50, 5]))
    assert (whole.source, whole.class_counts) == ("model1", [200, 50, 5])
    assert whole.notes == ["The class counts are those that model1 was trained on, as the data does not give any."]


def test_counts_are_matched_by_name() -> None:
    trained = model([1, 200, 50, 5], ["dog", "cat", "ant", "bee"])
    assert groups(None, trained).class_counts == [50, 5, 200]
    assert groups(None, trained, names=["bee", "dog"]).class_counts == [5, 1]
    assert trained_counts(trained, ["ant", "eel"]) is None


def test_one_count_serves_all_models() -> None:
    both = groups([200, 50, 5], model([200, 50, 5]), model([9, 50, 5]))
    assert (
        both.class_counts == [200, 50, 5]
        and "of all models follow the images that model0 was trained on, though model1 had other" in both.notes[0]
    )


def test_the_data_where_no_model_knows() -> None:
    data = groups([200, 50, 5], model())
    assert (data.class_counts, data.source, data.notes) == ([200, 50, 5], "data", [])
    assert data.empty_counts().groups.tolist() == [0, 1, 2]


def test_without_any_counts_there_are_no_groups() -> None:
    nothing = groups(None, model(), groups="terciles")
    assert nothing.class_counts is nothing.sizes is nothing.thresholds is nothing.source is None
    assert len(nothing.notes) == 1 and "There are no shot groups" in nothing.notes[0]
    assert not nothing.empty_counts().has_groups and nothing.empty_counts().num_classes == 3


def test_terciles_are_those_of_the_counts_used() -> None:
    thirds = groups([10, 10, 10], model([19, 8, 3]), groups="terciles")
    assert thirds.sizes == {"many": 1, "medium": 1, "few": 1}
    assert "All classes are few-shot" in groups(None, model([19, 8, 3])).notes[1]


def test_thresholds_that_are_not_given_are_those_of_the_model() -> None:
    counts = [60, 30, 5]
    followed = groups(counts, model(counts, shots=(50, 10)))
    assert followed.thresholds == Thresholds(many=50, few=10) and followed.sizes == {"many": 1, "medium": 1, "few": 1}
    assert followed.notes == ["The shot groups have many_threshold=50 and few_threshold=10, as in model0's training."]
    one = groups(counts, model(counts, shots=(50, 10)), many_threshold=20)
    assert one.thresholds == Thresholds(many=20, few=10)
    assert one.notes == ["The shot groups have few_threshold=10, as in model0's training."]
    both = groups(counts, model(counts, shots=(50, 10)), many_threshold=100, few_threshold=20)
    assert both.thresholds == Thresholds(many=100, few=20) and both.notes == []
    thirds = groups(counts, model(counts, shots=(500, 400)), groups="terciles")
    assert thirds.thresholds == Thresholds(many=30, few=30) and thirds.notes == []
    usual = groups(counts, model(counts, shots=(100, 20)))
    assert usual.thresholds == Thresholds(many=100, few=20) and usual.notes == []


def test_the_thresholds_of_the_first_model_serve_all() -> None:
    """So that the groups of all are the same classes; a model without counts decides nothing."""
    counts = [60, 30, 5]
    both = groups(counts, model(), model(counts, shots=(50, 10)), model(counts, shots=(100, 20)), model(counts))
    assert both.source == "model1" and both.thresholds == Thresholds(many=50, few=10)
    assert both.notes == [
        "The shot groups have many_threshold=50 and few_threshold=10 of model1's training for all models, though "
        "model2 had others."
    ]
    # The first model has the usual thresholds, which is still said where another has others.
    usual = groups(counts, model(counts, shots=(100, 20)), model(counts, shots=(50, 10)))
    assert usual.thresholds == Thresholds(many=100, few=20) and "though model1 had others" in usual.notes[0]
    given = groups(counts, model(counts, shots=(100, 20)), model(counts, shots=(50, 20)), few_threshold=5)
    assert "have many_threshold=100 of model0's training for all models, though model1" in given.notes[0]
    other = groups(counts, model([1, 2, 3], ["x", "y", "z"], shots=(50, 10)))
    assert (other.source, other.thresholds) == ("data", Thresholds(many=100, few=20))


@pytest.mark.parametrize(
    ("trained", "options", "sentence"),
    [
        (
            (50, 10),
            {"many_threshold": 5},
            "few_threshold=10 (that of model0's training) must not exceed many_threshold=5",
        ),
        (
            (50, 10),
            {"few_threshold": 60},
            "few_threshold=60 must not exceed many_threshold=50 (that of model0's training)",
        ),
        (None, {"many_threshold": 5}, "few_threshold=20 (the default) must not exceed many_threshold=5:"),
    ],
)
def test_a_given_threshold_must_fit_to_the_one_that_is_not_given(
    trained: tuple[int, int] | None, options: dict[str, int], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        groups(None, model([60, 30, 5], shots=trained), **options)
    assert str(caught.value).startswith(sentence)


def test_logits_are_adjusted_for_the_data_and_else_for_the_model() -> None:
    trained = model([200, 50, 5])
    assert adjustment_counts(NAMES, [9, 8, 7], trained, required=True) == [9, 8, 7]
    assert adjustment_counts(NAMES, None, trained, required=True) == [200, 50, 5]
    assert adjustment_counts(NAMES, None, model(), required=False) == [1, 1, 1]
    with pytest.raises(UserError, match="neither the data nor runs/a/model gives them: leave it out"):
        adjustment_counts(NAMES, None, model(), required=True)
