"""The command of the installed package: the recipes by name, and the list of what there is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.engine.console import main, recipes

ROOT = Path(__file__).resolve().parents[2]


def test_every_recipe_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(recipes()) == {path.stem for path in (ROOT / "recipes").glob("*.py")}
    assert {"train", "finetune", "evaluate", "predict", "push"} <= set(recipes())
    main([])
    usage = capsys.readouterr().out
    for name in (*recipes(), "list"):
        line = next(line for line in usage.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 4 and line.endswith(".")


@pytest.mark.parametrize("name", sorted(recipes()))
def test_help_of_a_command_is_that_of_its_recipe_and_imports_nothing_heavy(lab: Any, tmp_path: Path, name: str) -> None:
    code = f"""
import sys
from glmc_zoo.engine.console import main
try:
    main([{name!r}, "--help"])
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"torch", "timm", "datasets", "evaluate", "accelerate", "matplotlib", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    outcome = lab.run_python("-c", code, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(f"usage: glmc-zoo {name} [--option value ...]")
    assert "--config" in outcome.out


def test_a_command_runs_its_recipe_and_is_recorded(lab: Any, tmp_path: Path) -> None:
    options = [*lab.tiny, "--epochs", "1", "--output-dir", tmp_path / "run"]
    outcome = lab.run_python("-m", "glmc_zoo", "train", *options, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert lab.results(tmp_path / "run")["command"].startswith("glmc-zoo train --max-count 10")


def test_bad_input_is_one_sentence(lab: Any, tmp_path: Path) -> None:
    outcome = lab.run_python("-m", "glmc_zoo", "trian", cwd=tmp_path)
    assert outcome.status == 2 and outcome.err.startswith("glmc-zoo: error: Unknown command 'trian'")
    assert outcome.err.count("\n") == 1 and "Did you mean train?" in outcome.err
    outcome = lab.run_python("-m", "glmc_zoo", "train", "--epochs", "0", cwd=tmp_path)
    assert outcome.status == 2 and outcome.err.startswith("glmc-zoo train: error: --epochs 0 is too small")


def test_list_shows_models_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    from glmc_zoo import list_data, list_models

    main(["list"])
    shown = capsys.readouterr().out
    for name in (*(model.name for model in list_models()), *list_data()):
        assert any(line.startswith(f"{name} ") for line in shown.splitlines())
    for model in list_models():
        assert f"{100 * model.scores['balanced_accuracy']:.1f}" in shown
    with pytest.raises(SystemExit) as stop:
        main(["list", "all"])
    assert stop.value.code == 2 and "takes no 'all'" in capsys.readouterr().err


def test_the_wheel_holds_recipes_template_and_published_models(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling to build a wheel without the network")
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "runs", "benchmarks", "tests", "docs", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    site = tmp_path / "site" / "glmc_zoo"
    assert {path.name for path in (site / "recipes").glob("*.py")} == {p.name for p in (ROOT / "recipes").glob("*.py")}
    code = """
import glmc_zoo, sys
from glmc_zoo.engine.console import recipes
from glmc_zoo.hub.card import render_card
print(glmc_zoo.__file__, *recipes(), *(model.name for model in glmc_zoo.list_models()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, *names = done.stdout.split()
    assert Path(place).parent == site
    published = {path.parent.name for path in (ROOT / "hub_cards").glob("*/results.json")}
    assert set(names) == set(recipes()) | published
