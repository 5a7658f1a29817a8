"""What an exported file holds: a classifier with normalisation and softmax, and metadata about the rest."""

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
    """float32 images (B, 3, H, W) with values of 0 to 1, to probabilities and logits, both float32 (B, C)."""

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
    """What stands beside the graph, as values for JSON.

    ``labels`` has the name of each class in the order of the probabilities. ``preprocessing`` says how an image
    becomes the input, and which mean and deviation the graph takes off by itself.
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
    """The size before the crop in pixels, as timm computes it: that of the shorter side, or height and width.

    ``squash`` takes height and width without regard to proportions, ``border`` fits the longer side.
    """
    size = [math.floor(side / crop_pct) for side in (height, width)]
    return size[0] if crop_mode == "center" and height == width else size
