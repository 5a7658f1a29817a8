"""Models to evaluate, what an evaluation left, and the same logits by timm alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pyarrow import parquet

from glmc_zoo.data import load_data
from glmc_zoo.data.transforms import EvalTransform
from glmc_zoo.hub import export_model


def exported(folder: Path, names: list[str], *, seed: int = 0, source: Path | None = None) -> Path:
    """A model with these classes, with fresh weights; or those of ``source``, its logits as they are."""
    torch.manual_seed(seed)
    if source is None:
        model = timm.create_model("test_efficientnet", num_classes=len(names))
    else:
        model = timm.create_model(f"local-dir:{source}", pretrained=True)
    half = (0.5,) * 3
    return export_model(model, folder, class_names=names, mean=half, std=half, input_size=(3, 32, 32), tag="t")


def table(folder: Path) -> dict[str, list[Any]]:
    return parquet.read_table(folder / "predictions.parquet").to_pydict()


def scores_of(folder: Path, split: str = "test") -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())[split]


def logits_of(model: Path, data: Path, split: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits by timm alone, but for the resizing of what a run exported, and labels."""
    network: Any = timm.create_model(f"local-dir:{model}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    part = getattr(load_data(data, **options), split)
    pictures = part.images(range(len(part)))
    if (model / "results.json").exists():
        pixels = EvalTransform(32, int(32 / config["crop_pct"]), config["interpolation"])(pictures)
    else:
        transform = timm.data.create_transform(**config, is_training=False, use_prefetcher=True)
        pixels = torch.stack([torch.as_tensor(np.asarray(transform(picture))) for picture in pictures])
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        return network((pixels / 255 - mean) / std).double().numpy(), part.labels
