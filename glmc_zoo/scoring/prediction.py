"""The command ``glmc-zoo predict``: finds and reads image files, classifies them, and writes a table."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn
from torch.utils.data import DataLoader

from glmc_zoo.data.feeding.loaders import batch_loader
from glmc_zoo.errors import UserError
from glmc_zoo.files import text_table
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.machine.accelerator import make_accelerator
from glmc_zoo.machine.hardware import loading_workers
from glmc_zoo.machine.processes import main_process_first, on_main_process, worker_error
from glmc_zoo.options.commands import PredictOptions
from glmc_zoo.scoring.decision import make_decision
from glmc_zoo.scoring.image_files import ImageFiles
from glmc_zoo.scoring.image_paths import find_images
from glmc_zoo.scoring.intensity import trained_intensity
from glmc_zoo.scoring.labelling import LabellingRanking
from glmc_zoo.scoring.model import load_classifier, logit_batches
from glmc_zoo.scoring.prediction_files import (
    UNSURE,
    Prediction,
    PredictionFiles,
    check_output,
    problems_path,
)
from glmc_zoo.scoring.prior_shift import prior_table
from glmc_zoo.screen import say
from glmc_zoo.text import counted, escaped, printable

Batch = tuple[Tensor, list[int], list[tuple[int, str]]]
"""Logits (B, C), the positions of their images, and the position and reason of each file that cannot be read."""

_MAX_LISTED = 10
_MAX_ROWS = 50


class PredictionRun:
    """Classifies images with one model; `recipes/predict.py` shows its use.

    Args:
        options: The options; with ``output=None`` no file is written.

    Raises:
        UserError: Model, images or output file do not fit; nothing already on disk is touched.
    """

    def __init__(self, options: PredictOptions) -> None:
        self.accelerator = make_accelerator()
        if options.output is not None:
            output = Path(options.output)
            on_main_process(self.accelerator, lambda: check_output(output, overwrite=options.overwrite))
        self.options = options
        # Only one process looks for images, because the files may change in between.
        images = on_main_process(
            self.accelerator, lambda: find_images(options.images, follow_links=options.follow_links)
        )
        self.files, self.left_out = images.files, images.left_out_line()
        source = main_process_first(self.accelerator, lambda: open_model(options.model))
        self.classifier = load_classifier(source, self.accelerator.device, image_size=options.image_size)
        self.labels = class_labels(source, self.classifier.network, self.classifier.num_classes)
        self.decision = make_decision(options, source, self.labels)
        self.ranking = LabellingRanking(self.classifier, source) if options.rank_for_labelling else None
        self.intensity = trained_intensity(source)
        self.unreadable: list[Prediction] = []

    def describe(self) -> None:
        """Print the model, the number of images, and the files that were left out."""
        _, height, width = self.classifier.data_config["input_size"]
        heading = f"{self.options.model}: {counted(len(self.labels), 'class')}, {height} x {width} pixels"
        images = counted(len(self.files), "image")
        say(printable(f"{heading}; {images}"), main_process=self.accelerator.is_local_main_process)
        if self.left_out:
            say(printable(self.left_out), main_process=self.accelerator.is_local_main_process)

    def predict(self) -> list[Prediction]:
        """Classify every image once over all processes, and write the rows.

        Rows are written batch by batch; with ``prior="estimate"`` or ``rank_for_labelling`` only after the last image.

        Returns:
            The predictions, the same in each process, in the order of the images or by rank. A file that cannot be read
            has no labels and a ``problem``; with ``skip_bad_images`` it is left out.

        Raises:
            UserError: The rows cannot be written, a process that loads images was lost, or no image can be read.
        """
        files, predictions = self._open_files(), list[Prediction]()
        try:
            for step in self._prediction_steps(self._batches()):
                if self.ranking is None:
                    self._on_main(files, partial(PredictionFiles.write, predictions=step))
                predictions += step
            if self.ranking is not None:
                predictions = self.ranking.rank(predictions, self.accelerator)
                self._on_main(files, partial(PredictionFiles.write, predictions=predictions))
            self._on_main(files, PredictionFiles.finish)
        except BaseException:
            if files is not None and (line := files.stop()):
                print(printable(line), file=sys.stderr)
            raise
        self.unreadable = [prediction for prediction in predictions if prediction.problem is not None]
        if len(self.unreadable) == len(predictions):
            first = self.unreadable[0]
            raise UserError(
                f"None of the images can be read; the first is {escaped(first.file)} ({first.problem})"
                f"{self._reasons()}: check that the files are images."
            )
        return [
            prediction for prediction in predictions if prediction.problem is None or not self.options.skip_bad_images
        ]

    def _batches(self) -> Iterator[Batch]:
        """The batches of this process. With ``prior="estimate"`` the class frequencies are estimated before them."""
        classifier = self.classifier if self.ranking is None else self.ranking.classifier
        batches: Iterator[Batch] = logit_batches(classifier, self._loader(), self.accelerator)
        if self.ranking is not None:
            batches = self.ranking.record(batches)
        return self._estimate_prior(batches) if self.options.prior == "estimate" else batches

    def _open_files(self) -> PredictionFiles | None:
        """The files that the main process writes; ``None`` in the others, and where nothing is written."""
        options, opened = self.options, list[PredictionFiles]()
        if options.output is not None:
            path, thresholds = Path(options.output), self.decision.thresholds is not None
            top, listed = min(options.top, self.decision.num_classes), not options.skip_bad_images
            settings = {"overwrite": options.overwrite, "list_problems": listed, "thresholds": thresholds}
            settings |= {"quote_formulas": options.quote_formulas, "ranked": options.rank_for_labelling}
            on_main_process(self.accelerator, lambda: opened.append(PredictionFiles(path, top, **settings)))
        return opened[0] if opened else None

    def _on_main(self, files: PredictionFiles | None, function: Callable[[PredictionFiles], None]) -> None:
        """Call ``function`` with the files, in the main process; an error is raised in all processes."""
        on_main_process(self.accelerator, lambda: None if files is None else function(files))

    def _estimate_prior(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Read all batches, estimate the class frequencies of their images, print them, and return the batches."""
        stored, fault = list[Batch](), None
        try:
            stored = [(logits.cpu(), positions, problems) for logits, positions, problems in batches]
        except UserError as error:
            fault = error.sentence
        rows = [(positions, logits.double().numpy()) for logits, positions, _ in stored if len(positions)]
        gathered = gather_object([(rows, fault)])
        if faults := [fault for _, fault in gathered if fault is not None]:
            raise UserError(faults[0])
        all_rows = [row for rows, _ in gathered for row in rows]
        if all_rows:
            order = np.argsort(np.concatenate([positions for positions, _ in all_rows]))
            logits = np.concatenate([logits for _, logits in all_rows])[order]
            self.decision, estimate = self.decision.estimate_prior(logits)
            model_prior = self.decision.model_prior
            assert model_prior is not None
            table = prior_table(self.labels, model_prior, estimate, len(logits))
            say(table, main_process=self.accelerator.is_local_main_process)
        return iter(stored)

    def _prediction_steps(self, batches: Iterator[Batch]) -> Iterator[list[Prediction]]:
        """The predictions of each step, gathered from all processes, in the order of the images.

        In one step the processes read neighbouring images, so that the rows of a step can be written in order.
        """
        images = self.accelerator.num_processes * self.options.batch_size
        for _ in range(math.ceil(len(self.files) / images)):
            rows, fault = list[tuple[int, Prediction]](), None
            try:
                if (batch := next(batches, None)) is not None:
                    rows = self._classify(*batch)
            except UserError as error:
                fault = error.sentence
            except RuntimeError as error:
                if (worker_failure := worker_error(error)) is None:
                    raise
                fault = worker_failure.sentence
            gathered = gather_object([(rows, fault)])
            if faults := [fault for _, fault in gathered if fault is not None]:
                raise UserError(faults[0])
            yield [
                prediction for _, prediction in sorted((row for rows, _ in gathered for row in rows), key=itemgetter(0))
            ]

    def _classify(
        self, logits: Tensor, positions: list[int], problems: list[tuple[int, str]]
    ) -> list[tuple[int, Prediction]]:
        """The predictions of one batch, each with its position."""
        rows = [
            (position, Prediction(str(self.files[position]), [], [], printable(reason)))
            for position, reason in problems
        ]
        measures: Sequence[tuple[float | None, float | None]] = [(None, None)] * len(positions)
        if self.ranking is not None:
            measures = self.ranking.measure(self.decision.probabilities(logits))
        answers = self.decision.top(logits, self.options.top)
        for position, top_classes, probabilities, sure, (uncertainty, rarity) in zip(
            positions, *answers, measures, strict=True
        ):
            labels = [self.labels[label] for label in top_classes]
            file = str(self.files[position])
            rows.append(
                (position, Prediction(file, labels, probabilities, sure=sure, uncertainty=uncertainty, rarity=rarity))
            )
        return rows

    def _loader(self) -> DataLoader[Any]:
        options = self.options
        dataset = ImageFiles(self.files, self.classifier.preprocessing, self.intensity)
        share = range(self.accelerator.process_index, len(self.files), self.accelerator.num_processes)
        # Workers would not help with a single batch.
        workers = loading_workers(options.workers, len(share) <= options.batch_size, self.accelerator.device)
        return batch_loader(dataset, share, options.batch_size, workers)

    def _reasons(self) -> str:
        """The end of a line that says where the reasons are written; empty where they are not."""
        options = self.options
        if not self.unreadable or options.output is None or options.skip_bad_images:
            return ""
        return f"; the reasons are in {printable(str(problems_path(Path(options.output))))}"

    def finish(self, predictions: Sequence[Prediction]) -> None:
        """Print the table, and the files that cannot be read."""
        if not self.accelerator.is_main_process:
            return
        readable = [prediction for prediction in predictions if prediction.problem is None]
        print(prediction_table(readable))
        for unreadable in self.unreadable[:_MAX_LISTED]:
            print(printable(f"not read  {unreadable.file} ({unreadable.problem})"))
        if len(self.unreadable) > _MAX_LISTED:
            print(f"not read  {len(self.unreadable) - _MAX_LISTED} more")
        if self.ranking is not None:
            clusters = len({prediction.cluster for prediction in readable})
            print(
                f"ordered by how much a label would help rare classes; {counted(clusters, 'cluster')} of similar images"
            )
        location = "" if self.options.output is None else f" in {printable(self.options.output)}"
        unsure = sum(not prediction.sure for prediction in readable)
        unsure_note = "" if self.decision.thresholds is None else f", {unsure} of them unsure"
        images = counted(len(readable), "image")
        print(f"{images}{location}{unsure_note}, {len(self.unreadable)} could not be read{self._reasons()}")


def predict_images(options: PredictOptions) -> list[Prediction]:
    """Run a whole `PredictionRun`: describe, classify, write."""
    run = PredictionRun(options)
    run.describe()
    predictions = run.predict()
    run.finish(predictions)
    return predictions


def class_labels(source: ModelSource, network: nn.Module, num_classes: int) -> list[str]:
    """Name of each class: from the model, or from ImageNet where timm knows its subset, else ``class 0`` and so on."""
    if source.class_names is not None:
        return source.class_names
    subset = infer_imagenet_subset(network) if source.kind == "timm" else None
    if subset:
        describe = ImageNetInfo(subset).index_to_description
        return [describe(i) for i in range(num_classes)]
    return [f"class {i}" for i in range(num_classes)]


def prediction_table(predictions: Sequence[Prediction]) -> str:
    """The table for the screen: file, label, probability and runners-up of at most 50 images."""
    rows = [("file", "label", "probability", "runners-up")]
    for prediction in predictions[:_MAX_ROWS]:
        shares = [f"{100 * probability:.1f} %" for probability in prediction.probabilities]
        labels = [printable(label) for label in prediction.labels]
        runners_up = [f"{label} {share}" for label, share in zip(labels, shares, strict=True)][1:]
        label = labels[0] if prediction.sure else f"{UNSURE} ({labels[0]})"
        rows.append((printable(prediction.file), label, shares[0], ", ".join(runners_up)))
    remaining = len(predictions) - _MAX_ROWS
    return text_table(rows, left=(0, 1, 3)) + (f"\n... {remaining} more in the CSV" if remaining > 0 else "")
