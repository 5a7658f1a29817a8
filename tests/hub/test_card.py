"""The card against the results that it is rendered from, read back by the Hub's own client."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from huggingface_hub import ModelCard
from PIL import Image

from glmc_zoo.errors import UserError
from glmc_zoo.hub.card import render_card
from glmc_zoo.hub.export import export_model

RESULTS: dict[str, Any] = {
    "test": {"top1": 0.9512, "balanced_accuracy": 0.9034, "many": 0.99, "medium": 0.8901, "few": None, "nll": 0.1234},
    "class_counts": [120, 50, 20],
    "class_names": ["a|b", "two", "three"],
    "class_recalls": [0.99, 0.9, 0.8],
    "thresholds": {"many": 100, "few": 20, "few_inclusive": False},
    "groups": {"many": 1, "medium": 2, "few": 0},
    "data": {
        "name": "cifar10_lt",
        "hub_id": "uoft-cs/cifar10",
        "imbalance_factor": 20,
        "profile": "exp",
        "selection": "ldam",
        "data_seed": 3,
        "train_images": 190,
        "test_images": 600,
        "val_images": 7,
        "skipped_images": 2,
        "license": "cc-by-4.0",
        "description": "Small photographs.",
    },
    "model": {
        "backbone": "resnet18",
        "parameters": 1234567,
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "pretrained_from": None,
        "tag": "glmc_cifar10_lt",
        "name": "resnet18.glmc_cifar10_lt",
    },
    "method": "glmc",
    "preset": "official",
    "config": {"lr": 0.1, "epochs": 40},
    "selection": {"epoch": 39, "how": "last epoch"},
    "seeds": {"seed": 11, "data_seed": 3},
    "command": "accelerate launch recipes/train.py --data cifar10_lt",
    "versions": {"glmc_zoo": "0.1.0", "torch": "2.6.0"},
    "hardware": "one big GPU",
    "processes": 1,
    "wall_time_s": 3725.4,
}

MINIMAL: dict[str, Any] = {
    "test": {"top1": 0.5},
    "class_counts": [3, 1],
    "data": {"name": "mine"},
    "model": {"backbone": "resnet18", "input_size": [3, 32, 32]},
}


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    results = copy.deepcopy(RESULTS)
    for key, part in parts.items():
        results[key].update(part)
    return results


def test_the_front_matter_reads_back() -> None:
    card: Any = ModelCard(render_card(RESULTS))
    assert card.data.library_name == "timm"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    assert card.data.datasets == ["uoft-cs/cifar10"]
    assert card.data.metrics == ["accuracy"]
    assert {"timm", "long-tailed", "glmc"} <= set(card.data.tags)
    assert card.data.base_model is None
    assert card.data.model_name == "resnet18.glmc_cifar10_lt"
    assert {result.metric_name: result.metric_value for result in card.data.eval_results} == {
        "Top-1 accuracy": 95.12,
        "Balanced accuracy": 90.34,
        "Many-shot accuracy": 99.0,
        "Medium-shot accuracy": 89.01,
    }
    assert {(result.dataset_type, result.dataset_name) for result in card.data.eval_results} == {
        ("uoft-cs/cifar10", "cifar10_lt")
    }


def test_the_text_says_what_the_results_say() -> None:
    text = render_card(RESULTS)
    for expected in (
        "| Top-1 accuracy | 95.12 % |",
        "| Many-shot accuracy | 99.00 % | 1 |",
        "| Negative log-likelihood (nats) | 0.1234 |",
        "| a\\|b | 120 | 99.00 % |",
        "many: above 100; medium: 20 to 100; few: below 20",
        "seed 11, data_seed 3",
        "epoch 39 (last epoch)",
        "accelerate launch recipes/train.py --data cifar10_lt",
        "one big GPU, 1 process; 1 h 2 min",
        "1,234,567",
        "imbalance factor 20, profile `exp`, selection `ldam`, data seed 3",
        "2 unreadable images were left out",
        "7 held out for validation",
        "(plots/class_accuracy.png)",
        "du2023glmc",
        "from scratch",
    ):
        assert expected in text
    assert re.search(r"\| Few-shot accuracy \| . \| 0 \|", text)
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "Model details", "Use it", "Results", "Training data", "Training procedure", "Intended use", "Limitations",
        "Citation",
    ]  # fmt: skip
    assert "None" not in text
    assert "\n\n\n" not in text


def test_few_may_include_its_threshold() -> None:
    text = render_card(changed(thresholds={"few_inclusive": True}))
    assert "many: above 100; medium: 21 to 100; few: up to 20" in text


def test_what_is_optional_may_be_missing() -> None:
    card: Any = ModelCard(render_card(MINIMAL))
    assert card.data.datasets is None
    assert [result.metric_value for result in card.data.eval_results] == [50.0]
    assert "None" not in card.text


@pytest.mark.parametrize("key", [key for key in RESULTS if key not in MINIMAL])
def test_each_optional_part_may_be_missing_or_null(key: str) -> None:
    without = {name: value for name, value in RESULTS.items() if name != key}
    assert "None" not in render_card(without)
    assert render_card({**without, key: None}) == render_card(without)


@pytest.mark.parametrize(
    ("section", "key"),
    [("test", "top1"), ("data", "name"), ("model", "backbone"), ("model", "input_size")],
)
def test_what_is_required_is_named(section: str, key: str) -> None:
    results = copy.deepcopy(RESULTS)
    del results[section][key]
    with pytest.raises(UserError, match=rf"lack {section}\.{key}"):
        render_card(results)


def test_an_empty_file_names_all_that_is_missing() -> None:
    with pytest.raises(UserError, match=r"test\.top1, class_counts, data\.name, model\.backbone, model\.input_size"):
        render_card({})


def test_lists_of_classes_must_agree() -> None:
    with pytest.raises(UserError, match="class_recalls has 2 entries for 3 class_counts"):
        render_card({**RESULTS, "class_recalls": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("source", "base_model"),
    [
        ("resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("hf_hub:org/name@main", "org/name"),
        ("local-dir:runs/first/model", None),
    ],
)
def test_base_model_only_when_fine_tuned(source: str, base_model: str | None) -> None:
    text = render_card(changed(model={"pretrained_from": source}))
    card: Any = ModelCard(text)
    assert card.data.base_model == base_model
    assert f"starting from `{source}`" in text


def test_a_method_that_is_not_glmc_does_not_cite_it() -> None:
    text = render_card({**RESULTS, "method": "ce"})
    assert "du2023glmc" not in text
    assert "plain cross-entropy" in text


def test_many_classes_get_no_table() -> None:
    counts = list(range(100, 0, -1))
    text = render_card({**MINIMAL, "class_counts": counts})
    assert "| Class | Training images |" not in text


def test_snippets_name_the_repository_when_there_is_one() -> None:
    text = render_card(RESULTS, repo_id="org/resnet18.glmc_cifar10_lt")
    assert text.count('"hf-hub:org/resnet18.glmc_cifar10_lt"') == 3
    assert "--backbone hf-hub:org/resnet18.glmc_cifar10_lt --pretrained --data" in text
    assert "local-dir" not in text


def test_an_architecture_that_timm_lacks_is_imported_first() -> None:
    results = changed(model={"backbone": "resnet1999_ours"})
    blocks = re.findall(r"```python\n(.*?)```", render_card(results), flags=re.DOTALL)
    assert len(blocks) == 3
    assert all("import glmc_zoo  # registers resnet1999_ours" in block for block in blocks)


def test_the_snippets_run_as_they_are(tmp_path: Path) -> None:
    model = timm.create_model("resnet18", num_classes=3)
    folder = export_model(
        model, tmp_path / "model", class_names=["a", "b", "c"], mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(3, 32, 32),
        tag="glmc_cifar10_lt",
    )  # fmt: skip
    Image.new("RGB", (40, 50)).save(folder / "image.png")
    blocks = re.findall(r"```python\n(.*?)```", render_card(RESULTS), flags=re.DOTALL)
    script = "\n".join(block for block in blocks if "transformers" not in block)
    script += "\nprint(tuple(features.shape), model.num_classes)\n"
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^\s*\d+\.\d%  [abc]$", run.stdout, flags=re.MULTILINE)
    assert "(2, 512) 7" in run.stdout


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("---\n{{ card_data }}\n---\n{{ model.name }}: {{ top1 }}\n")
    text = render_card(RESULTS, template=tmp_path / "mine.md")
    assert text.endswith("---\nresnet18.glmc_cifar10_lt: 95.12 %\n")
    with pytest.raises(UserError, match="no card template"):
        render_card(RESULTS, template=tmp_path / "absent.md")
