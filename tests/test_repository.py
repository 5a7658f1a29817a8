"""The files around the package: workflows, issue forms, versions, and targets of make."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import glmc_zoo

ROOT = Path(__file__).resolve().parents[1]
FILES = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a clone")
def test_nothing_else_lies_at_the_top() -> None:
    """A page or a run that a command wrote here is soon committed by mistake."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {path.split("/")[0] for path in tracked.splitlines()}
    folders = {".ci", ".github", "benchmarks", "docs", "glmc_zoo", "hub_cards", "recipes", "tests"}
    files = {".gitignore", ".pre-commit-config.yaml", "CITATION.cff", "LICENSE", "Makefile", "mkdocs.yml"}
    assert {name for name in names - folders - files if not name.endswith(".md")} == {"pyproject.toml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert isinstance(parsed(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_existing_scripts(path: Path) -> None:
    workflow = parsed(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            script = ROOT / step.get("run", "").partition(" ")[0]
            assert "uses" in step or not step["run"].startswith(".ci/") or script.stat().st_mode & 0o100, step


def test_issue_forms_are_complete() -> None:
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    for form in map(parsed, forms):
        assert form["name"] and form["description"]
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        assert fields and all(part["id"] and part["attributes"]["label"] for part in fields)
    assert len(forms) == 2


def test_versions_are_equal() -> None:
    version = glmc_zoo.__version__
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert parsed(ROOT / "CITATION.cff")["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.*?)\]", changes, re.MULTILINE)[:2] == ["Unreleased", version]


def test_every_target_of_make_is_listed() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony.split() == re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)
