"""The tables of scores: rows of equal passes together, each seed with a link to the file of its run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import mean
from typing import Any

from _comparison import (
    NO_PARTNER,
    Entry,
    above,
    by_passes,
    comparison_lines,
    counted,
    difference,
    equal_passes,
    passes_text,
    percent,
    summary,
    table,
)
from _published import MISSING, equal_terms, narrow_published
from _rows import Filed, Links, Row, entries, load, row_epochs, suite_rows, suites

SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", "many": "many", "medium": "medium", "few": "few"}
GROUPS = ("many", "medium", "few")
CHOSEN = ": the preset tuned"
"""End of the label of the row that the preset `tuned` trains."""


def cell(values: Iterable[float | None]) -> str:
    """`percent` with one decimal."""
    return percent(values, digits=1)


def how(row: Row, one: Entry, runs: dict[str, list[Filed]], links: Links) -> list[str]:
    """The last cells of a row: n, seeds, epochs, passes, minutes."""
    if not (filed := runs.get(row.name)):
        return ["0", "-", "-", passes_text(one.passes), "-"]
    minutes = f"{mean(run.seconds for run in filed) / 60:.1f}"
    length = [row_epochs(row, runs) or "-", passes_text(one.passes), minutes]
    return [str(len(filed)), links.seeds(row, filed), *length]


HOW = ["n", "seeds", "epochs", "passes", "minutes a run"]


# ------------------------------------------------------------------------------------------------ scores
def score_table(suite: str, links: Links) -> str:
    """Scores by row, and the comparisons that equal passes allow.

    Published numbers stand in it where a run has their network and schedule.
    """
    runs, rows, about = load(suite), suite_rows(suite), suites()[suite]
    compared = entries(suite, runs)
    published = _published(about, compared)
    rarest = about.get("rarest")
    lines = []
    for name in by_passes(compared):
        if not (filed := runs.get(name, [])):
            continue
        cells = [cell(getattr(run.shown, score) for run in filed) for score in SCORES]
        if rarest:
            cells += [cell(run.rarest(rarest) for run in filed), cell(run.shown.ece for run in filed)]
        if published:
            cells[:1] = [cells[0], *_beside(published.get(name), filed)]
        lines.append([compared[name].label, *cells, *how(rows[name], compared[name], runs, links)])
    heads = ["method", *SCORES.values(), *([f"{rarest} rarest classes", "ECE"] if rarest else []), *HOW]
    if published:
        heads[2:2] = ["published", "minus published"]
    below = comparison_lines(list(compared.values()), digits=1) + missing_lines(compared)
    return "\n".join([*(table(heads, lines) if lines else []), *_below(below)]).lstrip("\n")


def missing_lines(compared: dict[str, Entry]) -> list[str]:
    """The sentence that names the rows without a run."""
    labels = [one.label for one in compared.values() if not (one.values or one.new)]
    return [f"- {MISSING.capitalize()}: {'; '.join(labels)}."] if labels else []


def _published(about: dict[str, Any], compared: dict[str, Entry]) -> dict[str, float]:
    """Published numbers of the rows of a suite, by name; none where the suite has another network."""
    if "resnet32_cifar" not in " ".join([about["options"], *about.get("script_options", {}).values()]):
        return {}
    numbers = {name: narrow_published(one.label, about.get("recipe")) for name, one in compared.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _beside(published: float | None, filed: list[Filed]) -> list[str]:
    if published is None:
        return ["-", "-"]
    alike = filed and all(equal_terms(run) for run in filed)
    return [f"{published:.1f}", above([100 * run.test.top1 for run in filed], published, digits=1) if alike else "-"]


def rows_table(argument: str, links: Links) -> str:
    """Rows of a suite, each with its difference from the first where passes are equal: ``SUITE ROW ROW ...``."""
    suite, *names = argument.split()
    return "\n".join(_differences(suite, names, names[0], links, "variant"))


def ablation_table(suite: str, links: Links) -> str:
    """What each change loses or gains against the unchanged base, by the runs of equal passes."""
    return "\n".join(_differences(suite, by_passes(entries(suite)), suites()[suite]["base"], links, "change"))


def _differences(suite: str, names: list[str], base: str, links: Links, head: str) -> list[str]:
    runs, rows = load(suite), suite_rows(suite)
    compared = entries(suite, runs)
    lines = []
    for name in names:
        filed, one = runs.get(name, []), compared[name]
        scores = [cell(run.shown.balanced_accuracy for run in filed) if filed else MISSING]
        scores += [_from_base(one, compared[base])]
        scores += [cell(getattr(run.shown, key) for run in filed) for key in GROUPS]
        lines.append([one.label, *scores, *how(rows[name], one, runs, links)])
    return table([head, "balanced", "difference", *GROUPS, *HOW], lines)


def _from_base(one: Entry, base: Entry) -> str:
    if one is base or not (base.values and one.values):
        return "-"
    return difference(one.values, base.values, digits=1) if equal_passes(one.passes, base.passes) else NO_PARTNER


def class_table(suite: str, links: Links) -> str:
    """Recall of every class, most training images first."""
    runs = load(suite)
    compared = entries(suite, runs)
    if not runs:
        return MISSING
    first = next(iter(runs.values()))[0].results
    heads = [f"{n} ({c})" for n, c in zip(first.class_names, first.class_counts or [], strict=True)]
    rows = []
    for name in filter(runs.__contains__, by_passes(compared)):
        columns = zip(*(run.results.class_recalls or [] for run in runs[name]), strict=True)
        one = compared[name]
        rows.append([one.label, *map(cell, columns), str(len(runs[name])), passes_text(one.passes)])
    return "\n".join(table(["method", *heads, "n", "passes"], rows))


# ------------------------------------------------------------------------------------------------ overview
def main_table(argument: str, links: Links) -> str:
    """Balanced accuracy of every method of equal time, a column a suite: ``SUITE SUITE ...``.

    Each head links to the table of its suite in docs/results.md. The row that the preset tuned trains is bold.
    """
    names = argument.split()
    by_suite = {suite: entries(suite) for suite in names}
    labels = {name: one.label.removesuffix(CHOSEN) for compared in by_suite.values() for name, one in compared.items()}
    lines = []
    for name, label in labels.items():
        ones = [compared.get(name) for compared in by_suite.values()]
        lines.append([label, *(_main_cell(one) for one in ones)])
    page = links.to("docs/results.md")
    heads = ["method", *(f"[{suites()[suite]['short']}]({page}#{slug(suites()[suite]['title'])})" for suite in names)]
    news = [
        f"- {suites()[suite]['short']}: {line.removeprefix('- ')}"
        for suite, compared in by_suite.items()
        for line in comparison_lines(list(compared.values()), digits=1)
        if " over " in line
    ]
    return "\n".join([*table(heads, lines), *_below(news)])


def slug(title: str) -> str:
    """The anchor that GitHub and mkdocs give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _main_cell(one: Entry | None) -> str:
    if one is None:
        return "-"
    if not one.values:
        return MISSING
    text = counted(one.values, digits=1) if len(one.values) > 2 else summary(one.values, digits=1)
    return f"**{text}**" if one.label.endswith(CHOSEN) else text


def _below(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []
