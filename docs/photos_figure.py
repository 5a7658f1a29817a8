"""Draw the result of recipes/demo_photos.py, on images of clothes, as `photos.png` in this folder.

    python recipes/demo_photos.py runs/demo-photos
    python docs/photos_figure.py runs/demo-photos

The images are not hand-picked: they are the first two test images of each class with fewer than 20 training images.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glmc_zoo import load_data
from glmc_zoo.data import ImageSplit
from glmc_zoo.results import EvaluationResults
from glmc_zoo.scoring.page.subject import Predictions, rare_classes

NAMES = {
    "cross-entropy": "cross-\nentropy",
    "balanced-softmax": "balanced\nsoftmax",
    "default": "the\ndefault",
}
COLOURS = ("#6B6B6B", "#0072B2", "#009E73")  # Okabe and Ito (2008)
CORRECT, WRONG, INK = "#00664B", "#B3261E", "#222222"
IMAGES_PER_CLASS = 2

__all__ = ["ModelPredictions", "draw"]


@dataclass(frozen=True)
class ModelPredictions:
    """The predictions and results of one model on a split."""

    results: EvaluationResults
    predictions: Predictions

    @classmethod
    def read(cls, folder: Path) -> ModelPredictions:
        """Read the folder that an evaluation wrote for one model."""
        return cls(EvaluationResults.load(folder / "results.json"), Predictions.read(folder))


def draw(models: Sequence[ModelPredictions], split: ImageSplit) -> Figure:
    """Draw the scores on rare classes on the left, and images with their predictions on the right."""
    figure = Figure(figsize=(11, 4.6))
    classes = rare_classes(models[0].results)
    _bars(figure.add_axes((0.045, 0.13, 0.185, 0.71)), models, len(classes))
    left, width = 0.262, 0.73 / len(classes)
    for column, label in enumerate(classes):
        positions = np.flatnonzero(split.labels == label)[:IMAGES_PER_CLASS].tolist()
        counts = models[0].results.class_counts or []
        centre = left + (column + 0.5) * width
        name = models[0].results.class_names[label]
        figure.text(centre, 0.95, name, ha="center", va="center", fontsize=12, fontweight="bold", color=INK)
        figure.text(centre, 0.907, f"{counts[label]} training images", ha="center", va="center", fontsize=8, color=INK)
        for row, position in enumerate(positions):
            bottom = 0.17 + (IMAGES_PER_CLASS - 1 - row) * 0.435
            axes = figure.add_axes((left + column * width + 0.004, bottom, width - 0.008, 0.272))
            _image(axes, split, position)
            for line, (model, colour) in enumerate(zip(models, COLOURS, strict=True)):
                height = bottom - 0.034 - 0.043 * line
                _prediction(figure, left + column * width + 0.012, height, model, position, colour)
    return figure


def _bars(axes: Axes, models: Sequence[ModelPredictions], classes: int) -> None:
    for index, (model, colour) in enumerate(zip(models, COLOURS, strict=True)):
        results = model.results
        few = 100 * (results.scores.few or 0)
        low, high = (100 * end for end in results.intervals[results.split]["few"])
        axes.bar(index, few, color=colour, width=0.7)
        axes.errorbar(index, few, yerr=[[few - low], [high - few]], color=INK, capsize=4, linewidth=1.2)
        axes.text(index, high + 1.2, f"{few:.0f} %", ha="center", fontsize=13, fontweight="bold", color=colour)
        axes.text(index, -1.5, NAMES[model.results.model.name], ha="center", va="top",
                  fontsize=8.5, color=colour, fontweight="bold")  # fmt: skip
    axes.set_title(f"Accuracy on the {classes} rarest classes,\nother people's test images", fontsize=10, color=INK)
    axes.set_ylim(0, 50)
    axes.set_xticks([])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _image(axes: Axes, split: ImageSplit, position: int) -> None:
    (image,) = split.images([position])
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    axes.imshow(np.asarray(image.crop((left, top, left + side, top + side))), interpolation="lanczos")
    axes.set_axis_off()


def _prediction(figure: Figure, x: float, y: float, model: ModelPredictions, position: int, colour: str) -> None:
    predicted = int(model.predictions.prediction[position])
    correct = predicted == int(model.predictions.label[position])
    figure.text(x, y, "\N{BLACK SQUARE}", ha="left", va="center", fontsize=9, color=colour)
    mark = "\N{CHECK MARK}" if correct else "\N{BALLOT X}"
    figure.text(x + 0.016, y, f"{mark} {model.results.class_names[predicted]}",
                ha="left", va="center", fontsize=9.5, color=CORRECT if correct else WRONG,
                fontweight="bold" if correct else "normal")  # fmt: skip


if __name__ == "__main__":
    evaluation = Path(sys.argv[1]) / "evaluation"
    models = [ModelPredictions.read(evaluation / name) for name in NAMES]
    figure = draw(models, load_data("clothing_small").test)
    figure.savefig(Path(__file__).with_name("photos.png"), dpi=100, metadata={"Software": None})
