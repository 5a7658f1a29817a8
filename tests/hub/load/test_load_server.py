"""From a Hub on loopback into a fresh process with an empty cache: pushed models, and data sets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hub_server import HubServer

pytestmark = pytest.mark.processes

Run = Callable[..., "CompletedProcess[str]"]

LOAD = """
import sys, timm, torch
out, revision = sys.argv[1:]
name = "org/test_resnet.glmc_mine"
torch.manual_seed(0)
made = {
    "alias": timm.create_model(f"hf_hub:{name}", pretrained=True),
    "plain": timm.create_model(f"hf-hub:{name}", pretrained=True),
    "tag": timm.create_model(f"hf-hub:{name}@v1", pretrained=True),
    "commit": timm.create_model(f"hf-hub:{name}@{revision}", pretrained=True),
    "features": timm.create_model(f"hf-hub:{name}", pretrained=True, num_classes=0),
    "others": timm.create_model(f"hf-hub:{name}", pretrained=True, num_classes=7),
}
x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
with torch.no_grad():
    answers = {kind: model.eval()(x) for kind, model in made.items()}
    answers["others"] = made["others"].forward_head(made["others"].forward_features(x), pre_logits=True)
    assert made["others"](x).shape == (2, 7)
torch.save(answers, out)
"""


def test_pushed_by_the_recipe_and_loaded_bit_for_bit(
    hub: HubServer, hub_python: Run, exported: Path, tmp_path: Path
) -> None:
    token, before = hub.token(), (exported / "README.md").read_text()
    repo_id = "org/test_resnet.glmc_mine"
    pushed = hub_python(
        "recipes/push.py", "--model", exported, "--repo", repo_id, "--private", "--tag", "v1", token=token
    )
    assert pushed.returncode == 0, pushed.stderr
    repo = hub.find(repo_id)
    assert repo is not None and repo.private and len(repo.history) == 1
    assert pushed.stdout.split() == ["pushed", f"{hub.url}/{repo_id}", "commit", repo.head.oid]
    assert token not in pushed.stdout + pushed.stderr
    # The card on the Hub loads from there, and the local one from its folder, as before.
    assert f'create_model("hf-hub:{repo_id}"' in repo.head.files["README.md"].decode()
    assert (exported / "README.md").read_text() == before and repo_id not in before

    loaded = hub_python("-c", LOAD, tmp_path / "answers.pt", repo.head.oid, token=token)
    assert loaded.returncode == 0, loaded.stderr
    answers = torch.load(tmp_path / "answers.pt", weights_only=True)
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    here = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    with torch.no_grad():
        logits, features = here(x), here.forward_head(here.forward_features(x), pre_logits=True)
    for kind in ("alias", "plain", "tag", "commit"):
        assert torch.equal(answers[kind], logits), kind
    for kind in ("features", "others"):
        assert torch.equal(answers[kind], features), kind

    asked = len(hub.requests)
    stranger = hub_python("-c", LOAD, tmp_path / "stranger.pt", repo.head.oid)
    assert stranger.returncode == 1 and "401" in stranger.stderr
    assert not (tmp_path / "stranger.pt").exists() and all(r.token is None for r in hub.requests[asked:])


def test_the_recipe_when_the_hub_is_down(hub: HubServer, hub_python: Run, exported: Path) -> None:
    token = hub.token()
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    hub.fail("POST", "/commit/", times=None)
    done = hub_python("recipes/push.py", "--model", exported, "--repo", "org/down", "--message", "Mine", token=token)
    assert done.returncode == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("push.py: error: Pushing to org/down failed, the local results in ")
    assert f"`python recipes/push.py --model {exported} --repo org/down --message Mine`" in last
    assert "Traceback" not in done.stderr and token not in done.stderr
    assert len(hub.asked("POST", "/commit/")) == 4  # the limit
    assert before == {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    repo = hub.find("org/down")
    assert repo is not None and repo.history == []


def parquet(counts: dict[str, int], seed: int) -> bytes:
    """A table of small images with their classes, as ``datasets`` writes it."""
    import datasets
    from PIL import Image

    rng = np.random.default_rng(seed)
    labels = [index for index, count in enumerate(counts.values()) for _ in range(count)]
    images = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in labels]
    features = datasets.Features({"image": datasets.Image(), "kind": datasets.ClassLabel(names=list(counts))})
    buffer = io.BytesIO()
    datasets.Dataset.from_dict({"image": images, "kind": labels}, features=features).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def pets(hub: HubServer) -> dict[str, int]:
    """Classes and counts of ``org/pets``, a private data set on the Hub."""
    counts = {"ant": 12, "bee": 6, "cat": 3}
    files = {
        "data/train-00000-of-00001.parquet": parquet(counts, 0),
        "data/test-00000-of-00001.parquet": parquet(dict.fromkeys(counts, 2), 1),
    }
    hub.repo("org/pets", repo_type="dataset", private=True, files=files)
    return counts


def test_a_data_set_from_the_hub(hub: HubServer, hub_python: Run, pets: dict[str, int]) -> None:
    code = """
import json, glmc_zoo
data = glmc_zoo.load_data("org/pets")
print(json.dumps([data.class_names, data.class_counts, len(data.test)]))
"""
    done = hub_python("-c", code, token=hub.token("read"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [list(pets), list(pets.values()), 6]
    done = hub_python("-c", code)
    assert "UserError: The data set org/pets cannot be read from the Hugging Face Hub" in done.stderr


def test_a_run_on_a_data_set_from_the_hub_goes_back_to_it(
    hub: HubServer, hub_python: Run, pets: dict[str, int], tmp_path: Path
) -> None:
    words: list[Any] = ["--data", "org/pets", "--backbone", "test_resnet", "--epochs", 1, "--batch-size", 8]
    words += ["--image-size", 32, "--output-dir", tmp_path / "run", "--push-to-hub", "org/pet_model"]
    done = hub_python("recipes/train.py", *words, token=hub.token())
    assert done.returncode == 0, done.stderr
    repo = hub.find("org/pet_model")
    assert repo is not None and len(repo.history) == 1
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert repo.head.files["model.safetensors"] == weights
    assert json.loads(repo.head.files["config.json"])["label_names"] == list(pets)
    assert 'create_model("hf-hub:org/pet_model"' in repo.head.files["README.md"].decode()
    assert f"{hub.url}/org/pet_model" in done.stdout
