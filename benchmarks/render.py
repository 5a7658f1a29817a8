"""Render the tables of README.md, benchmarks/, docs/length.md and docs/export.md from the runs in benchmarks/results/.

    python benchmarks/render.py --write    # put the tables into the pages
    python benchmarks/render.py --check    # exit with status 1 if a page is stale

Between `<!-- table: SUITE -->` (or `classes` for the recall of each class, `settings` for a file of
benchmarks/heldout.py, `exports` for one of benchmarks/export.py) and `<!-- end -->` stands a table; between `<!--
value: SUITE/ROW min -->` (or `mean`, `max`, over the seeds), or `<!-- value: FILE.json SIDE KEY -->` of a speed
measurement, and `<!-- end -->` one number of a sentence. `mean` is the mean with its 95 % interval and n, or the
values where there are fewer than three; `over OTHER_ROW` in its place is the difference of two rows, if their passes
are equal; `few`, or another score of `SCORES`, is the mean of that score without decimals.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from statistics import mean
from typing import Any

import _results_page
import _rows
from _comparison import (
    MIN_SEEDS,
    NO_PARTNER,
    Entry,
    alone_lines,
    by_passes,
    comparison_lines,
    counted,
    difference,
    equal_passes,
    passes_text,
    percent,
    seed_range,
    summary,
    table,
)
from _intervals import moments_interval

_PAGES = ("README.md", "benchmarks/README.md", "docs/length.md", "docs/finetuning.md", "docs/export.md")
PAGES = tuple(_rows.ROOT / page for page in _PAGES)
SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", "many": "many", "medium": "medium", "few": "few"}
VALUE = re.compile(r"<!-- value: (\S+) ([^>]*?) -->[^<]*<!-- end -->")
MARKED = re.compile(r"<!-- (table|classes|settings|exports): (\S+) -->\n.*?<!-- end -->", re.DOTALL)
OVER_SEEDS: dict[str, Callable[[Iterable[float]], float]] = {"min": min, "max": max}


def cell(values: Iterable[float | None]) -> str:
    """`percent` with one decimal."""
    return percent(values, digits=1)


def score_table(suite: str) -> str:
    """Scores by row, rows of equal passes together, and the comparisons that equal passes allow."""
    runs = _rows.load(suite)
    rows, compared = _rows.suite_rows(suite), _rows.entries(suite, runs)
    rarest = _rows.suites()[suite].get("rarest")
    lines = []
    for name in by_passes(compared):
        filed = runs.get(name, [])
        cells = [cell(getattr(run.shown, score) for run in filed) for score in SCORES]
        if rarest:
            cells += [cell(run.rarest(rarest) for run in filed), cell(run.shown.ece for run in filed)]
        if not filed:
            cells[0] = _results_page.MISSING
        how = [
            str(len(filed)),
            seed_range([run.seed for run in filed]) or "-",
            _rows.row_epochs(rows[name], runs) or "-",
        ]
        seconds = f"{mean(run.seconds for run in filed):.0f}" if filed else "-"
        lines.append([compared[name].label, *cells, *how, passes_text(compared[name].passes), seconds])
    heads = ["method", *SCORES.values(), *([f"{rarest} rarest classes", "ECE"] if rarest else [])]
    heads += ["n", "seeds", "epochs", "passes", "seconds a run"]
    below = comparison_lines(list(compared.values()), digits=1)
    return "\n".join([*table(heads, lines), *([""] if below else []), *below])


def class_table(suite: str) -> str:
    """Recall of every class, most training images first."""
    runs = _rows.load(suite)
    compared = _rows.entries(suite, runs)
    if not runs:
        return _results_page.MISSING
    first = next(iter(runs.values()))[0].results
    heads = [f"{n} ({c})" for n, c in zip(first.class_names, first.class_counts or [], strict=True)]
    rows = []
    for name in filter(runs.__contains__, by_passes(compared)):
        columns = zip(*(run.results.class_recalls or [] for run in runs[name]), strict=True)
        one = compared[name]
        rows.append([one.label, *map(cell, columns), str(len(runs[name])), passes_text(one.passes)])
    return "\n".join(table(["method", *heads, "n", "passes"], rows))


def settings_table(suite: str) -> str:
    """Scores of a file of benchmarks/heldout.py, a line a setting; the options that all share stand in the head."""
    text = (_rows.RESULTS / f"{suite}.jsonl").read_text(encoding="utf-8")
    settings = [json.loads(line) for line in text.splitlines()]
    pieces = [re.findall(r"--\S+(?: [^-]\S*)?", setting["options"]) for setting in settings]
    shared = [piece for piece in pieces[0] if all(piece in other for other in pieces)]
    entries, rows = {}, {}
    for setting, options in zip(settings, pieces, strict=True):
        label = f"`{' '.join(piece for piece in options if piece not in shared)}`"
        scores = [setting.get(score) for score in ("balanced_accuracy", *_results_page.GROUPS)]
        seeds = setting["seeds"]
        cells = [_setting_cell(score, len(seeds)) for score in scores]
        values = tuple(setting["balanced_accuracy"].get("runs", [setting["balanced_accuracy"]["mean"]]))
        baseline = any(piece in ("--method ce", "--method balanced_softmax") for piece in options)
        entries[label] = Entry(label=label, passes=setting["passes"], values=values, baseline=baseline)
        rows[label] = [label, *cells, str(len(seeds)), seed_range(seeds), passes_text(setting["passes"])]
    head = f"options, beside `{' '.join(shared)}`" if shared else "options"
    heads = [head, "balanced", *_results_page.GROUPS, "n", "seeds", "passes"]
    below = alone_lines(list(entries.values()))
    lines = table(heads, [rows[label] for label in by_passes(entries)])
    return "\n".join([*lines, *([""] if below else []), *below])


def _setting_cell(score: dict[str, Any] | None, n: int) -> str:
    """A score of a setting; of some only mean and standard deviation, or the mean alone, were filed."""
    if score is None:
        return "-"
    if "runs" in score:
        return summary(score["runs"], digits=1)
    if score.get("std") is None or n < MIN_SEEDS:
        return f"{score['mean']:.1f} (mean)"
    return f"{score['mean']:.1f} ± {moments_interval(score['mean'], score['std'], n).half_width:.1f}"


def exports_table(name: str) -> str:
    """Files of benchmarks/export.py, compared with torch."""
    report = json.loads((_rows.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    heads = ["file", "format", "MB", "images", "largest difference of a probability", "same class"]
    rows = []
    for one in report["results"]:
        counts = {"random": one["random_images"], "real": one["test_images"]}
        cells = [
            f"`{one['file']}`",
            one["format"],
            f"{one['bytes'] / 1e6:.1f}",
            " and ".join(f"{count} {kind}" for kind, count in counts.items() if count),
            f"{one['max_difference']:.1e}",
            f"{100 * one['top1_agreement']:.2f} %",
        ]
        rows.append([*cells, *(f"{one[f'time_ratio_{count}']:.2f}" for count in (1, 16))])
    machine, versions = report["machine"], report["versions"]
    where = f"{machine['device']}, {machine['cpu']}, threads: {machine['threads']}, torch {versions['torch']}"
    where += f", onnxruntime {report['packages']['onnxruntime']}"
    source = f"`{report['command']}`, [results/{name}.json](../benchmarks/results/{name}.json)"
    lines = table([*heads, "time, batch 1", "batch 16"], rows)
    return "\n".join([*lines, "", f"{source}: {where}, load before {report['model']['load_before']:.1f}."])


TABLES = {"table": score_table, "classes": class_table, "settings": settings_table, "exports": exports_table}


def value(where: str, what: str) -> str:
    """One measured number: a row's balanced accuracy on the test split in percent, or one of a speed measurement.

    A row that is not filed is said to be not run yet, a difference of unequal passes is not computed.
    """
    if where.endswith(".json"):
        side, key = what.split()
        rows = json.loads((_rows.RESULTS / where).read_text(encoding="utf-8"))["results"]
        return f"{next(row for row in rows if row['side'] == side)[key]['median']:.1f}"
    suite, row = where.split("/")
    if (score := what.partition(" ")[0]) in SCORES:
        values = [100 * getattr(run.shown, score) for run in _rows.load(suite).get(row, [])]
        return f"{mean(values):.0f}" if values else _results_page.MISSING
    entries = _rows.entries(suite)
    one, (what, *other) = entries[row], what.split()
    if what in OVER_SEEDS:
        return f"{OVER_SEEDS[what](one.values):.1f}" if one.values else _results_page.MISSING
    if what == "mean":
        return counted(one.values, digits=1) if one.values else _results_page.MISSING
    return _over(one, entries[other[0]])


def _over(one: Entry, other: Entry) -> str:
    if not (one.values and other.values):
        return _results_page.MISSING
    if not equal_passes(one.passes, other.passes):
        return NO_PARTNER
    return f"{difference(one.values, other.values, digits=1)} (n = {len(one.values)} and {len(other.values)})"


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
