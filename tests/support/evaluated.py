"""Models to evaluate, the files of an evaluation, and the same logits by timm and PIL alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from timm.data import create_transform, resolve_model_data_config

from glmc_zoo.data import load_data
from glmc_zoo.hub import ExportInfo, export_model

COUNTS = {"ant": 30, "bee": 12, "cat": 5}
"""Training images of each class of ``animals``."""
CLASSES = list(COUNTS)


def exported(folder: Path, names: list[str], *, seed: int = 0, source: Path | None = None) -> Path:
    """Export a model with these classes. Its weights are random, or those of the exported model ``source``."""
    torch.manual_seed(seed)
    if source is None:
        model = timm.create_model("test_efficientnet", num_classes=len(names))
    else:
        model = timm.create_model(f"local-dir:{source}", pretrained=True)
    half = (0.5,) * 3
    info = ExportInfo(class_names=names, mean=half, std=half, input_size=(3, 32, 32), tag="t")
    return export_model(model, folder, info)


def table(folder: Path) -> dict[str, list[Any]]:
    """The columns of ``predictions.parquet`` of an evaluation."""
    columns: dict[str, list[Any]] = parquet.read_table(folder / "predictions.parquet").to_pydict()
    return columns


def results_of(folder: Path) -> dict[str, Any]:
    """The content of ``results.json`` of an evaluation."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


def timm_logits(model: Path, images: Iterable[Image.Image]) -> torch.Tensor:
    """Logits (B, C) of an exported model, computed as in the documentation of timm."""
    network: Any = timm.create_model(f"local-dir:{model}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        logits: torch.Tensor = network(torch.stack([transform(image) for image in images]))
    return logits


def logits_of(model: Path, data: Path, split: str, **options: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`timm_logits` and the labels of the images of a split."""
    part = getattr(load_data(data, **options), split)
    return timm_logits(model, part.images(range(len(part)))).double().numpy(), part.labels
