"""The published models: complete folders, cards that match the results, and scores that can be reproduced."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

import glmc_zoo
from glmc_zoo.hub import check_card, list_models, open_model, render_card
from glmc_zoo.results import EvaluationResults, RunResults

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "hub_cards").glob("*/results.json"))
MAX_BYTES = 16 << 20


def test_list_models_has_the_folders_of_hub_cards() -> None:
    assert [model.folder for model in list_models()] == FOLDERS
    assert {"resnet20_cifar.glmc_digits_lt", "resnet20_cifar.glmc_cifar10_lt"} <= {m.name for m in list_models()}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
class TestPublished:
    def test_its_card_is_rendered_from_its_results(self, folder: Path) -> None:
        results = RunResults.load(folder / "results.json")
        text = (folder / "README.md").read_text()
        assert render_card(results) == text, "render the card again: python benchmarks/publish.py"
        check_card(text)

    def test_its_folder_is_complete_and_has_no_local_path(self, folder: Path) -> None:
        source = open_model(folder.name)  # compares the weights with their SHA-256
        assert source.kind == "zoo" and source.results is not None
        assert source.class_names == source.results.class_names
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert ("sample.jpg" in names) == (source.results.sample_image is not None)
        assert names >= {"config.json", "model.safetensors", "README.md", "results.json", "config.yaml"}
        assert names >= {
            f"plots/{name}.png" for name in ("training", "class_accuracy", "class_confusion", "group_confusion")
        }
        assert sum((folder / name).stat().st_size for name in names) < MAX_BYTES
        for name in names:
            if not name.endswith((".jpg", ".png", ".safetensors")):
                text = (folder / name).read_text()
                assert not any(str(path) in text for path in (Path.home(), tempfile.gettempdir(), ROOT))
                assert not re.search(r"(?<![\w.:/])/(home|Users|tmp|mnt)/", text)

    def test_it_recognises_its_sample_image(self, folder: Path) -> None:
        results = RunResults.load(folder / "results.json")
        if results.sample_image is None:  # the licence of its data set does not allow everybody to publish an image
            assert results.data.name == "cifar10_lt"
            return
        model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        transform: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        with Image.open(folder / "sample.jpg") as image, torch.inference_mode():
            answer = model(transform(image.convert("RGB"))[None]).argmax().item()
        assert results.class_names[answer] == results.sample_image

    def test_both_loaders_build_it(self, folder: Path) -> None:
        model = glmc_zoo.create_model(folder.name)
        other = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert all((a == b).all() for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "folder"),
    [
        ("resnet20_cifar.glmc_digits_lt", ["digits_lt"], None),
        ("resnet20_cifar.glmc_cifar10_lt", ["cifar10_lt", "--data-dir"], "cifar10"),
        ("tf_efficientnet_lite0.glmc_clothing", [], "clothing"),
    ],
)
def test_an_evaluation_gives_the_scores_of_its_card(
    name: str, data: list[str], folder: str | None, request: pytest.FixtureRequest, evaluate: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    words = [*data, request.getfixturevalue("shared") / "data" / folder] if folder else data
    outcome = evaluate("--model", name, "--data", *words, "--output-dir", tmp_path / "eval")
    assert outcome.status == 0, outcome.err
    expected = RunResults.load(ROOT / "hub_cards" / name / "results.json")
    scored = EvaluationResults.load(tmp_path / "eval" / "results.json")
    assert expected.test is not None and scored.test is not None
    for score in ("top1", "top5", "balanced_accuracy", "many", "medium", "few", "worst", "macro_f1"):
        assert getattr(scored.test, score) == getattr(expected.test, score), score  # to the last digit
    assert scored.class_recalls == expected.class_recalls and scored.group_confusion == expected.group_confusion
    for score in ("nll", "ece"):
        assert getattr(scored.test, score) == pytest.approx(getattr(expected.test, score), rel=1e-5)
