"""What the demo answers on one image file: the most probable classes, and similar training images of rare classes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from glmc_zoo.data.reading.decoding import read_image
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.hub.folder import SAMPLE_FILE
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.metrics import GROUPS, group_of_classes
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.scoring.decision import corrected_decision
from glmc_zoo.scoring.demo.rare_images import SimilarImage, open_rare_images
from glmc_zoo.scoring.image_files import ImageFiles
from glmc_zoo.scoring.intensity import trained_intensity
from glmc_zoo.scoring.labelling import FeatureRecorder
from glmc_zoo.scoring.model import load_classifier, logit_batches
from glmc_zoo.scoring.prediction import class_labels
from glmc_zoo.scoring.shots import trained_counts

_TOP = 5
_SIDE = 320


@dataclass(frozen=True)
class ClassShare:
    """One of the most probable classes."""

    label: str
    probability: float
    """From 0 to 1, as a prediction gives it."""
    count: int | None = None
    """Training images of the class, where they are known."""
    group: str | None = None
    """Its shot group."""


@dataclass(frozen=True)
class Answer:
    """What the model answers on one file."""

    file: str
    """Name of the file, without its folder."""
    classes: list[ClassShare] = field(default_factory=list)
    """The most probable classes in order; empty where the file cannot be read."""
    similar: list[SimilarImage] = field(default_factory=list)
    preview: str = ""
    """The image as the package reads it, as the address of a small PNG."""
    problem: str | None = None
    """Why the file cannot be read."""


class DemoModel:
    """A model that classifies one file at a time, as `glmc_zoo.predict` does.

    Raises:
        UserError: Model, class frequencies or training images do not fit.
    """

    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        self.accelerator = make_accelerator()
        self.source = open_model(options.model)
        self.classifier = load_classifier(self.source, self.accelerator.device, image_size=options.image_size)
        self.labels = class_labels(self.source, self.classifier.network, self.classifier.num_classes)
        self.decision = corrected_decision(options, self.source, self.labels)
        self.intensity = trained_intensity(self.source)
        self.counts = trained_counts(self.source, self.labels)
        self.groups = _group_names(self.counts, self.source)
        self.rare_images, self.rare_images_hint = open_rare_images(
            options, self.source, self.classifier, self.accelerator
        )

    @property
    def name(self) -> str:
        """Short name of the model."""
        results = self.source.results
        return Path(self.source.name).name if results is None else results.model.name

    @property
    def sample(self) -> Path | None:
        """The sample image in the folder of the model; ``None`` where it has none."""
        path = None if self.source.folder is None else self.source.folder / SAMPLE_FILE
        return path if path is not None and path.is_file() else None

    def answer(self, path: str | Path) -> Answer:
        """Classify one file; one that cannot be read has a ``problem`` and no classes."""
        path = Path(path)
        files = ImageFiles([path], self.classifier.preprocessing, self.intensity)
        images, positions, problems = files.__getitems__([0])
        if problems:
            return Answer(path.name, problem=problems[0][1])
        recorder, classifier = None, self.classifier
        if self.rare_images is not None:
            recorder = FeatureRecorder(classifier.network)
            classifier = replace(classifier, network=recorder)
        ((logits, _, _),) = logit_batches(classifier, [(images, positions, problems)], self.accelerator)
        (top,), (probabilities,), _ = self.decision.top(logits, _TOP)
        similar = (
            [] if recorder is None or self.rare_images is None else self.rare_images.nearest(recorder.features[0][0])
        )
        classes = [self._class_share(label, probability) for label, probability in zip(top, probabilities, strict=True)]
        return Answer(path.name, classes, similar, self._preview(path))

    def _class_share(self, label: int, probability: float) -> ClassShare:
        count = None if self.counts is None else self.counts[label]
        return ClassShare(self.labels[label], probability, count, None if self.groups is None else self.groups[label])

    def _preview(self, path: Path) -> str:
        image = read_image(str(path), self.intensity)
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _group_names(counts: Sequence[int] | None, source: ModelSource) -> list[str] | None:
    thresholds = None if source.results is None else source.results.thresholds
    if counts is None or thresholds is None:
        return None
    return [GROUPS[group] for group in group_of_classes(counts, many=thresholds.many, few=thresholds.few)]
