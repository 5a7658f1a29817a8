"""The files in benchmarks/results/: complete, of the commit and the row that they name, and equal to the cards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import _rows
from _comparison import equal_passes
from _rows import RESULTS, ROOT
from commands import resolved

from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.run import flatten_options
from glmc_zoo.results import EvaluationResults, RunResults

RUNS = sorted(RESULTS.glob("*/*.json"))
COMMITS = json.loads((RESULTS / "commits.json").read_text(encoding="utf-8"))["added"]
"""The commits that added results without a commit, by suite or file."""
CARDS = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/results.json"))

# Options that do not change what is computed, only where and how fast.
FREE = {"data_dir", "workers", "threads", "resident", "output_dir", "resume", "tracker", "profile"}
FREE |= {"mixed_precision", "compile", "compile_mode", "seed", "checkpoint_every", "checkpoint_steps", "eval_every"}
FREE |= {"feature_cache", "keep_checkpoints", "license", "export_half", "export_encoder"}
# Options that are decided by the data when the run is built.
FREE |= {"augment", "image_size", "projection_dim", "imbalance_type"}


def within(values: Any, written: Any) -> bool:
    """Whether ``written`` has all of ``values``; it may have more keys, which were added to the type later."""
    if isinstance(values, dict) and isinstance(written, dict):
        return values.keys() <= written.keys() and all(within(value, written[key]) for key, value in values.items())
    return bool(values == written)


def faults_of(path: Path) -> list[str]:
    """What is wrong with a file of results."""
    values = json.loads(path.read_text(encoding="utf-8"))
    results = _rows.read_results(path)
    origin, faults = results.origin, []
    if not within(values, results.to_dict()):
        faults.append("has keys or values that its type does not write")
    for name in ("command", "hardware", "processes"):
        if not getattr(origin, name):
            faults.append(f"lacks {name}")
    if not {"torch", "timm"} <= origin.versions.keys():
        faults.append("lacks versions of torch and timm")
    if not (results.wall_time_s and results.class_counts and results.thresholds and results.data.name):
        faults.append("lacks its time, class counts, thresholds or data")
    if not re.fullmatch(r"[0-9a-f]{40}", origin.commit or COMMITS.get(path.parent.name) or ""):
        faults.append("has no commit")
    name, _, seed = path.stem.rpartition("_seed")
    if path.parent.name == "models":
        return faults
    if isinstance(results, RunResults):
        seeds = results.seeds
        if results.selection is None or seeds is None or not seeds.seed == int(seed) == results.config["seed"]:
            faults.append("lacks its selection, or has another seed than its name")
    if not isinstance(results, EvaluationResults) and "posthoc" in values:
        faults.append("is of an evaluation, but has no split")
    rows = _rows.published_rows() if path.parent.name == _rows.PUBLISHED else _rows.suite_rows(path.parent.name)
    return faults if name in rows else [*faults, "belongs to no row"]


def test_every_result_is_typed_and_has_its_origin() -> None:
    by_file = {f"{path.parent.name}/{path.name}": faults for path in RUNS if (faults := faults_of(path))}
    assert not by_file, "\n".join(f"{name}: {faults}" for name, faults in by_file.items())
    assert len(RUNS) > 150


def test_no_result_tells_where_its_files_lay() -> None:
    folders = re.compile(r"(?<![\w./])/(?:home|mnt|root|tmp|Users|var)/")
    assert [path.name for path in RESULTS.rglob("*.json*") if folders.search(path.read_text(encoding="utf-8"))] == []


def test_every_measurement_has_its_commit() -> None:
    without_commit = []
    for path in sorted(RESULTS.glob("*.json*")):
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
            commit = json.loads(line).get("commit") or COMMITS.get(path.name) or ""
            if path.name != "commits.json" and not re.fullmatch(r"[0-9a-f]{40}", commit):
                without_commit.append(path.name)
    assert not without_commit


def test_all_runs_of_a_row_have_its_passes() -> None:
    different = []
    for suite in _rows.suites():
        for name, seed_results in _rows.load_results(suite).items():
            passes = {_rows.passes(run.config) for run in seed_results if run.config}
            planned = _rows.suite_rows(suite)[name].passes
            if len(passes) > 1 or (planned is not None and not equal_passes(planned, *passes)):
                different.append(f"{suite}/{name}: {passes} and not {planned}")
    assert different == []


def test_labels_of_a_suite_differ() -> None:
    for suite in _rows.suites():
        labels = [row.label for row in _rows.suite_rows(suite).values()]
        assert len(labels) == len(set(labels)), suite


def test_every_run_has_the_options_of_its_row() -> None:
    different, seen = [], 0
    for suite in _rows.suites():
        for name, seed_results in _rows.load_results(suite).items():
            row = _rows.suite_rows(suite)[name]
            if row.script not in ("train.py", "finetune.py"):
                continue  # a second stage and an evaluation take other options from their model
            expected = flatten_options(resolved(row.script, [*row.options, "--data", seed_results[0].config["data"]]))
            for run in seed_results:
                # A baseline does not use the switches of GLMC, but its config has values for them.
                free = FREE | ({"preset", *field_names(GLMCSwitches)} if run.config.get("method") != "glmc" else set())
                keys = expected.keys() & run.config.keys() - free
                different += [
                    f"{row.title}, seed {run.seed}: {key} {run.config[key]!r} and not {expected[key]!r}"
                    for key in sorted(keys)
                    if run.config[key] not in (expected[key], "path/to/model")  # a model that is not published
                    and not str(run.config[key]).endswith(f"/{expected[key]}")  # a model of _clothing.py
                ]
                seen += 1
    assert not different, "\n".join(different)
    assert seen > 100


def test_cards_have_the_stored_results() -> None:
    for folder in CARDS:
        stored = RESULTS / "models" / f"{folder.name}.json"
        assert stored.is_file(), "publish it by benchmarks/publish.py, which stores its results"
        assert RunResults.load(stored) == RunResults.load(folder / "results.json"), folder.name
