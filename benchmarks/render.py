"""Render the tables and numbers of README.md and docs/ from the files in benchmarks/results/.

    python benchmarks/render.py --write    # put the tables into the pages
    python benchmarks/render.py --check    # exit with status 1 if a page is stale

A table is between `<!-- KIND: ARGUMENT -->` and `<!-- end -->`. KIND is one of `TABLES`. ARGUMENT is a suite of
suites.yaml; for `rows` a suite and some of its rows; for `main` several suites; for `settings` a file of heldout.py;
for `speed` one of `_speed_tables.SPEED`; for `published` `cifar` or `large`.

A number is between `<!-- value: SUITE/ROW STATISTIC -->` and `<!-- end -->`. STATISTIC is one of:

- `min`, `max`: smallest or largest balanced accuracy over the seeds.
- `mean`: mean with its 95 % interval and n; the values if there are fewer than three.
- `over OTHER_ROW`: difference from another row of the suite, if their passes are equal.
- `few`, or another score of `SCORES`: mean of that score without decimals.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean

import _rows
from _calibration_table import calibration_table
from _comparison import NO_PARTNER, Entry, difference, equal_passes, summary_with_n
from _published import MISSING, narrow_table, published_table
from _rows import ROOT, Links
from _settings_table import settings_table
from _speed_tables import speed_table
from _tables import SCORES, ablation_table, class_table, main_table, rows_table, score_table

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
TABLES: dict[str, Callable[[str, Links], str]] = {
    "table": score_table,
    "ablation": ablation_table,
    "classes": class_table,
    "rows": rows_table,
    "main": main_table,
    "published": published_table,
    "narrow": narrow_table,
    "settings": settings_table,
    "speed": speed_table,
    "calibration": calibration_table,
}
MARKED = re.compile(rf"<!-- ({'|'.join(TABLES)}): ([^>]+?) -->\n.*?<!-- end -->", re.DOTALL)
VALUE = re.compile(r"<!-- value: (\S+) ([^>]*?) -->[^<]*<!-- end -->")
OVER_SEEDS: dict[str, Callable[[Iterable[float]], float]] = {"min": min, "max": max}
WIDTH = 120


def value(row_title: str, statistic: str) -> str:
    """A statistic of a row in percent, see the top of this file.

    The text says so if the row has no results, or if the passes of two rows are not equal.

    Args:
        row_title: ``SUITE/ROW``.
        statistic: STATISTIC above.
    """
    suite, row = row_title.split("/")
    if statistic in SCORES:
        values = [100 * getattr(run.scores, statistic) for run in _rows.load_results(suite).get(row, [])]
        return f"{mean(values):.0f}" if values else MISSING
    entries = _rows.entries(suite)
    entry = entries[row]
    if statistic in OVER_SEEDS:
        return f"{OVER_SEEDS[statistic](entry.values):.1f}" if entry.values else MISSING
    if statistic == "mean":
        return summary_with_n(entry.values) if entry.values else MISSING
    return _difference_text(entry, entries[statistic.removeprefix("over ")])


def _difference_text(left: Entry, right: Entry) -> str:
    if not (left.values and right.values):
        return MISSING
    if not equal_passes(left.passes, right.passes):
        return NO_PARTNER
    return f"{difference(left.values, right.values, digits=1)} (n = {len(left.values)} and {len(right.values)})"


def wrap(text: str) -> str:
    """Break the list items of a text to `WIDTH`; rows of a table remain on one line."""
    lines = []
    for line in text.split("\n"):
        parts = textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        lines += parts if line.startswith("- ") else [line]
    return "\n".join(lines)


def render(page: str, folder: Path = ROOT) -> str:
    """The text of a page with every marked table and number rendered again. Links are relative to ``folder``."""
    links = Links(folder)

    def block(match: re.Match[str]) -> str:
        kind, argument = match.groups()
        return f"<!-- {kind}: {argument} -->\n{wrap(TABLES[kind](argument, links))}\n<!-- end -->"

    def number(match: re.Match[str]) -> str:
        return f"<!-- value: {match[1]} {match[2]} -->{value(match[1], match[2])}<!-- end -->"

    return VALUE.sub(number, MARKED.sub(block, page))


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="put the tables into the pages")
    action.add_argument("--check", action="store_true", help="exit with status 1 if a page is stale")
    write = parser.parse_args().write
    stale = False
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (rendered := render(text, page.parent)) == text:
            continue
        stale, name = True, page.relative_to(ROOT)
        if write:
            page.write_text(rendered, encoding="utf-8")
        print(f"{name}: written" if write else f"{name} is stale: run `python benchmarks/render.py --write`")
    if stale and not write:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
