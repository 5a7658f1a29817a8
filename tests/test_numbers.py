"""The numbers on the pages are those of the files in benchmarks/results/."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _calibration_table
import _published
import _rows
import _speed_tables
import _tables
import numpy as np
import pytest
import render
import scipy.stats
from _rows import RESULTS, ROOT, Links, SeedResults, load_results

from glmc_zoo.facts import Reliability
from glmc_zoo.results import RunResults

RUNS = sorted(RESULTS.glob("*/*.json"))
COMMITS = RESULTS / "commits.json"

# Decimal numbers in the README that are no measurement: the version of Python.
FACTS = {"3.10"}
LINKS = Links(ROOT)


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """``file("SUITE/ROW_seed0", run, top1=0.7)`` stores a run with other scores, in a folder that was empty."""
    monkeypatch.setattr(_rows, "RESULTS", tmp_path)

    def write(name: str, run: Any, **scores: float) -> None:
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        dataclasses.replace(run, test=dataclasses.replace(run.test, **scores)).save(path)

    return write


def run_of(name: str) -> Any:
    """The results of a run, as a template."""
    return RunResults.load(RESULTS / f"{name}.json")


# ------------------------------------------------------------------------------------------------ pages
def marks() -> list[tuple[str, str]]:
    """Kind and argument of every mark on the pages."""
    return [mark for page in render.PAGES for mark in render.MARKED.findall(page.read_text(encoding="utf-8"))]


def test_the_pages_are_up_to_date() -> None:
    for page in render.PAGES:
        text = page.read_text(encoding="utf-8")
        assert render.render(text, page.parent) == text, f"{page} is stale: run `python benchmarks/render.py --write`"
    assert len(marks()) > 40


def test_every_suite_is_shown_once_in_full() -> None:
    full = [argument for kind, argument in marks() if kind in ("table", "ablation", "settings")]
    assert len(full) == len(set(full))
    settings = {path.stem for path in RESULTS.glob("*.jsonl")}
    others = {_rows.PUBLISHED, "models"}  # shown in other tables, and in the cards
    assert {path.parent.name for path in RUNS} | settings | _rows.suites().keys() <= {*full} | others
    assert {("published", "cifar"), ("published", "large"), ("narrow", "published")} <= {*marks()}


def test_every_speed_is_shown() -> None:
    assert {argument for kind, argument in marks() if kind == "speed"} == {*_speed_tables.SPEED}
    pages = "".join(page.read_text(encoding="utf-8") for page in render.PAGES)
    assert not [
        path.name for path in RESULTS.glob("*.json") if f"results/{path.name})" not in pages and path != COMMITS
    ]


def test_sentences_of_the_readme_have_no_measured_number() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for pattern in (render.MARKED, re.compile(r"```.*?```", re.DOTALL), re.compile(r"`[^`\n]*`")):
        text = pattern.sub("", text)
    assert set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)) <= FACTS, "show it in a table"


def test_a_number_in_a_sentence_is_that_of_its_runs() -> None:
    scores = [
        100 * json.loads(path.read_text())["test"]["balanced_accuracy"] for path in RESULTS.glob("digits_lt/ce_s*")
    ]
    assert len(scores) == 8
    low, high = scipy.stats.t.interval(0.95, 7, loc=np.mean(scores), scale=scipy.stats.sem(scores))
    expected = {"min": f"{min(scores):.1f}", "max": f"{max(scores):.1f}"}
    expected["mean"] = f"{np.mean(scores):.1f} ± {(high - low) / 2:.1f} (n = 8)"
    for statistic, text in expected.items():
        assert render.value("digits_lt/ce", statistic) == text
        marked = f"<!-- value: digits_lt/ce {statistic} -->{{}}<!-- end -->"
        assert render.render(f"a {marked.format('99.9')} b") == f"a {marked.format(text)} b"
    loop = json.loads((RESULTS / "speed_loop_resnet20.json").read_text())["results"]
    [ours] = [row for row in loop if row["side"] == "ours"]
    cells = [f"{ours['samples_per_second']['median']:.0f}", f"{ours['times_reference']['median']:.2f} ("]
    assert re.search(rf"\| whole loop, `resnet20_cifar` \|.*\| {cells[0]} \| {re.escape(cells[1])}", _speed("loop"))


def _speed(name: str) -> str:
    return _speed_tables.speed_table(name, LINKS)


def test_tables_have_test_scores_unless_the_suite_compares_held_out_images() -> None:
    template = run_of("cifar10_lt_if100_heldout_10_epochs/bs_seed0")
    assert template.validation is not None and template.validation != template.test
    held_out = SeedResults(0, template, held_out=True)
    assert held_out.scores == template.validation and held_out.test == template.test
    assert SeedResults(0, template).scores == template.test
    [read] = load_results("cifar10_lt_if100_heldout_10_epochs")["bs"]
    assert read.scores == template.validation
    for run in load_results("clothing")["held_out_12_160"]:  # images are held out for the temperature alone
        assert run.results.validation is not None and run.scores == run.test


def test_seeds_are_sorted_as_numbers(file: Callable[..., None]) -> None:
    for seed in (10, 2, 0):
        file(f"digits_lt/ce_seed{seed}", run_of("digits_lt/ce_seed0"))
    assert [run.seed for run in _rows.load_results("digits_lt")["ce"]] == [0, 2, 10]


def test_rows_without_results_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_two_seeds_are_listed_and_three_have_an_interval(
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
    assert "at 40 passes, *balanced softmax: the preset tuned*, by **+1.0 to +3.0** points of balanced" in text


def test_the_table_of_temperatures_shows_the_test_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_rows, "RESULTS", tmp_path)
    run = run_of("clothing/held_out_12_160_seed0")
    errors = {0: 0.06, 1: 0.07, 2: 0.11}
    for seed, error in errors.items():
        before = {"test": Reliability(ece=error, nll=0.7), "validation": Reliability(ece=0.5, nll=5.0)}
        after = {"test": Reliability(ece=error / 2, nll=0.6, chance_ece=0.03)}
        facts = dataclasses.replace(run.calibration, temperature=1.2, before=before, after=after)
        path = tmp_path / "clothing" / f"held_out_12_160_seed{seed}.json"
        path.parent.mkdir(exist_ok=True)
        dataclasses.replace(run, calibration=facts).save(path)
    # A run without held-out images has no temperature, and no row.
    run_of("clothing/ce_6_seed0").save(tmp_path / "clothing" / "ce_6_seed0.json")
    *_, row = _calibration_table.calibration_table("clothing", LINKS).splitlines()
    half = 100 * scipy.stats.sem([*errors.values()]) * scipy.stats.t.ppf(0.975, 2)
    cells = row.split(" | ")[1:-1]
    assert cells == [
        "1.20 ± 0.00",
        f"8.0 ± {half:.1f}",
        f"4.0 ± {half / 2:.1f}",
        "3.0 ± 0.0",
        "0.70 ± 0.00",
        "0.60 ± 0.00",
        "3",
    ]
    assert "cross-entropy" not in _calibration_table.calibration_table("clothing", LINKS)


def test_rows_of_other_passes_are_not_compared(file: Callable[..., None]) -> None:
    template = run_of("digits_lt/ce_seed0")
    glmc = dataclasses.replace(template, config=template.config | {"method": "glmc"})
    file("digits_lt/glmc_tuned_seed0", glmc, balanced_accuracy=0.9)
    file("digits_lt/ce_seed0", template, balanced_accuracy=0.8)
    text = _tables.score_table("digits_lt", LINKS)
    assert text.index("| cross-entropy |") < text.index("| GLMC, two views |")
    assert "- *GLMC, two views* is not compared: no baseline has been run at 80 passes yet." in text
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


def test_the_main_table_has_a_column_for_each_suite(file: Callable[..., None]) -> None:
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
    assert f"**+3.0 ± {(interval.high - interval.low) / 2:.1f}** points of balanced" in text


def test_published_and_ours_and_their_difference(file: Callable[..., None]) -> None:
    file("published/cifar10_lt_if100_seed0", run_of("digits_lt/ce_seed0"), top1=0.89)
    text = _published.published_table("cifar", LINKS)
    link = "[0](benchmarks/results/published/cifar10_lt_if100_seed0.json)"
    assert f"| 88.50 | 88.24 | 89.00 | +0.50 | 1 | {link} | 40 | 40 |" in text


def test_a_published_number_of_another_network_has_no_difference(file: Callable[..., None]) -> None:
    file("published/cifar10_lt_if100_sam_seed0", run_of("digits_lt/ce_seed0"), top1=0.89)
    [row] = [line for line in _published.published_table("cifar", LINKS).split("\n") if "89.00" in line]
    assert "| 89.18 | - | 89.00 | - | 1 |" in row  # the authors published a ResNet-34


def test_equal_numbers_of_images_do_not_choose_classes_by_their_recall() -> None:
    template = run_of("digits_lt/ce_seed0")
    for recalls in ([0.5, 0.9, 0.1, 0.3], [0.5, 0.1, 0.9, 0.3]):
        run = dataclasses.replace(template, class_counts=[9, 5, 5, 2], class_recalls=recalls)
        assert SeedResults(0, run).rarest_recall(2) == pytest.approx((recalls[1] + 0.3) / 2)


def test_published_narrow_numbers_are_compared_only_with_equal_terms(file: Callable[..., None]) -> None:
    suite = "cifar10_lt_if100_resnet32_200_passes"
    template = run_of("cifar10_lt_if100_resnet20_60_epochs/ce_seed0")
    for backbone, epochs, cells in (
        ("resnet32_cifar", 200, "| 71.4 | 70.4 | +1.0 |"),
        ("resnet32_cifar", 60, "| 71.4 | 70.4 | - |"),
        ("resnet20_cifar", 200, "| 71.4 | 70.4 | - |"),
    ):
        config = template.config | {"backbone": backbone, "epochs": epochs}
        file(f"{suite}/ce_seed0", dataclasses.replace(template, config=config), top1=0.714)
        assert cells in _tables.score_table(suite, LINKS)
    assert "published" not in _tables.score_table("cifar10_lt_if100_resnet20_60_epochs", LINKS)


def test_list_items_are_broken_and_rows_are_not() -> None:
    row, item = f"| {'word ' * 40}|", f"- {'word ' * 40}".strip()
    lines = render.wrap(f"{row}\n{item}").splitlines()
    assert lines[0] == row and max(map(len, lines[1:])) <= 120 and all(line.startswith("  ") for line in lines[2:])
    assert " ".join(line.strip() for line in lines[1:]) == item
