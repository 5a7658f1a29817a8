"""What the README shows works as written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm

from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.options import resolve
from glmc_zoo.options.given import Given
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.sections import COMMANDS as OPTIONS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"(?:accelerate launch|python) (recipes/\w+\.py[^#\n`]*)", README)
RESOLVE: dict[str, Callable[[Given], Any]] = {
    "train": resolve.training_options,
    "finetune": resolve.finetuning_options,
    # Without the options of the first stage, whose model is not there.
    "second_stage": partial(resolve.second_stage_options, first={}),
    "evaluate": resolve.evaluation_options,
    "inspect": resolve.inspection_options,
    "predict": resolve.prediction_options,
    "push": resolve.push_options,
    "export": resolve.export_options,
    "convert": resolve.conversion_options,
}


NAMES = {command.script: name for name, command in OPTIONS.items() if command.script}


# What a snippet names and a test does not have, and a run of seconds instead of hours.
SMALL = {
    "resnet50": "test_resnet",
    "pretrained=True, epochs=30": "image_size=32, batch_size=8, epochs=1",
    "path/to/new_images": "path/to/my_images/test",
}


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippets_run(snippet: str, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "glmc_zoo.train(" in snippet:
        lab.images(tmp_path / "path" / "to" / "my_images")
        assert all(words in snippet for words in SMALL)
        for words, others in SMALL.items():
            snippet = snippet.replace(words, others)
    else:
        model = timm.create_model("test_resnet", num_classes=2)
        statistics: Any = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64)}
        info = ExportInfo(class_names=["lynx", "roe deer"], tag="glmc_wildlife", **statistics)
        export_model(model, tmp_path / "runs" / "wildlife" / "model", info)
    exec(snippet, {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script, *arguments = shlex.split(command)
    assert (ROOT / script).is_file()
    name = NAMES.get(Path(script).stem, Path(script).stem)
    if name in RESOLVE and not {"--help", "..."} & set(arguments):
        assert RESOLVE[name](read_command_line(OPTIONS[name], "", "", arguments))


def test_there_is_something_to_test() -> None:
    assert len(SNIPPETS) >= 3
    scripts = {Path(shlex.split(command)[0]).stem for command in COMMANDS} - {"minimal"}
    assert {NAMES.get(script, script) for script in scripts} == set(RESOLVE)
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
