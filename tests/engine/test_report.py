"""What a run says of itself."""

from __future__ import annotations

from glmc_zoo.engine.config import resolve
from glmc_zoo.engine.report import epoch_line, one_group_note, percent


def test_percent() -> None:
    assert percent(None) == "-" and percent(0.1234) == "12.3" and percent(0.0) == "0.0"


def test_an_epoch_is_one_line_with_the_scores_that_there_are() -> None:
    row = {"epoch": 2, "loss": 1.23456, "lr": 0.05, "images_per_second": 99.6}
    config = resolve({"epochs": 40})
    assert epoch_line(row, config) == "epoch 3/40  loss 1.235  lr 0.0500  (100 images/s)"
    row["validation"] = {"top1": 0.5, "balanced_accuracy": 0.25, "many": None, "medium": 1.0, "few": 0.0}
    assert "lr 0.0500  top1 50.0  balanced_accuracy 25.0  many -  medium 100.0  few 0.0  (" in epoch_line(row, config)


def test_one_group_for_all_classes_is_said_and_terciles_proposed() -> None:
    assert one_group_note([200, 50, 5], resolve({})) == []
    (note,) = one_group_note([19, 8, 3], resolve({}))
    assert note.startswith("All classes are few-shot by the thresholds 100 and 20") and "--groups terciles" in note
    assert one_group_note([19, 8, 3], resolve({"groups": "terciles"})) == []
