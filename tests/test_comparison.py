"""benchmarks/_comparison.py and _intervals.py: intervals, texts, passes, and which rows are compared."""

from __future__ import annotations

from math import sqrt

import _comparison
import _intervals
import _rows
import numpy as np
import pytest
import scipy.stats
from _comparison import Entry

A = [81.46, 80.68, 79.9, 82.3]
B = [77.33, 76.71, 78.9]


# ------------------------------------------------------------------------------------------------ intervals
def test_the_interval_of_a_mean_is_that_of_the_t_distribution() -> None:
    interval = _intervals.mean_interval(A)
    low, high = scipy.stats.t.interval(0.95, 3, loc=np.mean(A), scale=scipy.stats.sem(A))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    # By hand: the mean of 1, 2, 3 is 2, its standard error 1 / sqrt(3), and t at 2 degrees of freedom is 4.302653.
    by_hand = _intervals.mean_interval([1, 2, 3])
    assert (by_hand.estimate, by_hand.half_width) == pytest.approx((2, 4.302653 / sqrt(3)))
    moments = _intervals.moments_interval(float(np.mean(A)), float(np.std(A, ddof=1)), 4)
    assert moments.half_width == pytest.approx(interval.half_width)


def test_the_interval_of_a_difference_is_that_of_welch() -> None:
    interval = _intervals.welch_difference(A, B)
    expected = scipy.stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.estimate == pytest.approx(np.mean(A) - np.mean(B))
    # By hand: equal variances of 1 and three values a side have 4 degrees of freedom, where t is 2.776445.
    by_hand = _intervals.welch_difference([5, 6, 7], [1, 2, 3])
    assert (by_hand.estimate, by_hand.half_width) == pytest.approx((4, 2.776445 * sqrt(2 / 3)))


def test_a_side_without_spread() -> None:
    interval = _intervals.welch_difference([5, 6, 7], [2, 2, 2])  # 2 degrees of freedom are left
    assert (interval.estimate, interval.half_width) == pytest.approx((4, 4.302653 / sqrt(3)))
    assert _intervals.welch_difference([3, 3, 3], [1, 1, 1]) == _intervals.Interval(2, 0.0)


def test_one_value_has_no_interval() -> None:
    for values in ([], [1.0]):
        with pytest.raises(ValueError, match=f"two values or more, got {len(values)}"):
            _intervals.mean_interval(values)
        with pytest.raises(ValueError, match=f"on each side, got 2 and {len(values)}"):
            _intervals.welch_difference([1.0, 2.0], values)


# ------------------------------------------------------------------------------------------------ text
def test_fewer_than_three_seeds_get_no_interval() -> None:
    assert _comparison.percent([0.205, 0.214]) == "20.5, 21.4"
    assert _comparison.percent([0.205, None, 0.214, 0.2]) == "20.6 ± 1.8"
    assert _comparison.percent([None]) == "-"
    assert _comparison.summary_with_n([20.5, 21.4]) == "20.5, 21.4 (n = 2)"
    assert _comparison.difference([5, 6, 7], [1, 2, 3]) == "+4.00 ± 2.27"
    assert _comparison.difference([5, 6], [1, 2, 3]) == "+2.00 to +5.00"
    assert _comparison.difference([5], [7]) == "-2.00"
    assert _comparison.minus_published([57, 58], 57.5) == "-0.50, +0.50"
    assert _comparison.minus_published([57, 58, 59], 57.5) == "+0.50 ± 2.48"
    assert _comparison.minus_published([57, 58, 59], 58.5) == "-0.50 ± 2.48"


def test_seeds_in_a_row_are_written_as_a_range() -> None:
    texts = [_comparison.seed_range(seeds) for seeds in ([], [0], [0, 1], [0, 1, 2], [0, 2, 3])]
    assert texts == ["", "0", "0, 1", "0 to 2", "0, 2, 3"]


# ------------------------------------------------------------------------------------------------ passes
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "glmc"}, 120),  # a run from before the option --views
        ({"method": "glmc", "views": "mixup_cutmix"}, 120),
        ({"method": "glmc", "views": "cutmix"}, 120),
        ({"method": "glmc", "views": "alternate"}, 60),
        ({"method": "glmc", "views": "none"}, 60),
        ({"method": "balanced_softmax", "views": "mixup_cutmix"}, 60),
        ({"method": "ce", "sam_rho": 0.05}, 120),
        ({"method": "glmc", "sam_rho": 0.05, "sam_every": 1}, 240),
        ({"method": "glmc", "sam_rho": 0.05, "sam_every": 5}, 144),
        ({"method": "glmc", "sam_rho": None, "sam_every": 5}, 120),
        ({}, 60),  # a second stage
    ],
)
def test_passes_of_a_run(options: dict[str, object], expected: float) -> None:
    assert _rows.passes({"epochs": 60, **options}) == pytest.approx(expected)


def test_passes_of_a_row_include_the_row_that_it_starts_from() -> None:
    suite = "cifar100_lt_if100_resnet20_12_epochs_variants"
    entries, results = _rows.entries(suite), _rows.load_results(suite)
    names = ("glmc", "glmc_maxnorm", "glmc_logit_adjustment", "glmc_balanced_softmax_sam")
    assert [entries[name].passes for name in names] == [24, 34, 24, 48]
    rows = _rows.suite_rows(suite)
    assert [_rows.row_epochs(rows[name], results) for name in names] == ["12", "12 + 10", "12", "12"]
    assert _rows.row_passes(rows["glmc"], {}) is None


def test_passes_are_equal_within_seven_percent() -> None:
    assert _comparison.equal_passes(14, 15) and _comparison.equal_passes(15, 14)
    assert not _comparison.equal_passes(15, 30) and not _comparison.equal_passes(60, 65)
    assert not _comparison.equal_passes(None, None)


# ------------------------------------------------------------------------------------------------ comparisons
def lines(*entries: Entry) -> list[str]:
    return _comparison.comparison_lines(entries)


def test_a_new_row_is_compared_with_the_best_baseline_of_equal_passes() -> None:
    entries = [
        Entry(label="new", passes=14, values=(80, 82, 84), new=True),
        Entry(label="weak", passes=15, values=(60, 61, 62), baseline=True),
        Entry(label="strong", passes=15, values=(75, 77, 79), baseline=True),
        Entry(label="stronger, twice the time", passes=30, values=(90, 91, 92), baseline=True),
    ]
    expected = [
        "- Best baseline at 15 passes, by the mean: strong, 77.0 ± 5.0 (n = 3).",
        "- Best baseline at 30 passes, by the mean: stronger, twice the time, 91.0 ± 2.5 (n = 3).",
        "- *new* differs from the best baseline at 14 and 15 passes, *strong*, by **+5.0 ± 4.5** points of balanced "
        "accuracy (95 % interval, n = 3 and 3).",
    ]
    assert lines(*entries) == lines(*reversed(entries)) == expected


def test_two_seeds_are_compared_by_the_range_of_their_values() -> None:
    new, base = Entry(label="new", passes=30, values=(80, 82), new=True), (75, 77, 79)
    text = lines(new, Entry(label="base", passes=30, values=base, baseline=True))[-1]
    assert text == (
        "- *new* differs from the best baseline at 30 passes, *base*, by **+1.0 to +7.0** points of balanced accuracy "
        "(the range over all pairs of runs, n = 2 and 3)."
    )


def test_a_row_without_a_partner_is_not_compared() -> None:
    base = Entry(label="base", passes=15, values=(75,), baseline=True)
    new = Entry(label="new", passes=30, values=(80, 82), new=True)
    other = Entry(label="other", passes=60, values=(81,))
    assert lines(base, new, other)[1:] == [
        "- *new* is not compared: no baseline has been run at 30 passes yet.",
        "- No baseline has been run at 30 and 60 passes yet: rows there are not compared with one.",
    ]
    assert lines(base, Entry(label="new", new=True))[1:] == ["- new: not run yet."]
    assert lines(new, other) == []


def test_rows_are_sorted_by_passes() -> None:
    passes = {"two": 30.0, "unknown": None, "one": 15.0, "also two": 28.0}
    entries = {name: Entry(label=name, passes=value) for name, value in passes.items()}
    assert _comparison.by_passes(entries) == ["one", "also two", "two", "unknown"]
