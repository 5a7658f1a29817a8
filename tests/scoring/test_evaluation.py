"""Evaluation through the recipe: the scores of the training again, two processes, and one sentence for an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import csv_rows
from evaluated import CLASSES, exported, results_of, table

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.results import EvaluationResults

Recipe = Callable[..., Any]


def test_a_run_gets_the_scores_of_its_training_again(
    evaluate: Recipe, run: Path, animals: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--data", animals, "--val-fraction", 0.2]
    assert evaluate("--model", run / "model", *options, "--output-dir", out).status == 0
    trained, results = results_of(run), results_of(out)
    for key in ("test", "class_names", "class_counts", "class_recalls", "group_confusion", "thresholds", "groups"):
        assert results[key] == trained[key], key
    assert results["schema"] == 1 and results["data"] == trained["data"]
    assert results["model"]["sha256"] == trained["weights"]["sha256"]
    assert results["model"]["name"] == "run" and results["model"]["source"] == "folder"
    assert results["posthoc"] is None and results["test_plain"] is None and results["validation"] is None
    assert str(tmp_path) not in (out / "results.json").read_text() and str(animals) not in json.dumps(table(out))
    held = tmp_path / "held"
    assert evaluate("--model", run / "model", *options, "--split", "validation", "--output-dir", held).status == 0
    assert results_of(held)["validation"] == trained["validation"] != trained["test"]
    assert results_of(held)["test"] is None
    rows = csv_rows(held / "per_class.csv")
    assert [int(row["validation_images"]) for row in rows] == results_of(held)["class_support"]
    assert "test_images" not in rows[0]


def test_decoded_digits_get_them_again_too(train: Recipe, evaluate: Recipe, lab: Any, tmp_path: Path) -> None:
    assert train(*lab.tiny, "--epochs", 1, "--output-dir", tmp_path / "run").status == 0
    shape = ["--max-count", 10, "--imbalance-factor", 2, "--output-dir", tmp_path / "out"]
    outcome = evaluate("--model", tmp_path / "run" / "model", *shape)
    assert results_of(tmp_path / "out")["test"] == results_of(tmp_path / "run")["test"]
    assert outcome.out.count("-shot by the thresholds 100 and 20: --groups terciles makes") == 1
    assert "path" not in table(tmp_path / "out")


def test_a_folder_without_splits_is_scored_whole(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    """With one image of a class, whose score has no spread; the groups are those of the training."""
    images = tmp_path / "new"
    shutil.copytree(animals / "test", images)
    for path in (images / "cat").iterdir():
        path.unlink()
    (images / "cat" / "0.png").write_bytes((images / "bee" / "000.png").read_bytes())
    shots = ["--many-threshold", 20, "--few-threshold", 8]
    outcome = evaluate("--model", run / "model", "--data", images, *shots, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    results = results_of(tmp_path / "out")
    assert results["class_counts"] == results_of(run)["class_counts"] and results["class_counts_from"] == "run"
    assert results["data"]["test_images"] == 15 and results["data"]["train_images"] is None
    assert results["groups"] == {"many": 1, "medium": 1, "few": 1}
    assert results["group_support"]["few"] == {"classes": 1, "images": 1}
    for name, (low, high) in results["intervals"]["test"].items():
        assert low <= results["test"][name] <= high
    held = ["--val-fraction", 0.2, "--split", "validation"]
    refused = evaluate("--model", run / "model", "--data", images, *held, "--output-dir", tmp_path / "no")
    assert (
        "The data set new has no training split to hold images out of" in refused.sentence
        and not (tmp_path / "no").exists()
    )
    sentence = evaluate("--model", run / "model", "--data", animals, "--no-test").sentence
    assert sentence.startswith("--no-test is for a training without a test split")


def test_the_groups_are_those_of_the_training(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    """The thresholds of the model, not the defaults, unless others are given."""
    model = tmp_path / "trained"
    shutil.copytree(run / "model", model)
    values = json.loads((model / "results.json").read_text())
    (model / "results.json").write_text(json.dumps(values | {"thresholds": {"many": 20, "few": 8}}))
    outcome = evaluate("--model", model, "--data", animals, "--output-dir", tmp_path / "out")
    results = results_of(tmp_path / "out")
    assert results["thresholds"] == {"many": 20, "few": 8}
    assert results["groups"] == {"many": 1, "medium": 1, "few": 1}
    note = "note: The shot groups have --many-threshold 20 and --few-threshold 8, as in trained's training."
    assert outcome.out.splitlines().count(note) == 1
    given = ["--many-threshold", 100, "--few-threshold", 20, "--output-dir", tmp_path / "given"]
    assert evaluate("--model", model, "--data", animals, *given).status == 0
    assert results_of(tmp_path / "given")["thresholds"] == {"many": 100, "few": 20}
    refused = evaluate("--model", model, "--data", animals, "--few-threshold", 30)
    assert refused.sentence.startswith("--few-threshold 30 must not exceed --many-threshold 20 (that of trained's")


def test_from_python(run: Path, model: Path, animals: Path, tmp_path: Path) -> None:
    """Typed results in the order of the models, equal to the files."""
    options = {"data": animals, "output_dir": tmp_path / "out"}
    results = glmc_zoo.evaluate(model=[str(run / "model"), str(model)], **options)
    assert [one.model.name for one in results] == ["run", "m"]
    for one in results:
        written = EvaluationResults.load(tmp_path / "out" / one.model.name / "results.json")
        assert written == one and written.scores == one.test
    assert results[0].origin.command is not None and results[0].origin.command.startswith("glmc_zoo.evaluate(")
    (alone,) = glmc_zoo.evaluate(model=run / "model", data=animals, output_dir=tmp_path / "alone")
    assert alone.scores == results[0].scores
    with pytest.raises(UserError, match=r"output_dir=.* already holds files"):
        glmc_zoo.evaluate(model=run / "model", **options)


@pytest.mark.processes
def test_two_processes_score_every_image_once(
    evaluate: Recipe, lab: Any, run: Path, animals: Path, tmp_path: Path
) -> None:
    options = ["--model", run / "model", "--data", animals, "--logit-adjustment", "search"]
    assert evaluate(*options, "--output-dir", tmp_path / "one").status == 0
    script = lab.root / "recipes" / "evaluate.py"
    outcome = lab.torchrun(script, *options, "--output-dir", tmp_path / "two", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert two["index"] == list(range(21)) and two["path"] == one["path"] and two["label"] == one["label"]
    np.testing.assert_allclose(two["top5_probabilities"], one["top5_probabilities"], rtol=1e-4, atol=1e-7)
    first, second = results_of(tmp_path / "one"), results_of(tmp_path / "two")
    assert second["processes"] == 2 and sum(map(sum, second["group_confusion"])) == 21
    assert second["class_recalls"] == first["class_recalls"]
    assert second["posthoc"] == first["posthoc"] and second["test"]["ece"] == pytest.approx(first["test"]["ece"])
    assert outcome.out.count("| run") == 2  # plain and adjusted, printed by one process


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


@pytest.mark.parametrize(("how", "part"), [("flipped", "its SHA-256 is not the one in"), ("cut", "he file is damaged")])
def test_damaged_weights(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path, how: str, part: str) -> None:
    model = damaged(tmp_path, run, how)
    assert part in evaluate("--model", model, "--data", animals, "--output-dir", tmp_path / "out").sentence


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([], ["--model is missing"]),
        (["--model", "resnet20_cifr"], ["Unknown model 'resnet20_cifr'", "Did you mean"]),
        (["--model", "hf_hub:no_such_org/no_such_model"], ["not in the local cache", "HF_HUB_OFFLINE"]),
        (["--model", "nowhere/model"], ["Folder nowhere/model does not exist"]),
        (["--model", "./empty"], ["./empty is not an exported model"]),
        (["--model", "resnet18.a1_in1k"], ["Classes that do not match", "1,000 unnamed classes"]),
        (["--model", "ok", "--split", "validation"], ["--split validation needs held-out images"]),
        (
            ["--model", "ok", "--split", "validation", "--tau-norm", "search"],
            ["cannot be scored after a search, which chooses on the same images"],
        ),
        (["--model", "ok", "--logit-adjustment", -1], ["--logit-adjustment -1.0 must be a number of 0 or more"]),
        (["--model", "ok", "--tau-norm", "find"], ["--tau-norm find is not accepted"]),
        (["--model", "ok", "--batch-size", 0], ["--batch-size 0 is too small"]),
        (["--model", "ok", "--mixed-precision", "fp16"], ["fp16 needs a GPU"]),
        (["--model", "ok", "--output-dir", "."], ["--output-dir . already holds files", "choose another folder"]),
        (
            ["--model", "ok", "--data", "digits_lt"],
            ["Classes that do not match: ok lacks '0', '1', '2', '3' and 6 more"],
        ),
    ],
)
def test_one_sentence(
    evaluate: Recipe, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[Any], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    exported(tmp_path / "ok", CLASSES)
    sentence = evaluate("--data", animals, *args).sentence
    for part in parts:
        assert part in sentence
    assert not (tmp_path / "runs").exists()
