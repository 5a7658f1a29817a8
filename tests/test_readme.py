"""What the README shows works as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import timm

from glmc_zoo.engine.cli import parse_config
from glmc_zoo.hub import export_model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^accelerate launch (recipes/\w+\.py[^#\n]*)", README, re.MULTILINE)


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
    if "--help" not in arguments:
        assert parse_config(arguments, description="").epochs


def test_there_is_something_to_test():
    assert len(SNIPPETS) >= 2 and len(COMMANDS) >= 4
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
