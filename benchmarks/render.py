"""Render the tables of README.md, benchmarks/README.md and benchmarks/RESULTS.md from the runs in benchmarks/results/.

    python benchmarks/render.py --write    # put the tables into the three pages
    python benchmarks/render.py --check    # exit with status 1 if a page is stale

Between `<!-- table: SUITE -->` (or `classes` for the recall of each class, or `settings` for a file of
benchmarks/heldout.py) and `<!-- end -->` stands a table of the suite; between `<!-- value: SUITE/ROW min -->` (or
`mean`, `max`, over the seeds), or `<!-- value: FILE.json SIDE KEY -->` of a speed measurement, and `<!-- end -->` one
number of a sentence.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from statistics import mean

import _results_page
import _rows
from _results_page import percent, table

PAGES = (_rows.ROOT / "README.md", _rows.ROOT / "benchmarks" / "README.md")
SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", "many": "many", "medium": "medium", "few": "few"}
VALUE = re.compile(r"<!-- value: (\S+) ([^>]*?) -->[^<]*<!-- end -->")
MARKED = re.compile(r"<!-- (table|classes|settings): (\S+) -->\n.*?<!-- end -->", re.DOTALL)
OVER_SEEDS: dict[str, Callable[[list[float]], float]] = {"min": min, "mean": mean, "max": max}


def load(suite: str) -> dict[str, list[_rows.Filed]]:
    """The results of a suite by label, in the order of its rows; rows without results are left out."""
    runs = _rows.load(suite)
    return {row.label: runs[name] for name, row in _rows.suite_rows(suite).items() if name in runs}


def cell(values: Iterable[float | None]) -> str:
    """Mean in percent, and the standard deviation over the seeds where there are several."""
    return percent(values, digits=1)


def score_table(suite: str) -> str:
    """Scores by row: mean and standard deviation over seeds."""
    lines = [
        f"| method | {' | '.join(SCORES.values())} | seeds | seconds a run |",
        f"|---|{'---:|' * len(SCORES)}---|---:|",
    ]
    for label, runs in load(suite).items():
        cells = [cell(getattr(run.shown, score) for run in runs) for score in SCORES]
        seeds = ", ".join(str(run.seed) for run in runs)
        lines.append(f"| {label} | {' | '.join(cells)} | {seeds} | {mean(run.seconds for run in runs):.0f} |")
    return "\n".join(lines)


def class_table(suite: str) -> str:
    """Recall of every class, most training images first."""
    runs = load(suite)
    first = next(iter(runs.values()))[0].results
    heads = [f"{n} ({c})" for n, c in zip(first.class_names, first.class_counts or [], strict=True)]
    rows = []
    for label, group in runs.items():
        columns = zip(*(run.results.class_recalls or [] for run in group), strict=True)
        rows.append([label, *map(cell, columns)])
    return "\n".join(table(["method", *heads], rows))


def settings_table(suite: str) -> str:
    """Scores of a file of benchmarks/heldout.py, a line a setting; the options that all share stand in the head."""
    text = (_rows.RESULTS / f"{suite}.jsonl").read_text(encoding="utf-8")
    settings = [json.loads(line) for line in text.splitlines()]
    pieces = [re.findall(r"--\S+(?: [^-]\S*)?", setting["options"]) for setting in settings]
    shared = [piece for piece in pieces[0] if all(piece in other for other in pieces)]
    head = f"options, beside `{' '.join(shared)}`" if shared else "options"
    lines = [f"| {head} | balanced | many | medium | few | seeds |", "|---|---:|---:|---:|---:|---|"]
    for setting, options in zip(settings, pieces, strict=True):
        cells = []
        for score in map(setting.get, ("balanced_accuracy", "many", "medium", "few")):
            spread = "" if not score or score.get("std") is None else f" ± {score['std']:.1f}"
            cells.append(f"{score['mean']:.1f}{spread}" if score else "-")
        different = " ".join(piece for piece in options if piece not in shared)
        lines.append(f"| `{different}` | {' | '.join(cells)} | {', '.join(map(str, setting['seeds']))} |")
    return "\n".join(lines)


TABLES = {"table": score_table, "classes": class_table, "settings": settings_table}


def value(where: str, what: str) -> str:
    """One measured number: a row's balanced accuracy on the test split in percent, or one of a speed measurement."""
    if where.endswith(".json"):
        side, key = what.split()
        rows = json.loads((_rows.RESULTS / where).read_text(encoding="utf-8"))["results"]
        return f"{next(row for row in rows if row['side'] == side)[key]['median']:.1f}"
    suite, row = where.split("/")
    scores = [100 * run.test.balanced_accuracy for run in _rows.load(suite)[row]]
    return f"{OVER_SEEDS[what](scores):.1f}"


def render(page: str) -> str:
    """The page with every marked table and number made anew."""

    def block(match: re.Match[str]) -> str:
        kind, suite = match.groups()
        return f"<!-- {kind}: {suite} -->\n{TABLES[kind](suite)}\n<!-- end -->"

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
    rendered = {page: render(page.read_text(encoding="utf-8")) for page in PAGES}
    rendered[_results_page.PAGE] = _results_page.page()
    stale = [page for page, text in rendered.items() if page.read_text(encoding="utf-8") != text]
    for page in stale:
        name = page.relative_to(_rows.ROOT)
        if write:
            page.write_text(rendered[page], encoding="utf-8")
        print(f"{name}: written" if write else f"{name} is stale: run `python benchmarks/render.py --write`")
    if stale and not write:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
