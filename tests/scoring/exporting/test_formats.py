"""What the files hold, and that they give what timm gives: labels, shapes, metadata, every batch size."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data import create_transform

from glmc_zoo.scoring.exporting import formats
from glmc_zoo.scoring.exporting.graph import _resize

from .conftest import LABELS, MEAN, SIZES, STD, Made

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def pixels(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@torch.inference_mode()
def timm_outputs(model: Any, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and logits by timm and arithmetic in float64 around it."""
    network: Any = timm.create_model(f"local-dir:{model}", pretrained=True).eval()
    normalized = (images.double().numpy() - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    logits = network(torch.from_numpy(normalized).float()).double().numpy()
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True), logits


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize("backbone", SIZES)
def test_onnx_gives_what_timm_gives(backbone: str, half: bool, made: Callable[..., Made]) -> None:
    if half and backbone != "resnet20_cifar":
        pytest.skip("one family suffices: timm loads half precision as float32")
    one, size = made(backbone, half=half), SIZES[backbone]
    session = onnxruntime.InferenceSession(str(one.file), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 3, size, size])
    assert {o.name: o.shape for o in session.get_outputs()} == {"probabilities": ["batch", 4], "logits": ["batch", 4]}
    for count in (1, 3, 16):
        images = pixels(count, size)
        probabilities, logits = session.run(["probabilities", "logits"], {"image": images.numpy()})
        expected, expected_logits = timm_outputs(one.model, images)
        np.testing.assert_allclose(probabilities, expected, atol=2e-5)
        np.testing.assert_allclose(logits, expected_logits, atol=2e-4)
        assert probabilities.max() > 0.4 and probabilities.dtype == np.float32
    assert [entry.version for entry in onnx.load(one.file).opset_import if not entry.domain] == [18] == [formats.OPSET]
    (row,) = one.rows
    assert (row.file, row.format, row.bytes) == (str(one.file), "onnx", one.file.stat().st_size)
    assert (row.random_images, row.test_images, row.top1_agreement) == (20, 0, 1.0)
    assert 0 < row.max_difference < 1e-4 and row.time_ratio_1 > 0 < row.time_ratio_16


@pytest.mark.parametrize("backbone", SIZES)
def test_torch_export_gives_what_timm_gives(backbone: str, made: Callable[..., Made]) -> None:
    one = made(backbone, "torch_export")
    extra = {formats.METADATA_FILE: ""}
    module: Any = torch.export.load(one.file, extra_files=extra).module()
    for count in (1, 3, 16):
        images = pixels(count, SIZES[backbone])
        probabilities, logits = (output.detach().numpy() for output in module(images))
        expected, expected_logits = timm_outputs(one.model, images)
        np.testing.assert_allclose(probabilities, expected, atol=2e-5)
        np.testing.assert_allclose(logits, expected_logits, atol=2e-4)
    described = json.loads(extra[formats.METADATA_FILE])
    assert described["labels"] == LABELS and described["preprocessing"]["crop"] == [SIZES[backbone]] * 2
    assert [row.format for row in one.rows] == ["torch_export"]


def test_labels_and_preprocessing_are_metadata(made: Callable[..., Made]) -> None:
    one = made("test_convnext")
    session = onnxruntime.InferenceSession(str(one.file), providers=["CPUExecutionProvider"])
    described = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert described["labels"] == LABELS
    assert described["model"] == "test_convnext" and described["outputs"] == ["probabilities", "logits"]
    assert described["versions"]["timm"] == timm.__version__
    assert described["preprocessing"] == {
        "input": {"name": "image", "shape": ["batch", 3, 64, 64], "dtype": "float32", "range": [0.0, 1.0]},
        "resize": 71, "interpolation": "bicubic", "crop": [64, 64], "crop_mode": "center", "crop_pct": 0.9,
        "mean": list(MEAN), "std": list(STD), "normalisation": "in the graph",
    }  # fmt: skip
    assert str(one.model.parent).encode() not in one.file.read_bytes()


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize(("height", "width", "crop_pct"), [(160, 160, 0.875), (224, 224, 0.95), (32, 32, 1.0)])
def test_the_size_before_the_crop_is_that_of_timm(crop_mode: str, height: int, width: int, crop_pct: float) -> None:
    transform: Any = create_transform((3, height, width), crop_pct=crop_pct, crop_mode=crop_mode)
    size = transform.transforms[0].size
    assert _resize(height, width, crop_pct, crop_mode) == (size if isinstance(size, int) else list(size))
