"""The tables of scores. Rows are sorted by passes, and each seed links to the results of its run."""

from __future__ import annotations

import re
from statistics import mean
from typing import Any

from _comparison import (
    NO_PARTNER,
    Entry,
    by_passes,
    comparison_lines,
    difference,
    equal_passes,
    gain_lines,
    minus_published,
    passes_text,
    percent,
    summary,
    summary_with_n,
    table,
)
from _published import MISSING, equal_terms, narrow_published
from _rows import Links, Row, SeedResults, entries, load_results, row_epochs, suite_rows, suites

SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", "many": "many", "medium": "medium", "few": "few"}
GROUPS = ("many", "medium", "few")
TUNED_SUFFIX = ": the preset tuned"
"""End of the label of the row that the preset `tuned` gives."""


RUN_COLUMNS = ["n", "seeds", "epochs", "passes", "minutes a run"]


def run_cells(row: Row, entry: Entry, results: dict[str, list[SeedResults]], links: Links) -> list[str]:
    """The cells of a row below `RUN_COLUMNS`."""
    if not (runs := results.get(row.name)):
        return ["0", "-", "-", passes_text(entry.passes), "-"]
    minutes = f"{mean(run.seconds for run in runs) / 60:.1f}"
    length = [row_epochs(row, results) or "-", passes_text(entry.passes), minutes]
    return [str(len(runs)), links.seeds(row, runs), *length]


# ------------------------------------------------------------------------------------------------ scores
def score_table(suite: str, links: Links) -> str:
    """The scores of a suite, a row of the table for each row with results, and sentences that compare them.

    Published numbers are in the table if the suite has their network.
    """
    results, rows, about = load_results(suite), suite_rows(suite), suites()[suite]
    compared = entries(suite, results)
    published = _published(about, compared)
    rarest = about.get("rarest")
    lines = []
    for name in by_passes(compared):
        if not (runs := results.get(name, [])):
            continue
        cells = [percent(getattr(run.scores, score) for run in runs) for score in SCORES]
        if rarest:
            cells += [percent(run.rarest_recall(rarest) for run in runs)]
            cells += [percent(run.scores.ece for run in runs)]
        if published:
            cells[:1] = [cells[0], *_published_cells(published.get(name), runs)]
        lines.append([compared[name].label, *cells, *run_cells(rows[name], compared[name], results, links)])
    header = ["method", *SCORES.values(), *([f"{rarest} rarest classes", "ECE"] if rarest else []), *RUN_COLUMNS]
    if published:
        header[2:2] = ["published", "minus published"]
    below = comparison_lines(list(compared.values())) + missing_lines(compared)
    return "\n".join([*(table(header, lines) if lines else []), *_below(below)]).lstrip("\n")


def missing_lines(compared: dict[str, Entry]) -> list[str]:
    """A sentence that names the rows without results. New methods have a sentence already."""
    labels = [entry.label for entry in compared.values() if not (entry.values or entry.new)]
    return [f"- {MISSING.capitalize()}: {'; '.join(labels)}."] if labels else []


def _published(about: dict[str, Any], compared: dict[str, Entry]) -> dict[str, float]:
    """Published top-1 of the rows of a suite, by name; empty if the suite has another network."""
    if "resnet32_cifar" not in " ".join([about["options"], *about.get("script_options", {}).values()]):
        return {}
    numbers = {name: narrow_published(entry.label, about.get("recipe")) for name, entry in compared.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _published_cells(published: float | None, runs: list[SeedResults]) -> list[str]:
    """The published number, and how far the runs are above it, if they have its network and schedule."""
    if published is None:
        return ["-", "-"]
    if not (runs and all(equal_terms(run) for run in runs)):
        return [f"{published:.1f}", "-"]
    return [f"{published:.1f}", minus_published([100 * run.test.top1 for run in runs], published, digits=1)]


def rows_table(argument: str, links: Links) -> str:
    """Rows of a suite, with their differences from the first one if passes are equal.

    Args:
        argument: ``SUITE ROW ROW ...``.
        links: Links of the page.
    """
    suite, *names = argument.split()
    return "\n".join(_differences(suite, names, names[0], links, "variant"))


def ablation_table(suite: str, links: Links) -> str:
    """All rows of a suite, with their differences from its base row if passes are equal."""
    return "\n".join(_differences(suite, by_passes(entries(suite)), suites()[suite]["base"], links, "change"))


def _differences(suite: str, names: list[str], base: str, links: Links, first_column: str) -> list[str]:
    results, rows = load_results(suite), suite_rows(suite)
    compared = entries(suite, results)
    lines = []
    for name in names:
        runs, entry = results.get(name, []), compared[name]
        scores = [percent(run.scores.balanced_accuracy for run in runs) if runs else MISSING]
        scores += [_from_base(entry, compared[base])]
        scores += [percent(getattr(run.scores, key) for run in runs) for key in GROUPS]
        lines.append([entry.label, *scores, *run_cells(rows[name], entry, results, links)])
    return table([first_column, "balanced", "difference", *GROUPS, *RUN_COLUMNS], lines)


def _from_base(entry: Entry, base: Entry) -> str:
    if entry is base or not (base.values and entry.values):
        return "-"
    return difference(entry.values, base.values, digits=1) if equal_passes(entry.passes, base.passes) else NO_PARTNER


def class_table(suite: str, links: Links) -> str:
    """Recall of every class, with its number of training images, for each row with results."""
    results = load_results(suite)
    compared = entries(suite, results)
    if not results:
        return MISSING
    first = next(iter(results.values()))[0].results
    header = [f"{name} ({count})" for name, count in zip(first.class_names, first.class_counts or [], strict=True)]
    rows = []
    for name in filter(results.__contains__, by_passes(compared)):
        recalls = zip(*(run.results.class_recalls or [] for run in results[name]), strict=True)  # by class
        entry = compared[name]
        rows.append([entry.label, *map(percent, recalls), str(len(results[name])), passes_text(entry.passes)])
    return "\n".join(table(["method", *header, "n", "passes"], rows))


# ------------------------------------------------------------------------------------------------ overview
def main_table(argument: str, links: Links) -> str:
    """Balanced accuracy of every method, with a column for each suite.

    The title of each column links to the table of its suite in docs/results.md. The row of the preset `tuned` is bold.

    Args:
        argument: ``SUITE SUITE ...``, suites of equal passes.
        links: Links of the page.
    """
    names = argument.split()
    by_suite = {suite: entries(suite) for suite in names}
    labels = {
        name: entry.label.removesuffix(TUNED_SUFFIX)
        for compared in by_suite.values()
        for name, entry in compared.items()
    }
    lines = []
    for name, label in labels.items():
        lines.append([label, *(_main_cell(compared.get(name)) for compared in by_suite.values())])
    page = links.to("docs/results.md")
    header = ["method", *(f"[{suites()[suite]['short']}]({page}#{slug(suites()[suite]['title'])})" for suite in names)]
    gains = [
        f"- {suites()[suite]['short']}: {line.removeprefix('- ').replace(TUNED_SUFFIX, '')}"
        for suite, compared in by_suite.items()
        for line in gain_lines(list(compared.values()))
    ]
    return "\n".join([*table(header, lines), *_below(gains)])


def slug(title: str) -> str:
    """The anchor that GitHub and mkdocs give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _main_cell(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    if not entry.values:
        return MISSING
    text = summary_with_n(entry.values) if len(entry.values) > 2 else summary(entry.values, digits=1)
    return f"**{text}**" if entry.label.endswith(TUNED_SUFFIX) else text


def _below(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []
