"""An export, step by step: packages and files checked, model opened, file written, compared, timed and renamed."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glmc_zoo.errors import UserError
from glmc_zoo.files import text_table
from glmc_zoo.hub import open_model
from glmc_zoo.machine.hardware import use_device
from glmc_zoo.options.commands import ExportOptions
from glmc_zoo.scoring.exporting.check import (
    Agreement,
    as_input,
    random_batches,
    time_ratio,
    torch_probabilities,
)
from glmc_zoo.scoring.exporting.formats import FORMATS, Run, open_onnx, write
from glmc_zoo.scoring.exporting.graph import ClassifierGraph, metadata
from glmc_zoo.scoring.exporting.images import CheckImages, open_check_images
from glmc_zoo.scoring.exporting.int8 import write_int8
from glmc_zoo.scoring.model import load_classifier
from glmc_zoo.scoring.prediction import class_labels
from glmc_zoo.text import escaped, printable

_TIMED = (1, 16)  # images of a batch


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One file that an export wrote, and how it compares with torch on the CPU."""

    file: str
    format: str
    """``onnx``, ``onnx int8 static``, ``onnx int8 dynamic`` or ``torch_export``."""
    bytes: int
    random_images: int
    """Random images that both classified."""
    test_images: int
    """Images of ``check_data`` that both classified."""
    max_difference: float
    """Largest absolute difference of a probability over all these images."""
    top1_agreement: float
    """Share of these images whose most probable class is the same."""
    time_ratio_1: float
    """Time of a batch of 1 image over that of torch without compilation, taken in turn on this machine."""
    time_ratio_16: float
    """Likewise for a batch of 16 images."""


class ExportRun:
    """One model written for another runtime; `recipes/export.py` shows its use. Everything is on the CPU.

    Raises:
        UserError: A package is missing, a file exists, or model or images do not fit; nothing was written.
    """

    def __init__(self, options: ExportOptions) -> None:
        self.options, self.format = options, FORMATS[options.format]
        self.format.check(options.format)
        self.files = _files(options, self.format.suffix)
        _check_files(self.files, overwrite=options.overwrite)
        device = torch.device("cpu")
        use_device(device, None)
        self.source = open_model(options.model)
        self.classifier = load_classifier(self.source, device, image_size=options.image_size)
        self.labels = class_labels(self.source, self.classifier.network, self.classifier.num_classes)
        self.images: CheckImages | None = None
        if options.check_data is not None:
            self.images = open_check_images(options.check_data, options.data_dir, self.source, self.classifier)

    def describe(self) -> None:
        """Print what is about to be exported, and what it is compared on."""
        _, height, width = self.size
        compared = "random images" if self.images is None else f"random images and {len(self.images)} of {self.images}"
        shape = f"{len(self.labels)} classes, {height} x {width} pixels"
        print(printable(f"{self.options.model}: {shape}; compared on {compared}"))

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        channels, height, width = self.classifier.data_config["input_size"]
        return channels, height, width

    def export(self) -> list[ExportedFile]:
        """Write the files, compare them with torch, time them, and give them their names.

        Raises:
            UserError: The model cannot be exported, its export gives other answers than torch, or a file cannot be
                written. Nothing is left then.
        """
        graph = ClassifierGraph(self.classifier)
        with _writing(self.files, overwrite=self.options.overwrite) as partial:
            example = torch.rand(2, *self.size, generator=torch.Generator().manual_seed(0))
            described = metadata(self.source, self.classifier, self.labels)
            runs = [write(self.options.format, self.options.model, graph, example, described, partial[0])]
            calibration: list[int] = []
            if self.options.int8:
                calibration = [] if self.images is None else self.images.calibration()
                runs.append(self._int8(partial, calibration))
            exact, *approximate = self._agreements(runs, set(calibration))
            exact.check(self.options.model)
            rows = []
            for path, part, run, agreement in zip(self.files, partial, runs, [exact, *approximate], strict=True):
                rows.append(self._row(path, part.stat().st_size, run, agreement, graph))
        return rows

    def _int8(self, partial: Sequence[Path], calibration: list[int]) -> Run:
        images = None if self.images is None else self.images.one_by_one(calibration)
        write_int8(partial[0], partial[1], images)
        return open_onnx(partial[1])

    def _agreements(self, runs: Sequence[Run], calibration: set[int]) -> list["_Compared"]:
        """Compare each file with torch; an approximate one by the real images, without those that calibrated it."""
        compared = [_Compared()]
        compared += [_Compared(real_only=self.images is not None, left_out=calibration) for _ in runs[1:]]
        for images in random_batches(self.size):
            self._compare(runs, compared, images, None)
        for images, positions in self.images or ():
            self._compare(runs, compared, images, positions)
        return compared

    def _compare(
        self, runs: Sequence[Run], compared: Sequence["_Compared"], images: Tensor, positions: Sequence[int] | None
    ) -> None:
        expected, pixels = torch_probabilities(self.classifier, images), as_input(images)
        for run, one in zip(runs, compared, strict=True):
            one.count_batch(expected, run(pixels), positions)

    def _row(self, path: Path, size: int, run: Run, compared: "_Compared", graph: ClassifierGraph) -> ExportedFile:
        @torch.inference_mode()
        def eager(images: Tensor) -> Tensor:
            probabilities: Tensor = graph(images)[0]
            return probabilities

        timed = {count: torch.rand(count, *self.size) for count in _TIMED}
        ratios: dict[str, Any] = {
            f"time_ratio_{count}": time_ratio(eager, run, images) for count, images in timed.items()
        }
        return ExportedFile(
            file=str(path),
            format=self._format_of(path),
            bytes=size,
            random_images=compared.random_images,
            test_images=compared.images - compared.random_images,
            max_difference=compared.max_difference,
            top1_agreement=compared.top1_agreement,
            **ratios,
        )

    def _format_of(self, path: Path) -> str:
        if path == self.files[0]:
            return self.options.format
        return f"{self.options.format} int8 {'dynamic' if self.images is None else 'static'}"

    def finish(self, exported: Sequence[ExportedFile]) -> None:
        """Print the table."""
        print(export_table(exported))
        if self.options.int8 and self.images is None:
            print(
                "note: int8 without --check-data has only the weights of matrix products in 8 bits, and was compared "
                "on random images alone."
            )


@dataclass
class _Compared(Agreement):
    """The agreement of one file, and on which images."""

    random_images: int = 0
    real_only: bool = False
    """Random images do not count."""
    left_out: set[int] = field(default_factory=set)
    """Positions that do not count."""

    def count_batch(self, expected: Tensor, probabilities: Tensor, positions: Sequence[int] | None) -> None:
        """Count a batch of random images (no ``positions``), or of those at these positions."""
        if positions is None and self.real_only:
            return
        if positions is None:
            self.random_images += len(expected)
        else:
            rows = [row for row, position in enumerate(positions) if position not in self.left_out]
            expected, probabilities = expected[rows], probabilities[rows]
        if len(expected):
            self.count(expected, probabilities)


def export_classifier(options: ExportOptions) -> list[ExportedFile]:
    """Run a whole export: describe, write, compare, show."""
    run = ExportRun(options)
    run.describe()
    exported = run.export()
    run.finish(exported)
    return exported


def export_table(exported: Sequence[ExportedFile]) -> str:
    """A row for each file, for the screen."""
    head = ("file", "format", "MB", "images", "largest difference", "same class", "time, batch 1", "batch 16")
    rows = [
        (
            printable(one.file),
            one.format,
            f"{one.bytes / 1e6:.1f}",
            _images_text(one),
            f"{one.max_difference:.1e}",
            f"{100 * one.top1_agreement:.2f} %",
            f"{one.time_ratio_1:.2f}",
            f"{one.time_ratio_16:.2f}",
        )
        for one in exported
    ]
    times = "times are those of torch without compilation = 1, in turn on this CPU"
    return f"{text_table([head, *rows], left=(0, 1, 3))}\n{times}"


def _images_text(one: ExportedFile) -> str:
    counts = {"random": one.random_images, "real": one.test_images}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _files(options: ExportOptions, suffix: str) -> list[Path]:
    """The files to write: the one named, or ``model`` with the format's suffix in the folder named; and with int8."""
    named = Path(options.output)
    path = named if named.suffix == suffix else named / f"model{suffix}"
    return [path, *([path.with_name(f"{path.stem}-int8{suffix}")] if options.int8 else [])]


def _check_files(files: Sequence[Path], *, overwrite: bool) -> None:
    folder = next(path for path in files[0].absolute().parents if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "its folder is read-only" if folder.is_dir() else f"{escaped(str(folder))} is a file"
        raise UserError(f"output={escaped(str(files[0]))!r} cannot be written, {reason}: give another.")
    for path in files:
        name = f"output={escaped(str(path))!r}"
        if path.is_dir():
            raise UserError(f"{name} is a folder: give another output=.")
        if path.exists() and not overwrite:
            raise UserError(f"{name} exists already: give another output=, or overwrite=True to replace it.")


@contextmanager
def _writing(files: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """Other names beside ``files``, which are renamed to them when the block succeeds, and removed when it fails."""
    folder = files[0].parent
    made = [path for path in (folder, *folder.parents) if not path.exists()]  # the deepest first
    partial = [path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}") for path in files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield partial
        _check_files(files, overwrite=overwrite)  # another process may have written one since
        for part, path in zip(partial, files, strict=True):
            part.replace(path)
        made = []
    except OSError as error:
        raise UserError(
            f"output={escaped(str(files[0]))!r} cannot be written: {error.strerror or error}; give another."
        ) from error
    finally:
        for part in partial:
            part.unlink(missing_ok=True)
        for empty in made:
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
