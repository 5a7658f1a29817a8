"""Files that list images with their classes: a CSV file, or ``metadata.csv`` and ``metadata.jsonl`` in a folder.

Every cell is text as it is written: ``None``, ``NA`` and ``007`` stay what they are.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.listing import FileListing, FileRows, class_name
from glmc_zoo.data.reading.split_names import split_role
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, Walk
from glmc_zoo.errors import UserError

PATH_NAMES = (
    "file_name",
    "filename",
    "file",
    "path",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "img",
    "img_path",
)
LABEL_NAMES = ("label", "labels", "class", "class_name", "target", "category")
SPLIT_NAMES = ("split", "subset", "partition")
GROUP_NAME = "group"
METADATA = ("metadata.csv", "metadata.jsonl")

NO_ROW = "no row in the metadata"
LISTED_TWICE = "listed twice"
MISSING = "listed and missing"
NOT_A_FILE = "listed and not a file"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are used."""

    path: str
    label: str
    split: str | None = None
    group: str | None = None


Rows = list[dict[str, str]]


def read_rows(path: Path) -> Rows:
    """The rows of a CSV or JSON-lines file, every value as text; `UserError` if it cannot be read as such."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    rows = list(_json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text))
    if not rows:
        raise UserError(f"{path} has no rows: list the images with their classes in it.")
    return rows


def _csv_rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    first = text.partition("\n")[0]
    if not first.strip():
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count))
    try:
        header = [name.strip() for name in next(reader)]
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"Line {reader.line_num} of {path} has {len(cells)} cells and its first line {len(header)}: write "
                    "as many, with text that holds the separator in quotes."
                )
            yield dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}.") from error


def _json_rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"Line {number} of {path} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise UserError(f"Line {number} of {path} is not an object: write one for each image.")
        yield {str(name): _as_text(value, name, number, path) for name, value in row.items()}


def _as_text(value: Any, name: str, number: int, path: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return value if isinstance(value, str) else json.dumps(value)
    # Other columns, such as boxes, may hold anything.
    return json.dumps(value) if name not in LABEL_NAMES else _refuse_several(value, name, number, path)


def _refuse_several(value: Any, name: str, number: int, path: Path) -> str:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | int):
        return str(value[0])
    raise UserError(f"Line {number} of {path} has {name} {json.dumps(value)}: give one class for each image.")


def find_columns(path: Path, names: Sequence[str], options: DataOptions) -> Columns:
    """The columns that are used: those that the user names, else those with a usual name."""
    image = _column(path, names, options.image_column, PATH_NAMES, "image")
    label = _column(path, [n for n in names if n != image], options.label_column, LABEL_NAMES, "label")
    others = [name for name in names if name not in (image, label)]
    split = next((name for name in others if name.lower() in SPLIT_NAMES), None)
    if options.split_column is not None:
        split = _column(path, names, options.split_column, (), "split")
    group = next((name for name in others if name.lower() == GROUP_NAME), None)
    if options.split_by is not None and not options.split_by.startswith("path:"):
        if options.split_by not in names:
            raise UserError(
                f"split_by={options.split_by!r} is not a column of {path}: give one of {', '.join(names)}, or "
                "path:PATTERN."
            )
        group = options.split_by
    return Columns(image, label, split, group)


def _column(path: Path, names: Sequence[str], wanted: str | None, usual: Sequence[str], kind: str) -> str:
    columns = f"the first line of {path} names the columns {', '.join(names)}"
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{kind}_column={wanted!r} is not a column: {columns}; give one of them.")
        return wanted
    matching = sorted((name for name in names if name.lower() in usual), key=lambda name: usual.index(name.lower()))
    if not matching:
        raise UserError(f"No column is recognised as the {kind} column: {columns}; name one with {kind}_column=.")
    return matching[0]


def is_metadata(path: Path) -> bool:
    """Whether a table beside images lists them with classes; other tables that lie there do not matter."""
    try:
        names = {name.lower() for name in read_rows(path)[0]}
    except UserError:
        return False
    return "file_name" in names and bool(names & set(LABEL_NAMES))


def list_csv(path: Path, options: DataOptions) -> FileListing:
    """The images that a CSV file lists, with classes, splits and groups; paths are relative to the file."""
    listing = FileListing(path.resolve().parent, f"{path.suffix.lstrip('.').upper()} file")
    _fill(listing, path, read_rows(path), ".", options)
    return listing


def list_metadata(walk: Walk, options: DataOptions) -> FileListing | None:
    """The images that metadata files in a folder list; ``None`` where there is no such file.

    An image in the folder without a row is counted as left out.
    """
    tables = [table for table in walk.tables if table.rpartition("/")[2].lower() in METADATA]
    used = [table for table in sorted(tables, key=lambda table: table.count("/")) if is_metadata(walk.root / table)]
    if not used:
        return None
    top = used[0].count("/")
    used = [table for table in used if table.count("/") == top]
    listing = FileListing(walk.root, "images listed in metadata", left_out=walk.left_out)
    listing.left_out.discard(NOT_AN_IMAGE, len(used))
    for table in used:
        folder = table.rpartition("/")[0] or "."
        _fill(listing, walk.root / table, read_rows(walk.root / table), folder, options, whole=len(used) == 1)
    listed = {os.path.normpath(path) for rows in listing.splits.values() for path in rows.paths}
    for folder, names in walk.folders.items():
        for name in names:
            path = name if folder == "." else f"{folder}/{name}"
            if path not in listed:
                listing.left_out.add(NO_ROW, path)
    return listing


def _fill(
    listing: FileListing, table: Path, rows: Rows, folder: str, options: DataOptions, *, whole: bool = True
) -> None:
    """Add the images of one table; ``folder`` is that of the table, relative to the root of the listing."""
    columns = find_columns(table, list(rows[0]), options)
    paths = _paths(listing, table, [row.get(columns.path, "") for row in rows], folder, options)
    splits = _splits(table, rows, paths, columns, folder, whole)
    listing.unsplit = listing.unsplit or splits is None
    if listing.splits and listing.grouped_by != columns.group:
        raise UserError(f"{table} has no column {listing.grouped_by or columns.group} like the other: add it to both.")
    listing.grouped_by = columns.group
    seen: dict[str, tuple[str, str]] = {}
    for index, (row, path) in enumerate(zip(rows, paths, strict=True)):
        if path is None:
            continue
        label, split = class_name(row.get(columns.label, "").strip()), splits[index] if splits else "train"
        if path in seen:
            _check_same(table, path, seen[path], (label, split))
            listing.left_out.add(LISTED_TWICE, path)
            continue
        seen[path] = (label, split)
        group = None if columns.group is None else row.get(columns.group, "")
        listing.splits.setdefault(split, FileRows()).add(path, label, group)


def _check_same(table: Path, path: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    for one, other, what in zip(first, second, ("classes", "splits"), strict=True):
        if one != other:
            raise UserError(f"{table} lists {path} in two {what}, {one} and {other}: keep one of the rows.")


def _paths(listing: FileListing, table: Path, cells: list[str], folder: str, options: DataOptions) -> list[str | None]:
    """The path of each row relative to the root of the listing; ``None`` for one that is left out."""
    paths: list[str | None] = []
    missing: list[str] = []
    left_out = LeftOut()
    for cell in cells:
        path = os.path.normpath(os.path.join("" if folder == "." else folder, cell)) if cell else ""
        file = os.path.join(listing.root, path)
        if not os.path.exists(file) and "\\" in cell:  # written on Windows
            path = os.path.normpath(path.replace("\\", "/"))
            file = os.path.join(listing.root, path)
        if not cell or not os.path.exists(file):
            missing.append(cell)
            left_out.add(MISSING, path or "an empty cell")
        elif not os.path.isfile(file):
            left_out.add(NOT_A_FILE, path)
        paths.append(path if cell and os.path.isfile(file) else None)
    if missing and (not options.skip_bad_images or not any(paths)):
        raise UserError(
            f"{table} lists {len(missing):,} files that do not exist, such as {missing[0]!r}: paths are relative to "
            "the folder of that file; mend them, or pass skip_bad_images=True to leave them out."
        )
    listing.left_out.update(left_out)
    return paths


def _splits(
    table: Path, rows: Rows, paths: Sequence[str | None], columns: Columns, folder: str, whole: bool
) -> list[str] | None:
    """The split of each row: its cell, else the split folder in its path, else that of the table's folder."""
    if columns.split is not None:
        cells = [row.get(columns.split, "").strip() for row in rows]
        if "" in cells:
            raise UserError(
                f"The column {columns.split} of {table} is empty in {cells.count(''):,} rows: write the split of each "
                "image, such as train or test."
            )
        return cells
    if not whole or split_role(folder.rpartition("/")[2]):
        return [folder.rpartition("/")[2]] * len(rows)
    parts = [None if path is None else path.split("/")[:-1] for path in paths]
    for level in range(max((len(part) for part in parts if part is not None), default=0)):
        names = {part[level] if len(part) > level else "" for part in parts if part is not None}
        roles = {split_role(name) for name in names}
        if roles & {"test", "validation"} and None not in roles:
            return ["" if part is None else part[level] for part in parts]
        if roles & {"test", "validation"} and "train" in roles:
            other = sorted(name for name in names if split_role(name) is None)
            raise UserError(
                f"{table} lists images in split folders and others outside of them ({', '.join(other[:4]) or '.'}): "
                "add a column split that says the split of each image."
            )
    return None
