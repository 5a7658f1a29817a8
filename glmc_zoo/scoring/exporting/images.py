"""Images of a data set for comparing an export with torch, and for the activation ranges of int8."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from glmc_zoo.data import ImageSplit, load_evaluation_data
from glmc_zoo.data.feeding.datasets import EvalDataset
from glmc_zoo.data.feeding.loaders import batch_loader
from glmc_zoo.data.options import DataOptions
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.hardware import loading_workers
from glmc_zoo.scoring.exporting.check import to_graph_input
from glmc_zoo.scoring.intensity import with_trained_intensity
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.trained_data import data_options_of, has_same_name

_BATCH = 16
_CALIBRATION = 200


class CheckImages:
    """Preprocessed test images for a model. Iterating yields uint8 batches (B, 3, H, W) and their positions."""

    def __init__(self, split: ImageSplit, name: str, classifier: Classifier) -> None:
        self.split, self.name = split, name
        self._dataset = EvalDataset(split, classifier.preprocessing)
        self._workers = loading_workers(None, split.pixels is not None, torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.split)

    def __str__(self) -> str:
        return self.name

    def __iter__(self) -> Iterator[tuple[Tensor, list[int]]]:
        for images, _, positions in batch_loader(self._dataset, range(len(self)), _BATCH, self._workers):
            yield images, positions.tolist()

    def calibration(self) -> list[int]:
        """Positions of the images for the ranges of int8: up to 200, evenly spread, and at most every second image."""
        return list(range(0, len(self), max(2, len(self) // _CALIBRATION)))[:_CALIBRATION]

    def single_images(self, positions: Sequence[int]) -> Iterator[Tensor]:
        """The images at these positions one by one, as inputs of the exported file, float32 (1, 3, H, W)."""
        for images, _, _ in batch_loader(self._dataset, list(positions), _BATCH, self._workers):
            yield from to_graph_input(images).split(1)


def open_check_images(data: str, data_dir: str | None, source: ModelSource, classifier: Classifier) -> CheckImages:
    """The test images of a data set, read and split as in the model's training where it was trained on that set."""
    training_options = data_options_of(source) if has_same_name(data, source) else {}
    options = DataOptions(**training_options | {"data": data, "data_dir": data_dir, "no_test": False})
    facts = [] if source.results is None else [source.results.data]
    loaded_data = load_evaluation_data(options, trained=facts)
    split, _ = with_trained_intensity(loaded_data.test, source, options)
    assert isinstance(split, ImageSplit)
    return CheckImages(split, f"{loaded_data.name}, test split", classifier)
