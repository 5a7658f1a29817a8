"""The page trains what the real recipe trains: the same losses, weights and scores from the same seed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "recipes" / "minimal.py"
EPOCHS, SEED = 3, 1
TERMS = ("loss", "conventional", "rebalanced", "consistency")


@pytest.fixture(scope="module")
def page() -> Any:
    spec = importlib.util.spec_from_file_location("minimal", PAGE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page_run(page: Any) -> Any:
    """Model, history and scores of the page on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield page.train(EPOCHS, SEED)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recipe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of recipes/train.py with the same seed, on one thread of the CPU in single precision."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    options = ["--epochs", EPOCHS, "--seed", SEED, "--threads", 1, "--mixed-precision", "no", "--output-dir", folder]
    options += ["--views", "mixup_cutmix"]
    subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "train.py"), *map(str, options)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=PATIENCE,
    )
    return folder


def test_it_is_one_page() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.processes
def test_losses_are_those_of_the_recipe(page_run: Any, recipe_run: Path) -> None:
    # A different last bit anywhere grows to percents within an epoch or two, so this tolerance means the same numbers.
    rows = [json.loads(line) for line in (recipe_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = [{name: pytest.approx(row[name], rel=1e-5) for name in TERMS} for row in rows]
    _, history, _ = page_run
    assert len(history) == EPOCHS
    assert history == expected


@pytest.mark.processes
def test_weights_are_those_of_the_recipe(page_run: Any, recipe_run: Path) -> None:
    model, _, _ = page_run
    weights, expected = model[0].state_dict(), load_file(recipe_run / "model" / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


@pytest.mark.processes
def test_scores_are_those_of_the_recipe(page_run: Any, recipe_run: Path) -> None:
    expected = json.loads((recipe_run / "results.json").read_text(encoding="utf-8"))["test"]
    _, _, scores = page_run
    # Two of 600 test images, or of the 300 of a group, may fall on the other side of a rounded pixel.
    assert scores == {name: pytest.approx(expected[name], abs=2 / 300) for name in scores}
    absent = {"many", "medium", "few"} - scores.keys()
    assert absent == {name for name in ("many", "medium", "few") if expected[name] is None} == {"many"}


def test_box_is_clipped_and_views_are_left_alone(page: Any) -> None:
    views, partners = [torch.zeros(2, 3, 16, 16)] * 2, [torch.ones(2, 3, 16, 16)] * 2
    for seed in range(50):
        mixup, cutmix, lam = page.mix(views, partners, seed)
        torch.testing.assert_close(mixup, torch.full_like(mixup, 1 - lam))
        # Never more than the nominal share is pasted, but for the rounding of the box to whole pixels.
        side = cutmix[0, 0].amax(0).sum(), cutmix[0, 0].amax(1).sum()
        assert max(side) <= 16 * (1 - lam) ** 0.5 + 1
        assert cutmix.sum() == 2 * 3 * side[0] * side[1]
    assert not views[0].any() and partners[0].all()
