"""Evaluation through the recipe: the trainer's scores, independent references, corrections, comparison, errors."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from evaluated import exported, logits_of, scores_of, table
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, precision_score, recall_score

from glmc_zoo.data import load_data
from glmc_zoo.engine.posthoc import GRIDS
from glmc_zoo.hub import export_model

Recipe = Callable[..., Any]
CLASSES = ["ant", "bee", "cat"]
COUNTS = {"ant": 30, "bee": 12, "cat": 5}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what several tests share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def images(lab: Any, place: Path) -> Path:
    """Three classes; 47 training images and 21 test images of 70 pixels, which are resized to 32."""
    folder = place / "animals"
    return folder if folder.exists() else lab.images(folder, COUNTS, test=7, size=70)


@pytest.fixture
def run(train: Recipe, images: Path, place: Path) -> Path:
    """A run on these images, with some of them held out of the training."""
    folder = place / "run"
    if not folder.exists():
        words = "--backbone test_efficientnet --image-size 32 --batch-size 8 --method ce --lr 0.004"
        options = words.split()
        outcome = train("--data", images, *options, "--epochs", 3, "--val-fraction", 0.2, "--output-dir", folder)
        assert outcome.status == 0, outcome.err
    return folder


# ------------------------------------------------------------------ scores
def test_a_run_gets_the_scores_of_its_training_again(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--data", images, "--val-fraction", 0.2]
    assert evaluate("--model", run / "model", *options, "--output-dir", out).status == 0
    trained, found = lab.results(run), lab.results(out)
    assert found["test"] == trained["test"]
    for key in ("class_names", "class_counts", "class_recalls", "group_confusion", "thresholds", "groups", "data"):
        assert found[key] == trained[key], key
    assert found["model"]["sha256"] == trained["weights"]["sha256"]
    assert found["model"]["name"] == "run" and found["model"]["source"] == "folder"
    assert found["posthoc"] is None and "test_plain" not in found
    assert str(tmp_path) not in (out / "results.json").read_text() and str(images) not in json.dumps(table(out))
    held = tmp_path / "held"
    assert evaluate("--model", run / "model", *options, "--split", "validation", "--output-dir", held).status == 0
    assert lab.results(held)["validation"] == trained["validation"]


def test_digits_that_are_kept_as_pixels_get_them_again_too(
    train: Recipe, evaluate: Recipe, lab: Any, tmp_path: Path
) -> None:
    assert train(*lab.tiny, "--epochs", 2, "--output-dir", tmp_path / "run").status == 0
    shape = ["--max-count", 10, "--imbalance-factor", 2, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", tmp_path / "run" / "model", *shape)
    assert lab.results(tmp_path / "out")["test"] == lab.results(tmp_path / "run")["test"]
    assert outcome.out.count("note: All classes fall into one group; --groups terciles") == 1
    assert "path" not in table(tmp_path / "out")


def test_every_file_agrees_with_scikit_learn(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    outcome = evaluate(
        "--model", run / "model", "--data", images, "--groups", "terciles", "--output-dir", tmp_path, plots=True
    )
    assert outcome.status == 0, outcome.err
    rows, found = table(tmp_path), lab.results(tmp_path)
    label, guess = np.array(rows["label"]), np.array(rows["prediction"])
    assert rows["index"] == list(range(21)) and len(set(rows["path"])) == 21
    assert rows["path"][0] == "test/ant/000.png"
    assert [CLASSES[i] for i in label] == [path.split("/")[1] for path in rows["path"]]
    probabilities = np.zeros((21, 3))
    np.put_along_axis(probabilities, np.array(rows["top5"]), np.array(rows["top5_probabilities"]), axis=1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert rows["correct"] == (label == guess).tolist() and (probabilities.argmax(axis=1) == guess).all()
    np.testing.assert_array_equal(rows["probability"], probabilities.max(axis=1))
    scores = found["test"]
    assert scores["top1"] == (label == guess).mean()
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, guess))
    assert scores["macro_f1"] == pytest.approx(f1_score(label, guess, average="macro"))
    assert scores["nll"] == pytest.approx(log_loss(label, probabilities, labels=[0, 1, 2]), rel=1e-5)
    with (tmp_path / "per_class.csv").open() as file:
        classes = list(csv.DictReader(file))
    assert [row["name"] for row in classes] == CLASSES and [row["class"] for row in classes] == ["0", "1", "2"]
    assert [row["group"] for row in classes] == ["many", "medium", "few"]
    assert [int(row["training_images"]) for row in classes] == list(COUNTS.values()) == found["class_counts"]
    assert [int(row["test_images"]) for row in classes] == [7, 7, 7]
    assert [int(row["predicted"]) for row in classes] == [(guess == i).sum() for i in range(3)]
    recall = recall_score(label, guess, average=None)
    np.testing.assert_allclose([float(row["recall"]) for row in classes], recall)
    assert [scores[group] for group in ("many", "medium", "few")] == pytest.approx(recall.tolist())
    precision = [float(row["precision"] or 0) for row in classes]
    np.testing.assert_allclose(precision, precision_score(label, guess, average=None, zero_division=0))
    assert {path.name for path in tmp_path.rglob("*.png")} == {"class_accuracy.png", "group_confusion.png"}
    assert "| run   |" in outcome.out and f"{100 * scores['balanced_accuracy']:.1f}" in outcome.out


def test_two_processes_score_every_image_once(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    options = ["--model", run / "model", "--data", images, "--logit-adjustment", "search"]
    assert evaluate(*options, "--output-dir", tmp_path / "one").status == 0
    script = lab.root / "recipes" / "evaluate.py"
    outcome = lab.torchrun(script, *options, "--output-dir", tmp_path / "two", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert two["index"] == list(range(21)) and two["path"] == one["path"] and two["label"] == one["label"]
    np.testing.assert_allclose(two["top5_probabilities"], one["top5_probabilities"], rtol=1e-4, atol=1e-7)
    first, second = lab.results(tmp_path / "one"), lab.results(tmp_path / "two")
    assert second["processes"] == 2 and sum(map(sum, second["group_confusion"])) == 21
    assert second["class_recalls"] == first["class_recalls"]
    assert second["posthoc"] == first["posthoc"] and second["test"]["ece"] == pytest.approx(first["test"]["ece"])
    assert outcome.out.count("| run") == 2  # plain and adjusted, printed by one process


# ----------------------------------------------------------------- classes
def test_classes_in_another_order_are_reordered(evaluate: Recipe, images: Path, run: Path, tmp_path: Path) -> None:
    turned = exported(tmp_path / "turned", ["cat", "ant", "bee"], source=run / "model")
    straight = exported(tmp_path / "straight", CLASSES, source=run / "model")
    for model in (turned, straight):
        outcome = evaluate("--model", model, "--data", images, "--output-dir", tmp_path / f"out-{model.name}")
        assert outcome.status == 0, outcome.err
        assert ("in another order: its logits were re-ordered" in outcome.out) == (model is turned)
    found, expected = table(tmp_path / "out-turned"), table(tmp_path / "out-straight")
    names = ["cat", "ant", "bee"]
    assert [names[i] for i in expected["prediction"]] == [CLASSES[i] for i in found["prediction"]]
    assert found["probability"] == pytest.approx(expected["probability"])


def test_only_the_logits_of_the_data_s_classes_count(evaluate: Recipe, images: Path, tmp_path: Path) -> None:
    model = exported(tmp_path / "five", ["dog", "cat", "bee", "emu", "ant"])
    outcome = evaluate("--model", model, "--data", images, "--output-dir", tmp_path / "out")
    assert "has 5 classes: only the logits of the data's 3 are used" in outcome.out
    logits, labels = logits_of(model, images, "test")
    own = logits[:, [4, 2, 1]]
    assert table(tmp_path / "out")["prediction"] == own.argmax(axis=1).tolist()
    nll = np.log(np.exp(own).sum(axis=1)) - own[np.arange(len(own)), labels]
    assert scores_of(tmp_path / "out")["nll"] == pytest.approx(nll.mean(), rel=1e-5)


def test_a_model_without_names_is_taken_by_position(evaluate: Recipe, images: Path, tmp_path: Path) -> None:
    model = exported(tmp_path / "m", CLASSES)
    config = json.loads((model / "config.json").read_text())
    del config["label_names"]
    (model / "config.json").write_text(json.dumps(config))
    outcome = evaluate("--model", model, "--data", images, "--output-dir", tmp_path / "out")
    assert outcome.status == 0 and "names no classes" in outcome.out
    assert any("by position" in note for note in json.loads((tmp_path / "out" / "results.json").read_text())["notes"])


# ------------------------------------------------------------- corrections
def corrected(logits: np.ndarray, model: Path, adjustment: float, tau: float | None) -> np.ndarray:
    """Menon et al. and Kang et al. in numpy."""
    network: Any = timm.create_model(f"local-dir:{model}", pretrained=True)
    weight, bias = (
        p.detach().double().numpy() for p in (network.get_classifier().weight, network.get_classifier().bias)
    )
    if tau is not None:
        logits = (logits - bias) / np.linalg.norm(weight, axis=1) ** tau
    return logits - adjustment * np.log(np.array(list(COUNTS.values())) / sum(COUNTS.values()))


def test_given_corrections_are_the_formulas(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    options = ["--logit-adjustment", 1.5, "--tau-norm", 0.5, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", run / "model", "--data", images, *options)
    assert outcome.status == 0, outcome.err
    logits, labels = logits_of(run / "model", images, "test")
    expected = corrected(logits, run / "model", 1.5, 0.5)
    found, rows = lab.results(tmp_path / "out"), table(tmp_path / "out")
    assert rows["prediction"] == expected.argmax(axis=1).tolist() != logits.argmax(axis=1).tolist()
    softmax = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows["probability"], softmax.max(axis=1), rtol=1e-4)
    assert found["test"]["nll"] == pytest.approx(log_loss(labels, softmax), rel=1e-4)
    assert found["test_plain"]["top1"] == (logits.argmax(axis=1) == labels).mean()
    assert found["posthoc"] == {"logit_adjustment": {"tau": 1.5}, "tau_norm": {"tau": 0.5}}
    assert "run (logit adjustment 1.5, tau-norm 0.5)" in outcome.out and "run (plain)" in outcome.out


def test_a_search_is_scored_on_held_out_training_images(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    options = ["--logit-adjustment", "search", "--tau-norm", "search", "--val-fraction", 0.2, "--batch-size", 4]
    outcome = evaluate("--model", run / "model", "--data", images, *options, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    logits, labels = logits_of(run / "model", images, "val", val_fraction=0.2)
    counts = load_data(images, val_fraction=0.2).class_counts
    prior = np.log(np.array(counts) / sum(counts))
    expected = [
        [
            balanced_accuracy_score(labels, (corrected(logits, run / "model", 0, tau) - a * prior).argmax(axis=1))
            for tau in GRIDS["tau_norm"]
        ]
        for a in GRIDS["logit_adjustment"]
    ]
    said = lab.results(tmp_path / "out")["posthoc"]
    np.testing.assert_allclose(said["search"]["scores"], expected)
    row, column = np.unravel_index(np.argmax(expected), np.shape(expected))
    assert said["logit_adjustment"]["tau"] == GRIDS["logit_adjustment"][row]
    assert said["tau_norm"]["tau"] == GRIDS["tau_norm"][column]
    np.testing.assert_allclose(said["logit_adjustment"]["scores"], np.max(expected, axis=1))
    np.testing.assert_allclose(said["tau_norm"]["scores"], np.max(expected, axis=0))
    assert said["search"]["held_out_of_training"] and said["search"]["images"] == len(labels)
    assert "may have been trained on the held-out images" not in outcome.out


def test_a_model_that_has_seen_the_held_out_images_is_told(
    evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path
) -> None:
    """Another fraction, other images; and no training is known at all of a model from elsewhere."""
    other = exported(tmp_path / "other", CLASSES)
    models = ["--model", run / "model", other]
    outcome = evaluate(*models, "--data", images, "--logit-adjustment", "search", "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("may have been trained on the held-out images") == 2
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["run", "run", "other", "other"]
    assert [row["corrections"].partition(" ")[0] for row in rows] == ["plain", "logit", "plain", "logit"]
    found = json.loads((tmp_path / "out" / "run" / "results.json").read_text())
    assert float(rows[0]["top1"]) == found["test_plain"]["top1"]
    assert float(rows[1]["top1"]) == found["test"]["top1"]
    assert (
        "it differs in train_images, val_images" in outcome.out
        and "it does not say what it was trained on" in outcome.out
    )
    for name in ("run", "other"):
        found = lab.results(tmp_path / "out" / name)
        assert found["posthoc"]["search"]["held_out_of_training"] is False
        assert found["posthoc"]["search"]["val_fraction"] == 0.1 and found["posthoc"]["tau_norm"] is None
        assert found["class_counts"] == list(COUNTS.values())  # the search moves no class to another group
        assert any("draws the values chosen towards 0" in note for note in found["notes"])


# -------------------------------------------------------------- comparison
def test_models_side_by_side(evaluate: Recipe, lab: Any, run: Path, images: Path, tmp_path: Path) -> None:
    other = exported(tmp_path / "elsewhere" / "run", CLASSES)
    models = ["--model", run / "model", other, f"local-dir:{run / 'model'}"]
    outcome = evaluate(*models, "--data", images, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    out, names = tmp_path / "out", ["run", "run-2", "run-3"]
    assert {path.name for path in out.iterdir()} == {*names, "plots", "comparison.csv", "comparison.md"}
    assert (out / "plots" / "comparison.png").is_file()
    with (out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == names
    for row in rows:
        scores = scores_of(out / row["model"])
        assert row["corrections"] == ""
        for key in ("top1", "balanced_accuracy", "medium", "few", "worst", "ece"):
            assert float(row[key]) == scores[key]
        assert row["many"] == "" and scores["many"] is None
    assert rows[0]["parameters"] == str(lab.results(run)["model"]["parameters"])
    assert scores_of(out / "run") == scores_of(out / "run-3") != scores_of(out / "run-2")
    written = (out / "comparison.md").read_text()
    assert written in outcome.out and written.count("\n| run") == 3
    assert len({line.count("|") for line in written.splitlines() if line}) == 2  # the heading, and one table


# ------------------------------------------------------------------ errors
def damaged(tmp_path: Path, run: Path, how: str) -> Path:
    folder = tmp_path / how
    shutil.copytree(run / "model", folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if how == "flipped":
        data[-5] ^= 1
    elif how == "cut":
        (folder / "results.json").unlink()  # so that the hash cannot speak first
        del data[len(data) // 2 :]
    weights.write_bytes(bytes(data))
    return folder


@pytest.mark.parametrize(("how", "says"), [("flipped", "its SHA-256 is not the one in"), ("cut", "he file is damaged")])
def test_damaged_weights(evaluate: Recipe, run: Path, images: Path, tmp_path: Path, how: str, says: str) -> None:
    model = damaged(tmp_path, run, how)
    assert says in evaluate("--model", model, "--data", images, "--output-dir", tmp_path / "out").sentence


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], ["--model is missing"]),
        (["--model", "resnet20_cifr"], ["Unknown model 'resnet20_cifr'", "Did you mean"]),
        (["--model", "hf_hub:no_such_org/no_such_model"], ["not in the local cache", "HF_HUB_OFFLINE"]),
        (["--model", "nowhere/model"], ["no folder nowhere/model"]),
        (["--model", "./empty"], ["./empty is no exported model"]),
        (["--model", "resnet18.a1_in1k"], ["Classes that do not match", "1000 classes without names"]),
        (["--model", "ok", "--split", "validation"], ["--split validation needs held-out images"]),
        (["--model", "ok", "--split", "validation", "--tau-norm", "search"], ["its scores would flatter"]),
        (["--model", "ok", "--logit-adjustment", -1], ["--logit-adjustment -1.0 must be a number of 0 or more"]),
        (["--model", "ok", "--tau-norm", "find"], ["--tau-norm find is not accepted"]),
        (["--model", "ok", "--batch-size", 0], ["--batch-size 0 is too small"]),
        (["--model", "ok", "--mixed-precision", "fp16"], ["fp16 needs a GPU"]),
        (["--model", "ok", "--output-dir", "."], ["already holds files", "choose another folder"]),
        (
            ["--model", "ok", "--data", "digits_lt"],
            ["Classes that do not match: ok has no '0', '1', '2', '3' and 6 more"],
        ),
    ],
)
def test_one_sentence(
    evaluate: Recipe, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[Any], says: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    exported(tmp_path / "ok", CLASSES)
    sentence = evaluate("--data", images, *args).sentence
    for part in says:
        assert part in sentence
    assert not (tmp_path / "runs").exists()


def test_tau_norm_needs_a_linear_classifier(evaluate: Recipe, images: Path, tmp_path: Path) -> None:
    model = timm.create_model("levit_128s", num_classes=3)  # two classifiers
    half = (0.5,) * 3
    folder = export_model(
        model, tmp_path / "m", class_names=CLASSES, mean=half, std=half, input_size=(3, 224, 224), tag="t"
    )
    outcome = evaluate("--model", folder, "--data", images, "--tau-norm", 1, "--output-dir", tmp_path / "out")
    assert "--tau-norm needs logits that are one linear layer" in outcome.sentence
