"""What the README shows works as written."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import timm

from glmc_zoo.engine.cli import parse_config, parse_finetune_config, parse_options
from glmc_zoo.engine.convert import ConvertConfig
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.predict import PredictConfig
from glmc_zoo.engine.push import PushConfig
from glmc_zoo.engine.second_stage import SecondStageConfig
from glmc_zoo.hub import export_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"(?:accelerate launch|python) (recipes/\w+\.py[^#\n`]*)", README)
PARSERS = {
    "train": parse_config,
    "finetune": parse_finetune_config,
    "evaluate": partial(parse_options, EvaluateConfig),
    # Not parse_second_stage_config: that one opens the model, which is not there.
    "second_stage": partial(parse_options, SecondStageConfig),
    "predict": partial(parse_options, PredictConfig),
    "push": partial(parse_options, PushConfig),
    "convert": partial(parse_options, ConvertConfig),
}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippets_run(snippet, tmp_path):
    model = timm.create_model("test_resnet", num_classes=2)
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64)}
    folder = export_model(
        model, tmp_path / "model", class_names=["lynx", "roe deer"], tag="glmc_wildlife", **statistics
    )
    exec(snippet.replace("runs/wildlife/model", str(folder)), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    script, *arguments = shlex.split(command)
    assert (ROOT / script).is_file()
    if not {"--help", "..."} & set(arguments):
        assert PARSERS[Path(script).stem](arguments, description="")


def test_there_is_something_to_test():
    assert len(SNIPPETS) >= 3
    assert {Path(shlex.split(command)[0]).stem for command in COMMANDS} == set(PARSERS)
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
