"""The rows of a CSV, JSON-lines or parquet file that lists images, every cell as text.

Every cell is text as it is written: ``None``, ``NA`` and ``007`` stay what they are.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES
from glmc_zoo.data.reading.table_sizes import list_batches
from glmc_zoo.errors import UserError
from glmc_zoo.text import unquoted_formula

Rows = list[dict[str, str]]

_SEPARATORS = ",;\t|"
_LONGEST_CELL = 2**31 - 1


class SeveralValues(str):
    """The text of a list or an object, which cannot be a class."""

    __slots__ = ()


def read_rows(path: Path) -> Rows:
    """The rows of a file, with the same columns in each; a cell that is not there is empty.

    Raises:
        UserError: The file cannot be read, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = list(_parquet_rows(path))
    else:
        text = _text(path)
        rows = list(_json_rows(path, text) if suffix == ".jsonl" else _csv_rows(path, text))
    if not rows:
        raise UserError(f"{path} has no rows: list the images with their classes in it.")
    if suffix != ".jsonl":
        return rows
    # A row of JSON lines may lack what another has.
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _csv_rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    header: list[str] = []
    for number, cells in csv_cells(path, text):
        if not header:
            header = _header(path, cells)
        elif len(cells) != len(header):
            raise UserError(
                f"Line {number} of {path} has {len(cells)} cells and its first line {len(header)}: write as many, and "
                "put text that holds the separator in quotes."
            )
        else:
            yield dict(zip(header, cells, strict=True))


def csv_cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row of a CSV file with the number of its last line, counted from 1; empty rows are passed over.

    The separator is the most frequent one in the first line. An apostrophe that keeps a spreadsheet from taking a cell
    for a formula is removed; see `quoted_formula`.

    Raises:
        UserError: A quote is never closed.
    """
    lines = text.split("\n")
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].lower().startswith("sep=")):
        skipped += 1  # Excel may begin with a line that names the separator
    if skipped == len(lines):
        return
    separator = max(_SEPARATORS, key=lines[skipped].count)
    # Strict: a quote that is never closed would make one cell of all further lines.
    reader = csv.reader(
        io.StringIO("\n".join(lines[skipped:]), newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    before = 0
    try:
        while (cells := _next_row(reader)) is not None:
            before = reader.line_num
            if any(cells):
                yield before + skipped, list(map(unquoted_formula, cells))
    except csv.Error as error:
        reason = "a quote is not closed" if "unexpected end of data" in str(error) else error
        raise UserError(f"The row in line {before + skipped + 1} of {path} cannot be read as CSV: {reason}.") from error


def _next_row(reader: Any) -> list[str] | None:
    """The next row, with cells of any length: the limit of the library is a setting of the whole process."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        row: list[str] | None = next(reader, None)
        return row
    finally:
        csv.field_size_limit(limit)


def _header(path: Path, cells: list[str]) -> list[str]:
    """The names of the columns; a column without a name, such as an index, is called by its number."""
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        check_header(path, names)
        raise UserError(f"{path} has several columns called {repeated}: rename all but one of them.")
    return names


def check_header(path: Path, names: Sequence[str]) -> None:
    """Refuse a list whose first line is a row: one of the ``names`` is the path of an image, maybe with its label.

    Raises:
        UserError: The sentence says what the first line must hold.
    """
    words = [word for name in names for word in name.split()]
    if path.suffix.lower() in (".jsonl", ".parquet") or not any(
        Path(word).suffix.lower() in IMAGE_SUFFIXES for word in words
    ):
        return
    lists = (
        " (lists of lines 'PATH LABEL' are only for split_file=, with imagenet_lt and other data sets with official "
        "lists)"
    )
    raise UserError(
        f"The first line of {path} is {', '.join(names)[:100]!r} and does not name the columns: write a first line "
        "such as image,label, with a comma, semicolon, tab or | between the columns of each line"
        f"{lists if len(names) == 1 else ''}."
    )


def _json_rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    # Not `splitlines`, which also cuts at characters that a text in JSON may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            # Numbers stay as they are written, such as 1.0 and 1e5.
            row = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError) as error:
            raise UserError(f"Line {number} of {path} is not JSON: {one_line(error)}.") from error
        if not isinstance(row, dict):
            raise UserError(f"Line {number} of {path} is not an object: write one object for each image.")
        yield {str(name): _as_text(value) for name, value in row.items()}


def _parquet_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        for batch in list_batches(path):
            for row in batch.to_pylist():
                yield {name: _as_text(value) for name, value in row.items()}
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}.") from error


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | int):
        return _as_text(value[0])
    text = json.dumps(value, ensure_ascii=False, default=str)
    return SeveralValues(text) if isinstance(value, list | dict) else text
