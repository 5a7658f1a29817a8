"""Cards of models that are not a run's whole classifier: second stages, encoders, converted checkpoints."""

from __future__ import annotations

import re
from typing import Any

from card_results import CONVERTED, RESULTS, changed
from huggingface_hub import ModelCard

from glmc_zoo.hub import render_card
from glmc_zoo.results import SecondStageFacts, Seeds

STAGE = SecondStageFacts(
    kind="maxnorm",
    threshold=0.1,
    beta=0.9999,
    limit=1.23456,
    source="hf_hub:org/first",
    source_commit="abc123",
    source_test_top1=0.94,
    source_command="python recipes/train.py --sam-rho 0.05",
    source_config={"epochs": 200, "sam_rho": 0.05},
    source_seeds=Seeds(seed=7, data_seed=1),
)


def test_the_card_of_a_second_stage_tells_both_stages() -> None:
    text = render_card(changed(second_stage=STAGE))
    table = "\n\n| Option | Value |\n|---|---|\n"
    for expected in (
        "from scratch; its classifier was then trained a second time, with a class-balanced loss and MaxNorm.",
        "- **Second stage of:** `hf_hub:org/first` at commit `abc123`",
        "preset `official`, with sharpness-aware minimisation (SAM), radius 0.05\n",
        "only the classifier of `hf_hub:org/first` (top-1 94.00 %) was trained further",
        "with class-balanced cross-entropy (beta 0.9999); after each step MaxNorm scaled the rows of its weight",
        "that were longer than 1.235 down to that length, threshold 0.1; first stage: seed 7, data seed 1",
        "- **Command of the first stage:**\n\n  ```\n  python recipes/train.py --sam-rho 0.05\n  ```",
        "- **Command of the second stage:**",
        f"<summary>Every option of the second stage, as resolved</summary>{table}| `lr` | 0.1 |",
        f"<summary>Every option of the first stage, as resolved</summary>{table}| `epochs` | 200 |",
    ):
        assert expected in text
    assert all(
        f"@inproceedings{{{key}," in text for key in ("du2023glmc", "alshammari2022balancing", "cui2019balanced")
    )


def test_a_second_stage_without_maxnorm_speaks_of_none() -> None:
    stage = SecondStageFacts(kind="class_balanced", beta=0.99, source="resnet18.first")
    text = render_card(changed(second_stage=stage))
    assert "a second time, with a class-balanced loss." in text and "cui2019balanced" in text
    assert "MaxNorm" not in text and "alshammari" not in text and "of the first stage" not in text
    plain = render_card(RESULTS)
    assert "second" not in plain and "cui2019" not in plain


def test_an_encoder_gets_a_card_of_its_own() -> None:
    text = render_card(changed(encoder_only=True), repo_id="org/encoder")
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
        "It was not evaluated, so this card has no scores.",
        "glmc-zoo evaluate --model path/to/this/folder --data cifar10_lt",
        "The names of its classes and the normalisation are those of cifar10_lt.",
        f"`published.pth.tar`, SHA-256 `{'cd' * 32}`",
        "**Command of the conversion:**",
        "du2023glmc",
    ):
        assert expected in text
    assert "top-1" not in text and "None" not in text
