"""What the comparison of models draws, read back from the figure."""

# mypy: disable-error-code="union-attr"

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import plot_comparison

Scores = dict[str, float | None]


def scores(balanced: float, few: float | None = 0.2) -> Scores:
    return {"top1": 0.99, "balanced_accuracy": balanced, "many": 0.9, "medium": 0.5, "few": few}


def bars(axis: Any) -> list[float]:
    return [bar.get_width() for container in axis.containers for bar in container]


def test_a_panel_a_score_and_a_bar_a_model(tmp_path: Path) -> None:
    path = tmp_path / "new" / "comparison.png"
    groups = {"many": 1, "medium": 1200, "few": 3}
    figure = plot_comparison(["one", "two"], [scores(0.4), scores(0.6)], path, groups=groups, title="On a set")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert figure.get_suptitle() == "On a set"
    assert [[text.get_text() for text in axis.texts[-2:]] for axis in figure.axes] == [
        ["all classes", "1,204 classes"],
        ["many", "1 class"],
        ["medium", "1,200 classes"],
        ["few", "3 classes"],
    ]
    np.testing.assert_allclose([bars(axis) for axis in figure.axes], [[40, 60], [90, 90], [50, 50], [20, 20]])
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["one", "two"]
    assert [text.get_text() for text in first.texts[:2]] == ["40.0", "60.0"]
    assert [text.get_fontweight() for text in first.texts[:2]] == ["normal", "bold"]
    assert first.get_ylim()[0] > first.get_ylim()[1]  # the first model is on top
    assert not any(label.get_text() for axis in figure.axes[1:] for label in axis.get_yticklabels())


def test_classes_without_test_images_are_shown(tmp_path: Path) -> None:
    groups, tested = {"many": 1, "medium": 4, "few": 3}, {"many": 1, "medium": 4, "few": 2}
    figure = plot_comparison(["one"], [scores(0.4)], tmp_path / "c.png", groups=groups, tested=tested, title="")
    shown = [axis.texts[-1].get_text() for axis in figure.axes]
    assert shown == ["8 classes, 7 tested", "1 class", "4 classes", "3 classes, 2 tested"]


def test_a_group_that_no_model_has_gets_no_panel(tmp_path: Path) -> None:
    figure = plot_comparison(["a", "b"], [scores(0.4, None), scores(0.6, None)], tmp_path / "c.png", title="t")
    assert [axis.texts[-1].get_text() for axis in figure.axes] == ["all classes", "many", "medium"]


def test_a_group_that_one_model_lacks_is_said(tmp_path: Path) -> None:
    figure = plot_comparison(["a", "b"], [scores(0.4, None), scores(0.6)], tmp_path / "c.png", title="t")
    assert [text.get_text() for text in figure.axes[3].texts[:2]] == ["not tested", "20.0"]


def test_long_names_are_broken_where_words_end(tmp_path: Path) -> None:
    names = ["vit_small_patch16_224.augreg_in21k_ft_in1k", "a" * 40, "resnet32_cifar.ce (logit adjustment 1.25)"]
    figure = plot_comparison(names, [scores(0.1 * i) for i in range(3)], tmp_path / "c.png", title="t")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0].splitlines() == ["vit_small_patch16_224.", "augreg_in21k_ft_in1k"]
    assert labels[1] == "a" * 40
    assert labels[2].splitlines() == ["resnet32_cifar.ce (logit", "adjustment 1.25)"]


def test_eight_models_do_not_overlap(tmp_path: Path) -> None:
    names = [f"some_backbone_of_timm.tag_{i}_that_is_long_as_they_are" for i in range(8)]
    figure = plot_comparison(names, [scores(i / 8) for i in range(8)], tmp_path / "c.png", title="t")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    numbers = [text.get_window_extent(renderer) for text in figure.axes[1].texts[:8]]
    assert max(box.x1 for box in numbers) < figure.axes[2].get_window_extent(renderer).x0


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        ([], [], "0 names and 0 scores"),
        (["a"], [scores(0.1)] * 2, "1 names and 2 scores"),
        (["a"], [{"top1": 0.5}], "hold no balanced_accuracy"),
        (["a"], [scores(55.3)], "hold 55.3: give fractions"),
    ],
)
def test_errors(tmp_path: Path, names: list[str], values: list[Scores], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plot_comparison(names, values, tmp_path / "c.png", title="t")
