"""Scores over seeds and their differences as text, and which rows of a table may be compared.

With fewer than three seeds the values are shown instead of an interval. A difference is computed only between rows
with equal passes, because equal passes take about equal time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from _intervals import mean_interval, welch_difference

MIN_SEEDS = 3
"""An interval is shown from this many seeds on each side."""
TOLERANCE = 0.07
"""Largest relative difference of equal passes: 14 (7 epochs with two views) equals 15 (15 epochs with one view)."""
NO_PARTNER = "no run at equal passes yet"


# ------------------------------------------------------------------------------------------------ text
def summary(values: Sequence[float], digits: int = 2) -> str:
    """Mean and half width of its 95 % t interval, ``91.8 ± 2.1``; for fewer than three values these, ``20.5, 21.4``."""
    if not values:
        return "-"
    if len(values) < MIN_SEEDS:
        return ", ".join(f"{value:.{digits}f}" for value in values)
    interval = mean_interval(values)
    return f"{interval.estimate:.{digits}f} ± {interval.half_width:.{digits}f}"


def percent(fractions: Iterable[float | None]) -> str:
    """`summary` of fractions (0 to 1) as percent with one decimal; ``None`` is left out."""
    return summary([100 * value for value in fractions if value is not None], digits=1)


def summary_with_n(values: Sequence[float]) -> str:
    """`summary` with one decimal and the number of seeds, ``91.8 ± 2.1 (n = 3)``."""
    return f"{summary(values, digits=1)} (n = {len(values)})"


def difference(left: Sequence[float], right: Sequence[float], digits: int = 2) -> str:
    """Mean of ``left`` minus mean of ``right`` with the half width of its Welch interval, ``+4.1 ± 2.0``.

    With fewer than three values on a side, it is the smallest and the largest difference of a value on the left and
    one on the right, ``+3.4 to +4.8``.
    """
    if min(len(left), len(right)) >= MIN_SEEDS:
        interval = welch_difference(left, right)
        return f"{interval.estimate:+.{digits}f} ± {interval.half_width:.{digits}f}"
    ends = (min(left) - max(right), max(left) - min(right))
    return " to ".join(dict.fromkeys(f"{end:+.{digits}f}" for end in ends))


def minus_published(values: Sequence[float], published: float, digits: int = 2) -> str:
    """`summary` of the values minus a published number, with a sign: the published number has no interval."""
    points = [value - published for value in values]
    if len(points) < MIN_SEEDS:
        return ", ".join(f"{value:+.{digits}f}" for value in points)
    return f"+{summary(points, digits)}" if mean(points) >= 0 else summary(points, digits)


def passes_text(passes: float | None) -> str:
    """Passes as text, with one decimal if they are not a whole number."""
    return "-" if passes is None else f"{round(passes, 1):g}"


def seed_range(seeds: Sequence[int]) -> str:
    """Seeds as text: ``0 to 7`` for three or more consecutive seeds, else a list, ``0, 2``."""
    consecutive = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if consecutive else ", ".join(map(str, seeds))


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a Markdown table; all columns but the first are aligned to the right."""
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


# ------------------------------------------------------------------------------------------------ rows
@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a comparison needs to know about a row of a table."""

    label: str
    passes: float | None = None
    """Images through the network in training, divided by the size of the training set; ``None`` if unknown."""
    values: tuple[float, ...] = ()
    """Balanced accuracy in percent for each seed; empty if there are no results."""
    baseline: bool = False
    new: bool = False
    """Whether its difference from the best baseline is printed."""


def equal_passes(left: float | None, right: float | None) -> bool:
    """Whether two numbers of passes count as equal, see `TOLERANCE`; ``None`` equals nothing."""
    return left is not None and right is not None and abs(left - right) <= TOLERANCE * max(left, right)


def by_passes(entries: dict[str, Entry]) -> list[str]:
    """Names of the entries, from few passes to many; entries with unknown passes are last."""
    return sorted(entries, key=lambda name: float("inf") if entries[name].passes is None else entries[name].passes)


def best_baseline(entries: Iterable[Entry], passes: float | None) -> Entry | None:
    """The baseline with equal passes and the highest mean; ``None`` if no baseline with equal passes has results."""
    baselines = [entry for entry in entries if entry.baseline and entry.values and equal_passes(entry.passes, passes)]
    return max(baselines, key=lambda entry: mean(entry.values), default=None)


def comparison_lines(entries: Sequence[Entry]) -> list[str]:
    """Sentences below a table: the best baseline at each number of passes, and how each new method differs from it.

    A table without a baseline that has results gets no sentences. Entries with ``new`` are the new methods.
    """
    if not _has_baseline(entries):
        return []
    missing = [f"- {entry.label}: not run yet." for entry in entries if entry.new and not entry.values]
    return [*_best_lines(entries), *gain_lines(entries), *missing, *missing_baseline_lines(entries)]


def missing_baseline_lines(entries: Sequence[Entry]) -> list[str]:
    """A sentence that names the passes at which a table has rows but no baseline; none if no baseline has results."""
    if not _has_baseline(entries):
        return []
    alone = [
        entry
        for entry in entries
        if entry.values and not entry.baseline and best_baseline(entries, entry.passes) is None
    ]
    passes = [passes_text(value) for value in sorted({entry.passes for entry in alone if entry.passes is not None})]
    if not passes:
        return []
    where = " and ".join(filter(None, [", ".join(passes[:-1]), passes[-1]]))
    return [f"- No baseline has been run at {where} passes yet: rows there are not compared with one."]


def _has_baseline(entries: Sequence[Entry]) -> bool:
    return any(entry.baseline and entry.values for entry in entries)


def _best_lines(entries: Sequence[Entry]) -> Iterator[str]:
    named: list[Entry] = []
    baselines = [entry for entry in entries if entry.baseline and entry.values]
    for baseline in sorted(baselines, key=lambda entry: entry.passes or 0):
        best = best_baseline(entries, baseline.passes)
        if best is not None and best not in named:
            named.append(best)
            at = f"at {passes_text(best.passes)} passes, by the mean"
            yield f"- Best baseline {at}: {best.label}, {summary_with_n(best.values)}."


def gain_lines(entries: Sequence[Entry]) -> list[str]:
    """A sentence for each new method with results: its difference from the best baseline at equal passes."""
    return [_gain_line(entry, entries) for entry in entries if entry.new and entry.values]


def _gain_line(new: Entry, entries: Sequence[Entry]) -> str:
    best = best_baseline(entries, new.passes)
    if best is None:
        passes = passes_text(new.passes)
        return f"- *{new.label}* is not compared: no baseline has been run at {passes} passes yet."
    at = " and ".join(dict.fromkeys((passes_text(new.passes), passes_text(best.passes))))
    points = difference(new.values, best.values, digits=1)
    seeds = len(new.values), len(best.values)
    kind = "95 % interval" if min(seeds) >= MIN_SEEDS else "the range over all pairs of runs"
    return (
        f"- *{new.label}* differs from the best baseline at {at} passes, *{best.label}*, by **{points}** points of "
        f"balanced accuracy ({kind}, n = {seeds[0]} and {seeds[1]})."
    )
