"""The tables that people read say what the result files hold."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*/*.json"))


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_what_the_results_render_to(table):
    for page in table.PAGES:
        text = page.read_text(encoding="utf-8")
        assert table.MARKED.search(text), f"{page} has no table"
        assert table.render(text) == text, f"{page} is stale: run `python benchmarks/table.py --write`"


def test_every_suite_is_shown_in_the_benchmarks_page(table):
    shown = {suite for _, suite in table.MARKED.findall((ROOT / "benchmarks" / "README.md").read_text())}
    settings = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.jsonl")}
    assert {path.parent.name for path in RESULTS} | settings == shown


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_result_says_how_it_was_made(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    for key in ("command", "versions", "seeds", "wall_time_s", "hardware", "class_counts", "selection"):
        assert results[key], key
    assert results["versions"]["torch"] and results["versions"]["timm"]


def test_spread_is_the_sample_standard_deviation(table):
    assert table.cell([0.5, 0.7]) == "60.0 ± 14.1"
    assert table.cell([0.123]) == "12.3"
    assert table.cell([None, None]) == "-"
