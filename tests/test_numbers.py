"""No number without its run: pages and cards against benchmarks/results/, and each run against its row."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _published
import _rows
import _speed_tables
import _tables
import numpy as np
import pytest
import render
import scipy.stats
from _comparison import equal_passes
from _rows import RESULTS, ROOT, Filed, Links
from commands import resolved

from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.run import flatten_options
from glmc_zoo.results import EvaluationResults, RunResults

RUNS = sorted(RESULTS.glob("*/*.json"))
COMMITS = RESULTS / "commits.json"
ADDED = json.loads(COMMITS.read_text(encoding="utf-8"))["added"]
CARDS = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/results.json"))

# Options that say where and how fast a run was made, and not what was computed.
FREE = {"data_dir", "workers", "threads", "resident", "output_dir", "resume", "tracker", "profile"}
FREE |= {"mixed_precision", "compile", "compile_mode", "seed", "checkpoint_every", "checkpoint_steps", "eval_every"}
FREE |= {"feature_cache", "keep_checkpoints", "license", "export_half", "export_encoder"}
# Options that the data fill in while the run is built.
FREE |= {"augment", "image_size", "projection_dim", "imbalance_type"}

# Decimal numbers in the README that nobody measured: a version.
FACTS = {"3.10"}
LINKS = Links(ROOT)


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """``file("SUITE/ROW_seed0", run, top1=0.7)`` files a run with other scores, in a folder that holds nothing else."""
    monkeypatch.setattr(_rows, "RESULTS", tmp_path)

    def write(name: str, run: Any, **scores: float) -> None:
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        dataclasses.replace(run, test=dataclasses.replace(run.test, **scores)).save(path)

    return write


def run_of(name: str) -> Any:
    """A filed run, as a template."""
    return RunResults.load(RESULTS / f"{name}.json")


# ------------------------------------------------------------------------------------------------ pages
def marks() -> list[tuple[str, str]]:
    """Kind and content of every mark of the pages."""
    return [mark for page in render.PAGES for mark in render.MARKED.findall(page.read_text(encoding="utf-8"))]


def test_the_pages_are_what_the_runs_render_to() -> None:
    for page in render.PAGES:
        text = page.read_text(encoding="utf-8")
        assert render.render(text, page.parent) == text, f"{page} is stale: run `python benchmarks/render.py --write`"
    assert len(marks()) > 40


def test_every_suite_is_shown_once_in_full() -> None:
    full = [what for kind, what in marks() if kind in ("table", "ablation", "settings")]
    assert len(full) == len(set(full))
    settings = {path.stem for path in RESULTS.glob("*.jsonl")}
    apart = {_rows.PUBLISHED, "models"}  # in tables of their own, and in the cards
    assert {path.parent.name for path in RUNS} | settings | _rows.suites().keys() <= {*full} | apart
    assert {("published", "cifar"), ("published", "large"), ("narrow", "published")} <= {*marks()}


def test_every_speed_is_shown() -> None:
    shown = {what for kind, what in marks() if kind == "speed"}
    assert shown == {*_speed_tables.SPEED}
    pages = "".join(page.read_text(encoding="utf-8") for page in render.PAGES)
    assert not [
        path.name for path in RESULTS.glob("*.json") if f"results/{path.name})" not in pages and path != COMMITS
    ]


def test_no_sentence_of_the_readme_has_a_number_of_its_own() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for made in (render.MARKED, re.compile(r"```.*?```", re.DOTALL), re.compile(r"`[^`\n]*`")):
        text = made.sub("", text)
    assert set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)) <= FACTS, "show it in a table"


def test_a_number_in_a_sentence_is_that_of_its_runs() -> None:
    scores = [
        100 * json.loads(path.read_text())["test"]["balanced_accuracy"] for path in RESULTS.glob("digits_lt/ce_s*")
    ]
    assert len(scores) == 8
    low, high = scipy.stats.t.interval(0.95, 7, loc=np.mean(scores), scale=scipy.stats.sem(scores))
    expected = {"min": f"{min(scores):.1f}", "max": f"{max(scores):.1f}"}
    expected["mean"] = f"{np.mean(scores):.1f} ± {(high - low) / 2:.1f} (n = 8)"
    for what, text in expected.items():
        assert render.value("digits_lt/ce", what) == text
        marked = f"<!-- value: digits_lt/ce {what} -->{{}}<!-- end -->"
        assert render.render(f"a {marked.format('99.9')} b") == f"a {marked.format(text)} b"
    loop = json.loads((RESULTS / "speed_loop_resnet20.json").read_text())["results"]
    [ours] = [row for row in loop if row["side"] == "ours"]
    cells = [f"{ours['samples_per_second']['median']:.0f}", f"{ours['times_reference']['median']:.2f} ("]
    assert re.search(rf"\| whole loop, `resnet20_cifar` \|.*\| {cells[0]} \| {re.escape(cells[1])}", _speed("loop"))


def _speed(name: str) -> str:
    return _speed_tables.speed_table(name, LINKS)


def test_held_out_scores_are_shown_where_settings_are_chosen_by_them() -> None:
    template = run_of("cifar10_lt_if100_heldout_10_epochs/bs_seed0")
    assert template.validation is not None and template.validation != template.test
    assert Filed(0, template).shown == template.validation and Filed(0, template).test == template.test
    plain = dataclasses.replace(template, validation=None)
    assert Filed(0, plain).shown == template.test


def test_seeds_stand_in_their_order(file: Callable[..., None]) -> None:
    for seed in (10, 2, 0):
        file(f"digits_lt/ce_seed{seed}", run_of("digits_lt/ce_seed0"))
    assert [run.seed for run in _rows.load("digits_lt")["ce"]] == [0, 2, 10]


def test_what_was_not_run_is_shown_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_rows, "RESULTS", tmp_path)
    text = "".join(_published.published_table(which, LINKS) for which in ("cifar", "large"))
    for name in _rows.published_rows():
        assert re.search(rf"^\| \[{name}\]\(.*\| {_published.MISSING} \|", text, re.MULTILINE), name
    for suite, about in _rows.suites().items():
        if about["kind"] == "ablation":
            assert _tables.ablation_table(suite, LINKS).count(f"| {_published.MISSING} |") == len(about["rows"])
        else:
            labels = "; ".join(row["label"] for row in about["rows"].values() if not row.get("new"))
            assert f"- Not run yet: {labels}." in _tables.score_table(suite, LINKS), suite


def test_two_seeds_are_shown_as_they_are_and_three_as_their_interval(
    file: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_rows.suites()["digits_lt"], "seeds", [0, 1, 2])
    template = dataclasses.replace(run_of("digits_lt/ce_seed0"), wall_time_s=90)
    for name, scores in (("ce", (0.70, 0.72)), ("glmc_tuned", (0.80, 0.79, 0.81)), ("balanced_softmax", (0.78,))):
        for seed, score in enumerate(scores):
            file(f"digits_lt/{name}_seed{seed}", template, top1=score, balanced_accuracy=score)
    text = re.sub(
        r"\[(\d)\]\(benchmarks/results/digits_lt/\w+_seed\1\.json\)", r"\1", _tables.score_table("digits_lt", LINKS)
    )
    missing = _published.MISSING
    assert "| cross-entropy | 70.0, 72.0 | 70.0, 72.0 |" in text
    assert f"| 2 | 0, 1 (2: {missing}) | 40 | 40 | 1.5 |" in text
    assert "| balanced softmax: the preset tuned | 78.0 | 78.0 |" in text
    assert f"| 1 | 0 (1, 2: {missing}) | 40 | 40 |" in text
    assert "| GLMC, two views | 80.0 ± 2.5 | 80.0 ± 2.5 |" in text and "| 3 | 0, 1, 2 | 40 | 40 |" in text
    assert "- Best baseline at 40 passes, by the mean: balanced softmax: the preset tuned, 78.0 (n = 1)." in text
    assert "the preset tuned, balanced accuracy at 40 passes: **+1.0 to +3.0** points" in text


def test_rows_of_other_passes_stand_apart_and_are_not_compared(file: Callable[..., None]) -> None:
    template = run_of("digits_lt/ce_seed0")
    glmc = dataclasses.replace(template, config=template.config | {"method": "glmc"})
    file("digits_lt/glmc_tuned_seed0", glmc, balanced_accuracy=0.9)
    file("digits_lt/ce_seed0", template, balanced_accuracy=0.8)
    text = _tables.score_table("digits_lt", LINKS)
    assert text.index("| cross-entropy |") < text.index("| GLMC, two views |")
    assert "- GLMC, two views over the best baseline: no run at equal passes yet (80 passes)." in text
    assert render.value("digits_lt/glmc_tuned", "over ce") == "no run at equal passes yet"
    assert render.value("digits_lt/glmc_tuned", "over balanced_softmax") == _published.MISSING
    rows = _tables.rows_table("digits_lt ce glmc_tuned balanced_softmax", LINKS)
    assert "| GLMC, two views | 90.0 | no run at equal passes yet |" in rows
    assert f"| balanced softmax: the preset tuned | {_published.MISSING} | - |" in rows
    file("digits_lt/balanced_softmax_seed0", dataclasses.replace(template, config=template.config | {"epochs": 80}))
    assert "no run at equal passes" not in _tables.score_table("digits_lt", LINKS)


def test_differences_of_the_ablation_are_not_paired(file: Callable[..., None]) -> None:
    suite = "cifar10_lt_if100_resnet20_10_epochs_ablation"
    template = run_of(f"{suite}/whole_seed0")
    scores = {"whole": (0.50, 0.52, 0.54), "no_sampler": (0.40, 0.43, 0.43), "mixup": (0.51, 0.52)}
    for name, values in scores.items():
        for seed, score in enumerate(values):
            file(f"{suite}/{name}_seed{seed}", template, balanced_accuracy=score)
    other = dataclasses.replace(template, config=template.config | {"epochs": 12})
    file(f"{suite}/cutmix_seed0", other, balanced_accuracy=0.6)
    text = _tables.ablation_table(suite, LINKS)
    expected = scipy.stats.ttest_ind([40, 43, 43], [50, 52, 54], equal_var=False).confidence_interval()
    half = (expected.high - expected.low) / 2
    assert f"| both batches shuffled plainly (q 0) | 42.0 ± 4.3 | -10.0 ± {half:.1f} |" in text
    assert "| MixUp for both views | 51.0, 52.0 | -3.0 to +2.0 |" in text
    assert "| CutMix for both views | 60.0 | no run at equal passes yet |" in text


def test_the_table_of_the_readme_shows_each_suite_and_what_the_preset_trains(file: Callable[..., None]) -> None:
    template = run_of("cifar100_lt_if100_resnet20_60_passes/balanced_softmax_seed0")
    short, long = (f"cifar100_lt_if100_resnet20_{passes}_passes" for passes in (15, 60))
    for suite, name, scores in (
        (short, "balanced_softmax", (0.20, 0.22)),
        (long, "balanced_softmax", (0.40, 0.41, 0.42)),
        (long, "glmc_one_view", (0.43, 0.44, 0.45)),
    ):
        for seed, score in enumerate(scores):
            file(f"{suite}/{name}_seed{seed}", template, balanced_accuracy=score)
    text = _tables.main_table(f"{long} {short}", Links(ROOT / "docs"))
    assert "| balanced softmax | 41.0 ± 2.5 (n = 3) | **20.0, 22.0** |" in text
    assert "| GLMC, one mixed view a step, the last quarter unmixed | **44.0 ± 2.5 (n = 3)** | not run yet |" in text
    assert "[CIFAR-100-LT, 60 passes](results.md#cifar-100-lt-imbalance-factor-100-equal-time-60-passes)" in text
    interval = scipy.stats.ttest_ind([43, 44, 45], [40, 41, 42], equal_var=False).confidence_interval()
    assert f"**+3.0 ± {(interval.high - interval.low) / 2:.1f}** points (n = 3 and 3)" in text


def test_published_and_ours_and_their_difference(file: Callable[..., None]) -> None:
    file("published/cifar10_lt_if100_seed0", run_of("digits_lt/ce_seed0"), top1=0.89)
    text = _published.published_table("cifar", LINKS)
    link = "[0](benchmarks/results/published/cifar10_lt_if100_seed0.json)"
    assert f"| 88.50 | 88.24 | 89.00 | +0.50 | 1 | {link} | 40 | 40 |" in text


def test_a_difference_from_narrow_numbers_is_given_only_on_equal_terms(file: Callable[..., None]) -> None:
    suite = "cifar10_lt_if100_resnet32_200_passes"
    template = run_of("cifar10_lt_if100_resnet20_60_epochs/ce_seed0")
    for backbone, epochs, shown in (
        ("resnet32_cifar", 200, "| 71.4 | 70.4 | +1.0 |"),
        ("resnet32_cifar", 60, "| 71.4 | 70.4 | - |"),
        ("resnet20_cifar", 200, "| 71.4 | 70.4 | - |"),
    ):
        config = template.config | {"backbone": backbone, "epochs": epochs}
        file(f"{suite}/ce_seed0", dataclasses.replace(template, config=config), top1=0.714)
        assert shown in _tables.score_table(suite, LINKS)
    assert "published" not in _tables.score_table("cifar10_lt_if100_resnet20_60_epochs", LINKS)


def test_list_items_are_broken_and_rows_are_not() -> None:
    row, item = f"| {'word ' * 40}|", f"- {'word ' * 40}".strip()
    lines = render.wrapped(f"{row}\n{item}").splitlines()
    assert lines[0] == row and max(map(len, lines[1:])) <= 120 and all(line.startswith("  ") for line in lines[2:])
    assert " ".join(line.strip() for line in lines[1:]) == item


# ------------------------------------------------------------------------------------------------ runs
def within(values: Any, written: Any) -> bool:
    """Whether all of ``values`` is in ``written``, which may have keys that were added to the type since."""
    if isinstance(values, dict) and isinstance(written, dict):
        return values.keys() <= written.keys() and all(within(value, written[key]) for key, value in values.items())
    return bool(values == written)


def faults_of(path: Path) -> list[str]:
    """What is wrong with a filed result."""
    values = json.loads(path.read_text(encoding="utf-8"))
    results = _rows.read_results(path)
    made, faults = results.origin, []
    if not within(values, results.to_dict()):
        faults.append("differs from what its type writes")
    for name in ("command", "hardware", "processes"):
        if not getattr(made, name):
            faults.append(f"lacks {name}")
    if not {"torch", "timm"} <= made.versions.keys():
        faults.append("lacks versions of torch and timm")
    if not (results.wall_time_s and results.class_counts and results.thresholds and results.data.name):
        faults.append("lacks its time, class counts, thresholds or data")
    if not re.fullmatch(r"[0-9a-f]{40}", made.commit or ADDED.get(path.parent.name) or ""):
        faults.append("was made from a tree that no commit holds")
    name, _, seed = path.stem.rpartition("_seed")
    if path.parent.name == "models":
        return faults
    if isinstance(results, RunResults):
        seeds = results.seeds
        if results.selection is None or seeds is None or not seeds.seed == int(seed) == results.config["seed"]:
            faults.append("lacks its selection, or is of another seed than its name says")
    if not isinstance(results, EvaluationResults) and "posthoc" in values:
        faults.append("is of an evaluation")
    rows = _rows.published_rows() if path.parent.name == _rows.PUBLISHED else _rows.suite_rows(path.parent.name)
    return faults if name in rows else [*faults, "belongs to no row"]


def test_every_result_is_typed_and_says_how_it_was_made() -> None:
    faults = {f"{path.parent.name}/{path.name}": found for path in RUNS if (found := faults_of(path))}
    assert not faults, "\n".join(f"{name}: {found}" for name, found in faults.items())
    assert len(RUNS) > 150


def test_every_measurement_says_its_commit() -> None:
    without = []
    for path in sorted(RESULTS.glob("*.json*")):
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
            commit = json.loads(line).get("commit") or ADDED.get(path.name) or ""
            if path.name != "commits.json" and not re.fullmatch(r"[0-9a-f]{40}", commit):
                without.append(path.name)
    assert not without


def test_all_runs_of_a_row_have_its_passes() -> None:
    different = []
    for suite in _rows.suites():
        for name, filed in _rows.load(suite).items():
            made = {_rows.passes(run.config) for run in filed if run.config}
            planned = _rows.suite_rows(suite)[name].passes
            if len(made) > 1 or (planned is not None and not equal_passes(planned, *made)):
                different.append(f"{suite}/{name}: {made} and not {planned}")
    assert different == []


def test_labels_of_a_suite_differ() -> None:
    for suite in _rows.suites():
        labels = [row.label for row in _rows.suite_rows(suite).values()]
        assert len(labels) == len(set(labels)), suite


def test_every_run_is_one_of_its_row() -> None:
    different, seen = [], 0
    for suite in _rows.suites():
        for name, filed in _rows.load(suite).items():
            row = _rows.suite_rows(suite)[name]
            if row.script not in ("train.py", "finetune.py"):
                continue  # a second stage and an evaluation take the rest from the model they start from
            expected = flatten_options(resolved(row.script, [*row.options, "--data", filed[0].config["data"]]))
            for run in filed:
                # A baseline has a value for the switches of GLMC too, and no use for them.
                free = FREE | ({"preset", *field_names(GLMCSwitches)} if run.config.get("method") != "glmc" else set())
                keys = expected.keys() & run.config.keys() - free
                different += [
                    f"{row.title}, seed {run.seed}: {key} {run.config[key]!r} and not {expected[key]!r}"
                    for key in sorted(keys)
                    if run.config[key] not in (expected[key], "path/to/model")  # a model that is not published
                    and not str(run.config[key]).endswith(f"/{expected[key]}")  # one of _clothing.py
                ]
                seen += 1
    assert not different, "\n".join(different)
    assert seen > 100


def test_cards_say_what_lies_among_the_results() -> None:
    for folder in CARDS:
        filed = RESULTS / "models" / f"{folder.name}.json"
        assert filed.is_file(), "publish it by benchmarks/publish.py, which files its scores"
        assert RunResults.load(filed) == RunResults.load(folder / "results.json"), folder.name
