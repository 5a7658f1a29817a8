"""docs/finetuning.md: its commands can be parsed, and its figure shows all results."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from glmc_zoo.options import resolve
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.sections import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
LINES = re.findall(r"^glmc-zoo .*$", PAGE.split("```")[1], re.MULTILINE)
RESOLVE: dict[str, Any] = {
    "inspect": resolve.inspection_options,
    "finetune": resolve.finetuning_options,
    "evaluate": resolve.evaluation_options,
    "predict": resolve.prediction_options,
}


@pytest.mark.parametrize("line", LINES)
def test_commands_parse(line: str) -> None:
    _, name, *words = shlex.split(line)
    assert RESOLVE[name](read_command_line(COMMANDS[name], "", "", words))


def test_the_commands_are_those_from_images_to_predictions() -> None:
    assert [line.split()[1] for line in LINES] == ["inspect", "finetune", "evaluate", "predict"]


@pytest.fixture
def figure() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "finetuning_figure.py"))


def test_the_figure_has_every_run(figure: dict[str, Any]) -> None:
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figure["RESULTS"].glob("*.json"))]
    # without evaluations of the model of another row, and trainings on nine tenths of the images
    runs = [run for run in runs if "split" not in run and run["config"]["calibrate"] != "always"]
    points = [point for way in figure["lines"]().values() for point in way]
    accuracies = sorted(accuracy for point in points for accuracy in point.accuracies)
    expected = sorted(100 * run["test"]["balanced_accuracy"] for run in runs)
    assert accuracies == pytest.approx(expected) and len(runs) > 9
    seconds = {run["wall_time_s"] for run in runs}
    assert all(any(60 * point.minutes == pytest.approx(second) for second in seconds) for point in points)
    assert isinstance(figure["draw"](), Figure)
    assert len(figure["STYLES"]) >= len(figure["lines"]())
    alt = re.search(r"!\[(.+?)\]\(finetuning\.png\)", PAGE)
    assert alt is not None and (ROOT / "docs" / "finetuning.png").is_file()


def test_a_new_result_is_drawn(figure: dict[str, Any], tmp_path: Path) -> None:
    results = {"ce_6_seed0": (60, 0.5), "ce_6_seed1": (90, 0.6), "balanced_softmax_head_6_seed0": (120, 0.7)}
    for name, (seconds, accuracy) in results.items():
        run = {"wall_time_s": seconds, "test": {"balanced_accuracy": accuracy}}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    lines = figure["lines"]
    lines.__globals__["RESULTS"] = tmp_path
    point = lines()["all, cross-entropy"][0]
    assert (point.minutes, point.accuracies, point.size) == (1.0, [50.0, 60.0], "96 pixels") and len(lines()) == 2
