"""The plan of a search: which trials the time is enough for, on which images."""

from __future__ import annotations

import numpy as np
import pytest

from glmc_zoo.results import SearchTrial
from glmc_zoo.training.search_plan import SearchPlan, make_plan, next_rates, rank, rates_for, stratified_subset


def trial(lr: float, score: float, epochs: int = 2, top1: float = 0.5) -> SearchTrial:
    return SearchTrial(
        lr=lr, weight_decay=0.0, epochs=epochs, images=9, balanced_accuracy=score, top1=top1, seconds=1.0
    )


@pytest.mark.parametrize(
    ("image_budget", "epochs", "images"),
    [
        (13 * 2000.0, 2, 1000),  # 5 + 2 * 2 + 4 trials of the first round's length
        (13 * 2999.0, 2, 1000),
        (13 * 3000.0, 3, 1000),
        (13 * 500.0, 2, 250),
        (13 * 1e6, 10, 1000),
        (0.0, 2, 1),
    ],
)
def test_long_trials_on_all_images_or_short_ones_on_part_of_them(image_budget: float, epochs: int, images: int) -> None:
    plan = make_plan([0.1, 0.2, 0.3, 0.4, 0.5], images=1000, held_out=0, image_budget=image_budget)
    assert (plan.epochs, plan.images, plan.planned) == (epochs, images, 8)


def test_scoring_takes_its_share_of_the_time() -> None:
    rates = [0.1]
    with_scoring = make_plan(rates, images=1000, held_out=300, image_budget=13 * 500.0)
    assert with_scoring.images == int((13 * 500 - 8 * 100) / 13 / 2)


def test_the_best_rates_go_on() -> None:
    plan = SearchPlan([0.3, 0.1, 0.2], 2, 9)
    assert next_rates(plan, [], 0) == [0.3, 0.1, 0.2]
    before = [trial(0.3, 0.5), trial(0.1, 0.7), trial(0.2, 0.6)]
    assert next_rates(plan, before, 1) == [0.1, 0.2]
    assert next_rates(plan, before[1:], 2) == [0.1]
    # Among equals the higher top-1 accuracy wins, then the shorter training.
    assert max([trial(0.1, 0.5, 4), trial(0.2, 0.5, 2), trial(0.3, 0.4)], key=rank).lr == 0.2
    assert max([trial(0.1, 0.5, 2), trial(0.2, 0.5, 4, top1=0.6)], key=rank).lr == 0.2


def test_the_likeliest_rates_come_first() -> None:
    assert rates_for("sgd", "full") == [0.01, 0.003, 0.03, 0.001, 0.1]
    assert rates_for("adamw", "blocks") == [1e-4, 3e-5, 3e-4, 1e-5, 1e-3]
    assert rates_for("sgd", "lora") == [0.03, 0.01, 0.1, 0.003, 0.3]


def test_fewer_images_of_each_class_and_some_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    positions = np.arange(1, 143)
    part = stratified_subset(labels, positions, 50, seed=0)
    assert np.bincount(labels[part]).tolist() == [round(50 / 142 * 99), round(50 / 142 * 40), 3]
    assert (np.diff(part) > 0).all() and set(part) <= set(positions)
    assert np.array_equal(part, stratified_subset(labels, positions, 50, seed=0))
    assert not np.array_equal(part, stratified_subset(labels, positions, 50, seed=1))
    assert np.bincount(labels[stratified_subset(labels, positions, 1, seed=0)]).tolist() == [8, 8, 3]
    assert stratified_subset(labels, positions, 142, seed=0) is positions
