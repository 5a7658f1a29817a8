"""From image files to labels with probabilities: find, read, classify, tabulate."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn
from torch.utils.data import DataLoader

from glmc_zoo.errors import UserError
from glmc_zoo.files import text_table, write_csv
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.hardware import loading_workers
from glmc_zoo.machine.processes import main_process_first, on_main_process
from glmc_zoo.options.commands import PredictOptions
from glmc_zoo.scoring.image_files import ImageFiles, find_images
from glmc_zoo.scoring.intensity import trained_intensity
from glmc_zoo.scoring.loop import top_classes
from glmc_zoo.scoring.model import load_classifier, logit_batches

_MOST_SKIPPED = 10


@dataclass(frozen=True)
class Prediction:
    """The classes given to one image."""

    file: str
    labels: list[str]
    """The most probable first."""
    probabilities: list[float]


class PredictionRun:
    """Images classified by one model; `recipes/predict.py` shows its use.

    Raises:
        UserError: Model, images or output file do not fit; nothing already on disk is touched.
    """

    def __init__(self, options: PredictOptions) -> None:
        self.options = options
        self.accelerator = make_accelerator()
        self.output = Path(options.output)
        on_main_process(self.accelerator, lambda: _check_output(self.output, overwrite=options.overwrite))
        self.files = find_images(options.images)
        source = main_process_first(self.accelerator, lambda: open_model(options.model))
        self.classifier = load_classifier(source, self.accelerator.device, image_size=options.image_size)
        self.labels = class_labels(source, self.classifier.network, self.classifier.num_classes)
        self.intensity = trained_intensity(source)
        self.skipped: list[str] = []

    def describe(self) -> None:
        """Print what is about to be classified by what."""
        _, height, width = self.classifier.data_config["input_size"]
        self.accelerator.print(
            f"{self.options.model}: {len(self.labels)} classes, {height} x {width} pixels; {len(self.files)} images"
        )

    def predict(self) -> list[Prediction]:
        """Classify every image once, over all processes; the same in each."""
        good: list[tuple[int, Prediction]] = []
        unreadable: list[tuple[int, str]] = []
        for logits, positions, bad in logit_batches(self.classifier, self._loader(), self.accelerator):
            order, probabilities = top_classes(logits, self.options.top)
            for position, top, row in zip(positions, order.tolist(), probabilities.tolist(), strict=True):
                good.append((position, Prediction(str(self.files[position]), [self.labels[i] for i in top], row)))
            unreadable += bad
        self.skipped = [f"{self.files[position]} ({reason})" for position, reason in sorted(gather_object(unreadable))]
        predictions = [prediction for _, prediction in sorted(gather_object(good), key=itemgetter(0))]
        if not predictions:
            raise UserError(f"No image can be read, such as {self.skipped[0]}: check that the files are images.")
        return predictions

    def _loader(self) -> DataLoader[Any]:
        options = self.options
        skip = options.skip_bad_images
        dataset = ImageFiles(self.files, self.classifier.preprocessing, skip=skip, intensity=self.intensity)
        share = range(self.accelerator.process_index, len(self.files), self.accelerator.num_processes)
        # A single batch is read at once: there is no other to read beside it.
        workers = loading_workers(options.workers, len(share) <= options.batch_size, self.accelerator.device)
        return DataLoader(dataset, options.batch_size, sampler=share, num_workers=workers, collate_fn=tuple)

    def finish(self, predictions: Sequence[Prediction]) -> None:
        """Write the CSV, and print the table and what was skipped."""
        if not self.accelerator.is_main_process:
            return
        write_predictions(self.output, predictions)
        print(prediction_table(predictions))
        for line in self.skipped[:_MOST_SKIPPED]:
            print(f"skipped  {line}")
        if len(self.skipped) > _MOST_SKIPPED:
            print(f"skipped  {len(self.skipped) - _MOST_SKIPPED} more")
        print(f"{len(predictions)} images in {self.output}, {len(self.skipped)} skipped")


def predict_images(options: PredictOptions) -> list[Prediction]:
    """Run a whole prediction: describe, classify, write."""
    run = PredictionRun(options)
    run.describe()
    predictions = run.predict()
    run.finish(predictions)
    return predictions


def class_labels(source: ModelSource, network: nn.Module, num_classes: int) -> list[str]:
    """Name of each class: the model's own, ImageNet's where timm knows them, else ``class 0`` and so on."""
    if source.class_names is not None:
        return source.class_names
    subset = infer_imagenet_subset(network) if source.kind == "timm" else None
    if subset:
        describe = ImageNetInfo(subset).index_to_description
        return [describe(i) for i in range(num_classes)]
    return [f"class {i}" for i in range(num_classes)]


def _check_output(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UserError(f"output={str(path)!r} is a folder: give a CSV file.")
    if path.exists() and not overwrite:
        raise UserError(f"output={str(path)!r} exists already: give another file, or overwrite=True to replace it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={str(path)!r} cannot be written: {error.strerror or error}.") from error


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """CSV with ``file, label, probability, label_2, probability_2, ...``; an old file is replaced when it is whole."""
    columns = ["file", "label", "probability"]
    for rank in range(2, len(predictions[0].labels) + 1):
        columns += [f"label_{rank}", f"probability_{rank}"]
    rows = []
    for one in predictions:
        pairs = zip(one.labels, one.probabilities, strict=True)
        rows.append([one.file, *(cell for label, p in pairs for cell in (label, f"{p:.6f}"))])
    write_csv(path, columns, rows)


def prediction_table(predictions: Sequence[Prediction], *, most: int = 50) -> str:
    """File, label, probability and runners-up of each image, for the screen; ``most`` images at most."""
    rows = [("file", "label", "probability", "runners-up")]
    for one in predictions[:most]:
        shares = [f"{100 * p:.1f} %" for p in one.probabilities]
        runners_up = [f"{label} {share}" for label, share in zip(one.labels, shares, strict=True)][1:]
        rows.append((one.file, one.labels[0], shares[0], ", ".join(runners_up)))
    more = len(predictions) - most
    return text_table(rows, left=(0, 1, 3)) + (f"\n... {more} more in the CSV" if more > 0 else "")
