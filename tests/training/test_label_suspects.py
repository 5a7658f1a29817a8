"""Training images that fit another class better: the rule by hand, planted wrong labels, and what a run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from csv_files import csv_rows
from PIL import Image

import glmc_zoo
from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.results import RunResults
from glmc_zoo.scoring.page.suspects import SuspectFile
from glmc_zoo.training import head_run
from glmc_zoo.training.head_search import search_head
from glmc_zoo.training.label_suspects import find_suspects, held_out_probabilities, suspects_note


def test_the_rule_by_hand() -> None:
    probabilities = np.array(
        [
            [0.80, 0.15, 0.05],  # thresholds: 0.5 of class 0, 0.6 of class 1, 0.3 of class 2
            [0.50, 0.20, 0.30],  # its label is not below its threshold
            [0.20, 0.65, 0.15],  # suspect: class 1 reaches 0.6
            [0.10, 0.80, 0.10],
            [0.30, 0.40, 0.30],  # class 2 reaches its threshold, and the label is more probable
            [0.45, 0.30, 0.25],  # class 0 is more probable, and does not reach 0.5
            [0.55, 0.10, 0.35],
        ]
    )
    found = find_suspects(probabilities, np.array([0, 0, 0, 1, 1, 2, 2]))
    assert [column.tolist() for column in found] == [[2], [0], [1], [0.20], [0.65]]


def test_the_least_probable_label_comes_first_and_a_class_without_images_is_not_suggested() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.1, 0.9, 0.0]])
    found = find_suspects(probabilities, np.array([0, 0, 1, 0, 1]))
    assert found.row.tolist() == [2, 1] and found.suggested.tolist() == [0, 1]  # not row 3, whose class 2 has no image
    assert found.self_confidence.tolist() == [0.05, 0.2]


def test_nothing_is_found_where_every_label_is_the_most_probable() -> None:
    found = find_suspects(np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 1, 0, 1]))
    assert len(found.row) == 0 and suspects_note(0, 4) == []


def test_a_list_of_many_images_is_not_taken_for_wrong_labels() -> None:
    assert suspects_note(1, 20) == [
        "1 of 20 held-out training images fits another class better than its label, which may be wrong: see "
        "label_suspects.csv."
    ]
    (note,) = suspects_note(1200, 3000)
    assert note.startswith("1,200 of 3,000 held-out training images fit another class better than their label, which")
    assert note.endswith("label_suspects.csv. So many are mostly mistakes of the model: check the rare labels first.")


def test_probabilities_have_the_temperature_that_fits() -> None:
    labels = np.array([0, 0, 0, 1] * 10)
    logits = np.tile([[4.0, -4.0]], (40, 1))
    # Three of four are right: the best temperature gives 0.75.
    assert held_out_probabilities(logits, labels)[0] == pytest.approx([0.75, 0.25])


def test_planted_wrong_labels_are_found() -> None:
    """Three classes of 90, 40 and 20 images; every tenth label is wrong."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), [90, 40, 20])
    features = rng.normal(size=(150, 8)) + 3 * np.eye(3, 8)[truth]
    planted = np.arange(0, 150, 10)
    labels = truth.copy()
    labels[planted] = (truth[planted] + 1) % 3
    fold = rng.permutation(np.arange(150) % 5)
    counts = np.bincount(labels).tolist()
    given: Any = torch.from_numpy(features[None]).float()
    choice = search_head(given, labels, fold, counts, init="mean", device=torch.device("cpu"))
    assert choice.held_out_positions.tolist() == list(range(150))
    logits = choice.held_out_logits.double().numpy()
    found = find_suspects(held_out_probabilities(logits, labels), labels)
    hits = np.isin(found.row, planted)
    assert hits.sum() >= 12 and hits.mean() > 0.7  # of 15; by chance a tenth of the list
    assert (found.suggested[hits] == truth[found.row[hits]]).mean() > 0.9


@pytest.fixture
def options(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run on images of three classes by their brightness; the first one of ``=ant`` is one of ``cat``."""
    lab.leave_plots_empty(monkeypatch)
    data = lab.images(tmp_path / "animals", {"=ant": 12, "bee": 12, "cat": 12})
    with Image.open(data / "train" / "cat" / "000.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(data / "train" / "=ant" / "000.png")
    torch.manual_seed(0)
    half: Any = (0.5,) * 3
    info = ExportInfo(class_names=["x", "y"], mean=half, std=half, input_size=(3, 32, 32), tag="t")
    model = export_model(timm.create_model("test_resnet", num_classes=2), tmp_path / "source", info)
    return {"model": model, "data": data, "tune": "head", "feature_views": 1, "output_dir": tmp_path / "run"}


@pytest.mark.usefixtures("own_cache")
def test_a_run_lists_them(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = glmc_zoo.finetune(**options)
    rows = csv_rows(tmp_path / "run" / "label_suspects.csv")
    first = rows[0]
    assert (first["rank"], first["index"], first["file"]) == ("1", "0", "train/=ant/000.png")
    assert (first["given"], first["suggested"]) == ("'=ant", "cat")
    assert float(first["self_confidence"]) < float(first["suggested_probability"])
    confidences = [float(row["self_confidence"]) for row in rows]
    assert confidences == sorted(confidences) and len(rows) < 8
    page = SuspectFile.load(tmp_path / "run" / "label_suspects.json", 3)
    assert page.total == len(rows) == len(page.images) and page.held_out == 36
    shown = next(one for one in page.images if one.name == "train/=ant/000.png")
    assert (shown.given, shown.suggested, shown.position) == (0, 2, 0) and shown.source
    assert "Labels to check" in (tmp_path / "run" / "report.html").read_text()
    (note,) = suspects_note(len(rows), 36)
    assert note in results.data.notes and f"note: {note}\n" in capsys.readouterr().out
    assert note in RunResults.load(tmp_path / "run" / "model" / "results.json").data.notes and not results.warnings


@pytest.mark.usefixtures("own_cache")
def test_a_list_that_cannot_be_written_is_a_warning(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(head_run, "write_suspects", fail)
    results = glmc_zoo.finetune(**options)
    warning = "The list label_suspects.csv was not made (OSError: the disk is full): a new run makes it."
    assert results.warnings == [warning] and (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert RunResults.load(tmp_path / "run" / "model" / "results.json").warnings == [warning]
    # `report` cannot make it, so that the warning stays.
    assert glmc_zoo.report(run=tmp_path / "run").warnings == [warning]
