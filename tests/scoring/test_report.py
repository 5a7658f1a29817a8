"""What an evaluation leaves: every file agrees with scikit-learn; names, tables and comparisons of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import csv_rows
from evaluated import CLASSES, exported, logits_of, results_of, table
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from glmc_zoo.hub import ModelSource
from glmc_zoo.metrics import ScoreCounts
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.report import class_recalls, group_sizes, one_group_note, percent, short_names

Recipe = Callable[..., Any]


def test_every_file_agrees_with_scikit_learn(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    outcome = evaluate(
        "--model", run / "model", "--data", animals, "--groups", "terciles", "--output-dir", tmp_path, plots=True
    )
    assert outcome.status == 0, outcome.err
    rows, results = table(tmp_path), results_of(tmp_path)
    label, guess = np.array(rows["label"]), np.array(rows["prediction"])
    assert rows["index"] == list(range(21)) and len(set(rows["path"])) == 21
    assert rows["path"][0] == "test/ant/000.png"
    assert [CLASSES[i] for i in label] == [path.split("/")[1] for path in rows["path"]]
    probabilities = np.zeros((21, 3))
    np.put_along_axis(probabilities, np.array(rows["top5"]), np.array(rows["top5_probabilities"]), axis=1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert rows["correct"] == (label == guess).tolist() and (probabilities.argmax(axis=1) == guess).all()
    np.testing.assert_array_equal(rows["probability"], probabilities.max(axis=1))
    scores = results["test"]
    assert scores["top1"] == (label == guess).mean()
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, guess))
    assert scores["macro_f1"] == pytest.approx(f1_score(label, guess, average="macro"))
    logits, _ = logits_of(run / "model", animals, "test")
    assert scores["nll"] == pytest.approx(-log_softmax(logits, axis=1)[np.arange(21), label].mean(), rel=1e-4)
    classes = csv_rows(tmp_path / "per_class.csv")
    assert [row["name"] for row in classes] == CLASSES and [row["class"] for row in classes] == ["0", "1", "2"]
    assert [row["group"] for row in classes] == ["many", "medium", "few"]
    trained = results_of(run)["class_counts"]  # the model's own: a fifth was held out of its training
    assert [int(row["training_images"]) for row in classes] == trained == results["class_counts"]
    assert "note: The shot groups follow the images that" in outcome.out
    assert [int(row["test_images"]) for row in classes] == [7, 7, 7]
    assert [int(row["predicted"]) for row in classes] == [(guess == i).sum() for i in range(3)]
    assert [int(row["correct"]) for row in classes] == [(guess[label == i] == i).sum() for i in range(3)]
    ends = [binomtest(int(row["correct"]), 7).proportion_ci(method="wilson") for row in classes]
    np.testing.assert_allclose([float(row["recall_low"]) for row in classes], [end.low for end in ends], atol=1e-12)
    np.testing.assert_allclose([float(row["recall_high"]) for row in classes], [end.high for end in ends], atol=1e-12)
    assert results["class_support"] == [7, 7, 7]
    recall = recall_score(label, guess, average=None)
    np.testing.assert_allclose([float(row["recall"]) for row in classes], recall)
    assert [scores[group] for group in ("many", "medium", "few")] == pytest.approx(recall.tolist())
    precision = [float(row["precision"] or 0) for row in classes]
    np.testing.assert_allclose(precision, precision_score(label, guess, average=None, zero_division=0))
    plots = {f"{name}.png" for name in ("class_accuracy", "class_confusion", "group_confusion")}
    assert {path.name for path in tmp_path.rglob("*.png")} == plots
    assert "| run   |" in outcome.out and f"{100 * scores['balanced_accuracy']:.1f}" in outcome.out


def test_images_of_the_page_that_cannot_be_kept_are_a_warning(
    evaluate: Recipe, run: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OSError("no space")

    out = tmp_path / "out"
    monkeypatch.setattr("glmc_zoo.scoring.decoration.make_answer_file", fail)
    outcome = evaluate("--model", run / "model", "--data", animals, "--output-dir", out)
    warning = (
        "answers.json with the images of the report was not made (OSError: no space): evaluate the model to make it."
    )
    assert outcome.status == 0 and f"warning: {warning}" in outcome.out and results_of(out)["warnings"] == [warning]
    page = (out / "report.html").read_text()
    assert warning in page and "<img " not in page and 'id="pair-table"' in page  # the pairs are in predictions.parquet


def test_no_page_where_none_is_wanted(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    outcome = evaluate("--model", run / "model", "--data", animals, "--no-report", "--output-dir", tmp_path / "out")
    assert outcome.status == 0 and "report" not in outcome.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.json", "per_class.csv", "predictions.parquet", "plots")
    }


def test_models_side_by_side(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    other = exported(tmp_path / "elsewhere" / "run", CLASSES)
    models = ["--model", run / "model", other, f"local-dir:{run / 'model'}"]
    outcome = evaluate(*models, "--data", animals, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    out, names = tmp_path / "out", ["run", "run-2", "run-3"]
    assert {path.name for path in out.iterdir()} == {*names, "plots", "comparison.csv", "comparison.md", "report.html"}
    page = (out / "report.html").read_text()
    assert "Report of <bdi>run</bdi>" in page and "against run-2" in page and "against run-3" in page
    assert "against" not in (out / "run" / "report.html").read_text()
    assert f"report   {out / 'report.html'}" in outcome.out
    assert (out / "plots" / "comparison.png").is_file()
    rows = csv_rows(out / "comparison.csv")
    assert [row["model"] for row in rows] == names
    scores = {name: results_of(out / name)["test"] for name in names}
    for row in rows:
        assert row["corrections"] == ""
        for key in ("top1", "balanced_accuracy", "medium", "few", "worst", "ece"):
            assert float(row[key]) == scores[row["model"]][key]
        assert row["many"] == "" and scores[row["model"]]["many"] is None
    assert rows[0]["parameters"] == str(results_of(run)["model"]["parameters"])
    assert scores["run"] == scores["run-3"] != scores["run-2"]
    written = (out / "comparison.md").read_text()
    assert written in outcome.out and written.count("\n| run") == 3
    assert len({line.count("|") for line in written.splitlines() if line}) == 2  # the heading, and one table


def test_models_with_and_without_corrections(evaluate: Recipe, run: Path, animals: Path, tmp_path: Path) -> None:
    other = exported(tmp_path / "other", CLASSES)
    models = ["--model", run / "model", other]
    outcome = evaluate(*models, "--data", animals, "--logit-adjustment", 1, "--output-dir", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    rows = csv_rows(tmp_path / "out" / "comparison.csv")
    assert [row["model"] for row in rows] == ["run", "run", "other", "other"]
    assert [row["corrections"] for row in rows] == ["plain", "logit adjustment 1"] * 2
    results = results_of(tmp_path / "out" / "run")
    assert float(rows[0]["top1"]) == results["test_plain"]["top1"]
    assert float(rows[1]["top1"]) == results["test"]["top1"]


def test_short_names(tmp_path: Path) -> None:
    def source(name: str, kind: Any, folder: Path | None = None) -> ModelSource:
        return ModelSource(name=name, kind=kind, timm_name=name, folder=folder)

    sources = [
        source("runs/first/model", "folder", tmp_path / "first" / "model"),
        source("copies/first", "folder", tmp_path / "copies" / "first"),
        source("hf_hub:org/name@v1", "hub", tmp_path / "cache"),
        source("hf_hub:other/name", "hub", tmp_path / "cache"),
        source("resnet50.a1_in1k", "timm"),
        source("resnet50.a1_in1k", "timm"),
    ]
    names = ["first", "first-2", "name", "name-2", "resnet50.a1_in1k", "resnet50.a1_in1k-2"]
    assert short_names(sources) == names


def test_a_class_without_images_has_no_recall() -> None:
    counts = ScoreCounts.empty([200, 50, 5])
    counts.update([0, 0, 1], predictions=[0, 2, 1])
    assert class_recalls(counts) == [0.5, 1.0, None]
    assert [percent(recall) for recall in class_recalls(counts)] == ["50.0", "100.0", "-"]
    assert group_sizes([200, 50, 5], Thresholds(many=100, few=20)) == {"many": 1, "medium": 1, "few": 1}


def test_one_group_of_all_classes_is_reported_with_a_proposal() -> None:
    assert one_group_note([200, 50, 5], ShotOptions()) == []
    (note,) = one_group_note([19, 8, 3], ShotOptions())
    assert note.startswith("All classes are few-shot by the thresholds 100 and 20") and "groups='terciles'" in note
    assert one_group_note([19, 8, 3], ShotOptions(groups="terciles")) == []
