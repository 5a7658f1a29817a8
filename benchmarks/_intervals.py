"""Means over seeds and differences of means, with 95 % intervals by the t distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from scipy.stats import t

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval, in the units of the values."""

    estimate: float
    half_width: float
    """Half the length of the interval, which is symmetric."""

    @property
    def low(self) -> float:
        """Lower end."""
        return self.estimate - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.estimate + self.half_width


def moments_interval(average: float, deviation: float, n: int) -> Interval:
    """95 % t interval of a mean, from the mean, the sample standard deviation and the number of values ``n``.

    Raises:
        ValueError: There are fewer than two values, which have no spread.
    """
    if n < 2:
        raise ValueError(f"An interval needs two values or more, got {n}.")
    return Interval(average, _quantile(n - 1) * deviation / sqrt(n))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of the values with its 95 % t interval (n - 1 degrees of freedom).

    Raises:
        ValueError: There are fewer than two values, which have no spread.
    """
    if len(values) < 2:
        raise ValueError(f"An interval needs two values or more, got {len(values)}.")
    return moments_interval(mean(values), stdev(values), len(values))


def welch_difference(left: Sequence[float], right: Sequence[float]) -> Interval:
    """Mean of ``left`` minus mean of ``right`` with its 95 % interval by Welch's t, for unequal variances.

    The values are not paired, because an equal seed does not make the scores of two methods depend on each other. The
    degrees of freedom are those of Welch and Satterthwaite. If neither side has any spread, the half width is 0.

    Source: Welch, The generalization of "Student's" problem when several different population variances are involved,
    Biometrika 34, 1947.

    Raises:
        ValueError: A side has fewer than two values, which have no spread.
    """
    if min(len(left), len(right)) < 2:
        raise ValueError(f"A difference needs two values or more on each side, got {len(left)} and {len(right)}.")
    difference = mean(left) - mean(right)
    errors = [stdev(values) ** 2 / len(values) for values in (left, right)]  # squared standard errors
    if not any(errors):
        return Interval(difference, 0.0)
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (left, right), strict=True)
    )
    return Interval(difference, _quantile(freedom) * sqrt(sum(errors)))


def _quantile(freedom: float) -> float:
    return float(t.ppf((1 + LEVEL) / 2, freedom))
