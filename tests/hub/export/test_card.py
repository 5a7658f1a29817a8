"""The card against the results that it is rendered from, read back by the Hub's own client."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from card_results import CONVERTED, MINIMAL, MORE, RESULTS, changed, scores
from huggingface_hub import ModelCard

from glmc_zoo.errors import UserError
from glmc_zoo.hub import render_card
from glmc_zoo.results import FinetuneFacts, GroupSupport, PluginFacts, RunResults


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
        "seed 11, data seed 3",
        "epoch 40 (last epoch); this run chose nothing by test scores",
        "accelerate launch recipes/train.py --data cifar10_lt",
        "Defaults may differ in another version of glmc_zoo. The table below has every option of this run.",
        "one big GPU, 1 process; 1 h 2 min",
        "1,234,567",
        "imbalance factor 20, imbalance type `exp`, selection `ldam`, data seed 3",
        "2 images that cannot be read were left out",
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


def test_intervals_are_shown_where_they_are_wide() -> None:
    wide = {"top1": [0.93, 0.97], "balanced_accuracy": [0.8984, 0.9084], "nll": [0.1, 0.15], "many": [0.95, 1.0]}
    support = {"many": GroupSupport(classes=1, images=40), "medium": GroupSupport(classes=1, images=20)}
    text = render_card(changed(intervals={"test": wide}, group_support=support))
    for expected in (
        "| Top-1 accuracy | 95.12 % [93.0, 97.0] |",
        "| Balanced accuracy | 90.34 % |",
        "| Negative log-likelihood (nats) | 0.1234 [0.10, 0.15] |",
        "| Many-shot accuracy | 99.00 % [95.0, 100.0] | 1 |",
        "| Medium-shot accuracy | 89.01 % | 2, 1 of them tested (20 images) |",
    ):
        assert expected in text
    assert "In brackets: 95 % interval" in text
    narrow = render_card(changed(intervals={"test": {"balanced_accuracy": [0.8984, 0.9084]}}))
    assert narrow == render_card(RESULTS)


def test_few_test_images_of_a_class_are_shown() -> None:
    results = changed(class_support=[40, 3, 1], class_recalls=[0.9, 1.0, 0.0], intervals={"test": {"few": [0.0, 0.8]}})
    text = render_card(results)
    assert "| Class | Training images | Test images | Test accuracy |\n|---|---:|---:|---:|\n" in text
    assert "| 3 | 100.00 % |" in text and "| 1 | 0.00 % |" in text
    assert (
        "- 2 of the 3 classes have only 1 to 4 test images, so their test accuracy moves in steps of 25 points" in text
    )
    assert "all right or all wrong are included by the Wilson interval of their recall;" in text
    many = render_card(changed(class_support=[40, 5, 50], intervals={"test": {"few": [0.0, 0.8]}}))
    assert "1 to 4 test images" not in many and "Wilson" not in many and "| Test images |" in many
    assert "| Test images |" not in render_card(RESULTS)
    with pytest.raises(UserError, match="class_support has 2 entries for 3 class_counts"):
        render_card(changed(class_support=[1, 2]))


def test_a_model_without_a_test_split_says_so() -> None:
    untested = changed(test=None, class_recalls=None, data={"no_test": True, "test_images": None}, plots=[])
    text = render_card(untested)
    assert "in the smallest, and no images were left to test it on. It loads with" in text
    assert "Not evaluated: the model was trained without a test split." in text and "| Score |" not in text
    held = render_card(changed(untested, validation=scores(top1=0.875)))
    assert "Scores on the 7 images of cifar10_lt that were held out for validation. Shot groups" in held
    assert "| Top-1 accuracy | 87.50 % |" in held
    card: Any = ModelCard(held)
    assert card.data.eval_results is None and card.data.metrics is None


def test_the_title_of_a_method_is_that_of_its_plug_in() -> None:
    plugin = PluginFacts(file="focal.py", sha256="12" * 32, registered=["method focal", "loss focal"])
    text = render_card(changed(method="focal", method_title="focal loss (Lin et al., 2017)", plugins=[plugin]))
    assert "with focal loss (Lin et al., 2017), from scratch" in text
    assert "- **Method:** focal loss (Lin et al., 2017), preset `official`" in text
    assert f"- **Plug-in:** `focal.py`, SHA-256 `{'12' * 32}`; it registered method focal, loss focal\n" in text
    assert "- **Method:** focal, preset" in render_card(changed(method="focal"))
    assert "Plug-in" not in render_card(RESULTS)


@pytest.mark.parametrize(
    ("method", "config", "words"),
    [
        ("glmc", {"views": "mixup_cutmix"}, "cumulative learning), from scratch"),
        (
            "glmc",
            {"views": "alternate"},
            "cumulative learning), in the variant with one mixed view a step, from scratch",
        ),
        ("balanced_softmax", {"views": "none"}, "with cross-entropy with balanced softmax, from scratch"),
        (
            "balanced_softmax",
            {"views": "alternate"},
            "balanced softmax on mixed images (MixUp and CutMix in turn), from",
        ),
        ("ce", {"views": "cutmix"}, "with plain cross-entropy on mixed images (CutMix), from scratch"),
        ("ce", {"sam_rho": 0.05, "sam_every": 5}, "minimisation (SAM), radius 0.05, in one step of 5"),
        ("ce", {"sam_rho": 0.05, "sam_every": 1}, "minimisation (SAM), radius 0.05\n"),
    ],
)
def test_the_card_says_how_images_were_mixed(method: str, config: dict[str, Any], words: str) -> None:
    results = dataclasses.replace(MINIMAL, method=method, config=config)
    assert words in render_card(results)


def test_what_is_optional_may_be_missing() -> None:
    card: Any = ModelCard(render_card(MINIMAL))
    assert card.data.datasets is None
    assert [result.metric_value for result in card.data.eval_results] == [50.0, 50.0]
    assert "None" not in card.text


def test_computation_is_shown_where_both_figures_are_there() -> None:
    shown = render_card(changed(model={"gmacs": 4.0887, "mactivations": 11.1137}))
    assert "**Computation for one image:** 4.09 GMACs, 11.1 M activations" in shown
    for half in ({"gmacs": 4.0}, {"mactivations": 11.0}, {}):
        assert "GMACs" not in render_card(changed(model=half))


def test_each_optional_field_may_be_at_its_default() -> None:
    for field in dataclasses.fields(RunResults):
        if field.name in ("test", "class_counts") or field.default is field.default_factory is dataclasses.MISSING:
            continue  # required of a run
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
        assert "None" not in render_card(changed(MORE, **{field.name: default})), field.name


def test_what_a_run_must_have_is_named() -> None:
    for name, message in (("test", "have no test scores"), ("class_counts", "have no class counts")):
        with pytest.raises(UserError, match=message):
            render_card(changed(**{name: None}))
        assert render_card(changed(CONVERTED, **{name: None}))


def test_lists_of_classes_must_agree() -> None:
    with pytest.raises(UserError, match="class_recalls has 2 entries for 3 class_counts"):
        render_card(changed(class_recalls=[0.1, 0.2]))
    with pytest.raises(UserError, match="class_names has 1 entries for 3 class_counts"):
        render_card(changed(class_names=["a"]))


def test_base_model_only_when_fine_tuned() -> None:
    for source, base_model in {
        "resnet18.a1_in1k": "timm/resnet18.a1_in1k",
        "timm/resnet18.a1_in1k": "timm/resnet18.a1_in1k",
        "hf_hub:org/name@main": "org/name",
        "local-dir:runs/first/model": None,
    }.items():
        text = render_card(changed(model={"pretrained_from": source}))
        card: Any = ModelCard(text)
        assert card.data.base_model == base_model, source
        assert f"starting from `{source}`" in text


def test_a_method_that_is_not_glmc_does_not_cite_it() -> None:
    text = render_card(changed(method="ce"))
    assert "du2023glmc" not in text
    assert "plain cross-entropy" in text


def test_many_classes_get_no_table() -> None:
    counts = list(range(100, 0, -1))
    text = render_card(changed(MINIMAL, class_counts=counts, class_names=[f"class {count}" for count in counts]))
    assert "| Class | Training images |" not in text


def test_only_plots_that_are_there_are_linked() -> None:
    text = render_card(changed(plots=["group_confusion.png", "another.png"]))
    assert re.findall(r"\((plots/.*?)\)", text) == ["plots/group_confusion.png"]
    assert "plot of class accuracies above" not in text


def test_what_only_some_models_have_is_shown() -> None:
    text = render_card(changed(MORE, data={"image_format": "WebP lossy"}))
    assert "600 for testing; 2 images that cannot be read were left out; file format WebP lossy" in text
    for expected in (
        "starting from `hf_hub:org/base@main`",
        "**Fine-tuned from:** `hf_hub:org/base@main` at commit `abc123`; trained: low-rank adapters (LoRA)",
        "reused: heads",
        f"torch 2.6.0; glmc_zoo from commit {'ef' * 20}",
        f"`model.safetensors`, 1,234,567 bytes, SHA-256 `{'ab' * 32}`",
        "weights stored in half precision (float16), loaded as float32; on four images of noise the logits differ by at"
        " most 0.0012",
    ):
        assert expected in text
    card: Any = ModelCard(text)
    assert card.data.base_model == "org/base"


def test_base_model_of_a_fine_tuned_model() -> None:
    for model, kind, base_model in (
        ("resnet18.a1_in1k", "timm", "timm/resnet18.a1_in1k"),
        ("runs/first/model", "folder", None),
        ("hf-hub:org/name", "hub", "org/name"),
        ("resnet18", "timm", None),  # which of timm's repositories it is, the name does not say
    ):
        facts = FinetuneFacts(tune="full", model=model, kind=kind)
        card: Any = ModelCard(render_card(changed(finetune=facts)))
        assert card.data.base_model == base_model, model


def test_an_export_may_have_looked_the_base_model_up() -> None:
    card: Any = ModelCard(render_card(changed(model={"pretrained_from": "resnet18", "base_model": "timm/resnet18.x"})))
    assert card.data.base_model == "timm/resnet18.x"


@pytest.mark.processes
def test_rendering_needs_neither_timm_nor_torch() -> None:
    code = (
        "import json, sys; from glmc_zoo.hub import render_card; from glmc_zoo.results import RunResults;"
        "render_card(RunResults.from_dict(json.loads(sys.argv[1])));"
        "print('timm' in sys.modules or 'torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(RESULTS.to_dict())], cwd=root, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout.strip()) == (0, "False"), run.stderr


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("---\n{{ card_data }}\n---\n{{ model.name }}: {{ top1 }}\n")
    text = render_card(RESULTS, template=tmp_path / "mine.md")
    assert text.endswith("---\nresnet18.glmc_cifar10_lt: 95.12 %\n")
    with pytest.raises(UserError, match=r"absent\.md' does not exist"):
        render_card(RESULTS, template=tmp_path / "absent.md")
