"""From image files to labels with probabilities: find, read, classify, tabulate."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glmc_zoo.data.images import IMAGE_SUFFIXES, UNREADABLE, to_rgb
from glmc_zoo.data.transforms import Images
from glmc_zoo.engine.build import make_accelerator
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.hardware import loading_workers
from glmc_zoo.engine.inference import InferenceModel, load_model, logit_batches
from glmc_zoo.engine.output import main_process_first, on_main_process
from glmc_zoo.engine.predict import PredictConfig
from glmc_zoo.errors import UserError
from glmc_zoo.hub import open_model

__all__ = ["Prediction", "PredictionRun", "class_labels", "find_images", "prediction_table"]

_MOST_LINES = 50
_MOST_SKIPPED = 10


@dataclass(frozen=True)
class Prediction:
    """What one image was taken for."""

    file: str
    labels: list[str]
    """The most probable first."""
    probabilities: list[float]


class PredictionRun:
    """Images classified by one model; `recipes/predict.py` shows its use.

    Raises:
        UserError: Model, images or output file do not fit; nothing already on disk is touched.
    """

    def __init__(self, config: PredictConfig) -> None:
        assert config.model is not None and config.images is not None
        self.config = config
        self.accelerator = make_accelerator(TrainConfig())
        self.output = Path(config.output)
        on_main_process(self.accelerator, lambda: _check_output(self.output, overwrite=config.overwrite))
        self.files = find_images(config.images)
        name = config.model
        source = main_process_first(self.accelerator, lambda: open_model(name))
        self.model = load_model(source, self.accelerator, image_size=config.image_size)
        self.labels = class_labels(self.model)
        self.skipped: list[str] = []

    def describe(self) -> None:
        """Say what is about to be classified by what."""
        _, height, width = self.model.data_config["input_size"]
        self.accelerator.print(
            f"{self.config.model}: {len(self.labels)} classes, {height} x {width} pixels; {len(self.files)} images"
        )

    def predict(self) -> list[Prediction]:
        """Classify every image once, over all processes; the same in each.

        Raises:
            UserError: An image cannot be read, and ``--skip-bad-images`` was not given; or none can.
        """
        found = sorted(gather_object(list(self._own_share())), key=itemgetter(0))
        self.skipped = [f"{self.files[position]} ({reason})" for position, reason, _ in found if reason]
        predictions = [
            Prediction(str(self.files[position]), [self.labels[i] for i, _ in top], [p for _, p in top])
            for position, reason, top in found
            if reason is None
        ]
        if not predictions:
            raise UserError(f"No image can be read, such as {self.skipped[0]}: check that the files are images.")
        return predictions

    def _own_share(self) -> Iterator[tuple[int, str | None, list[tuple[int, float]]]]:
        """Position, reason if it could not be read, and classes with probabilities, of each image of this process."""
        top = min(self.config.top, len(self.labels))
        for logits, positions, bad in logit_batches(self.model, self._loader(), self.accelerator):
            probabilities = logits.cpu().double().softmax(dim=1)
            # Sorted in full: topk does not say which of equal logits comes first.
            order = torch.sort(logits.cpu(), dim=1, descending=True, stable=True).indices[:, :top]
            for position, classes, row in zip(positions, order.tolist(), probabilities, strict=True):
                yield position, None, [(i, float(row[i])) for i in classes]
            for position, reason in bad:
                yield position, reason, []

    def _loader(self) -> DataLoader[Any]:
        dataset = ImageFiles(self.files, self.model.transform, skip=self.config.skip_bad_images)
        share = range(self.accelerator.process_index, len(self.files), self.accelerator.num_processes)
        # Of a single batch nothing could be read beside another.
        workers = self.config.workers or 0
        if len(share) > self.config.batch_size:
            workers = loading_workers(self.config.workers, False, self.accelerator.device)
        return DataLoader(
            dataset,
            batch_size=self.config.batch_size,
            sampler=share,
            num_workers=workers,
            collate_fn=_as_is,
        )

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


def _as_is(batch: Any) -> Any:
    return batch


class ImageFiles(Dataset[Any]):
    """Batches ``(uint8 images of what can be read, their positions, [(position, reason) of what cannot])``.

    Args:
        files: the images.
        transform: from PIL RGB pictures to uint8 (B, 3, H, W).
        skip: go on past images that cannot be read.
    """

    def __init__(self, files: Sequence[Path], transform: Callable[[Images], Tensor], *, skip: bool) -> None:
        self.files = files
        self.transform = transform
        self.skip = skip

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, positions: Sequence[int]) -> tuple[Tensor, list[int], list[tuple[int, str]]]:
        """The batch of these files.

        Raises:
            UserError: a picture cannot be read, and is not to be skipped.
        """
        good, pictures, bad = [], [], []
        for position in positions:
            try:
                with Image.open(self.files[position]) as image:
                    image.load()
                    pictures.append(to_rgb(image))
                good.append(position)
            except UNREADABLE as error:
                short = isinstance(error, UnidentifiedImageError)
                reason = "not an image" if short else " ".join(str(error).split()).rstrip(".")
                if not self.skip:
                    raise UserError(
                        f"Image {self.files[position]} cannot be read: {reason}; remove it or pass --skip-bad-images."
                    ) from error
                bad.append((position, reason))
        # Where nothing can be read, a batch of no picture has the shape of the others.
        images = self.transform(pictures) if pictures else self.transform([Image.new("RGB", (8, 8))])[:0]
        return images, good, bad


def find_images(paths: Iterable[str]) -> list[Path]:
    """Files as they are given, and the images below folders, sorted; each once.

    Raises:
        UserError: a path does not exist, or there is no image.
    """
    files: list[Path] = []
    for name in paths:
        path = Path(name).expanduser()
        if path.is_dir():
            files += _below(path)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"--images {name} does not exist: give image files, or folders that hold some.")
    if not files:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"There is no image in {', '.join(paths)}: expected files that end in {suffixes}.")
    return list(dict.fromkeys(files))


def _below(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, n) for n in names if Path(n).suffix.lower() in IMAGE_SUFFIXES and n[0] != "."]
    return sorted(found)


def class_labels(model: InferenceModel) -> list[str]:
    """Name of each class: the model's own, ImageNet's where timm knows it for that, else ``class 0`` and so on."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if model.source.class_names is not None:
        return model.source.class_names
    subset = infer_imagenet_subset(model.model) if model.source.kind == "timm" else None
    if subset:
        info = ImageNetInfo(subset)
        return [info.index_to_description(i) for i in range(model.num_classes)]
    return [f"class {i}" for i in range(model.num_classes)]


def _check_output(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UserError(f"--output {path} is a folder: give a CSV file.")
    if path.exists() and not overwrite:
        raise UserError(f"--output {path} exists already: give another file, or --overwrite to replace it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path} cannot be written: {error.strerror or error}.") from error


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """CSV with ``file, label, probability, label_2, probability_2, ...``; an old file is replaced when it is whole."""
    columns = ["file", "label", "probability"]
    for place in range(2, len(predictions[0].labels) + 1):
        columns += [f"label_{place}", f"probability_{place}"]
    scrap = path.with_name(f".writing-{path.name}")
    with scrap.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for one in predictions:
            pairs = zip(one.labels, one.probabilities, strict=True)
            writer.writerow([one.file, *(cell for label, p in pairs for cell in (label, f"{p:.6f}"))])
    scrap.replace(path)


def prediction_table(predictions: Sequence[Prediction], *, most: int = _MOST_LINES) -> str:
    """File, label, probability and runners-up of each image, for the screen; ``most`` images at most."""
    rows = [("file", "label", "probability", "runners-up")]
    for one in predictions[:most]:
        others = zip(one.labels[1:], one.probabilities[1:], strict=True)
        runners_up = ", ".join(f"{label} {100 * p:.1f} %" for label, p in others)
        rows.append((one.file, one.labels[0], f"{100 * one.probabilities[0]:.1f} %", runners_up))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    if len(predictions) > most:
        lines.append(f"... {len(predictions) - most} more in the CSV")
    return "\n".join(lines)
