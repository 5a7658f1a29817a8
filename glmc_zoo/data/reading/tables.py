"""Tables from the Hugging Face Hub or a folder: which splits and columns are used, and the classes as integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.columns import (
    MINUS_ONE,
    find_image_column,
    find_label_column,
    label_columns,
    may_hold_images,
    read_labels,
)
from glmc_zoo.data.reading.decoding import shortened
from glmc_zoo.data.reading.file_finder import FileFinder
from glmc_zoo.data.reading.images import ArrowImages, FileImages
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.label_files import MISSING
from glmc_zoo.data.reading.listing import LABEL_MINUS_ONE, UNLABELLED, UNUSED_SPLIT, is_test_alone
from glmc_zoo.data.reading.parquet_folder import FolderTables
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.data.reading.split_names import (
    choose_splits,
    find_split_column,
    how_decided,
    split_cells,
)
from glmc_zoo.data.reading.table_paths import OutsideFolder, TablePaths
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts
from glmc_zoo.text import counted

OUTSIDE_TABLE = "outside of the folder of the table"
"""Reason in the inventory why a file that a table names is not used."""


@dataclass(frozen=True)
class _SplitRows:
    """The rows of a table that make one split."""

    table: Any
    rows: NDArray[np.int64]


def raw_from_tables(tables: Mapping[str, Any], options: DataOptions, folder: Path | None = None) -> RawData:
    """Choose the splits and columns of a data set of tables, and read the classes.

    A test split without any label is not used, and a note says so. An image without a label is left out and counted.

    Args:
        tables: The ``datasets.Dataset`` of each split by name.
        options: Columns and splits that the user names.
        folder: Folder of the tables. Paths in messages are relative to it. ``None`` for a data set of the Hub.

    Raises:
        UserError: A column or a split does not fit the options, or a split has no image that can be used.
    """
    left_out = LeftOut()
    if isinstance(tables, FolderTables):
        left_out.update(tables.left_out)
    available, by_column = _available_splits(tables, options)
    train_name, test_name, label_column, notes = _choose_labelled(available, options, left_out)
    used = [train_name] if test_name is None else [train_name, test_name]
    features = available[train_name].table.features
    for name in available:
        if name not in used:
            left_out.add(UNUSED_SPLIT, f"the split {name}", len(available[name].rows))
    chosen = [available[name] for name in used]
    labels, class_names = read_labels([split.table for split in chosen], label_column)
    group_column = _group_column(chosen, options)
    splits = []
    for split, split_name, label in zip(chosen, ("training", "test"), labels, strict=False):
        reasons = LeftOut()
        source, usable = _image_source(split, options, features, split_name, folder, reasons)
        labelled = _labelled_rows(split.rows[usable[split.rows]], label, split_name, reasons)
        if not len(labelled):
            raise _no_images(split_name, label_column, reasons)
        left_out.update(reasons)
        label = np.where(label == MINUS_ONE, -1, label)
        groups = None if group_column is None else _texts(split.table, group_column)
        splits.append(RawSplit(source, label, labelled, groups))
    requested = {train_name: options.train_split, test_name: options.test_split}
    return RawData(
        class_names,
        splits[0],
        splits[1] if test_name else None,
        license_of(tables),
        notes,
        layout=f"rows of a table, split by its column {by_column}" if by_column else "rows of tables",
        left_out=left_out,
        sources=[
            SplitFacts(
                name="train" if name == train_name else "test",
                source=name,
                images=len(split.rows),
                how=how_decided(name, requested[name]),
            )
            for name, split in zip(used, splits, strict=True)
        ],
        alone="test" if is_test_alone(train_name, test_name, options) else None,
        grouped_by=group_column,
    )


def _labelled_rows(
    rows: NDArray[np.int64], label: NDArray[np.int64], split_name: str, reasons: LeftOut
) -> NDArray[np.int64]:
    """Those of these rows of a table that have a label; the others are counted in ``reasons``."""
    labelled, minus_ones = rows[label[rows] >= 0], int((label[rows] == MINUS_ONE).sum())
    reasons.add(LABEL_MINUS_ONE, f"rows of the {split_name} split", minus_ones)
    reasons.add(UNLABELLED, f"rows of the {split_name} split", len(rows) - len(labelled) - minus_ones)
    return labelled


def _no_images(split_name: str, label_column: str, reasons: LeftOut) -> UserError:
    """The error for a split without an image that can be used; ``reasons`` has all its rows that are left out."""
    if not reasons.files:
        return UserError(f"The {split_name} split has no rows: give a data set that has images in it.")
    if reasons.files == reasons.count(UNLABELLED) + reasons.count(LABEL_MINUS_ONE):
        return UserError(
            f"The label column {label_column!r} has no class for any image of the {split_name} split: name another "
            "with label_column=."
        )
    return UserError(
        f"No image of the {split_name} split can be used, as these are left out: {reasons.text}; copy the images "
        "into the data folder, and write the path and the class of each into the table."
    )


def _choose_labelled(
    available: dict[str, _SplitRows], options: DataOptions, left_out: LeftOut
) -> tuple[str, str | None, str, list[str]]:
    """Training split, test split, label column, and notes. A test split without labels is removed from ``available``
    and counted in ``left_out``."""
    dropped: list[str] = []
    while True:
        train, test, notes = choose_splits(list(available), options.train_split, options.test_split)
        label_column = find_label_column(available[train].table.features, options.label_column)
        if test is None or not _unlabelled(available[test], label_column):
            return train, test, label_column, [*dropped, *notes]
        if options.test_split is not None:
            raise UserError(f"test_split={test!r} has no labels: name another split, or leave it out.")
        number = len(available.pop(test).rows)
        left_out.add(UNLABELLED, f"the split {test}", number)
        dropped.append(f"The split {test} has {counted(number, 'image')} and no labels, and is not used.")


def _available_splits(tables: Mapping[str, Any], options: DataOptions) -> tuple[dict[str, _SplitRows], str | None]:
    """The splits, and the column that names the split of each row where a single table holds all of them."""
    available = {name: _SplitRows(table, np.arange(len(table))) for name, table in tables.items()}
    if len(tables) > 1 and options.split_column is None:
        return available, None
    table = next(iter(tables.values()))
    column = options.split_column or find_split_column(
        _split_column_candidates(table, options), lambda name: _texts(table, name).tolist()
    )
    if column is None:
        return available, None
    if len(tables) > 1:
        raise UserError(
            f"split_column={column!r} is for a single table, and this data set has the splits {', '.join(tables)}: "
            "leave it out."
        )
    if column not in table.features:
        raise UserError(f"split_column={column!r} is not a column: give one of {', '.join(table.features)}.")
    cells = split_cells(
        column,
        _texts(table, column).tolist(),
        named_by_user=options.split_column is not None,
        train_split=options.train_split,
    )
    if cells is None:
        return available, None
    values = np.array(cells, dtype=np.str_)
    return {name: _SplitRows(table, np.flatnonzero(values == name)) for name in dict.fromkeys(cells)}, column


def _split_column_candidates(table: Any, options: DataOptions) -> list[str]:
    """Names of the columns that may hold the split: strings, booleans or integers.

    Label columns are left out, and so are the columns that the user names for something else.
    """
    other_columns = {*label_columns(table.features), options.label_column, options.image_column, options.split_by}
    dtypes = ("string", "large_string", "bool", "int8", "int32", "int64")
    return [
        name
        for name, feature in table.features.items()
        if name not in other_columns and str(getattr(feature, "dtype", "")) in dtypes
    ]


def _unlabelled(split: _SplitRows, column: str) -> bool:
    """Whether a split has no label for any of its images."""
    features = split.table.features
    if column not in features:
        return not label_columns(features)
    values = split.table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return all(values[row] in (None, "", -1, "-1") for row in split.rows)


def _group_column(available: Sequence[_SplitRows], options: DataOptions) -> str | None:
    """The column that ``split_by`` names; ``None`` without one."""
    column = options.split_by
    if column is None or column.startswith("path:"):
        return None
    for split in available:
        if column not in split.table.features:
            names = ", ".join(split.table.features)
            raise UserError(f"split_by={column!r} is not a column: give one of {names}, or path:PATTERN.")
    return column


def _texts(table: Any, column: str) -> NDArray[Any]:
    """A column of a table as text; the name of the class where it holds classes."""
    from datasets import ClassLabel

    feature = table.features[column]
    values = table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    if isinstance(feature, ClassLabel):
        values = [None if value is None else feature.names[value] for value in values]
    return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)


def _image_source(
    split: _SplitRows,
    options: DataOptions,
    features: Mapping[str, Any],
    name: str,
    folder: Path | None,
    left_out: LeftOut,
) -> tuple[ArrowImages | FileImages, NDArray[np.bool_]]:
    """The images of a table, and which of its rows have an image that can be used.

    The images are in an image column, or in files that a text column names.

    Args:
        split: The table, and the rows of it that form the split.
        options: The options of the data set.
        features: Columns of the first table, in which the image column is looked up first.
        name: Name of the data set, for messages.
        folder: Folder that the paths are relative to; ``None`` for a table from the Hub.
        left_out: Counts the files that are missing or outside of the folder.

    Returns:
        The images, and for each row of the table whether its image can be used, bool (rows,).

    Raises:
        UserError: The column cannot hold images, or a file is missing and cannot be left out.
    """
    table = split.table
    column = find_image_column(features, options.image_column)
    if column not in table.features:
        column = find_image_column(table.features)
    if may_hold_images(table.features[column]):
        allowed = None if folder is None else TablePaths.below(folder, follow_links=options.follow_links)
        return ArrowImages(table, column, name, folder, allowed), np.ones(len(table), dtype=np.bool_)
    kind = str(getattr(table.features[column], "dtype", "lists or objects"))
    if kind not in ("string", "large_string"):
        raise UserError(
            f"The image column {column!r} holds {kind}: give image_column=, a column of images, of encoded images as "
            "bytes, or of paths."
        )
    if folder is None:
        raise UserError(
            f"The image column {column!r} holds text, and not images: give a column of images as image_column=, or a "
            "local folder with the files that the text names."
        )
    finder = FileFinder(folder.resolve())
    cells = _texts(table, column).tolist()
    paths = [finder.find(cell) for cell in cells]
    exists = np.array([path is not None and finder.is_file(path) for path in paths], dtype=np.bool_)
    missing = [cells[row] for row in split.rows[~exists[split.rows]]]
    some_exist = len(missing) < len(split.rows)
    if missing and not (options.skip_bad_images and some_exist):
        skip = ", or pass skip_bad_images=True to leave such rows out" if some_exist else ""
        raise UserError(
            f"The image column {column!r} holds the text {shortened(missing[0], 80)!r}, which is not a file: give "
            f"image_column=, a column of images or of paths of files in the data folder{skip}."
        )
    for cell in missing:
        left_out.add(MISSING, cell)
    usable = exists & _inside(split.rows[exists[split.rows]], cells, paths, options, folder, left_out)
    return FileImages(folder.resolve(), [path or "" for path in paths], name), usable


def _inside(
    rows: NDArray[np.int64],
    cells: Sequence[str],
    paths: Sequence[str | None],
    options: DataOptions,
    folder: Path,
    left_out: LeftOut,
) -> NDArray[np.bool_]:
    """Whether each row names a file below the folder of the table; only ``rows``, whose files exist, are checked.

    Other files are refused, because a table may come from a stranger. With ``skip_bad_images`` they are counted in
    ``left_out``.
    """
    allowed = TablePaths.below(folder, follow_links=options.follow_links)
    inside = np.ones(len(paths), dtype=np.bool_)
    for row in rows.tolist():
        try:
            allowed.locate(paths[row] or "")
        except OutsideFolder:
            inside[row] = False
    outside = [cells[row] for row in rows[~inside[rows]]]
    if outside and not options.skip_bad_images:
        skip = ", or pass skip_bad_images=True to leave them out" if len(outside) < len(rows) else ""
        raise UserError(
            f"A table names the file {shortened(outside[0], 80)!r}, which lies outside of its folder {folder}: copy "
            f"the images into it and change their paths, or list them in a CSV file instead{skip}."
        )
    for cell in outside:
        left_out.add(OUTSIDE_TABLE, cell)
    return inside


def license_of(tables: Mapping[str, Any]) -> str:
    """The licence that the first split states."""
    return getattr(next(iter(tables.values())).info, "license", None) or "unknown"
