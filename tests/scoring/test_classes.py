"""Which logits belong to which class: by name, by position, a few of many."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import CLASSES, exported, logits_of, results_of, table

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.classes import match_classes

Recipe = Callable[..., Any]


@pytest.mark.parametrize(
    ("names", "number", "parts"),
    [
        (["ant", "bee", "dog"], 3, ["m lacks 'cat'", "'ant', 'bee', 'dog'", "glmc-zoo finetune"]),
        (["ant", "bee"], 2, ["lacks 'cat'"]),
        (["cat", "bee", "ant", "ant"], 4, ["gives several classes the same name"]),
        (None, 7, ["has 7 unnamed classes, and the data has 3 ('ant', 'bee', 'cat')"]),
    ],
)
def test_classes_that_do_not_match(names: list[str] | None, number: int, parts: list[str]) -> None:
    with pytest.raises(UserError, match="Classes that do not match") as caught:
        match_classes("m", names, number, CLASSES)
    assert all(part in caught.value.sentence for part in parts) and caught.value.sentence.count(". ") == 0


def test_columns_follow_the_data() -> None:
    match = match_classes("m", ["dog", "cat", "bee", "ant"], 4, CLASSES)
    assert match.columns == [3, 2, 1]
    torch.testing.assert_close(match.select(torch.tensor([[0.0, 1.0, 2.0, 3.0]])), torch.tensor([[3.0, 2.0, 1.0]]))
    same, unnamed = match_classes("m", CLASSES, 3, CLASSES), match_classes("m", None, 3, CLASSES)
    assert same.columns is unnamed.columns is same.note is None and "by position" in str(unnamed.note)


def test_classes_in_another_order_are_reordered(evaluate: Recipe, animals: Path, run: Path, tmp_path: Path) -> None:
    turned = exported(tmp_path / "turned", ["cat", "ant", "bee"], source=run / "model")
    straight = exported(tmp_path / "straight", CLASSES, source=run / "model")
    for model in (turned, straight):
        outcome = evaluate("--model", model, "--data", animals, "--output-dir", tmp_path / f"out-{model.name}")
        assert outcome.status == 0, outcome.err
        assert ("in another order: its logits were re-ordered" in outcome.out) == (model is turned)
    rows, expected = table(tmp_path / "out-turned"), table(tmp_path / "out-straight")
    names = ["cat", "ant", "bee"]
    assert [names[i] for i in expected["prediction"]] == [CLASSES[i] for i in rows["prediction"]]
    assert rows["probability"] == pytest.approx(expected["probability"])


def test_only_the_logits_of_the_classes_of_the_data_count(evaluate: Recipe, animals: Path, tmp_path: Path) -> None:
    model = exported(tmp_path / "five", ["dog", "cat", "bee", "emu", "ant"])
    outcome = evaluate("--model", model, "--data", animals, "--output-dir", tmp_path / "out")
    assert "has 5 classes: only the logits of the 3 classes of the data are used" in outcome.out
    logits, labels = logits_of(model, animals, "test")
    used = logits[:, [4, 2, 1]]
    assert table(tmp_path / "out")["prediction"] == used.argmax(axis=1).tolist()
    nll = np.log(np.exp(used).sum(axis=1)) - used[np.arange(len(used)), labels]
    assert results_of(tmp_path / "out")["test"]["nll"] == pytest.approx(nll.mean(), rel=1e-5)


def test_a_model_without_names_is_matched_by_position(evaluate: Recipe, animals: Path, tmp_path: Path) -> None:
    model = exported(tmp_path / "m", CLASSES)
    config = json.loads((model / "config.json").read_text())
    del config["label_names"]
    (model / "config.json").write_text(json.dumps(config))
    outcome = evaluate("--model", model, "--data", animals, "--output-dir", tmp_path / "out")
    assert outcome.status == 0 and "does not name its classes" in outcome.out
    assert any("by position" in note for note in results_of(tmp_path / "out")["notes"])
