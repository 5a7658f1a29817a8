"""An exported model needs only timm: a process without glmc_zoo computes the same logits and features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Train = Callable[..., Any]

READER = """
import sys
import numpy as np
import timm
import torch

images = torch.from_numpy(np.load("images.npy"))
for name in sys.argv[1:]:
    with torch.inference_mode():
        classifier = timm.create_model(f"local-dir:{name}/model", pretrained=True).eval()
        encoder = timm.create_model(f"local-dir:{name}/model", pretrained=True, num_classes=0).eval()
        np.savez(f"{name}.npz", logits=classifier(images), features=encoder(images))
    config = timm.data.resolve_model_data_config(classifier)
    assert config["input_size"] == (3, 64, 64), config
assert not [module for module in sys.modules if module.startswith("glmc_zoo")]
"""

# Residual, inverted residual, ConvNeXt, plain and windowed transformer, without normalisation, MLP mixer.
FAMILIES = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_maxvit", "test_nfnet", "mixer"]


@pytest.mark.processes
def test_timm_alone_gives_the_trainers_logits(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    np.save("images.npy", images.numpy())
    data = lab.images(tmp_path / "data", {"ant": 8, "bee": 6, "cat": 4}, size=64, test=2)
    expected = {}
    for name in FAMILIES:
        backbone = "gmixer_12_224" if name == "mixer" else name
        options = ["--backbone", backbone, "--epochs", 1, "--warmup-epochs", 0, "--batch-size", 9]
        outcome = train("--data", data, *options, "--image-size", 64, "--output-dir", tmp_path / name)
        assert outcome.status == 0, outcome.err
        model = outcome.run.timm_model.eval()
        with torch.inference_mode():
            features = model.forward_head(model.forward_features(images), pre_logits=True)
            expected[name] = {"logits": model(images), "features": features}
    reader = lab.run_python("-c", READER, *FAMILIES, cwd=tmp_path)
    assert reader.status == 0, reader.err
    for name, arrays in expected.items():
        loaded = np.load(f"{name}.npz")
        for kind, values in arrays.items():
            assert np.array_equal(loaded[kind], values.numpy()), (name, kind)
        assert loaded["logits"].shape == (5, 3) and loaded["features"].shape[1] > 10


def test_metadata_are_true(train: Train, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "My Beasts", {"ant": 12, "bee": 8, "cat": 4})
    options = ["--backbone", "test_resnet", "--image-size", 64, "--epochs", 1, "--batch-size", 8, "--method", "glmc"]
    outcome = train("--data", folder, *options, "--warmup-epochs", 0, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["architecture"] == "test_resnet" and config["num_classes"] == 3
    assert config["label_names"] == ["ant", "bee", "cat"]
    pretrained = config["pretrained_cfg"]
    assert pretrained["tag"] == "glmc_my_beasts" and pretrained["num_classes"] == 3
    assert pretrained["input_size"] == [3, 64, 64]
    assert "2305.08661" in pretrained["paper_ids"]
    assert not {key for key in pretrained if key.startswith("test_")}
    results = lab.results(tmp_path / "run")
    for key in ("mean", "std"):
        assert pretrained[key] == results["model"][key] == list(getattr(outcome.run.spec, key))
    assert results["model"]["needs_glmc_zoo"] is False and results["model"]["pretrained_from"] is None
    assert results["model"]["parameters"] == sum(p.numel() for p in outcome.run.timm_model.parameters())
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert str(tmp_path) not in card and "--data 'path/to/My Beasts' --backbone test_resnet" in card


@pytest.mark.processes
def test_our_backbone_needs_the_package(train: Train, lab: Any, tmp_path: Path) -> None:
    outcome = train(*lab.tiny, "--epochs", 1, "--output-dir", tmp_path / "run")
    assert "after import glmc_zoo" in outcome.out
    code = """
import timm
try:
    timm.create_model("local-dir:run/model", pretrained=True)
except RuntimeError as error:
    print(error)
import glmc_zoo
timm.create_model("local-dir:run/model", pretrained=True)
"""
    reader = lab.run_python("-c", code, cwd=tmp_path)
    assert reader.status == 0, reader.err
    assert "resnet20_cifar" in reader.out
