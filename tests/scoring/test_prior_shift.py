"""Prior shift and EM against SciPy and Bayes' rule by hand, the model's own prior, and what `predict` refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from card_results import minimal_results
from csv_files import csv_rows
from evaluated import CLASSES, COUNTS, exported, logits_of
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.results import CorrectionFacts, HeadFacts, HeadTrial, RunResults, SecondStageFacts
from glmc_zoo.scoring.model_prior import model_log_prior
from glmc_zoo.scoring.prior_shift import estimate_log_prior, read_classes, read_prior

Recipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The recipe writes predictions.csv where it is called."""
    monkeypatch.chdir(tmp_path)


def gaussians(prior: list[float], images: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log densities of one-dimensional images in three classes, (N, C), and their classes drawn by ``prior``."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=images, p=prior)
    x = rng.normal(1.5 * labels, 1.0)
    return -0.5 * (x[:, None] - 1.5 * np.arange(3)) ** 2, labels


def test_em_finds_the_frequencies_of_the_images() -> None:
    source, target = np.array([0.5, 0.3, 0.2]), [0.1, 0.2, 0.7]
    density, labels = gaussians(target)
    logits = density + np.log(source)
    found = np.exp(estimate_log_prior(logits, np.log(source)))

    def nll(x: np.ndarray) -> float:
        return -np.log((softmax(logits, axis=1) * softmax(x) / source).sum(axis=1)).sum()

    best = softmax(minimize(nll, np.zeros(3), method="BFGS").x)
    np.testing.assert_allclose(found, best, atol=1e-4)
    np.testing.assert_allclose(found, np.bincount(labels) / len(labels), atol=0.03)
    assert found.sum() == pytest.approx(1)


def test_em_steps_are_those_of_saerens() -> None:
    """Equation 2.9 with probabilities, step by step, until nothing changes."""
    source = np.array([0.5, 0.3, 0.2])
    density, _ = gaussians([0.2, 0.5, 0.3], images=200)
    posterior = softmax(density + np.log(source), axis=1)
    prior = source
    for _ in range(20_000):
        joint = posterior * (prior / source)
        prior = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(np.exp(estimate_log_prior(density + np.log(source), np.log(source))), prior, atol=1e-5)


def test_em_leaves_classes_that_cannot_occur_at_zero() -> None:
    density, _ = gaussians([0.5, 0.5, 0.0])
    source = np.log(np.full(3, 1 / 3))
    found = np.exp(estimate_log_prior(density + source + np.array([0, 0, -np.inf]), source))
    assert found[2] == 0
    np.testing.assert_allclose(found, [0.5, 0.5, 0], atol=0.04)


def results(method: str, **config: Any) -> RunResults:
    """The results of a training on 60, 30 and 10 images."""
    plain = minimal_results(classes=["a", "b", "c"])
    return dataclasses.replace(plain, method=method, config=config, class_counts=[60, 30, 10])


def trained_head(loss: str, logit_adjustment: float) -> RunResults:
    chosen = HeadTrial(loss=loss, weight_decay=1e-4, logit_adjustment=logit_adjustment, balanced_accuracy=0.5, top1=0.5)
    facts = HeadFacts(
        held_out_images=100, init="mean", kind="linear", views=4, features=8, folds=5, chosen=chosen,
        feature_seconds=1.0, search_seconds=1.0,
    )  # fmt: skip
    return dataclasses.replace(results("head"), head=facts)


COUNTED, UNIFORM = np.array([0.6, 0.3, 0.1]), np.full(3, 1 / 3)
TUNED = {"rebalanced_loss": "balanced_softmax", "sampler": "power", "sampler_power": 0.5}


def share(weights: Any) -> Any:
    return np.asarray(weights) / np.sum(weights)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (results("ce"), COUNTED),
        (results("balanced_softmax", prior_tau=1.0), UNIFORM),
        (results("balanced_softmax", prior_tau=1.5), share(COUNTED**-0.5)),
        (results("glmc", prior_tau=1.0, **TUNED), UNIFORM),
        (results("glmc", prior_tau=2.0, **TUNED), share(1 / COUNTED)),
        # Half of the images shuffled, half drawn with 1 / n, so alike for each class; then weighted with 1 / n.
        (
            results("glmc", rebalanced_loss="reweighted", sampler="power", sampler_power=1.0, class_weight_power=1.0),
            share((COUNTED + UNIFORM) / COUNTED),
        ),
        (results("glmc", rebalanced_loss="ce", sampler="power", sampler_power=1.0), share(COUNTED + UNIFORM)),
        # With CutMix labels of the pasted area the partners have 1/2 - 1/5 + 1/48 of them.
        (
            results("glmc", rebalanced_loss="ce", sampler_power=1.0, views="cutmix", beta=1.0, correct_lam=True),
            share((1 / 2 + 1 / 5 - 1 / 48) * COUNTED + (1 / 2 - 1 / 5 + 1 / 48) * UNIFORM),
        ),
        (
            dataclasses.replace(
                results("ce"), correction=CorrectionFacts(source="m", logit_adjustment=1.0, class_counts=[60, 30, 10])
            ),
            UNIFORM,
        ),
        (
            dataclasses.replace(results("glmc"), second_stage=SecondStageFacts(kind="maxnorm", beta=0.9, source="m")),
            share(COUNTED * 0.1 / (1 - 0.9 ** np.array([60, 30, 10]))),
        ),
        (trained_head("cross-entropy", 0.0), COUNTED),
        (trained_head("cross-entropy", 1.5), share(COUNTED**-0.5)),
        (trained_head("balanced softmax", 0.0), UNIFORM),
        (trained_head("balanced softmax", -0.5), share(COUNTED**0.5)),
        (trained_head("another loss", 0.0), None),
        (results("focal"), None),
        (results("glmc", rebalanced_loss="focal"), None),
        (results("glmc", rebalanced_loss="reweighted", sampler="mine", class_weight_power=1.0), None),
        (dataclasses.replace(results("ce"), correction=CorrectionFacts(source="m", tau_norm=0.5)), None),
        (dataclasses.replace(results("ce"), class_counts=None), None),
        (None, None),
    ],
)
def test_the_prior_of_a_model_follows_from_its_training(given: RunResults | None, expected: Any) -> None:
    found = model_log_prior(given)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        np.testing.assert_allclose(np.exp(found), expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["ce", "balanced_softmax"])
def test_softmax_regression_has_the_prior_that_is_claimed(method: str) -> None:
    """Trained on many images of known densities, its probabilities are those of Bayes' rule with this prior."""
    import torch

    from glmc_zoo.method import get_loss

    density, labels = gaussians([0.6, 0.3, 0.1], images=60_000)
    counts = np.bincount(labels).tolist()
    x = torch.from_numpy(density - density.mean(axis=1, keepdims=True)).double()
    loss, layer = get_loss(method)(counts), torch.nn.Linear(3, 3).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(layer(x), torch.from_numpy(labels))
        value.backward()
        return value

    optimizer.step(closure)
    prior = model_log_prior(dataclasses.replace(results(method), class_counts=counts))
    assert prior is not None
    expected = softmax(density[:500] + prior, axis=1)
    np.testing.assert_allclose(layer(x[:500]).softmax(dim=1).detach().numpy(), expected, atol=0.03)


# ------------------------------------------------------------------------ predict
def probabilities(found: list[dict[str, str]]) -> np.ndarray:
    """(N, C), in the order of the classes."""
    pairs = [
        {row[f"label{i}"]: float(row[f"probability{i}"]) for i in ("", "_2", "_3") if f"label{i}" in row}
        for row in found
    ]
    return np.array([[row.get(name, 0.0) for name in CLASSES] for row in pairs])


def test_a_known_prior_is_bayes_rule(predict: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("class,count\ncat,70\nant,10\nbee,20\n")
    outcome = predict("--model", run / "model", "--images", animals / "test", "--prior", "counts.csv")
    assert outcome.status == 0, outcome.err
    logits, _ = logits_of(run / "model", animals, "test")
    trained = RunResults.load(run / "model" / "results.json").class_counts
    expected = softmax(logits, axis=1) * np.array([10, 20, 70]) / np.array(trained)
    np.testing.assert_allclose(
        probabilities(csv_rows("predictions.csv")), expected / expected.sum(axis=1, keepdims=True), atol=2e-5
    )


def test_an_estimated_prior(predict: Recipe, run: Path, animals: Path) -> None:
    outcome = predict("--model", run / "model", "--images", animals / "test", "--prior", "estimate", "--batch-size", 4)
    assert outcome.status == 0, outcome.err
    logits, _ = logits_of(run / "model", animals, "test")
    trained = np.log(share(RunResults.load(run / "model" / "results.json").class_counts))
    prior = estimate_log_prior(logits, trained)
    np.testing.assert_allclose(
        probabilities(csv_rows("predictions.csv")), softmax(logits + prior - trained, axis=1), atol=1e-4
    )
    table = outcome.out.splitlines()[1:5]
    assert table[0].split() == ["class", "model's", "prior", "estimated", "images"]
    top = CLASSES[int(prior.argmax())]
    assert table[1].split()[0] == top and f"{100 * np.exp(prior.max()):.1f} %" in table[1]


def test_classes_that_can_occur(predict: Recipe, model: Path, animals: Path) -> None:
    outcome = predict("--model", model, "--images", animals / "test", "--classes", "cat, ant")
    assert outcome.status == 0, outcome.err
    logits, _ = logits_of(model, animals, "test")
    expected = softmax(logits[:, [0, 2]], axis=1)
    found = csv_rows("predictions.csv")
    assert list(found[0]) == ["file", "label", "probability", "label_2", "probability_2"]
    np.testing.assert_allclose(probabilities(found)[:, [0, 2]], expected, atol=2e-5)


def test_below_the_least_probability_the_label_is_unsure(predict: Recipe, model: Path, animals: Path) -> None:
    logits, _ = logits_of(model, animals, "test")
    confidence, best = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1)
    least = float(np.median(confidence))
    outcome = predict("--model", model, "--images", animals / "test", "--min-probability", least)
    assert outcome.status == 0, outcome.err
    found = csv_rows("predictions.csv")
    unsure = [row["label"] == "unsure" for row in found]
    assert unsure == (confidence < least).tolist() and 0 < sum(unsure) < len(unsure)
    assert [row["most_probable"] for row in found] == [CLASSES[i] for i in best]
    np.testing.assert_allclose([float(row["probability"]) for row in found], confidence, atol=2e-5)
    assert f"{sum(unsure)} of them unsure" in outcome.out and "unsure (" in outcome.out


def test_thresholds_of_a_precision(animals: Path, run: Path, tmp_path: Path) -> None:
    from glmc_zoo.hub import export_run, open_model
    from glmc_zoo.results import CalibrationFacts

    source = open_model(str(run / "model"))
    assert source.results is not None
    facts = CalibrationFacts(images=100, thresholds={"0.9": [0.2, None, 0.999999]})
    export_run(tmp_path / "m", source.create(), dataclasses.replace(source.results, calibration=facts))
    common = {"model": tmp_path / "m", "images": str(animals / "test"), "output": None}
    found = glmc_zoo.predict(**common, precision=0.9)
    limits = {"ant": 0.2, "bee": 2.0, "cat": 0.999999}
    assert [one.sure for one in found] == [one.probabilities[0] >= limits[one.labels[0]] for one in found]
    with pytest.raises(UserError, match=r"has no thresholds for precision=0.95: give one of 0.9"):
        glmc_zoo.predict(**common, precision=0.95)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--classes", "ant,bea"],
            "--classes has 'bea', which the model does not have: its classes are 'ant', 'bee', ",
        ),
        (["--classes", "ant"], "--classes ant names fewer than two classes: give at least two."),
        (["--model-prior", "uniform"], "--model-prior uniform has no effect without --prior: leave it out."),
        (["--precision", 0.9, "--min-probability", 0.5], "--precision and --min-probability both decide when a label"),
        (
            ["--precision", 0.9, "--classes", "ant,bee"],
            "--precision 0.9 holds for the model's own probabilities, which",
        ),
        (["--precision", 0.9], "--precision needs thresholds that were chosen on held-out images, and "),
        (["--min-probability", 1.5], "--min-probability 1.5 must be below 1."),
        (["--prior", "missing.csv"], "--prior missing.csv cannot be read (No such file or directory): give a CSV file"),
        (["--prior", "estimate"], "--prior needs the class frequencies that the probabilities of "),
        (["--prior", "estimate", "--model-prior", "training"], "--model-prior training needs the training images of"),
    ],
)
def test_what_is_refused(predict: Recipe, model: Path, animals: Path, options: list[Any], sentence: str) -> None:
    if options == ["--prior", "missing.csv"]:
        options = [*options, "--model-prior", "uniform"]
    outcome = predict("--model", model, "--images", animals / "test", *options)
    assert outcome.sentence.startswith(sentence)
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,count\nant,1\n", r"has the columns name, count: give a CSV file with the columns class and count"),
        ("class,count\nant,1\nbea,2\n", r"has the class 'bea', which the model does not have.* Did you mean bee\?"),
        ("class,count\nant,1\nant,2\n", r"has the class 'ant' twice"),
        ("class,count\nant,1\nbee,-2\ncat,1\n", r"has the count '-2' for 'bee': it must be a number of 0 or more"),
        ("class,count\nant,1\nbee\ncat,1\n", r"has the count '' for 'bee'"),
        ("class,count\nant,1\n", r"lacks 'bee', 'cat': give each class of the model a row, with the count 0"),
        ("class,count\nant,0\nbee,0\ncat,0\n", r"has no count above 0"),
        ("", r"has no columns"),
    ],
)
def test_a_file_that_gives_no_prior(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_prior(str(tmp_path / "p.csv"), CLASSES)


def test_a_count_of_zero_rules_a_class_out(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("class,count\nant,1\nbee,0\ncat,3\n")
    np.testing.assert_allclose(np.exp(read_prior(str(tmp_path / "p.csv"), CLASSES)), [0.25, 0, 0.75])


def test_names_with_commas() -> None:
    names = ["crane, bird", "crane, machine", "dog"]
    assert read_classes(["crane, bird", "dog"], names).tolist() == [True, False, True]
    assert read_classes(['"crane, machine",dog'], names).tolist() == [False, True, True]


def test_prior_and_classes_together(predict: Recipe, tmp_path: Path, animals: Path) -> None:
    model = exported(tmp_path / "m", CLASSES)
    Path("p.csv").write_text("class,count\nant,1\nbee,5\ncat,3\n")
    options = ["--prior", "p.csv", "--model-prior", "uniform", "--classes", "ant,cat", "--top", 1]
    outcome = predict("--model", model, "--images", animals / "test", *options)
    assert outcome.status == 0, outcome.err
    logits, _ = logits_of(model, animals, "test")
    expected = np.exp(log_softmax(logits[:, [0, 2]] + np.log([1, 3]), axis=1)).max(axis=1)
    np.testing.assert_allclose([float(row["probability"]) for row in csv_rows("predictions.csv")], expected, atol=2e-5)
    assert sum(COUNTS.values()) == 47
