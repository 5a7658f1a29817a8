"""docs/finetuning.md: its commands are understood as written, and its figure shows the filed results."""

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
LINES = [line for line in PAGE.splitlines() if line.startswith("glmc-zoo ")]
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


def test_the_way_of_a_user_is_complete() -> None:
    assert [line.split()[1] for line in LINES] == ["inspect", "finetune", "evaluate", "predict"]


@pytest.fixture
def figure() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "finetuning_figure.py"))


def test_the_figure_has_every_filed_run(figure: dict[str, Any]) -> None:
    filed = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figure["RESULTS"].glob("*.json"))]
    points = [point for way in figure["lines"]().values() for point in way]
    shown = sorted(accuracy for point in points for accuracy in point.accuracies)
    assert shown == pytest.approx(sorted(100 * run["test"]["balanced_accuracy"] for run in filed)) and len(filed) > 9
    seconds = {run["wall_time_s"] for run in filed}
    assert all(any(60 * point.minutes == pytest.approx(second) for second in seconds) for point in points)
    assert isinstance(figure["draw"](), Figure)
    assert len(figure["STYLES"]) >= len(figure["lines"]())
    alt = re.search(r"!\[(.+?)\]\(finetuning\.png\)", PAGE)
    assert alt is not None and (ROOT / "docs" / "finetuning.png").is_file()


def test_a_result_that_is_filed_later_is_drawn(figure: dict[str, Any], tmp_path: Path) -> None:
    results = {"ce_6_seed0": (60, 0.5), "ce_6_seed1": (90, 0.6), "balanced_softmax_head_6_seed0": (120, 0.7)}
    for name, (seconds, accuracy) in results.items():
        run = {"wall_time_s": seconds, "test": {"balanced_accuracy": accuracy}}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    lines = figure["lines"]
    lines.__globals__["RESULTS"] = tmp_path
    point = lines()["all, cross-entropy"][0]
    assert (point.minutes, point.accuracies, point.size) == (1.0, [50.0, 60.0], "96 pixels") and len(lines()) == 2
