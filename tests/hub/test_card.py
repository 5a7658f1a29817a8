"""The card against the results that it is rendered from, read back by the Hub's own client."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
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
from glmc_zoo.hub.export import export_run

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
    "precision": "bf16",
    "plots": ["class_accuracy.png", "group_confusion.png", "training.png"],
}

# What only some models have.
MORE: dict[str, Any] = {
    "posthoc": {"logit_adjustment": {"tau": 1.0, "chosen_on": "validation"}},
    "finetune": {"model": "hf_hub:org/base@main", "kind": "hub", "commit": "abc123", "tune": "lora", "kept": ["heads"]},
    "weights": {
        "file": "model.safetensors",
        "sha256": "ab" * 32,
        "dtype": "float16",
        "bytes": 1234567,
        "max_logit_difference": 0.00123,
    },
    "encoder_only": True,
    "commit": "ef" * 20,
}

CONVERTED: dict[str, Any] = {
    "converted": {"file": "published.pth.tar", "sha256": "cd" * 32},
    "class_names": ["one", "two"],
    "data": {"name": "cifar10_lt", "in_catalogue": True},
    "model": {"backbone": "resnet32x4_cifar", "input_size": [3, 32, 32], "needs_glmc_zoo": True},
    "command": "python recipes/convert.py --checkpoint published.pth.tar",
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
        "**Arithmetic:** mixed with bfloat16",
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


@pytest.mark.parametrize("key", [key for key in RESULTS | MORE if key not in MINIMAL])
def test_each_optional_part_may_be_missing_or_null(key: str) -> None:
    without = {name: value for name, value in (RESULTS | MORE).items() if name != key}
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
    assert "recipes/finetune.py --model hf-hub:org/resnet18.glmc_cifar10_lt --data" in text
    assert "local-dir" not in text


def test_an_architecture_that_timm_lacks_is_imported_first() -> None:
    text = render_card(changed(model={"backbone": "resnet1999_ours"}))
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    assert all("import glmc_zoo  # registers resnet1999_ours" in block for block in blocks)
    card: Any = ModelCard(text)
    assert "transformers" not in card.data.tags


def test_only_plots_that_are_there_are_linked() -> None:
    text = render_card({**RESULTS, "plots": ["group_confusion.png", "another.png"]})
    assert re.findall(r"\((plots/.*?)\)", text) == ["plots/group_confusion.png"]
    assert "plot of class accuracies above" not in text


def test_what_only_some_models_have_is_shown() -> None:
    data = {**RESULTS["data"], "image_format": "WebP lossy"}
    text = render_card({**RESULTS, **MORE, "data": data, "encoder_only": False})
    assert "600 for testing; 2 unreadable images were left out; file format WebP lossy" in text
    for expected in (
        "starting from `hf_hub:org/base@main`",
        "**Fine-tuned from:** `hf_hub:org/base@main` at commit `abc123`; tuned: low-rank adapters (LoRA)",
        "kept from it: heads",
        f"torch 2.6.0; glmc_zoo from commit {'ef' * 20}",
        f"`model.safetensors`, 1,234,567 bytes, SHA-256 `{'ab' * 32}`",
        "weights stored in half precision (float16), loaded as float32; on four images of noise the logits differ by at"
        " most 0.0012",
        "a correction of the logits that the weights do not hold: logit adjustment: tau 1.0, chosen on validation.",
    ):
        assert expected in text
    card: Any = ModelCard(text)
    assert card.data.base_model == "org/base"


@pytest.mark.parametrize(
    ("finetune", "base_model"),
    [
        ({"model": "resnet18.a1_in1k", "kind": "timm"}, "timm/resnet18.a1_in1k"),
        ({"model": "runs/first/model", "kind": "folder"}, None),
        ({"model": "hf-hub:org/name", "kind": "hub"}, "org/name"),
        ({"model": "resnet18", "kind": "timm"}, None),  # which of timm's repositories it is, the name does not say
    ],
)
def test_base_model_of_a_fine_tuned_model(finetune: dict[str, Any], base_model: str | None) -> None:
    card: Any = ModelCard(render_card({**RESULTS, "finetune": finetune}))
    assert card.data.base_model == base_model


def test_an_export_may_have_looked_the_base_model_up() -> None:
    card: Any = ModelCard(render_card(changed(model={"pretrained_from": "resnet18", "base_model": "timm/resnet18.x"})))
    assert card.data.base_model == "timm/resnet18.x"


STAGE: dict[str, Any] = {
    "kind": "maxnorm", "threshold": 0.1, "beta": 0.9999, "limit": 1.23456, "source": "hf_hub:org/first",
    "source_commit": "abc123", "source_test_top1": 0.94, "source_command": "python recipes/train.py --sam-rho 0.05",
    "source_config": {"epochs": 200, "sam_rho": 0.05}, "source_seeds": {"seed": 7},
}  # fmt: skip


def test_the_card_of_a_second_stage_tells_both_stages() -> None:
    text = render_card({**RESULTS, "second_stage": STAGE})
    table = "\n\n| Option | Value |\n|---|---|\n"
    for part in (
        "from scratch; its classifier was then trained a second time, with a class-balanced loss and MaxNorm.",
        "- **Second stage of:** `hf_hub:org/first` at commit `abc123`",
        "preset `official`, with sharpness-aware minimisation (SAM) within 0.05\n",
        "the classifier of `hf_hub:org/first` (top-1 94.00 %)",
        "with class-balanced cross-entropy (beta 0.9999); after each step MaxNorm shrank the rows of its weight",
        "that were longer than 1.235, threshold 0.1; seeds of the first stage: seed 7",
        "- **Command of the first stage:**\n\n  ```\n  python recipes/train.py --sam-rho 0.05\n  ```",
        "- **Command of the second stage:**",
        f"<summary>Every option of the second stage, as resolved</summary>{table}| `lr` | 0.1 |",
        f"<summary>Every option of the first stage, as resolved</summary>{table}| `epochs` | 200 |",
    ):
        assert part in text
    assert all(
        f"@inproceedings{{{key}," in text for key in ("du2023glmc", "alshammari2022balancing", "cui2019balanced")
    )


def test_a_second_stage_without_maxnorm_speaks_of_none() -> None:
    stage = {**dict.fromkeys(STAGE), "kind": "class_balanced", "beta": 0.99, "source": "resnet18.first"}
    text = render_card({**RESULTS, "second_stage": stage})
    assert "a second time, with a class-balanced loss." in text and "cui2019balanced" in text
    assert "MaxNorm" not in text and "alshammari" not in text and "of the first stage" not in text
    plain = render_card(RESULTS)
    assert "second" not in plain and "cui2019" not in plain


def test_an_encoder_gets_a_card_of_its_own() -> None:
    text = render_card({**RESULTS, "encoder_only": True}, repo_id="org/encoder")
    card: Any = ModelCard(text)
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "feature-extraction" in card.data.tags and "image-classification" not in card.data.tags
    assert {result.metric_name: result.metric_value for result in card.data.eval_results} == {
        "Top-1 accuracy of the classifier it was trained with": 95.12,
        "Balanced accuracy of the classifier it was trained with": 90.34,
        "Many-shot accuracy of the classifier it was trained with": 99.0,
        "Medium-shot accuracy of the classifier it was trained with": 89.01,
    }
    assert "The scores are those of the classifier that this encoder was trained with" in text
    assert "from transformers" not in text and "Classify an image" not in text
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2 and all('timm.create_model("hf-hub:org/encoder", pretrained=True' in b for b in blocks)


def test_a_converted_model_has_no_scores_and_says_so() -> None:
    text = render_card(CONVERTED)
    card: Any = ModelCard(text)
    assert card.data.eval_results is None and card.data.metrics is None and card.data.datasets is None
    assert card.data.license == "unknown"
    for expected in (
        "It was not evaluated here, so this card has no scores.",
        "recipes/evaluate.py --model path/to/this/folder --data cifar10_lt",
        "The names of its classes and the normalisation are those of cifar10_lt.",
        f"`published.pth.tar`, SHA-256 `{'cd' * 32}`",
        "**Command of the conversion:**",
        "du2023glmc",
    ):
        assert expected in text
    assert "top-1" not in text and "None" not in text
    with pytest.raises(UserError, match="lack class_names"):
        render_card({**CONVERTED, "class_names": None})


def test_rendering_needs_neither_timm_nor_torch() -> None:
    results = changed(model={"needs_glmc_zoo": False})
    code = (
        "import json, sys; from glmc_zoo.hub.card import render_card; render_card(json.loads(sys.argv[1]));"
        "print('timm' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", code, json.dumps(results)], cwd=root, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "False"), run.stderr


SNIPPETS = """
import json, os, sys
for folder, blocks in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    for block in blocks:
        names = {}  # one for each, so that none lives on another's names
        exec(block, names)
        if "features" in names:
            print("features", tuple(names["features"].shape))
        if "model" in names and "probabilities" not in names:
            print("classes", names["model"].num_classes)
print("glmc_zoo" in sys.modules)
"""


@pytest.mark.parametrize(("backbone", "width", "ours"), [("resnet18", 512, False), ("resnet20_cifar", 64, True)])
def test_the_snippets_run_as_they_are(tmp_path: Path, backbone: str, width: int, ours: bool) -> None:
    """Each block of the cards of a classifier and its encoder, as it stands, in the exported folder."""
    results = changed(model={"backbone": backbone})
    results["class_names"] = ["a", "b", "c"]
    model = timm.create_model(backbone, num_classes=3)
    blocks: dict[str, list[str]] = {}
    for name in ("classifier", "encoder"):
        folder = export_run(tmp_path / name, model, results, encoder_only=name == "encoder")
        Image.new("RGB", (40, 50)).save(folder / "image.png")
        found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
        assert len(found) == {"classifier": 4, "encoder": 2}[name]
        if importlib.util.find_spec("transformers") is None:
            found = [block for block in found if "transformers" not in block]
        blocks[str(folder)] = found
    environment = {**os.environ, **({"PYTHONPATH": str(Path(__file__).resolve().parents[2])} if ours else {})}
    run = subprocess.run(
        [sys.executable, "-c", SNIPPETS, json.dumps(blocks)], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(f"features (1, {width})") == 2
    assert run.stdout.count("classes 7") == 2
    assert len(re.findall(r"^\s*\d+\.\d%  [abc]$", run.stdout, flags=re.MULTILINE)) == 3
    assert run.stdout.split()[-1] == str(ours)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("---\n{{ card_data }}\n---\n{{ model.name }}: {{ top1 }}\n")
    text = render_card(RESULTS, template=tmp_path / "mine.md")
    assert text.endswith("---\nresnet18.glmc_cifar10_lt: 95.12 %\n")
    with pytest.raises(UserError, match="no card template"):
        render_card(RESULTS, template=tmp_path / "absent.md")
