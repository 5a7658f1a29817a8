"""The models that are published: their folders are whole, their cards true, and they score what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import timm

import glmc_zoo
from glmc_zoo.hub import check_card, list_models, open_model, render_card

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/results.json"))
MOST_BYTES = 16 << 20


def test_the_zoo_lists_what_lies_in_hub_cards() -> None:
    assert [model.folder for model in list_models()] == FOLDERS
    assert {"resnet20_cifar.glmc_digits_lt", "resnet20_cifar.glmc_cifar10_lt"} <= {m.name for m in list_models()}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
class TestPublished:
    def test_its_card_is_what_its_results_render_to(self, folder: Path) -> None:
        results = json.loads((folder / "results.json").read_text())
        text = (folder / "README.md").read_text()
        assert render_card(results) == text, "render the card anew: python benchmarks/publish.py"
        check_card(text)

    def test_its_folder_is_whole_and_holds_no_place(self, folder: Path) -> None:
        source = open_model(folder.name)  # compares the weights with their SHA-256
        assert source.kind == "zoo" and source.results is not None
        assert source.class_names == source.results["class_names"]
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert names >= {"config.json", "model.safetensors", "README.md", "results.json", "config.yaml"}
        assert names >= {f"plots/{name}.png" for name in ("training", "class_accuracy", "group_confusion")}
        assert sum((folder / name).stat().st_size for name in names) < MOST_BYTES
        for name in names:
            if not name.endswith((".png", ".safetensors")):
                text = (folder / name).read_text()
                assert not any(str(place) in text for place in (Path.home(), tempfile.gettempdir(), ROOT))
                assert not re.search(r"(?<![\w.:/])/(home|Users|tmp|mnt)/", text)

    def test_both_loaders_build_it(self, folder: Path) -> None:
        model = glmc_zoo.create_model(folder.name)
        other = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert all((a == b).all() for a, b in zip(model.parameters(), other.parameters(), strict=True))


def scores_again(name: str, tmp_path: Path, *options: Any) -> None:
    """Score a published model with recipes/evaluate.py, and compare with its results to the last digit."""
    said = json.loads((ROOT / "hub_cards" / name / "results.json").read_text())
    words = ["--model", name, *map(str, options), "--output-dir", str(tmp_path / "eval")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "evaluate.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "eval" / "results.json").read_text())
    for score in ("top1", "top5", "balanced_accuracy", "many", "medium", "few", "worst", "macro_f1"):
        assert found["test"][score] == said["test"][score], score
    assert found["class_recalls"] == said["class_recalls"]
    assert found["test"]["nll"] == pytest.approx(said["test"]["nll"], rel=1e-4)


def test_the_digits_score_what_their_card_says(tmp_path: Path) -> None:
    scores_again("resnet20_cifar.glmc_digits_lt", tmp_path, "--data", "digits_lt")


def test_the_photographs_score_what_their_card_says(shared: Path, tmp_path: Path) -> None:
    name = "resnet20_cifar.glmc_cifar10_lt"
    scores_again(name, tmp_path, "--data", "cifar10_lt", "--data-dir", shared / "data" / "cifar10")
