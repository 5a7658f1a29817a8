"""The content of an exported file: a classifier with normalisation and softmax, and its metadata."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.provenance import package_versions
from glmc_zoo.scoring.model import Classifier

INPUT = "image"
OUTPUTS = ("probabilities", "logits")


class ClassifierGraph(nn.Module):
    """Maps float32 images (B, 3, H, W) with values of 0 to 1 to probabilities and logits, both float32 (B, C)."""

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = classifier.network
        for name in ("mean", "std"):
            values = torch.tensor(classifier.data_config[name], dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise, classify, and turn logits into probabilities."""
        logits = self.network((image - self.mean) / self.std)
        return logits.softmax(dim=1), logits


def metadata(source: ModelSource, classifier: Classifier, labels: Sequence[str]) -> dict[str, Any]:
    """The metadata of an exported file, as values for JSON.

    The key ``preprocessing`` says how an image becomes the input of the graph, which normalises it by itself.

    Args:
        source: The model.
        classifier: The same model, built.
        labels: Name of each class, in the order of the probabilities.
    """
    data, results = classifier.data_config, source.results
    _, height, width = data["input_size"]
    preprocessing = {
        "input": {"name": INPUT, "shape": ["batch", 3, height, width], "dtype": "float32", "range": [0.0, 1.0]},
        "resize": _resize(height, width, data["crop_pct"], data["crop_mode"]),
        "interpolation": data["interpolation"],
        "crop": [height, width],
        "crop_mode": data["crop_mode"],
        "crop_pct": data["crop_pct"],
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "normalisation": "in the graph",
    }
    if results is not None and results.data.intensity_range is not None:
        preprocessing["intensity_range"] = list(results.data.intensity_range)
    return {
        "model": _model_name(source),
        "labels": list(labels),
        "preprocessing": preprocessing,
        "outputs": list(OUTPUTS),
        "versions": package_versions(),
    }


def _model_name(source: ModelSource) -> str:
    """The model's name without a path of this machine."""
    if source.kind != "folder":
        return source.name
    return str(source.config["architecture"]) if source.results is None else source.results.model.name


def _resize(height: int, width: int, crop_pct: float, crop_mode: str) -> int | list[int]:
    """The size in pixels to which an image is resized before the crop, as timm computes it.

    It is that of the shorter side, or height and width. ``squash`` resizes to height and width without keeping the
    proportions, and ``border`` fits the longer side.
    """
    size = [math.floor(side / crop_pct) for side in (height, width)]
    return size[0] if crop_mode == "center" and height == width else size
