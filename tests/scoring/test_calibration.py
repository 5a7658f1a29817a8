"""Temperature and thresholds against SciPy, scikit-learn and a search by hand; what a training exports with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss, precision_score

from glmc_zoo.data import load_data
from glmc_zoo.errors import UserError
from glmc_zoo.method import adjust_logits, fold_corrections, tau_norm_logits
from glmc_zoo.metrics import longtail_scores
from glmc_zoo.options.resolve import finetuning_options, second_stage_options, training_options
from glmc_zoo.options.sections import COMMANDS
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.results import CalibrationFacts, Reliability
from glmc_zoo.scoring.calibration import (
    calibrate_classifier,
    calibration_lines,
    calibration_temperature,
    fit_temperature,
    image_weights,
)
from glmc_zoo.scoring.thresholds import PRECISIONS, precision_thresholds
from glmc_zoo.training.report import uncalibrated_note

Recipe = Callable[..., Any]


def sample(images: int = 300, classes: int = 4, *, scale: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``scale`` times too large, and labels drawn by the honest probabilities."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 1.5, (images, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(honest, axis=1)])
    return scale * honest, labels


@pytest.mark.parametrize("weighted", [False, True])
def test_the_temperature_is_the_one_that_scipy_finds(weighted: bool) -> None:
    logits, labels = sample()
    weights = np.random.default_rng(1).uniform(0, 2, len(labels)) if weighted else np.ones(len(labels))

    def nll(log_temperature: float) -> float:
        return log_loss(labels, softmax(logits / np.exp(log_temperature), axis=1), sample_weight=weights)

    expected = np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    found = fit_temperature(logits, labels, weights if weighted else None)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(3, rel=0.25)


def test_images_that_are_all_right_or_say_nothing_fit_no_temperature() -> None:
    logits, _ = sample()
    assert fit_temperature(logits, logits.argmax(axis=1)) is None
    assert fit_temperature(logits, logits.argmin(axis=1)) is None
    temperature, _, reason = calibration_temperature(logits, logits.argmax(axis=1), None)
    assert temperature is None and reason is not None and "(300 of 300 are classified right)" in reason
    temperature, _, reason = calibration_temperature(logits[:19], logits[:19].argmax(axis=1), None)
    assert temperature is None and reason is not None and reason.startswith("19 held-out images are too few")


def test_huge_logits_do_not_overflow() -> None:
    logits, labels = sample(scale=500)
    assert fit_temperature(logits / 500 * 15, labels) == pytest.approx(15, rel=0.25)
    assert fit_temperature(logits, labels) is None  # beyond 100


def test_weights_give_each_class_its_share_of_the_test_split() -> None:
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    weights = image_weights(labels, [10, 10, 10, 10])
    sums = [weights[labels == c].sum() for c in range(3)]
    np.testing.assert_allclose(sums, np.full(3, 100 / 3))
    assert image_weights(labels, [0, 0, 0, 5]).tolist() == [1.0] * 100  # no class in common


def test_the_weighting_is_named() -> None:
    logits, labels = sample()
    counts = [5, 40, 20, 10]
    temperature, weighting, _ = calibration_temperature(logits, labels, counts)
    assert weighting == "test"
    assert temperature == fit_temperature(logits, labels, image_weights(labels, counts))
    assert calibration_temperature(logits, labels, None)[:2] == (fit_temperature(logits, labels), "none")
    assert calibration_temperature(logits, labels, [0, 0, 0, 0])[1] == "none"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_thresholds_reach_their_precision(precision: float) -> None:
    """By hand: the smallest confidence above which one error more than was seen is few enough."""
    logits, labels = sample(4000, 3, scale=1.0)
    confidence, predicted = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1)
    thresholds = precision_thresholds(logits, labels)[f"{precision:g}"]
    for c, threshold in enumerate(thresholds):
        mine = np.sort(confidence[predicted == c])
        fits = [
            t for t in mine
            if (((labels != c) & (predicted == c) & (confidence >= t)).sum() + 1)
            / (((predicted == c) & (confidence >= t)).sum() + 1) <= 1 - precision + 1e-12
        ]  # fmt: skip
        assert threshold == (pytest.approx(fits[0], rel=1e-12) if fits else None)
        if threshold is not None:
            chosen = (predicted == c) & (confidence >= threshold)
            assert precision_score(labels[chosen] == c, np.ones(chosen.sum())) >= precision


def test_rare_classes_share_a_threshold_and_hopeless_ones_have_none() -> None:
    """0.9 needs 9 images, all right: class 0 has them, classes 1 and 2 have them together, class 3 is always wrong."""
    predicted = np.repeat([0, 1, 2, 3], [20, 5, 5, 30])
    logits = 4.0 * np.eye(4)[predicted]
    labels = np.where(predicted == 3, 0, predicted)
    confidence = float(softmax([4.0, 0, 0, 0])[0])
    thresholds = precision_thresholds(logits, labels)
    assert thresholds["0.9"] == [pytest.approx(confidence)] * 3 + [None]
    assert thresholds["0.99"] == [None] * 4


def test_folded_corrections_are_those_of_the_logits() -> None:
    torch.manual_seed(0)
    layer, features, counts = torch.nn.Linear(8, 5), torch.randn(7, 8), [50, 20, 10, 5, 1]
    expected = tau_norm_logits(layer(features), layer.weight, layer.bias, tau=0.7)
    expected = adjust_logits(expected, counts, 1.5) / 2.5
    fold_corrections(layer, class_counts=counts, tau_norm=0.7, logit_adjustment=1.5, temperature=2.5)
    torch.testing.assert_close(layer(features), expected, atol=1e-6, rtol=1e-6)


def test_a_classifier_without_bias_takes_no_shift() -> None:
    layer = torch.nn.Linear(8, 3, bias=False)
    before = layer.weight.detach().clone()
    fold_corrections(layer, temperature=2.0)
    torch.testing.assert_close(layer.weight.detach(), before / 2)
    with pytest.raises(
        UserError, match=r"^logit_adjustment=1 shifts the bias .* this one has no bias: leave save= out"
    ):
        fold_corrections(layer, class_counts=[3, 2, 1], logit_adjustment=1.0)


def test_a_model_without_one_linear_classifier_stays_as_it_is() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=4, img_size=32)
    logits, labels = sample()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    facts = calibrate_classifier(model, 32, logits, labels, None)
    assert facts.temperature is None and str(facts.reason).startswith("The logits are not one linear layer")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_lines_on_the_screen_say_what_the_numbers_mean() -> None:
    facts = CalibrationFacts(
        images=40, temperature=1.25, weighting="test", before={"test": Reliability(ece=0.083, nll=0.9)},
        after={"test": Reliability(ece=0.0219, nll=0.8, chance_ece=0.0187)},
    )  # fmt: skip
    first, meaning, table = calibration_lines(facts)
    assert first == (
        "Calibration: the exported classifier divides its logits by 1.250, the temperature that "
        "fits 40 held-out images best, weighted to the class frequencies of the test split."
    )
    assert meaning.startswith("ECE, the calibration error, is the mean difference between the probability")
    head, row = (line.split() for line in table.splitlines())
    assert head[:8] == ["images", "ECE", "in", "%", "before", "after", "by", "chance"]
    assert row == ["test", "8.3", "2.2", "1.9", "0.900", "0.800"]
    without = replace(facts, after={"test": Reliability(ece=0.0219, nll=0.8)})  # of results that were saved earlier
    assert calibration_lines(without)[-1].splitlines()[1].split()[:4] == ["test", "8.3", "2.2", "-"]
    none = CalibrationFacts(images=3, reason="3 held-out images are too few to fit a temperature, which needs 20.")
    assert calibration_lines(none) == [f"The probabilities are not calibrated: {none.reason}"]


@pytest.mark.parametrize(
    ("command", "values", "held_out", "note"),
    [
        (
            "train",
            {},
            0,
            "No images are held out of the training .*: to calibrate them, give val_fraction= or calibrate=",
        ),
        (
            "train",
            {"val_fraction": 0.1},
            19,
            "Fitting .* at least 20 held-out images, and this run has 19, .* calibrated: give a larger val_fraction=",
        ),
        (
            "second_stage",
            {"model": "x", "val_fraction": 0.1},
            19,
            "Fitting .* calibrated: train the first stage with a larger val_fraction=",
        ),
        ("train", {"val_fraction": 0.1}, 20, None),
        ("train", {"calibrate": "never"}, 0, None),
        ("train", {"calibrate": "never", "val_fraction": 0.1}, 3, None),
        (
            "second_stage",
            {"model": "x"},
            0,
            "No images are held out .* train the first stage with val_fraction=, and give",
        ),
        ("finetune", {"model": "x", "tune": "head"}, 0, None),
        ("finetune", {"model": "x", "tune": "full"}, 0, "No images are held out of the training"),
    ],
)
def test_a_note_says_where_nothing_will_be_calibrated(
    command: str, values: dict[str, Any], held_out: int, note: str | None
) -> None:
    resolve: dict[str, Callable[..., Any]] = {
        "train": training_options, "finetune": finetuning_options,
        "second_stage": lambda user_options: second_stage_options(user_options, {}),
    }  # fmt: skip
    options = resolve[command](parse_options(COMMANDS[command], {"data": "digits_lt", **values}, ""))
    data: Any = SimpleNamespace(val=range(held_out) if held_out else None)
    notes = uncalibrated_note(options, data)
    assert len(notes) == (note is not None)
    assert note is None or re.match(note, notes[0])


OPTIONS = ["--epochs", 2, "--batch-size", 32, "--backbone", "test_efficientnet", "--method", "ce", "--lr", 0.005]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on the digits that differ in ``calibrate`` alone."""
    import glmc_zoo

    folder = tmp_path_factory.mktemp("digits")
    options = {str(name).strip("-").replace("-", "_"): value for name, value in zip(*[iter(OPTIONS)] * 2, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        from matplotlib.figure import Figure

        patch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())
        for name in ("auto", "never"):
            glmc_zoo.train(**options, val_fraction=0.25, calibrate=name, output_dir=folder / name)
    return {name: folder / name for name in ("auto", "never")}


def digit_logits(run: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits of an exported model by timm alone."""
    from evaluated import logits_of

    return logits_of(run / "model", Path("digits_lt"), split, val_fraction=0.25)


def test_a_training_folds_its_temperature_into_the_classifier(digits: dict[str, Path]) -> None:
    facts = json.loads((digits["auto"] / "results.json").read_text())
    calibration, temperature = facts["calibration"], facts["calibration"]["temperature"]
    before, labels = digit_logits(digits["never"], "test")
    after, _ = digit_logits(digits["auto"], "test")
    np.testing.assert_allclose(after, before / temperature, atol=1e-5, rtol=1e-5)
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()

    held_out, classes = digit_logits(digits["never"], "val")
    weights = image_weights(classes, np.bincount(labels).tolist())
    assert temperature == pytest.approx(fit_temperature(held_out, classes, weights), rel=1e-4)
    assert calibration["weighting"] == "test" and calibration["images"] == len(classes)
    for moment, logits in (("before", before), ("after", after)):
        scores = longtail_scores(
            logits.argmax(axis=1), labels, facts["class_counts"], probabilities=softmax(logits, axis=1)
        )
        measured = calibration[moment]["test"]
        assert 0 < measured.pop("chance_ece") < 0.1
        assert measured == pytest.approx({name: scores[name] for name in ("ece", "nll")}, rel=1e-3)
        assert -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean() == pytest.approx(scores["nll"])
    assert facts["test"]["ece"] == calibration["after"]["test"]["ece"]
    never = json.loads((digits["never"] / "results.json").read_text())
    assert never["calibration"] is None and never["test"]["nll"] == pytest.approx(calibration["before"]["test"]["nll"])
    card = (digits["auto"] / "model" / "README.md").read_text()
    assert f"temperature {temperature:.3f}, which calibrates its probabilities and changes no prediction" in card
    assert "| test |" in card


def test_without_held_out_images_a_run_says_so_and_changes_nothing(train: Recipe, lab: Any, tmp_path: Path) -> None:
    outcome = train(*lab.few, *OPTIONS, "--epochs", 1, "--output-dir", tmp_path / "a")
    assert outcome.status == 0, outcome.err
    note = "note: No images are held out of the training to fit a temperature, so the probabilities will not be cali"
    assert note in outcome.out
    never = train(*lab.few, *OPTIONS, "--epochs", 1, "--calibrate", "never", "--output-dir", tmp_path / "b")
    assert "calibrated" not in never.out
    assert lab.same_weights(lab.weights(tmp_path / "a"), lab.weights(tmp_path / "b"))
    assert lab.results(tmp_path / "a")["calibration"] is None


def test_always_holds_a_tenth_out(train: Recipe, tmp_path: Path) -> None:
    outcome = train(*OPTIONS, "--epochs", 1, "--calibrate", "always", "--output-dir", tmp_path / "a")
    assert outcome.status == 0, outcome.err
    assert outcome.run.options.data.val_fraction == 0.1
    assert json.loads((tmp_path / "a" / "results.json").read_text())["calibration"]["images"] > 20


def test_training_goes_on_with_the_classifier_as_it_was_trained(digits: dict[str, Path], stage: Recipe) -> None:
    """No step changes it: the classifier of the next training is that before the temperature."""
    outcome = stage("--model", digits["auto"] / "model", "--dry-run")
    assert outcome.status == 0, outcome.err
    from glmc_zoo.hub import open_model
    from glmc_zoo.training.finetuning import load_source_heads

    source = open_model(str(digits["auto"] / "model"))
    network: Any = source.create()

    class Task:
        def get_trainable_module(self) -> Any:
            return network

    assert source.class_names is not None
    assert load_source_heads(source, Task(), source.class_names) == ["classifier"]  # type: ignore[arg-type]
    plain: Any = timm.create_model(f"local-dir:{digits['never'] / 'model'}", pretrained=True)
    torch.testing.assert_close(network.get_classifier().weight, plain.get_classifier().weight)


def test_a_second_stage_holds_no_images_out_by_itself(digits: dict[str, Path], stage: Recipe, tmp_path: Path) -> None:
    outcome = stage(
        "--model", digits["auto"] / "model", "--val-fraction", 0, "--calibrate", "always", "--output-dir", tmp_path
    )
    assert outcome.sentence.startswith("--calibrate always would hold out images that the first stage was trained on")


def test_the_digits_hold_out_what_the_tests_compare_with() -> None:
    assert len(load_data("digits_lt", val_fraction=0.25).val or []) > 40
