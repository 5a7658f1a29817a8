"""An exported folder in transformers: the numbers and labels that timm gives, without remote code or a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from card_results import changed, minimal_results
from PIL import Image

import glmc_zoo  # noqa: F401  registers the CIFAR networks
from glmc_zoo.hub import export_run

transformers = pytest.importorskip("transformers", reason="needs the extra glmc_zoo[transformers]")

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def export(folder: Path, backbone: str, size: int, **options: Any) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(backbone, num_classes=len(NAMES), **({"img_size": size} if "vit" in backbone else {}))
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    results = minimal_results(backbone, size=size, classes=NAMES)
    results = changed(results, method="ce", model={"crop_pct": 0.9, "interpolation": "bilinear"})
    return export_run(folder, model, results, **options)


@torch.no_grad()
def by_timm(folder: Path, image: Image.Image, **arguments: Any) -> torch.Tensor:
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, **arguments).eval()
    transform: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    return model(transform(image).unsqueeze(0))[0]


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize(("backbone", "size"), [("resnet18", 32), ("vit_tiny_patch16_224", 48), ("resnet20_cifar", 32)])
def test_the_pipeline_gives_what_timm_gives(
    tmp_path: Path, image: Image.Image, backbone: str, size: int, half: bool
) -> None:
    folder = export(tmp_path / "model", backbone, size, half=half)
    classify = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    assert classify.model.dtype == torch.float32
    given = {answer["label"]: answer["score"] for answer in classify(image, top_k=len(NAMES))}
    expected = by_timm(folder, image).softmax(0).tolist()
    assert given == pytest.approx(dict(zip(NAMES, expected, strict=True)), rel=1e-5)


def test_features_of_an_encoder(tmp_path: Path, image: Image.Image) -> None:
    folder = export(tmp_path / "model", "resnet18", 32, encoder_only=True)
    extract = transformers.pipeline("image-feature-extraction", model=str(folder), device="cpu", pool=True)
    assert np.allclose(extract(image)[0], by_timm(folder, image), rtol=1e-5, atol=1e-6)


def test_there_is_no_code_and_no_pickle(tmp_path: Path) -> None:
    folder = export(tmp_path / "model", "resnet18", 32)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".md", ".safetensors"}
    assert "auto_map" not in (folder / "config.json").read_text()
