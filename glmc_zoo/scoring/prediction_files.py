"""The files of a prediction. Rows are written batch by batch, and a file gets its final name when it is complete."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.disk import disk_error
from glmc_zoo.errors import UserError
from glmc_zoo.files import csv_text
from glmc_zoo.text import escaped

UNSURE = "unsure"
"""The label of an image whose most probable class is below its threshold."""
RANK_COLUMNS = ["rank", "uncertainty", "rarity", "cluster"]
"""Columns of a ranking for labelling."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image file."""

    file: str
    """Path of the file. Bytes that are not UTF-8 are surrogate escapes, as `open` takes them."""
    labels: list[str]
    """Names of the most probable classes, the most probable first; empty for a file that cannot be read."""
    probabilities: list[float]
    """Probabilities of these classes."""
    problem: str | None = None
    """Why the file cannot be read; ``None`` for an image that was classified."""
    sure: bool = True
    """Whether the most probable class reaches its threshold; always true without thresholds."""
    rank: int | None = None
    """Rank for labelling, from 1 for the image to label first. This and the next three are ``None`` without
    ``rank_for_labelling``; see `glmc_zoo.scoring.labelling`."""
    uncertainty: float | None = None
    """From 0 to 1: 1 minus the difference of the two largest probabilities."""
    rarity: float | None = None
    """From 0 to 1, where 1 is the class with the fewest training images."""
    cluster: int | None = None
    """Number of the cluster; similar images are in the same cluster."""

    @property
    def label(self) -> str | None:
        """Name of the most probable class; ``None`` for a file that cannot be read."""
        return self.labels[0] if self.labels else None


def problems_path(output: Path) -> Path:
    """The CSV file beside ``output`` that lists the files that cannot be read."""
    return output.with_name(f"{output.name}.problems.csv")


def partial_path(path: Path) -> Path:
    """The file that holds the rows of ``path`` until it is complete."""
    return path.with_name(f"{path.name}.partial")


def _names(output: Path) -> list[Path]:
    """All files that a prediction to ``output`` may write."""
    final = (output, problems_path(output))
    return [*final, *map(partial_path, final)]


def check_output(output: Path, *, overwrite: bool) -> None:
    """Check that the files of a prediction can be written, and make their folder.

    Raises:
        UserError: One of the files exists and ``overwrite`` is false, or the folder cannot be written.
    """
    name = f"output={escaped(str(output))!r}"
    if output.is_dir():
        raise UserError(f"{name} is a folder: give a CSV file.")
    existing = [] if overwrite else [path for path in _names(output) if path.exists()]
    if output in existing:
        raise UserError(f"{name} exists already: give another output=, or overwrite=True to replace it.")
    if existing:
        unfinished = existing[0].suffix == ".partial"
        rows = "rows of a prediction that has not finished" if unfinished else "rows of an earlier prediction"
        raise UserError(
            f"{name} is not written, because {escaped(str(existing[0]))} has {rows}: move that file, give another "
            "output=, or overwrite=True to replace it."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} cannot be written: {error.strerror or error}.") from error
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"{name} cannot be written: its folder is read-only.")


class RowFile:
    """A CSV file that grows: its rows are in ``NAME.partial``, which `finish` renames.

    Raises:
        UserError: Another prediction writes to the same file, or the disk is full or read-only. Rows that were written
            before stay.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, overwrite: bool, quote_formulas: bool = True) -> None:
        self.path, self.partial, self.quote_formulas = path, partial_path(path), quote_formulas
        self.rows, self._bytes = 0, 0
        try:
            if overwrite:
                self.partial.unlink(missing_ok=True)  # otherwise a link would have its target overwritten
            with self.partial.open("xb"):
                pass
        except OSError as error:
            raise self._failure(error) from error
        self._append([columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows; they are on disk afterwards, also if the process is killed."""
        self._append(rows)
        self.rows += len(rows)

    def _append(self, rows: Sequence[Sequence[Any]]) -> None:
        text = csv_text(rows, quote_formulas=self.quote_formulas).encode()
        try:
            with self.partial.open("ab") as file:
                if file.tell() != self._bytes:
                    raise UserError(
                        f"{escaped(str(self.partial))} was changed by another program while rows were written to it: "
                        "give each prediction its own output=."
                    )
                file.write(text)
        except OSError as error:
            if self.partial.exists():
                os.truncate(self.partial, self._bytes)  # drops an incomplete row
            raise self._failure(error) from error
        self._bytes += len(text)

    def finish(self) -> None:
        """Rename the file to its final name."""
        try:
            self.partial.replace(self.path)
        except OSError as error:
            raise self._failure(error) from error

    def discard(self) -> None:
        """Remove the file."""
        self.partial.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> UserError:
        disk_failure = disk_error(error, self.partial.parent)
        return disk_failure or UserError(f"{escaped(str(self.partial))} cannot be written: {error.strerror or error}.")


class PredictionFiles:
    """The CSV files of one prediction: one for the images, and one for the files that cannot be read.

    The columns of the first are ``file, label, probability, label_2, probability_2, ...``. Those of the second
    (`problems_path`) are ``file, problem``.

    Args:
        output: The first CSV file.
        top: Number of classes of each image.
        overwrite: Whether to replace files that exist.
        list_problems: Whether to write the second file, if any file cannot be read.
        quote_formulas: Whether to keep spreadsheets from reading text as a formula; see `quoted_formula`.
        thresholds: Whether labels may be `UNSURE`. Then a column ``most_probable`` has the most probable class.
        ranked: Whether the last columns are `RANK_COLUMNS`.

    Raises:
        UserError: The file cannot be written; see `RowFile`.
    """

    def __init__(
        self,
        output: Path,
        top: int,
        *,
        overwrite: bool,
        list_problems: bool,
        thresholds: bool = False,
        ranked: bool = False,
        quote_formulas: bool = True,
    ) -> None:
        self.output, self.overwrite, self.list_problems = output, overwrite, list_problems
        self.quote_formulas = quote_formulas
        self.thresholds, self.ranked = thresholds, ranked
        extra_columns = [name for rank in range(2, top + 1) for name in (f"label_{rank}", f"probability_{rank}")]
        extra_columns += ["most_probable"] if thresholds else []
        extra_columns += RANK_COLUMNS if ranked else []
        columns = ["file", "label", "probability", *extra_columns]
        self._images = RowFile(output, columns, overwrite=overwrite, quote_formulas=quote_formulas)
        self._problems: RowFile | None = None

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Add the rows of these predictions."""
        self._images.write([self._row(prediction) for prediction in predictions if prediction.problem is None])
        problems = [
            [escaped(prediction.file), prediction.problem]
            for prediction in predictions
            if prediction.problem is not None
        ]
        if problems and self.list_problems:
            if self._problems is None:
                path = problems_path(self.output)
                settings = {"overwrite": self.overwrite, "quote_formulas": self.quote_formulas}
                self._problems = RowFile(path, ["file", "problem"], **settings)
            self._problems.write(problems)

    def _row(self, image: Prediction) -> list[Any]:
        pairs = zip(image.labels, image.probabilities, strict=True)
        row: list[Any] = [escaped(image.file), *(cell for label, p in pairs for cell in (label, f"{p:.6f}"))]
        if self.thresholds:
            row = [row[0], row[1] if image.sure else UNSURE, *row[2:], row[1]]
        if self.ranked:
            row += [image.rank, f"{image.uncertainty:.6f}", f"{image.rarity:.6f}", image.cluster]
        return row

    def finish(self) -> None:
        """Rename the files to their final names; without any image there is only the file of problems."""
        if self._problems is not None:
            self._problems.finish()
        elif self.overwrite:
            for name in (problems_path(self.output), partial_path(problems_path(self.output))):
                name.unlink(missing_ok=True)  # files of the prediction that is replaced
        if self._images.rows:
            self._images.finish()
        else:
            self._images.discard()

    def stop(self) -> str:
        """End a failed prediction: remove files without rows, and return a line that says where the rows are."""
        locations = []
        for file in (self._images, self._problems):
            if file is not None and file.rows:
                locations.append(f"{file.rows:,} in {escaped(str(file.partial))}")
            elif file is not None:
                file.discard()
        return f"Rows written so far: {', '.join(locations)}" if locations else ""
