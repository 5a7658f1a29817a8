"""Curves of a report: which are drawn, where their points lie, and the numbers at the axes; and the bars of classes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from reports import evaluation

from glmc_zoo.scoring.page import charts
from glmc_zoo.scoring.page.charts import class_bars, training_panels
from glmc_zoo.scoring.page.html import html_environment


def test_points_lie_where_the_axes_say() -> None:
    rows = [{"epoch": epoch, "loss": loss} for epoch, loss in ((1, 2.0), (2, 1.0), (3, 0.5))]
    (panel,) = training_panels(rows)
    (curve,) = panel.curves
    assert [label for _, label in panel.ticks] == ["0", "0.5", "1", "1.5", "2"]
    heights = {label: height for height, label in panel.ticks}
    assert curve.dots == [
        (charts.LEFT, heights["2"]),
        ((charts.LEFT + charts.WIDTH - charts.RIGHT) / 2, heights["1"]),
        (charts.WIDTH - charts.RIGHT, heights["0.5"]),
    ]
    assert heights["2"] == charts.TOP and heights["0"] == charts.HEIGHT - charts.BOTTOM
    assert curve.last == "0.5" and [label for _, label in panel.epochs] == ["1", "2", "3"]


def test_scores_are_from_0_to_100_and_equal_lines_are_one() -> None:
    scores = ({"top1": 0.5, "balanced_accuracy": 0.5, "few": None}, {"top1": 0.7, "balanced_accuracy": 0.7, "few": 0.1})
    rows: list[dict[str, Any]] = [{"epoch": epoch, "validation": one} for epoch, one in enumerate(scores)]
    (panel,) = training_panels(rows)
    assert panel.title == "Scores on the validation images, %"
    assert [(curve.label, curve.last) for curve in panel.curves] == [("top-1 = balanced", "70.0")]  # few has one point
    assert panel.ticks[0][1] == "0" and panel.ticks[-1][1] == "100"
    assert "goes from 50.0 in epoch 1 to 70.0 in epoch 2" in panel.text  # this run counted from 0


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "loss": 1.0}], [{"epoch": i, "loss": math.nan} for i in (1, 2)]])
def test_what_has_no_course_is_not_drawn(rows: list[dict[str, Any]]) -> None:
    assert training_panels(rows) == []


@pytest.mark.parametrize("values", [(0.0, 0.0), (-3.0, 5.0), (1e-9, 2e-9), (1e8, 3e8), (math.nan, 1.0, 2.0)])
def test_any_numbers_have_ticks_around_them(values: tuple[float, ...]) -> None:
    (panel,) = training_panels([{"epoch": epoch, "loss": value} for epoch, value in enumerate(values, start=1)])
    assert 2 <= len(panel.ticks) <= 8
    assert all(charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM for _, y in panel.curves[0].dots)


def test_a_bar_for_each_class_or_for_neighbours(tmp_path: Path) -> None:
    subject = evaluation(tmp_path / "few", 4, 40, class_recalls=[1.0, 0.25, None, 0.5])
    bars = class_bars(subject, [3, 2, 1, 0])
    assert [bar["height"] for bar in bars] == [100.0, 0.0, 50.0, 200.0]
    assert [bar["title"] for bar in bars][:2] == ["class 3: 50.0 %", "class 2: no image tested"]
    recalls: list[Any] = [0.2, 0.4] * 500
    subject = evaluation(tmp_path / "many", 1000, 1000, side=4, class_recalls=recalls)
    bars = class_bars(subject, range(1000))
    assert len(bars) == 334 and bars[0]["title"] == "class 0 and 2 more: 26.7 %"


@pytest.mark.parametrize(("classes", "named"), [(4, True), (40, True), (41, False)])
def test_bars_that_are_wide_enough_have_the_names_of_their_classes(tmp_path: Path, classes: int, named: bool) -> None:
    subject = evaluation(tmp_path, classes, 2 * classes, class_recalls=[0.5] * classes)
    bars = class_bars(subject, range(classes))
    text = html_environment().from_string('{% from "bar_names.html.jinja" import bar_names %}{{ bar_names(bars) }}')
    shown = re.findall("<bdi>(.*?)</bdi>", text.render(bars=bars))
    assert shown == ([f"class {label}" for label in range(classes)] if named else [])
