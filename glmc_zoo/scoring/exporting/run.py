"""An export, step by step: checks the options, opens the model, writes a file, compares, times and renames it."""

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
from glmc_zoo.machine.hardware import configure_device
from glmc_zoo.options.commands import ExportOptions
from glmc_zoo.scoring.exporting.check import (
    Agreement,
    random_batches,
    time_ratio,
    to_graph_input,
    torch_probabilities,
)
from glmc_zoo.scoring.exporting.formats import FORMATS, Run, open_onnx, write
from glmc_zoo.scoring.exporting.graph import ClassifierGraph, metadata
from glmc_zoo.scoring.exporting.images import CheckImages, open_check_images
from glmc_zoo.scoring.exporting.int8 import write_int8
from glmc_zoo.scoring.model import load_classifier
from glmc_zoo.scoring.prediction import class_labels
from glmc_zoo.text import counted, escaped, printable

_TIMED = (1, 16)  # batch sizes


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One exported file, and its comparison with torch on the CPU."""

    file: str
    """Path of the file."""
    format: str
    """``onnx``, ``onnx int8 static``, ``onnx int8 dynamic`` or ``torch_export``."""
    bytes: int
    """Size of the file."""
    random_images: int
    """Number of random images in the comparison."""
    test_images: int
    """Number of images of ``check_data`` in the comparison."""
    max_difference: float
    """Largest absolute difference of a probability over all these images."""
    top1_agreement: float
    """Share of these images whose most probable class is the same."""
    time_ratio_1: float
    """Time for a batch of 1 image divided by the time of torch without compilation, measured on this machine."""
    time_ratio_16: float
    """The same for a batch of 16 images."""


class ExportRun:
    """Exports one model for another runtime, on the CPU; `recipes/export.py` shows its use.

    Raises:
        UserError: A package is missing, a file exists, or model or images do not fit; nothing was written.
    """

    def __init__(self, options: ExportOptions) -> None:
        self.options, self.format = options, FORMATS[options.format]
        self.format.check(options.format)
        self.files = _files(options, self.format.suffix)
        _check_files(self.files, overwrite=options.overwrite)
        device = torch.device("cpu")
        configure_device(device, None)
        self.source = open_model(options.model)
        self.classifier = load_classifier(self.source, device, image_size=options.image_size)
        self.labels = class_labels(self.source, self.classifier.network, self.classifier.num_classes)
        self.images: CheckImages | None = None
        if options.check_data is not None:
            self.images = open_check_images(options.check_data, options.data_dir, self.source, self.classifier)

    def describe(self) -> None:
        """Print the model, and the images on which the export is compared."""
        _, height, width = self.size
        images_text = (
            "random images" if self.images is None else f"random images and {len(self.images)} of {self.images}"
        )
        shape = f"{counted(len(self.labels), 'class')}, {height} x {width} pixels"
        print(printable(f"{self.options.model}: {shape}; compared on {images_text}"))

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        channels, height, width = self.classifier.data_config["input_size"]
        return channels, height, width

    def export(self) -> list[ExportedFile]:
        """Write the files under temporary names, compare them with torch, time them, and rename them.

        Raises:
            UserError: The model cannot be exported, the answers of the file differ from torch's, or a file cannot be
                written. All written files are removed then.
        """
        graph = ClassifierGraph(self.classifier)
        with _replace_files(self.files, overwrite=self.options.overwrite) as temporary:
            example = torch.rand(2, *self.size, generator=torch.Generator().manual_seed(0))
            file_metadata = metadata(self.source, self.classifier, self.labels)
            runs = [write(self.options.format, self.options.model, graph, example, file_metadata, temporary[0])]
            calibration: list[int] = []
            if self.options.int8:
                calibration = [] if self.images is None else self.images.calibration()
                runs.append(self._int8(temporary, calibration))
            first_agreement, *others = self._agreements(runs, set(calibration))
            first_agreement.check(self.options.model)
            rows = []
            for path, temporary_path, run, agreement in zip(
                self.files, temporary, runs, [first_agreement, *others], strict=True
            ):
                rows.append(self._row(path, temporary_path.stat().st_size, run, agreement, graph))
        return rows

    def _int8(self, temporary: Sequence[Path], calibration: list[int]) -> Run:
        images = None if self.images is None else self.images.single_images(calibration)
        write_int8(temporary[0], temporary[1], images)
        return open_onnx(temporary[1])

    def _agreements(self, runs: Sequence[Run], calibration: set[int]) -> list["_FileAgreement"]:
        """Compare each file with torch. For an int8 file only real images count that did not set its ranges."""
        agreements = [_FileAgreement()]
        agreements += [_FileAgreement(real_only=self.images is not None, left_out=calibration) for _ in runs[1:]]
        for images in random_batches(self.size):
            self._compare(runs, agreements, images, None)
        for images, positions in self.images or ():
            self._compare(runs, agreements, images, positions)
        return agreements

    def _compare(
        self,
        runs: Sequence[Run],
        agreements: Sequence["_FileAgreement"],
        images: Tensor,
        positions: Sequence[int] | None,
    ) -> None:
        expected, pixels = torch_probabilities(self.classifier, images), to_graph_input(images)
        for run, agreement in zip(runs, agreements, strict=True):
            agreement.count_batch(expected, run(pixels), positions)

    def _row(
        self, path: Path, size: int, run: Run, agreement: "_FileAgreement", graph: ClassifierGraph
    ) -> ExportedFile:
        @torch.inference_mode()
        def run_graph(images: Tensor) -> Tensor:
            probabilities: Tensor = graph(images)[0]
            return probabilities

        batches = {count: torch.rand(count, *self.size) for count in _TIMED}
        ratios: dict[str, Any] = {
            f"time_ratio_{count}": time_ratio(run_graph, run, images) for count, images in batches.items()
        }
        return ExportedFile(
            file=str(path),
            format=self._format_name(path),
            bytes=size,
            random_images=agreement.random_images,
            test_images=agreement.images - agreement.random_images,
            max_difference=agreement.max_difference,
            top1_agreement=agreement.top1_agreement,
            **ratios,
        )

    def _format_name(self, path: Path) -> str:
        if path == self.files[0]:
            return self.options.format
        return f"{self.options.format} int8 {'dynamic' if self.images is None else 'static'}"

    def finish(self, exported: Sequence[ExportedFile]) -> None:
        """Print the table."""
        print(export_table(exported))
        if self.options.int8 and self.images is None:
            print(
                "note: Without --check-data, int8 quantises only matrix products, and was compared on random images "
                "only."
            )


@dataclass
class _FileAgreement(Agreement):
    """The agreement of one file with torch, and the images that count for it."""

    random_images: int = 0
    """Number of random images that were counted."""
    real_only: bool = False
    """Whether random images do not count."""
    left_out: set[int] = field(default_factory=set)
    """Positions of real images that do not count."""

    def count_batch(self, expected: Tensor, probabilities: Tensor, positions: Sequence[int] | None) -> None:
        """Count a batch of real images at ``positions``, or of random images if that is ``None``."""
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
    """Run a whole `ExportRun`: describe, write, compare, print the table."""
    run = ExportRun(options)
    run.describe()
    exported = run.export()
    run.finish(exported)
    return exported


def export_table(exported: Sequence[ExportedFile]) -> str:
    """The table for the screen, with a row for each file."""
    header = ("file", "format", "MB", "images", "largest difference", "same class", "time, batch 1", "batch 16")
    rows = [
        (
            printable(row.file),
            row.format,
            f"{row.bytes / 1e6:.1f}",
            _images_text(row),
            f"{row.max_difference:.1e}",
            f"{100 * row.top1_agreement:.2f} %",
            f"{row.time_ratio_1:.2f}",
            f"{row.time_ratio_16:.2f}",
        )
        for row in exported
    ]
    times = "times are relative to torch without compilation, measured on this CPU"
    return f"{text_table([header, *rows], left=(0, 1, 3))}\n{times}"


def _images_text(exported: ExportedFile) -> str:
    counts = {"random": exported.random_images, "real": exported.test_images}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _files(options: ExportOptions, suffix: str) -> list[Path]:
    """The files to write: ``output``, or ``model`` with the format's suffix in it; with int8 a second file."""
    output = Path(options.output)
    path = output if output.suffix == suffix else output / f"model{suffix}"
    return [path, *([path.with_name(f"{path.stem}-int8{suffix}")] if options.int8 else [])]


def _check_files(files: Sequence[Path], *, overwrite: bool) -> None:
    folder = next(path for path in files[0].absolute().parents if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "its folder is read-only" if folder.is_dir() else f"{escaped(str(folder))} is a file"
        raise UserError(f"output={escaped(str(files[0]))!r} cannot be written, because {reason}: give another output=.")
    for path in files:
        name = f"output={escaped(str(path))!r}"
        if path.is_dir():
            raise UserError(f"{name} is a folder: give another output=.")
        if path.exists() and not overwrite:
            raise UserError(f"{name} exists already: give another output=, or overwrite=True to replace it.")


@contextmanager
def _replace_files(files: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """Temporary names beside ``files``: renamed to them after the block, or removed where it fails."""
    folder = files[0].parent
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]  # the deepest first
    temporary = [path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}") for path in files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield temporary
        _check_files(files, overwrite=overwrite)  # again, because another process may have written one meanwhile
        for temporary_path, path in zip(temporary, files, strict=True):
            temporary_path.replace(path)
        new_folders = []
    except OSError as error:
        raise UserError(
            f"output={escaped(str(files[0]))!r} cannot be written ({error.strerror or error}): give another output=."
        ) from error
    finally:
        for temporary_path in temporary:
            temporary_path.unlink(missing_ok=True)
        for new_folder in new_folders:
            if new_folder.is_dir() and not any(new_folder.iterdir()):
                new_folder.rmdir()
