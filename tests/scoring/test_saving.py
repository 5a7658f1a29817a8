"""Corrected models in folders: plain timm gives the corrected logits, and results and card tell what was done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from evaluated import CLASSES, COUNTS, exported, logits_of, results_of

from glmc_zoo.data import load_data
from glmc_zoo.results import RunResults

Recipe = Callable[..., Any]


def corrected(logits: np.ndarray, model: Path, counts: list[int], adjustment: float, tau: float | None) -> np.ndarray:
    """Menon et al. and Kang et al. in NumPy."""
    layer: Any = timm.create_model(f"local-dir:{model}", pretrained=True).get_classifier()
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    if tau is not None:
        logits = (logits - bias) / np.linalg.norm(weight, axis=1) ** tau
    return logits - adjustment * np.log(np.array(counts) / sum(counts))


def test_a_saved_model_gives_the_corrected_logits(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    """By timm alone."""
    options = ["--logit-adjustment", 1.5, "--tau-norm", 0.5, "--temperature", 2, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", run / "model", "--data", animals, *options, "--save", tmp_path / "new")
    assert outcome.status == 0, outcome.err
    assert "run (logit adjustment 1.5, tau-norm 0.5, temperature 2)" in outcome.out
    logits, labels = logits_of(run / "model", animals, "test")
    expected = corrected(logits, run / "model", list(COUNTS.values()), 1.5, 0.5) / 2
    saved, _ = logits_of(tmp_path / "new", animals, "test")
    np.testing.assert_allclose(saved, expected, atol=1e-5)

    results, evaluated = RunResults.load(tmp_path / "new" / "results.json"), results_of(tmp_path / "out")
    assert results.test is not None and results.correction is not None and results.weights is not None
    assert (
        results.test.nll == evaluated["test"]["nll"] and results.test.top1 == (expected.argmax(axis=1) == labels).mean()
    )
    before, now = (
        hashlib.sha256((f / "model.safetensors").read_bytes()).hexdigest() for f in (run / "model", tmp_path / "new")
    )
    assert (results.correction.source_sha256, results.weights.sha256) == (before, now)
    correction = results.correction
    assert (correction.tau_norm, correction.logit_adjustment, correction.temperature) == (0.5, 1.5, 2.0)
    assert correction.class_counts == list(COUNTS.values()) and correction.searched == []
    assert results.calibration is None and results.model.tag == "ce_animals_corrected"
    card = (tmp_path / "new" / "README.md").read_text()
    assert "tau norm 0.5, logit adjustment 1.5, temperature 2." in card and "Corrected after training" in card

    again = evaluate("--model", tmp_path / "new", "--data", animals, "--output-dir", tmp_path / "again")
    assert again.status == 0, again.err
    assert results_of(tmp_path / "again")["test"]["top1"] == evaluated["test"]["top1"]


def test_a_search_is_told_with_its_images(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    options = ["--logit-adjustment", "search", "--temperature", "search", "--val-fraction", 0.2]
    outcome = evaluate("--model", run / "model", "--data", animals, *options, "--save", tmp_path / "new")
    assert outcome.status == 0, outcome.err
    held_out = len(load_data(animals, val_fraction=0.2).val or [])
    assert f"note: {held_out} held-out images are too few to fit a temperature" in outcome.out
    results = RunResults.load(tmp_path / "new" / "results.json")
    assert results.correction is not None and results.calibration is not None
    assert results.correction.searched == ["logit_adjustment", "temperature"]
    assert results.correction.search_images == held_out and results.correction.held_out_of_training
    assert results.correction.temperature == 1.0 and set(results.calibration.thresholds) >= {"0.95"}
    card = (tmp_path / "new" / "README.md").read_text()
    assert f"Chosen on {held_out} held-out images" in card
    assert results.calibration.temperature is None  # none was fitted, although the correction divides by 1
    assert f"\n{held_out} held-out images are too few to fit a temperature" in card
    assert "divided by the temperature" not in card and "The probabilities are as trained" not in card
    given = ["--logit-adjustment", "search", "--temperature", 2, "--val-fraction", 0.2, "--save", tmp_path / "given"]
    outcome = evaluate("--model", run / "model", "--data", animals, *given)
    assert outcome.status == 0, outcome.err
    card = (tmp_path / "given" / "README.md").read_text()
    assert "\nThe temperature 2 was given, and not fitted on held-out images." in card
    assert "It minimises the negative log-likelihood" not in card


def test_a_temperature_is_searched(evaluate: Recipe, run: Path, lab: Any, tmp_path: Path) -> None:
    """On other images than those of the training, of which more are held out."""
    from scipy.special import log_softmax

    from glmc_zoo.scoring.calibration import fit_temperature, image_weights

    data = lab.images(tmp_path / "more", {"ant": 60, "bee": 40, "cat": 30}, test=7, size=70)
    options = ["--temperature", "search", "--val-fraction", 0.4, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", run / "model", "--data", data, *options)
    assert outcome.status == 0, outcome.err
    logits, labels = logits_of(run / "model", data, "val", val_fraction=0.4)
    expected = fit_temperature(logits, labels, image_weights(labels, [7, 7, 7]))
    results = results_of(tmp_path / "out")
    if expected is None:
        assert results["posthoc"]["temperature"]["value"] == 1
    else:
        assert results["posthoc"]["temperature"] == {"value": pytest.approx(expected, rel=1e-4), "weighting": "test"}
    logits, labels = logits_of(run / "model", data, "test")
    nll = -log_softmax(logits / (expected or 1), axis=1)[np.arange(len(labels)), labels].mean()
    assert results["test"]["nll"] == pytest.approx(nll, rel=1e-4)
    assert results["test"]["top1"] == results["test_plain"]["top1"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "--save new needs a correction to fold into the model: give --logit-adjustment, --tau-norm or"),
        (["--temperature", 0], "--temperature 0.0 must be a number above 0, or search."),
        (["--temperature", 2, "--model", "other"], "--save new saves one model, and --model names 2: give one model."),
        (
            ["--temperature", 2, "--image-size", 40],
            "--save writes the model for its own image size: leave --image-size",
        ),
        (["--temperature", 2, "--split", "validation", "--val-fraction", 0.2], "--save writes a model with its test"),
        (["--temperature", 2, "--output-dir", "new"], "--save and --output-dir are the same folder"),
    ],
)
def test_what_is_refused(
    evaluate: Recipe, run: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: list[Any], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = evaluate("--model", run / "model", "--data", animals, "--save", "new", *options)
    assert outcome.sentence.startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(
    evaluate: Recipe, run: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("mine")
    outcome = evaluate("--model", run / "model", "--data", animals, "--save", "new", "--temperature", 2)
    assert outcome.sentence == "--save new already holds files (mine); choose another folder."
    assert not (tmp_path / "runs").exists()


def test_a_model_without_results_and_other_data_are_refused(
    evaluate: Recipe, run: Path, animals: Path, lab: Any, tmp_path: Path
) -> None:
    model = exported(tmp_path / "other", CLASSES)
    common = ["--temperature", 2, "--save", tmp_path / "new"]
    outcome = evaluate("--model", model, "--data", animals, *common)
    assert "writes a model with the results of its training" in outcome.sentence
    data = lab.images(tmp_path / "zoo", COUNTS, test=3)
    outcome = evaluate("--model", run / "model", "--data", data, *common)
    assert "which it was trained on, and --data names zoo" in outcome.sentence
    assert not (tmp_path / "new").exists()


def test_half_precision_stays_half(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    from glmc_zoo.hub import export_run, open_model

    source = open_model(str(run / "model"))
    assert source.results is not None
    export_run(tmp_path / "half", source.create(), source.results, half=True)
    outcome = evaluate("--model", tmp_path / "half", "--data", animals, "--temperature", 3, "--save", tmp_path / "new")
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "new" / "results.json").read_text())["weights"]["dtype"] == "float16"


def test_a_corrected_model_is_not_taken_for_the_trained_one(
    evaluate: Recipe, finetune: Recipe, stage: Recipe, run: Path, animals: Path, tmp_path: Path
) -> None:
    """The sentences name the model before the correction, and what they advise works."""
    new, short = tmp_path / "new", ["--epochs", 1, "--batch-size", 8, "--no-report", "--mixed-precision", "no"]
    outcome = evaluate("--model", run / "model", "--data", animals, "--temperature", 2, "--save", new)
    assert outcome.status == 0, outcome.err
    before = f"that of {new} was corrected afterwards: give the model before the correction, path/to/model"
    given, tuned = ["--model", new, "--data", animals], tmp_path / "tuned"
    sentence = finetune(*given, "--output-dir", tuned).sentence
    fix = ", or --head-init mean for a new classifier."
    assert sentence == f"Fine-tuning on the same classes needs the classifier as it was trained, and {before}{fix}"
    assert stage(*given).sentence == f"A second stage needs the classifier as it was trained, and {before}."
    sentence = evaluate(*given, "--logit-adjustment", 1, "--save", tmp_path / "twice").sentence
    assert sentence.startswith("--save needs the classifier as it was trained, and ")
    assert sentence.endswith(f"{before}, with all corrections at once, or leave --save out.")
    assert not tuned.exists() and not (tmp_path / "twice").exists()
    for options in (["--tune", "head", "--feature-views", 1], [*short, "--head-init", "mean", "--feature-views", 1]):
        outcome = finetune(*given, *options, "--output-dir", tmp_path / str(len(options)))
        assert outcome.status == 0, outcome.err
    outcome = evaluate(
        "--model",
        run / "model",
        "--data",
        animals,
        "--temperature",
        2,
        "--logit-adjustment",
        1,
        "--save",
        tmp_path / "once",
    )
    assert outcome.status == 0, outcome.err


def test_other_classes_may_go_on_from_a_corrected_model(
    evaluate: Recipe, finetune: Recipe, run: Path, lab: Any, animals: Path, tmp_path: Path
) -> None:
    outcome = evaluate("--model", run / "model", "--data", animals, "--temperature", 2, "--save", tmp_path / "new")
    assert outcome.status == 0, outcome.err
    data = lab.images(tmp_path / "others", {"dog": 8, "elk": 8})
    short = ["--epochs", 1, "--batch-size", 8, "--no-report", "--mixed-precision", "no"]
    outcome = finetune("--model", tmp_path / "new", "--data", data, *short, "--output-dir", tmp_path / "tuned")
    assert outcome.status == 0, outcome.err
