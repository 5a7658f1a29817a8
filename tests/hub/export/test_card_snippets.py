"""The Python blocks of a card: what they name, and that they run as they are."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from card_results import RESULTS, changed
from huggingface_hub import ModelCard
from PIL import Image
from waiting import PATIENCE

from glmc_zoo.hub import export_run, render_card


def test_snippets_name_the_repository_when_there_is_one() -> None:
    text = render_card(RESULTS, repo_id="org/resnet18.glmc_cifar10_lt")
    assert text.count('"hf-hub:org/resnet18.glmc_cifar10_lt"') == 3
    assert "glmc-zoo finetune --model hf-hub:org/resnet18.glmc_cifar10_lt --data" in text
    assert "local-dir" not in text


def test_an_architecture_that_timm_lacks_is_imported_first() -> None:
    text = render_card(changed(model={"backbone": "resnet1999_ours", "needs_glmc_zoo": True}))
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 4
    assert all("import glmc_zoo  # registers resnet1999_ours" in block for block in blocks)
    card: Any = ModelCard(text)
    assert "transformers" not in card.data.tags


SNIPPETS = """
import json, os, sys
for folder, blocks in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    for block in blocks:
        names = {}  # one for each, so that none lives on another's names
        exec(block, names)
        if "features" in names:
            print("features", tuple(names["features"].shape))
        if "model" in names and "probabilities" not in names:
            print("classes", names["model"].num_classes)
print("glmc_zoo" in sys.modules)
"""


@pytest.mark.processes
@pytest.mark.parametrize(("backbone", "width", "ours"), [("resnet18", 512, False), ("resnet20_cifar", 64, True)])
def test_the_snippets_run_as_they_are(tmp_path: Path, backbone: str, width: int, ours: bool) -> None:
    """Each block of the cards of a classifier and its encoder, as it stands, in the exported folder."""
    facts = {"backbone": backbone, "needs_glmc_zoo": ours, "feature_maps": True}
    results = changed(model=facts, class_names=["a", "b", "c"])
    model = timm.create_model(backbone, num_classes=3)
    blocks: dict[str, list[str]] = {}
    for name in ("classifier", "encoder"):
        folder = export_run(tmp_path / name, model, results, encoder_only=name == "encoder")
        Image.new("RGB", (40, 50)).save(folder / "image.png")
        found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
        assert len(found) == {"classifier": 5, "encoder": 3}[name]
        if importlib.util.find_spec("transformers") is None:
            found = [block for block in found if "transformers" not in block]
        blocks[str(folder)] = found
    environment = {**os.environ, **({"PYTHONPATH": str(Path(__file__).resolve().parents[3])} if ours else {})}
    run = subprocess.run(
        [sys.executable, "-c", SNIPPETS, json.dumps(blocks)], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(f"features (1, {width})") == 2
    assert run.stdout.count("classes 7") == 2
    assert len(re.findall(r"^\s*\d+\.\d%  [abc]$", run.stdout, flags=re.MULTILINE)) == 3
    assert run.stdout.split()[-1] == str(ours)


def test_the_snippets_open_the_sample_image() -> None:
    without, local = render_card(RESULTS), render_card(changed(sample_image="an <ant>"))
    assert 'Image.open("image.png").convert("RGB")  # any image of yours' in without and "sample.jpg" not in without
    assert local.count('Image.open("sample.jpg").convert("RGB")\n') == 2 and 'classifier("sample.jpg")' in local
    assert '<img src="sample.jpg" alt="The sample image" width="160">' in local and "an &lt;ant>" in local
    remote = render_card(changed(sample_image="ant"), repo_id="org/name")
    blocks = [one for one in re.findall(r"```python\n(.*?)```", remote, flags=re.DOTALL) if "sample.jpg" in one]
    assert len(blocks) == 3
    for block in blocks:
        assert 'hf_hub_download("org/name", "sample.jpg")' in block
        assert "from huggingface_hub import hf_hub_download" in block
        compile(block, "card", "exec")
