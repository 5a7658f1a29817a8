from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmc_zoo.data.longtail import longtail_counts, longtail_indices
from glmc_zoo.errors import UserError

CIFAR10_IF100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
TOTALS = {
    (10, 5000): {10: 20431, 50: 13996, 100: 12406, 200: 11203},
    (100, 500): {10: 19573, 50: 12608, 100: 10847, 200: 9502},
}


def test_counts_of_cifar10_at_factor_100() -> None:
    assert longtail_counts(10, 5000, 100) == CIFAR10_IF100


@pytest.mark.parametrize(("num_classes", "max_count"), TOTALS)
@pytest.mark.parametrize("factor", [10, 50, 100, 200])
def test_totals_of_the_published_subsets(num_classes: int, max_count: int, factor: int) -> None:
    assert sum(longtail_counts(num_classes, max_count, factor)) == TOTALS[num_classes, max_count][factor]


@pytest.mark.parametrize("factor", [10, 50, 100, 200])
@pytest.mark.parametrize(("name", "num_classes", "max_count"), [("cifar10", 10, 5000), ("cifar100", 100, 500)])
def test_counts_equal_the_golden_ones(shared: Path, name: str, num_classes: int, max_count: int, factor: int) -> None:
    golden = np.load(shared / "reference" / "glmc_step.npz")[f"counts_{name}_if{factor}"]
    assert longtail_counts(num_classes, max_count, factor) == golden.tolist()


def test_digits_counts() -> None:
    assert longtail_counts(10, 100, 20) == [100, 71, 51, 36, 26, 18, 13, 9, 6, 5]


@pytest.mark.parametrize(("classes", "head", "factor", "expected"), [(2, 49, 49, [49, 1]), (4, 1000, 1000, None)])
def test_whole_numbers_survive_rounding_errors(
    classes: int, head: int, factor: int, expected: list[int] | None
) -> None:
    # 49 * 49 ** -1.0 is 0.9999999999999999 in floating point, and 1000 ** (1 / 3) is not 10.
    assert longtail_counts(classes, head, factor) == (expected or [1000, 100, 10, 1])


def test_factor_one_is_balanced() -> None:
    for profile in ("exp", "step", "pareto"):
        assert longtail_counts(5, 70, 1, profile) == [70] * 5


def test_step() -> None:
    assert longtail_counts(4, 100, 10, "step") == [100, 100, 10, 10]
    assert longtail_counts(5, 100, 10, "step") == [100, 100, 100, 10, 10]


def test_pareto_is_the_documented_curve() -> None:
    got = longtail_counts(11, 1000, 100, "pareto")
    x = np.arange(11) / 10
    curve = 1000 * (1 + (100 ** (1 / 6) - 1) * x) ** -6.0
    assert got[0] == 1000
    assert got[-1] == 10
    assert got[1:-1] == np.floor(curve[1:-1]).astype(int).tolist()
    assert got[5] < longtail_counts(11, 1000, 100)[5]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((10, 100, 10, "expo"), ["'expo'", "exp, step, pareto"]),
        ((10, 100, 0.5), ["0.5", "1 (balanced) or more"]),
        ((10, 100, float("nan")), ["nan"]),
        ((10, 100, float("inf")), ["inf"]),
        ((1, 100, 10), ["at least 2 classes", "1"]),
        ((10, 50, 100), ["100", "50", "last class"]),
    ],
)
def test_impossible_tails_are_refused(arguments: tuple, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        longtail_counts(*arguments)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.RandomState(3).randint(0, 4, 400)


def test_ldam_is_the_head_of_a_shuffle(labels: np.ndarray) -> None:
    counts = [50, 20, 8, 3]
    generator = np.random.RandomState(0)
    expected: list[int] = []
    for label, count in enumerate(counts):
        members = [index for index in range(len(labels)) if labels[index] == label]
        generator.shuffle(members)
        expected += members[:count]
    got = longtail_indices(labels, counts)
    assert got.dtype == np.int64
    assert got.tolist() == expected


def test_ldam_picks_what_the_authors_of_glmc_pick(labels: np.ndarray) -> None:
    counts = [50, 20, 8, 3]
    state = np.random.get_state()
    np.random.seed(7)
    expected = [np.random.choice(np.where(labels == c)[0], n, replace=False) for c, n in enumerate(counts)]
    np.random.set_state(state)
    assert longtail_indices(labels, counts, seed=7).tolist() == np.concatenate(expected).tolist()


def test_first_takes_the_first(labels: np.ndarray) -> None:
    got = longtail_indices(labels, [5, 0, 2, 1], selection="first")
    expected = [np.where(labels == 0)[0][:5], np.where(labels == 2)[0][:2], np.where(labels == 3)[0][:1]]
    assert got.tolist() == np.concatenate(expected).tolist()


def test_selection_depends_on_its_seed_and_not_on_the_global_one(labels: np.ndarray) -> None:
    first = longtail_indices(labels, [50, 20, 8, 3], seed=1)
    np.random.seed(99)
    assert (longtail_indices(labels, [50, 20, 8, 3], seed=1) == first).all()
    assert (longtail_indices(labels, [50, 20, 8, 3], seed=2) != first).any()


@pytest.mark.parametrize(
    ("counts", "options", "parts"),
    [
        ([5, 5, 999, 5], {}, ["counts[2]=999", "from 0 to"]),
        ([5, 5, -1, 5], {}, ["counts[2]=-1", "from 0 to"]),
        ([5, 5], {}, ["2 class counts", "from 0 to 3"]),
        ([5, 5, 5, 5], {"selection": "random"}, ["'random'", "ldam, first"]),
        ([5, 5, 5, 5], {"seed": -1}, ["-1", "4294967295"]),
    ],
)
def test_impossible_selections_are_refused(
    labels: np.ndarray, counts: list[int], options: dict, parts: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        longtail_indices(labels, counts, **options)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence
