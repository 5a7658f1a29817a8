"""Finds the training images of rare classes whose features are nearest to those of an image.

Near means a large cosine of the features before the classifier. Rare classes are the few- and medium-shot ones.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glmc_zoo.data import DataOptions, ImageSplit, list_data, load_split_data
from glmc_zoo.data.feeding.datasets import EvalDataset
from glmc_zoo.data.feeding.loaders import batch_loader
from glmc_zoo.data.reading.spread import evenly_spaced
from glmc_zoo.data.thumbnails import Thumbnail, make_thumbnail
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.hardware import loading_workers
from glmc_zoo.metrics import GROUPS, group_of_classes, tercile_thresholds
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.scoring.intensity import with_trained_intensity
from glmc_zoo.scoring.labelling import FeatureRecorder
from glmc_zoo.scoring.model import Classifier, logit_batches
from glmc_zoo.scoring.shots import trained_counts
from glmc_zoo.scoring.trained_data import data_options_of, has_same_name

MAX_IMAGES = 1000
"""Training images that are compared; of larger sets, each rare class gives an equal share."""
SHOWN = 6
_MAX_PER_CLASS = 2
_BATCH = 32
_SIDE = 160


@dataclass(frozen=True)
class SimilarImage:
    """One training image that looks like the image at hand."""

    label: str
    group: str
    """Shot group of its class."""
    count: int
    """Training images of its class."""
    cosine: float
    """Cosine of the angle between its features and those of the uploaded image."""
    thumbnail: Thumbnail


@dataclass(frozen=True)
class RareData:
    """The training images of rare classes."""

    split: ImageSplit
    """All training images."""
    groups: NDArray[np.int64]
    """Shot group of each class of the split, (C,), by its position in `GROUPS`."""
    counts: Sequence[int]
    """Training images of each class."""
    positions: NDArray[np.int64]
    """Positions of the images of rare classes in the split, (N,)."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each image of a rare class, (N,)."""
        labels: NDArray[np.int64] = self.split.labels[self.positions]
        return labels


class RareImages:
    """The training images of rare classes, with their features: float32 (N, D), each of length 1."""

    def __init__(self, data: RareData, classifier: Classifier, accelerator: Accelerator) -> None:
        self.data, self.features = data, _features(data.split, data.positions, classifier, accelerator)

    def __len__(self) -> int:
        return len(self.data.positions)

    def nearest(self, features: Tensor) -> list[SimilarImage]:
        """The images whose features have the largest cosine with these, ``(D,)``; at most two of one class."""
        data = self.data
        cosines = self.features @ functional.normalize(features, dim=0)
        similar, class_totals = list[SimilarImage](), Counter[int]()
        for row in torch.argsort(cosines, descending=True, stable=True).tolist():
            position = int(data.positions[row])
            label = int(data.split.labels[position])
            if class_totals[label] == _MAX_PER_CLASS:
                continue
            class_totals[label] += 1
            thumbnail = make_thumbnail(data.split, position, _SIDE)
            similar.append(
                SimilarImage(
                    data.split.class_names[label],
                    GROUPS[data.groups[label]],
                    data.counts[label],
                    float(cosines[row]),
                    thumbnail,
                )
            )
            if len(similar) == SHOWN:
                break
        return similar


def open_rare_images(
    options: DemoOptions, source: ModelSource, classifier: Classifier, accelerator: Accelerator
) -> tuple[RareImages | None, str]:
    """The training images of rare classes; or ``None``, and a sentence that says what to give.

    Raises:
        UserError: The data set that ``options`` name cannot be read.
    """
    if not all(hasattr(classifier.network, name) for name in ("forward_features", "forward_head")):
        return None, f"{source.name} does not give the features before its classifier, by which images are compared."
    if options.data is not None:
        training_options = data_options_of(source) if has_same_name(options.data, source) else {"no_test": True}
        data_options = {"data": options.data, "data_dir": options.data_dir}
        rare = _rare_data(DataOptions(**{**training_options, **data_options}), source)
        return RareImages(rare, classifier, accelerator), ""
    name = data_options_of(source).get("data")
    if name is None or not _is_local(name):
        data_text = "path/to/images" if name is None else name
        return None, for_screen(f"Start the demo with data={data_text!r}, the images that the model was trained on.")
    try:
        return RareImages(_rare_data(DataOptions(**data_options_of(source)), source), classifier, accelerator), ""
    except UserError as error:
        return None, f"The training images of {name} cannot be shown: {for_screen(error.sentence)}"


def rare_training_data(source: ModelSource) -> RareData:
    """The training images of rare classes of a model's own run.

    Raises:
        UserError: They are not on this machine, or cannot be read.
    """
    name = data_options_of(source).get("data")
    if name is None or not _is_local(name):
        images_text = "that it was trained on" if name is None else f"of {name}"
        raise UserError(
            f"space_images= takes training images of {source.name}, and those {images_text} are not on this machine: "
            "push from where it was trained, or leave it out."
        )
    return _rare_data(DataOptions(**data_options_of(source)), source)


def _is_local(name: str) -> bool:
    """Whether a data set is a folder or file that exists, or comes with this package; nothing is downloaded unasked."""
    entry = list_data().get(name)
    if entry is not None:
        return entry.hub_id is None and entry.official is None
    return Path(name).exists()


def _rare_data(options: DataOptions, source: ModelSource) -> RareData:
    data = load_split_data(options)
    split, _ = with_trained_intensity(data.train, source, options)
    assert isinstance(split, ImageSplit)
    counts = trained_counts(source, data.class_names) or data.class_counts
    groups = _shot_groups(counts, source)
    positions = rare_positions(split.labels, groups)
    if not len(positions):
        raise UserError(f"data={options.data!r} has no training images of rare classes: give another data set.")
    return RareData(split, groups, counts, positions)


def _shot_groups(counts: Sequence[int], source: ModelSource) -> NDArray[np.int64]:
    """Shot groups by the thresholds of the training, or by terciles if these make every class many-shot."""
    thresholds = None if source.results is None else source.results.thresholds
    many, few = ShotOptions.many_threshold, ShotOptions.few_threshold
    if thresholds is not None:
        many, few = thresholds.many, thresholds.few
    groups = group_of_classes(counts, many=many, few=few)
    if (groups > 0).any():
        return groups
    many, few = tercile_thresholds(counts)
    return group_of_classes(counts, many=many, few=few)


def rare_positions(labels: NDArray[np.int64], groups: NDArray[np.int64], limit: int = MAX_IMAGES) -> NDArray[np.int64]:
    """Positions of the images of few- and medium-shot classes, ascending, at most about ``limit``.

    Args:
        labels: Class of each image, (N,).
        groups: Shot group of each class, (C,), 0 for many-shot.
        limit: Largest number of images. If there are more, each class keeps the same number, at least one, spread
            evenly over its images.
    """
    rare = np.flatnonzero((groups > 0) & (np.bincount(labels, minlength=len(groups)) > 0))
    if not len(rare):
        return np.zeros(0, np.int64)
    class_positions = [np.flatnonzero(labels == label) for label in rare]
    if sum(map(len, class_positions)) > limit:
        class_positions = [
            positions[evenly_spaced(len(positions), max(1, limit // len(rare)))] for positions in class_positions
        ]
    return np.sort(np.concatenate(class_positions))


def _features(
    split: ImageSplit, positions: NDArray[np.int64], classifier: Classifier, accelerator: Accelerator
) -> Tensor:
    """Features of these images before the classifier, float32 (N, D), each of length 1."""
    recorder = FeatureRecorder(classifier.network)
    workers = loading_workers(None, split.pixels is not None or len(positions) <= _BATCH, accelerator.device)
    loader: Any = batch_loader(EvalDataset(split, classifier.preprocessing), positions.tolist(), _BATCH, workers)
    for _ in logit_batches(replace(classifier, network=recorder), loader, accelerator):
        pass
    return functional.normalize(torch.cat(recorder.features), dim=1)
