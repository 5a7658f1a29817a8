"""Whose training images the shot groups of an evaluation follow."""

from __future__ import annotations

import dataclasses

import pytest
from card_results import minimal_results

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.scoring.shots import ShotGroups, adjustment_counts, shot_groups, trained_counts

NAMES = ["ant", "bee", "cat"]


def model(counts: list[int] | None = None, names: list[str] | None = None) -> ModelSource:
    """A model that was trained on these numbers of images; of which nothing is known without ``counts``."""
    results = dataclasses.replace(minimal_results(classes=names or NAMES), class_counts=counts) if counts else None
    return ModelSource(name="runs/a/model", kind="folder", timm_name="a", results=results)


def groups(data: list[int] | None, *models: ModelSource, names: list[str] | None = None, **options: str) -> ShotGroups:
    by_name = {f"model{index}": one for index, one in enumerate(models)}
    return shot_groups(ShotOptions(**options), names or NAMES, data, by_name)  # type: ignore[arg-type]


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


def test_logits_are_adjusted_for_the_data_and_else_for_the_model() -> None:
    trained = model([200, 50, 5])
    assert adjustment_counts(NAMES, [9, 8, 7], trained, required=True) == [9, 8, 7]
    assert adjustment_counts(NAMES, None, trained, required=True) == [200, 50, 5]
    assert adjustment_counts(NAMES, None, model(), required=False) == [1, 1, 1]
    with pytest.raises(UserError, match="neither the data nor runs/a/model gives them: leave it out"):
        adjustment_counts(NAMES, None, model(), required=True)
