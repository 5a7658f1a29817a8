"""Render the result tables of README.md and benchmarks/README.md from the runs in benchmarks/results/.

    python benchmarks/table.py            # print every table
    python benchmarks/table.py --write    # put them between the markers of the two files, and write RESULTS.md

A suite is a folder of `results.json` files, one a run, all with the same data, backbone and schedule. Between
`<!-- table: SUITE -->` (or `classes`, or `settings` for a file of benchmarks/heldout.py) and `<!-- end -->`
stands what this script makes of the suite; between `<!-- value: SUITE/ROW min -->` (or `mean`, `max`, over the seeds),
or `<!-- value: FILE.json SIDE KEY -->` of a measurement of speed, and `<!-- end -->` one number of a sentence.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from statistics import mean, mode
from typing import Any

import results_page
from table_rows import RESULTS, ROOT

from glmc_zoo.engine.config import resolve
from glmc_zoo.method.presets import METHOD_SWITCHES

PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
SCORES = {"top1": "top-1", "balanced_accuracy": "balanced", "many": "many", "medium": "medium", "few": "few"}
VALUE = re.compile(r"<!-- value: (\S+) ([^>]*?) -->[^<]*<!-- end -->")
MARKED = re.compile(r"<!-- (table|classes|settings): (\S+) -->\n.*?<!-- end -->", re.DOTALL)

Runs = dict[str, list[dict[str, Any]]]


def label(results: dict[str, Any]) -> str:
    """Name of a run's row: the method, and for GLMC its switches, with the preset's name where they are just its."""
    config = results["config"]
    if "variant" in results:
        return results["variant"]
    if results["method"] != "glmc":
        return {"ce": "cross-entropy", "balanced_softmax": "balanced softmax"}[results["method"]]
    asked = {"data": results["data"]["name"], "imbalance_factor": results["data"]["imbalance_factor"]}
    plain = dataclasses.asdict(resolve(asked | {"preset": results["preset"]}))
    power = config.get("cumulative_power", 2)
    switches = {"prior_tau": 1.0} | config | {"cumulative_power": power}
    balanced = config["rebalanced_loss"] == "balanced_softmax"
    branch = "balanced softmax" if balanced else f"k {config['class_weight_power']:g}"
    numbers = f"q {config['sampler_power']:g}, gamma {config['consistency_weight']:g}"
    alpha = config.get("constant_alpha")
    schedule = f"take-over {power:g}" if alpha is None else f"alpha {alpha:g} throughout"
    views = config.get("views", "mixup_cutmix")
    kind = "" if views == "mixup_cutmix" else f", both views {views}"
    kind += ", joint views" if config.get("joint_views") else ""
    if not kind and alpha is None and all(switches[key] == plain[key] for key in METHOD_SWITCHES):
        return f"GLMC {results['preset']} ({branch}, {numbers}, {schedule})"
    kind += "" if switches["prior_tau"] == 1 else f", prior tau {switches['prior_tau']:g}"
    kind += "" if config["beta"] == 1 else f", beta {config['beta']:g}"
    kind += ", corrected label" if config["correct_lam"] else ""
    return f"GLMC ({branch}, {numbers}, {schedule}{kind})"


def _start(results: dict[str, Any], usual: dict[str, Any]) -> str:
    """What training started from, which part learned and how fast; of the ``usual`` options those that differ."""
    tuned, config = results.get("finetune"), results["config"]
    parts = {"full": "", "head": ", linear probe", "blocks": ", last blocks", "lora": ", LoRA"}
    start = f"fine-tuned{parts[tuned['tune']]}" if tuned else "from scratch"
    decay = f", layer decay {config['layer_decay']:g}" if config.get("layer_decay") else ""
    others = [f", {name.replace('_', ' ')} {config[name]:g}" for name, value in usual.items() if config[name] != value]
    return f"{start}, lr {config['lr']:g}{decay}{''.join(others)}: "


def load(suite: str) -> Runs:
    """Runs of a suite by label, each list in the order of the seeds."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / suite).glob("*.json"))]
    found.sort(key=lambda results: results["seeds"]["seed"])  # those of one seed stay in the order of their names
    if not found:
        raise SystemExit(f"table.py: error: no results in {RESULTS / suite}; name a folder of results.json files.")
    runs: Runs = {}
    tuning = any(results.get("finetune") for results in found)
    usual = {name: mode(results["config"].get(name) for results in found) for name in ("epochs", "weight_decay")}
    for results in found:
        # Beside what training started from, the switches of a preset are too much for one line.
        short = re.sub(r"^(GLMC \w+) \(.*", r"\1", label(results))
        runs.setdefault(_start(results, usual) + short if tuning else label(results), []).append(results)
    variants = any("variant" in results for results in found)  # each after the one that it adds to
    order = {name: (name.startswith("fine-tuned"), "GLMC" in name, name if variants else "") for name in runs}
    return {name: runs[name] for name in sorted(runs, key=order.__getitem__)}


def cell(values: list[float | None]) -> str:
    """Mean in percent, and the standard deviation over the seeds where there are several."""
    return results_page.percent(values, digits=1)


def scores_of(results: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a run: the scores of the held-out part where the run was made to choose by it."""
    return results.get("validation") or results["test"]


def score_table(runs: Runs) -> str:
    """Scores by method: mean and standard deviation over seeds."""
    lines = [
        f"| method | {' | '.join(SCORES.values())} | seeds | seconds a run |",
        f"|---|{'---:|' * len(SCORES)}---|---:|",
    ]
    for name, group in runs.items():
        cells = [cell([scores_of(run)[score] for run in group]) for score in SCORES]
        seeds = ", ".join(str(run["seeds"]["seed"]) for run in group)
        lines.append(f"| {name} | {' | '.join(cells)} | {seeds} | {mean(run['wall_time_s'] for run in group):.0f} |")
    return "\n".join(lines)


def class_table(runs: Runs) -> str:
    """Recall of every class, most training images first."""
    first = next(iter(runs.values()))[0]
    heads = [f"{n} ({c})" for n, c in zip(first["class_names"], first["class_counts"], strict=True)]
    lines = [f"| method | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for name, group in runs.items():
        columns = zip(*(run["class_recalls"] for run in group), strict=True)
        lines.append(f"| {name} | {' | '.join(cell(list(column)) for column in columns)} |")
    return "\n".join(lines)


def settings_table(suite: str) -> str:
    """What benchmarks/heldout.py found, a line a setting."""
    names = ("balanced_accuracy", "many", "medium", "few")
    rows = [json.loads(line) for line in (RESULTS / f"{suite}.jsonl").read_text(encoding="utf-8").splitlines()]
    # Each option with its value; what all settings share is said once.
    pieces = [re.findall(r"--\S+(?: [^-]\S*)?", row["options"]) for row in rows]
    shared = [piece for piece in pieces[0] if all(piece in other for other in pieces)]
    head = f"options, beside `{' '.join(shared)}`" if shared else "options"
    lines = [f"| {head} | balanced | many | medium | few | seeds |", "|---|---:|---:|---:|---:|---|"]
    for row, own in zip(rows, pieces, strict=True):
        cells = []
        for score in map(row.get, names):
            spread = "" if not score or score.get("std") is None else f" ± {score['std']:.1f}"
            cells.append(f"{score['mean']:.1f}{spread}" if score else "-")
        options = " ".join(piece for piece in own if piece not in shared)
        lines.append(f"| `{options}` | {' | '.join(cells)} | {', '.join(map(str, row['seeds']))} |")
    return "\n".join(lines)


def render(page: str) -> str:
    """The page with every marked block made anew."""

    def block(match: re.Match[str]) -> str:
        kind, suite = match.groups()
        if kind == "settings":
            table = settings_table(suite)
        else:
            table = {"table": score_table, "classes": class_table}[kind](load(suite))
        return f"<!-- {kind}: {suite} -->\n{table}\n<!-- end -->"

    def number(match: re.Match[str]) -> str:
        return f"<!-- value: {match[1]} {match[2]} -->{value(match[1], match[2])}<!-- end -->"

    return VALUE.sub(number, MARKED.sub(block, page))


def value(where: str, what: str) -> str:
    """One measured number: of a row's balanced accuracy in percent, or of a report of speed."""
    if where.endswith(".json"):
        side, key = what.split()
        rows = json.loads((RESULTS / where).read_text(encoding="utf-8"))["results"]
        return f"{next(row for row in rows if row['side'] == side)[key]['median']:.1f}"
    suite, row = where.split("/")
    scores = [100 * run["test"]["balanced_accuracy"] for run in results_page.load(suite)[row]]
    over_seeds: dict[str, Any] = {"min": min, "mean": mean, "max": max}
    return f"{over_seeds[what](scores):.1f}"


def main() -> None:
    """Print the tables of all suites, or write them into the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the tables into README.md and benchmarks/README.md")
    if parser.parse_args().write:
        for page in PAGES:
            page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
        results_page.write()
        return
    for suite in sorted(path.name for path in RESULTS.iterdir() if path.is_dir()):
        print(f"\n{suite}\n\n{score_table(load(suite))}")


if __name__ == "__main__":
    main()
