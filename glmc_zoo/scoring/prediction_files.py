"""The files of a prediction: rows are written as they come, and a file gets its name when it is whole."""

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
"""Those of a ranking for labelling."""


@dataclass(frozen=True)
class Prediction:
    """The classes given to one image."""

    file: str
    """Bytes of a name that are not UTF-8 are surrogate escapes, as `open` takes them."""
    labels: list[str]
    """The most probable first; none for a file that cannot be read."""
    probabilities: list[float]
    problem: str | None = None
    """Why the file cannot be read; ``None`` for an image that was classified."""
    sure: bool = True
    """Whether the most probable class reaches the probability that was asked for."""
    rank: int | None = None
    """With ``rank_for_labelling``: what to label first is 1; ``None`` without, as the next three, and see
    `glmc_zoo.scoring.labelling`."""
    uncertainty: float | None = None
    """From 0 to 1: 1 less the difference of the two largest probabilities."""
    rarity: float | None = None
    """From 0 to 1, where 1 stands for the class with fewest training images."""
    cluster: int | None = None
    """Similar images have the same number."""


def problems_path(output: Path) -> Path:
    """The CSV file beside ``output`` that names the files that cannot be read."""
    return output.with_name(f"{output.name}.problems.csv")


def partial_path(path: Path) -> Path:
    """The file that holds the rows of ``path`` until all are known."""
    return path.with_name(f"{path.name}.partial")


def free_output(output: Path) -> Path:
    """``output``, or ``NAME-2.csv``, ``NAME-3.csv``, ...: the first that no prediction has written to."""
    numbered = (output.with_name(f"{output.stem}-{i}{output.suffix}") for i in range(2, 10_000))
    return next(path for path in (output, *numbered) if not any(one.exists() for one in _names(path)))


def _names(output: Path) -> list[Path]:
    """Every file that a prediction may write."""
    final = (output, problems_path(output))
    return [*final, *map(partial_path, final)]


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, or that would replace one without being asked to.

    Raises:
        UserError: The file or one that belongs to it exists and ``overwrite`` is false, or its folder is not writable.
    """
    name = f"output={escaped(str(output))!r}"
    if output.is_dir():
        raise UserError(f"{name} is a folder: give a CSV file.")
    taken = [] if overwrite else [path for path in _names(output) if path.exists()]
    if output in taken:
        raise UserError(f"{name} exists already: give another file, or overwrite=True to replace it.")
    if taken:
        rows = (
            "rows of a prediction that has not finished" if taken[0].suffix == ".partial" else "an earlier prediction"
        )
        raise UserError(
            f"{name} is not written, because {escaped(str(taken[0]))} has {rows}: move that file, give another "
            "output=, or overwrite=True to replace it."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} cannot be written: {error.strerror or error}.") from error
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"{name} cannot be written: its folder is read-only.")


class RowFile:
    """A CSV file that grows: its rows lie in ``NAME.partial``, which `finish` renames.

    Raises:
        UserError: Another prediction writes to the same file, or the disk is full or read-only. Earlier rows stay.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, overwrite: bool, quote_formulas: bool = True) -> None:
        self.path, self.partial, self.quote_formulas = path, partial_path(path), quote_formulas
        self.rows, self._bytes = 0, 0
        try:
            if overwrite:
                self.partial.unlink(missing_ok=True)  # a link there would have its target overwritten
            with self.partial.open("xb"):
                pass
        except OSError as error:
            raise self._failure(error) from error
        self._append([columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows; they outlive this process from now on."""
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
                os.truncate(self.partial, self._bytes)  # without half a row
            raise self._failure(error) from error
        self._bytes += len(text)

    def finish(self) -> None:
        """Give the file its name."""
        try:
            self.partial.replace(self.path)
        except OSError as error:
            raise self._failure(error) from error

    def discard(self) -> None:
        """Remove the file."""
        self.partial.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> UserError:
        told = disk_error(error, self.partial.parent)
        return told or UserError(f"{escaped(str(self.partial))} cannot be written: {error.strerror or error}.")


class PredictionFiles:
    """The CSV files of one prediction: ``file, label, probability, label_2, probability_2, ...``, and the problems.

    Files that cannot be read have their rows, ``file, problem``, in a file of their own (`problems_path`), so that
    every row of ``output`` is that of an image with its classes.

    Args:
        output: The CSV file.
        top: Classes of each image.
        overwrite: Replace files that exist.
        list_problems: Write the file of problems, if there are any.
        quote_formulas: Keep a spreadsheet from taking a cell of text for a formula; see `quoted_formula`.
        thresholds: Some labels may be `UNSURE`; a column ``most_probable`` has the class that it would have been.
        ranked: The last columns are `RANK_COLUMNS`.
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
        more = [name for rank in range(2, top + 1) for name in (f"label_{rank}", f"probability_{rank}")]
        more += ["most_probable"] if thresholds else []
        more += RANK_COLUMNS if ranked else []
        columns = ["file", "label", "probability", *more]
        self._images = RowFile(output, columns, overwrite=overwrite, quote_formulas=quote_formulas)
        self._problems: RowFile | None = None

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Add the rows of these images and files."""
        self._images.write([self._row(one) for one in predictions if one.problem is None])
        problems = [[escaped(one.file), one.problem] for one in predictions if one.problem is not None]
        if problems and self.list_problems:
            if self._problems is None:
                path = problems_path(self.output)
                quote = {"overwrite": self.overwrite, "quote_formulas": self.quote_formulas}
                self._problems = RowFile(path, ["file", "problem"], **quote)
            self._problems.write(problems)

    def _row(self, one: Prediction) -> list[Any]:
        pairs = zip(one.labels, one.probabilities, strict=True)
        row: list[Any] = [escaped(one.file), *(cell for label, p in pairs for cell in (label, f"{p:.6f}"))]
        if self.thresholds:
            row = [row[0], row[1] if one.sure else UNSURE, *row[2:], row[1]]
        if self.ranked:
            row += [one.rank, f"{one.uncertainty:.6f}", f"{one.rarity:.6f}", one.cluster]
        return row

    def finish(self) -> None:
        """Give the files their names; without any image there is only the file of problems."""
        if self._problems is not None:
            self._problems.finish()
        elif self.overwrite:
            for name in (problems_path(self.output), partial_path(problems_path(self.output))):
                name.unlink(missing_ok=True)  # of the prediction that is replaced
        if self._images.rows:
            self._images.finish()
        else:
            self._images.discard()

    def stop(self) -> str:
        """Where the rows are that a failed prediction leaves, as a line; files without rows are removed."""
        places = []
        for file in (self._images, self._problems):
            if file is not None and file.rows:
                places.append(f"{file.rows:,} in {escaped(str(file.partial))}")
            elif file is not None:
                file.discard()
        return f"Rows written so far: {', '.join(places)}" if places else ""
