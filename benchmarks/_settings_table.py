"""The tables of settings, scored on held-out images by benchmarks/heldout.py."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from _comparison import MIN_SEEDS, Entry, by_passes, missing_baseline_lines, passes_text, seed_range, summary, table
from _intervals import moments_interval
from _rows import RESULTS, Links
from _tables import GROUPS


def settings_table(suite: str, links: Links) -> str:
    """The table of a file of heldout.py: a row for each setting, and below the options that all settings share."""
    settings = read_settings(RESULTS / f"{suite}.jsonl")
    pieces = [re.findall(r"--\S+(?: [^-]\S*)?", setting["options"]) for setting in settings]
    shared = [piece for piece in pieces[0] if all(piece in other for other in pieces)]
    entries, rows = {}, {}
    for setting, options in zip(settings, pieces, strict=True):
        label = f"`{' '.join(piece for piece in options if piece not in shared)}`"
        scores = [setting.get(score) for score in ("balanced_accuracy", *GROUPS)]
        seeds = setting["seeds"]
        cells = [_setting_cell(score, len(seeds)) for score in scores]
        balanced = setting["balanced_accuracy"]
        values = tuple(balanced["runs"] if "runs" in balanced else [balanced["mean"]])
        baseline = any(piece in ("--method ce", "--method balanced_softmax") for piece in options)
        entries[label] = Entry(label=label, passes=setting["passes"], values=values, baseline=baseline)
        rows[label] = [label, *cells, str(len(seeds)), seed_range(seeds), passes_text(setting["passes"])]
    lines = table(
        ["options", "balanced", *GROUPS, "n", "seeds", "passes"], [rows[label] for label in by_passes(entries)]
    )
    file = f"- [{suite}.jsonl]({links.to(f'benchmarks/results/{suite}.jsonl')}) has the runs of each row."
    common = [f"- All rows have `{' '.join(shared)}`."] if shared else []
    return "\n".join([*lines, "", *missing_baseline_lines(list(entries.values())), *common, file])


def read_settings(path: Path) -> list[dict[str, Any]]:
    """The settings of a file of heldout.py. Lines with the same options are one setting, with the seeds of all."""
    settings: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        setting = json.loads(line)
        first = settings.setdefault(setting["options"], setting)
        if first is not setting:
            first["seeds"] += setting["seeds"]
            for score in {"balanced_accuracy", *GROUPS} & setting.keys():
                first[score] = {"runs": first[score]["runs"] + setting[score]["runs"]}
    return list(settings.values())


def _setting_cell(score: dict[str, Any] | None, n: int) -> str:
    """A score of a setting. For some settings only mean and standard deviation, or only the mean, were stored."""
    if score is None:
        return "-"
    if "runs" in score:
        return summary(score["runs"], digits=1)
    if score.get("std") is None or n < MIN_SEEDS:
        return f"{score['mean']:.1f} (mean)"
    return f"{score['mean']:.1f} ± {moments_interval(score['mean'], score['std'], n).half_width:.1f}"
