"""No number without its run: README, cards and RESULTS.md against benchmarks/results/, and each run against its row."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.engine.cli import parse_config
from glmc_zoo.method.presets import METHOD_SWITCHES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RUNS = sorted(RESULTS.glob("*/*.json"))
ADDED = json.loads((RESULTS / "commits.json").read_text(encoding="utf-8"))["added"]
CARDS = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/results.json"))

# Of a run, what says where and how fast it ran, and not what was computed.
FREE = {"data_dir", "workers", "threads", "resident", "images_in_memory", "output_dir", "resume", "tracker", "profile"}
FREE |= {"mixed_precision", "compile", "compile_mode", "seed", "checkpoint_every", "checkpoint_steps", "eval_every"}
FREE |= {"keep_checkpoints", "license", "export_half", "export_encoder"}
# Filled in by the data while the run is built.
FREE |= {"augment", "image_size", "projection_dim"}

# Decimal numbers in the README that nobody measured: a version, parameters of two networks.
FACTS = {"3.10", "7.4", "0.46"}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> Any:
    return load("table_rows")


@pytest.fixture(scope="module")
def results_page(rows: Any) -> Any:
    return load("results_page")


@pytest.fixture(scope="module")
def table(results_page: Any) -> Any:
    return load("table")


def read(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


# ------------------------------------------------------------------------------------------------ pages
def test_the_page_of_results_is_what_the_runs_render_to(results_page: Any) -> None:
    assert results_page.PAGE.read_text(encoding="utf-8") == results_page.page(), (
        "run `python benchmarks/table.py --write`"
    )


def test_no_sentence_of_the_readme_has_a_number_of_its_own(table: Any) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for made in (table.MARKED, table.VALUE, re.compile(r"```.*?```", re.DOTALL), re.compile(r"`[^`\n]*`")):
        text = made.sub("", text)
    assert set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)) <= FACTS, "give it by `<!-- value: ... -->`"


def test_a_number_in_a_sentence_is_that_of_its_runs(table: Any, results_page: Any) -> None:
    runs = results_page.load("digits_lt")["ce"]
    scores = [100 * run["test"]["balanced_accuracy"] for run in runs]
    for what, expected in (("min", min(scores)), ("max", max(scores)), ("mean", sum(scores) / len(scores))):
        assert table.value("digits_lt/ce", what) == f"{expected:.1f}"
        said = f"<!-- value: digits_lt/ce {what} -->{{}}<!-- end -->"
        assert table.render(f"a {said.format('99.9')} b") == f"a {said.format(f'{expected:.1f}')} b"
    loop = read(RESULTS / "speed_loop_resnet20.json")["results"]
    [ours] = [row for row in loop if row["side"] == "ours"]
    assert table.value("speed_loop_resnet20.json", "ours times_reference") == f"{ours['times_reference']['median']:.1f}"


def test_what_was_not_run_is_shown_as_missing(rows: Any, results_page: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(results_page, "RESULTS", tmp_path)
    text = results_page.page()
    for name in rows.published_rows():
        assert re.search(rf"^\| \[{name}\]\(.*\| {results_page.MISSING} \|", text, re.MULTILINE), name
    count = sum(len(about["rows"]) for about in rows.suites().values())
    assert text.count(f"| {results_page.MISSING} |") == len(rows.published_rows()) + count


def test_a_row_is_the_mean_over_its_seeds(results_page: Any, rows: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(results_page, "RESULTS", tmp_path)
    template = read(next(RESULTS.glob("digits_lt/ce_seed0.json")))
    for name, scores in (("ce", (0.70, 0.72)), ("glmc_tuned", (0.80, 0.79)), ("balanced_softmax", (0.78,))):
        for seed, score in enumerate(scores):
            test = {**template["test"], "top1": score, "balanced_accuracy": score}
            run = {**template, "test": test, "seeds": {"seed": seed}, "wall_time_s": 90}
            path = tmp_path / "digits_lt" / f"{name}_seed{seed}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(run))
    text = "\n".join(results_page.methods_table("digits_lt", rows.suites()["digits_lt"] | {"seeds": [0, 1]}))
    assert "| cross-entropy | - | 71.00 ± 1.41 | - | 71.00 ± 1.41 |" in text and "| 0, 1 | 40 |" in text
    assert "| balanced softmax | - | 78.00 | - | 78.00 |" in text and f"| 0 (1: {results_page.MISSING}) | 40 |" in text
    assert "GLMC tuned over cross-entropy, balanced: **+8.50 ± 2.12** points (seeds 0, 1: +10.00, +7.00)." in text
    assert "GLMC tuned over balanced softmax, balanced: **+2.00** points (seed 0)." in text


def test_published_and_ours_and_their_difference(results_page: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(results_page, "RESULTS", tmp_path)
    template = read(next(RESULTS.glob("digits_lt/ce_seed0.json")))
    run = {**template, "test": {"top1": 0.89, "balanced_accuracy": 0.89}}
    [*_, line] = results_page.published_table(["cifar10_lt_if100"], {"cifar10_lt_if100": [run]})
    assert "| 88.50 | 88.24 | 89.00 | +0.50 | 0 | 40 |" in line


def test_a_difference_from_narrow_numbers_is_given_only_on_equal_terms(
    results_page: Any, rows: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(results_page, "RESULTS", tmp_path)
    suite = "cifar10_lt_if100_resnet32_200_epochs"
    template = read(RESULTS / "cifar10_lt_if100_resnet20_60_epochs" / "ce_seed0.json")
    (tmp_path / suite).mkdir()
    for backbone, epochs, shown in (
        ("resnet32_cifar", 200, "| 70.4 | 71.40 | +1.00 |"),
        ("resnet32_cifar", 60, "| 70.4 | 71.40 | - |"),
        ("resnet20_cifar", 200, "| 70.4 | 71.40 | - |"),
    ):
        config = template["config"] | {"backbone": backbone, "epochs": epochs}
        run = template | {"config": config, "test": template["test"] | {"top1": 0.714}}
        (tmp_path / suite / "ce_seed0.json").write_text(json.dumps(run))
        assert shown in "\n".join(results_page.methods_table(suite, rows.suites()[suite]))


# ------------------------------------------------------------------------------------------------ runs
@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_run_says_its_commit(path: Path) -> None:
    commit = read(path).get("commit") or ADDED.get(path.parent.name)
    assert commit and re.fullmatch(r"[0-9a-f]{40}", commit), "made from a tree that no commit holds"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json*")), ids=lambda path: path.name)
def test_a_measurement_says_its_commit(path: Path) -> None:
    if path.name == "commits.json":
        return
    lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    for line in lines:
        commit = json.loads(line).get("commit") or ADDED.get(path.name)
        assert commit and re.fullmatch(r"[0-9a-f]{40}", commit)


def test_every_run_is_one_of_its_row(rows: Any) -> None:
    seen = 0
    for suite, about in rows.suites().items():
        own = rows.suite_rows(suite, about)
        found = sorted((RESULTS / suite).glob("*.json"))
        names = {path.stem.rpartition("_seed")[0] for path in found}
        assert names <= own.keys(), suite
        meant = {name: vars(parse_config(list(own[name].options), description="")) for name in names}
        for path in found:
            name, _, seed = path.stem.rpartition("_seed")
            results, config = read(path), read(path)["config"]
            assert results["seeds"]["seed"] == int(seed) == config["seed"], path.name
            # A baseline has a value for the switches of GLMC too, and no use for them.
            free = FREE | (METHOD_SWITCHES if config["method"] != "glmc" else set())
            for key, value in meant[name].items():
                assert key in free or key not in config or config[key] == value, f"{path.name}: {key}"
            seen += 1
    for path in (RESULTS / rows.PUBLISHED).glob("*.json"):
        assert path.stem.rpartition("_seed")[0] in rows.published_rows(), path.name
    assert seen > 20


@pytest.mark.parametrize("folder", CARDS, ids=lambda path: path.name)
def test_a_card_says_what_lies_among_the_results(folder: Path) -> None:
    filed = RESULTS / "models" / f"{folder.name}.json"
    assert filed.is_file(), "publish it by benchmarks/publish.py, which files its scores"
    assert read(filed) == read(folder / "results.json")
    for key in ("command", "versions", "seeds", "wall_time_s", "commit", "hardware"):
        assert key in read(filed), key
    assert shlex.split(read(filed)["command"])
