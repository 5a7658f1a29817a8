"""Format scores over seeds and their differences, and decide which rows of a table may be compared.

With fewer than three seeds the values are shown instead of an interval. A difference is computed only between rows of
equal passes, so that no method is compared with one that had half its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from _intervals import mean_interval, welch_difference

MIN_SEEDS = 3
"""An interval is shown from this many seeds on each side."""
TOLERANCE = 0.07
"""Passes count as equal within this share: 7 epochs of two views are 14 passes, against 15 of one view."""
NO_PARTNER = "no run at equal passes yet"


# ------------------------------------------------------------------------------------------------ text
def summary(values: Sequence[float], digits: int = 2) -> str:
    """Mean and half the 95 % t interval, ``91.8 ± 2.1``; of fewer than three seeds the values, ``20.5, 21.4``."""
    if not values:
        return "-"
    if len(values) < MIN_SEEDS:
        return ", ".join(f"{value:.{digits}f}" for value in values)
    interval = mean_interval(values)
    return f"{interval.estimate:.{digits}f} ± {interval.half_width:.{digits}f}"


def percent(fractions: Iterable[float | None], digits: int = 2) -> str:
    """`summary` of fractions of 1 in percent; values that are ``None`` are left out."""
    return summary([100 * value for value in fractions if value is not None], digits)


def counted(values: Sequence[float], digits: int = 2) -> str:
    """`summary` with the number of seeds, for a sentence."""
    return f"{summary(values, digits)} (n = {len(values)})"


def difference(left: Sequence[float], right: Sequence[float], digits: int = 2) -> str:
    """Mean of ``left`` minus that of ``right`` with half its interval by Welch, ``+4.1 ± 2.0``.

    With fewer than three seeds on a side it is the smallest and the largest difference of two values,
    ``+3.4 to +4.8``, which is no interval.
    """
    if min(len(left), len(right)) >= MIN_SEEDS:
        interval = welch_difference(left, right)
        return f"{interval.estimate:+.{digits}f} ± {interval.half_width:.{digits}f}"
    ends = (min(left) - max(right), max(left) - min(right))
    return " to ".join(dict.fromkeys(f"{end:+.{digits}f}" for end in ends))


def above(values: Sequence[float], published: float, digits: int = 2) -> str:
    """Values minus one published number, of which no spread is known: `summary` with a sign."""
    points = [value - published for value in values]
    if len(points) < MIN_SEEDS:
        return ", ".join(f"{value:+.{digits}f}" for value in points)
    return f"+{summary(points, digits)}" if mean(points) >= 0 else summary(points, digits)


def passes_text(passes: float | None) -> str:
    """Passes with one decimal where they are not whole."""
    return "-" if passes is None else f"{round(passes, 1):g}"


def seed_range(seeds: Sequence[int]) -> str:
    """Seeds as a list, or from the first to the last where three or more follow one another: ``0 to 7``."""
    run = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if run else ", ".join(map(str, seeds))


def table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A table of Markdown; all columns but the first are set to the right."""
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


# ------------------------------------------------------------------------------------------------ rows
@dataclass(frozen=True, kw_only=True)
class Entry:
    """The values of a table row that comparisons need."""

    label: str
    passes: float | None = None
    """Images that went through the network in training, over the size of the training set; ``None`` if unknown."""
    values: tuple[float, ...] = ()
    """Balanced accuracy in percent, one a seed; empty where no run is filed."""
    baseline: bool = False
    new: bool = False
    """Its difference from the best baseline is printed."""


def equal_passes(one: float | None, other: float | None) -> bool:
    """Whether two numbers of passes count as equal; unknown ones never do."""
    return one is not None and other is not None and abs(one - other) <= TOLERANCE * max(one, other)


def by_passes(entries: dict[str, Entry]) -> list[str]:
    """Names of the entries, those of equal passes together: from few to many, unknown ones last."""
    return sorted(entries, key=lambda name: float("inf") if entries[name].passes is None else entries[name].passes)


def best_baseline(entries: Iterable[Entry], passes: float | None) -> Entry | None:
    """The filed baseline of equal passes with the highest mean; ``None`` where there is none."""
    alike = [one for one in entries if one.baseline and one.values and equal_passes(one.passes, passes)]
    return max(alike, key=lambda one: mean(one.values), default=None)


def comparison_lines(entries: Sequence[Entry], digits: int = 2) -> list[str]:
    """Sentences below a table: the best baseline at each number of passes, and what stands against it.

    A table without a filed baseline gets none. Rows flagged as new get their difference from the best baseline.
    """
    if not any(one.baseline and one.values for one in entries):
        return []
    news = [_new_line(one, entries, digits) for one in entries if one.new]
    return [*_best_lines(entries, digits), *news, *alone_lines(entries)]


def alone_lines(entries: Sequence[Entry]) -> list[str]:
    """The sentence that names the passes of filed rows at which a table with baselines has none."""
    if not any(one.baseline and one.values for one in entries):
        return []
    rows = [one for one in entries if one.values and not one.baseline and best_baseline(entries, one.passes) is None]
    passes = [passes_text(value) for value in sorted({one.passes for one in rows if one.passes is not None})]
    if not passes:
        return []
    where = " and ".join(filter(None, [", ".join(passes[:-1]), passes[-1]]))
    return [f"- No baseline has been run at {where} passes yet: rows there are not compared with one."]


def _best_lines(entries: Sequence[Entry], digits: int) -> Iterator[str]:
    named: list[Any] = []
    for one in sorted((one for one in entries if one.baseline and one.values), key=lambda one: one.passes or 0):
        best = best_baseline(entries, one.passes)
        if best is not None and best not in named:
            named.append(best)
            at = f"at {passes_text(best.passes)} passes, by the mean"
            yield f"- Best baseline {at}: {best.label}, {counted(best.values, digits)}."


def _new_line(new: Entry, entries: Sequence[Entry], digits: int) -> str:
    if not new.values:
        return f"- {new.label}: not run yet."
    best = best_baseline(entries, new.passes)
    if best is None:
        return f"- {new.label} over the best baseline: {NO_PARTNER} ({passes_text(new.passes)} passes)."
    numbers = f"(n = {len(new.values)} and {len(best.values)})"
    at = dict.fromkeys((passes_text(new.passes), passes_text(best.passes)))
    points = difference(new.values, best.values, digits)
    kind = "" if min(len(new.values), len(best.values)) >= MIN_SEEDS else ", the range of the values and no interval"
    where = f"balanced accuracy at {' and '.join(at)} passes"
    return f"- {new.label} over {best.label}, {where}: **{points}** points{kind} {numbers}."
