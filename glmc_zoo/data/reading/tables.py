"""Tables from the Hugging Face Hub or a folder: which splits and columns are used, and the classes as integers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from glmc_zoo.data.reading.decoding import one_line, shortened
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
from glmc_zoo.data.reading.walk import OUTSIDE
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts
from glmc_zoo.retry import is_transient, unexpected_answer


@contextmanager
def errors_as_sentence(source: Path | str) -> Iterator[None]:
    """Turn the errors of ``datasets`` about a folder, or about a Hub data set (its id), into one sentence."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = isinstance(error, OSError | ValueError | RuntimeError | DatasetsError)
        odd = unexpected_answer(error) if isinstance(source, str) else None
        of_the_hub = isinstance(source, str) and (odd is not None or is_transient(error))
        if not known and not of_the_hub:
            raise
        if isinstance(source, Path):
            raise UserError(f"The data folder {source} cannot be read: {one_line(error)}.") from error
        if odd is not None:
            raise UserError(f"The data set {source} cannot be read from the Hugging Face Hub: {odd}") from error
        raise UserError(
            f"The data set {source} cannot be read from the Hugging Face Hub ({one_line(error)}): check the name and "
            "the network, or give a local copy (data_dir= for a catalogue data set, else the folder as the data set)."
        ) from error


@dataclass(frozen=True)
class _SplitRows:
    """The rows of a table that make one split."""

    table: Any
    rows: NDArray[np.int64]


def raw_from_tables(tables: Mapping[str, Any], options: DataOptions, folder: Path | None = None) -> RawData:
    """Choose the splits and columns, and read the classes; paths of images are given relative to ``folder``.

    A split without labels is left out with a note, and so is an image without one.
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
    for split, shown, label in zip(chosen, ("training", "test"), labels, strict=False):
        source, exists = _image_source(split, options, features, shown, folder, left_out)
        rows = split.rows[exists[split.rows]]
        known, minus = rows[label[rows] >= 0], int((label[rows] == MINUS_ONE).sum())
        left_out.add(LABEL_MINUS_ONE, f"rows of the {shown} split", minus)
        left_out.add(UNLABELLED, f"rows of the {shown} split", len(rows) - len(known) - minus)
        label = np.where(label == MINUS_ONE, -1, label)
        groups = None if group_column is None else _texts(split.table, group_column)
        splits.append(RawSplit(source, label, known, groups))
    if not len(splits[0].rows):
        raise UserError(f"The label column {label_column!r} is empty for every image: name another with label_column=.")
    given = {train_name: options.train_split, test_name: options.test_split}
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
                how=how_decided(name, given[name]),
            )
            for name, split in zip(used, splits, strict=True)
        ],
        alone="test" if is_test_alone(train_name, test_name, options) else None,
        grouped_by=group_column,
    )


def _choose_labelled(
    available: dict[str, _SplitRows], options: DataOptions, left_out: LeftOut
) -> tuple[str, str | None, str, list[str]]:
    """Training split, test split, label column, and notes; a test split without labels is taken from ``available``."""
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
        dropped.append(f"The split {test} has {number:,} images and no labels, and is not used.")


def _available_splits(tables: Mapping[str, Any], options: DataOptions) -> tuple[dict[str, _SplitRows], str | None]:
    """The splits, and the column that makes them: a single table may say the split of each row."""
    available = {name: _SplitRows(table, np.arange(len(table))) for name, table in tables.items()}
    if len(tables) > 1 and options.split_column is None:
        return available, None
    table = next(iter(tables.values()))
    column = options.split_column or find_split_column(
        _split_column_candidates(table, options), lambda name: _texts(table, name).tolist()
    )
    if column is None:
        return available, None
    if len(tables) > 1 or column not in table.features:
        raise UserError(
            f"split_column={column!r} is not a column of a data set without splits: the splits are "
            f"{', '.join(tables)}, the columns {', '.join(table.features)}; leave it out or name another."
        )
    given = options.split_column is not None
    cells = split_cells(column, _texts(table, column).tolist(), given=given, train=options.train_split)
    if cells is None:
        return available, None
    values = np.array(cells, dtype=np.str_)
    return {name: _SplitRows(table, np.flatnonzero(values == name)) for name in dict.fromkeys(cells)}, column


def _split_column_candidates(table: Any, options: DataOptions) -> list[str]:
    """Names of the columns that may hold the split: strings, booleans or integers.

    Label columns are left out, and so are the columns that the user names for something else.
    """
    taken = {*label_columns(table.features), options.label_column, options.image_column, options.split_by}
    dtypes = ("string", "large_string", "bool", "int8", "int32", "int64")
    return [
        name
        for name, feature in table.features.items()
        if name not in taken and str(getattr(feature, "dtype", "")) in dtypes
    ]


def _unlabelled(split: _SplitRows, column: str) -> bool:
    """Whether a split has no label for any of its images."""
    features = split.table.features
    if column not in features:
        return not label_columns(features)
    values = split.table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return all(values[row] in (None, "", -1, "-1") for row in split.rows)


def _group_column(available: Sequence[_SplitRows], options: DataOptions) -> str | None:
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
    """The images of a table, in its image column or in the files that a column of text names, and which exist."""
    table = split.table
    column = find_image_column(features, options.image_column)
    if column not in table.features:
        column = find_image_column(table.features)
    if may_hold_images(table.features[column]):
        rule = None if folder is None else TablePaths.below(folder, follow_links=options.follow_links)
        return ArrowImages(table, column, name, folder, rule), np.ones(len(table), dtype=np.bool_)
    kind = str(getattr(table.features[column], "dtype", "lists or objects"))
    if kind not in ("string", "large_string"):
        raise UserError(
            f"image_column={column!r} holds {kind}: give a column of images, of encoded images as bytes, or of paths."
        )
    if folder is None:
        raise UserError(
            f"image_column={column!r} holds text, and not images: give a column of images, or a local folder with the "
            "files that the text names."
        )
    finder = FileFinder(folder.resolve())
    cells = _texts(table, column).tolist()
    paths = [finder.find(cell) for cell in cells]
    exists = np.array([path is not None and finder.is_file(path) for path in paths], dtype=np.bool_)
    missing = [cells[row] for row in split.rows[~exists[split.rows]]]
    if missing and (not options.skip_bad_images or len(missing) == len(split.rows)):
        raise UserError(
            f"image_column={column!r} holds the text {shortened(missing[0], 80)!r}, which is not a file: give a column "
            "of images, or of paths that are absolute or relative to the data folder."
        )
    for cell in missing:
        left_out.add(MISSING, cell)
    exists &= _inside(split, cells, paths, options, folder, left_out)
    return FileImages(folder.resolve(), [path or "" for path in paths], name), exists


def _inside(
    split: _SplitRows,
    cells: Sequence[str],
    paths: Sequence[str | None],
    options: DataOptions,
    folder: Path,
    left_out: LeftOut,
) -> NDArray[np.bool_]:
    """Which rows name a file below the folder of the table; another file is refused, as strangers write tables."""
    rule = TablePaths.below(folder, follow_links=options.follow_links)
    inside = np.ones(len(paths), dtype=np.bool_)
    for row in split.rows.tolist():
        try:
            rule.locate(paths[row] or ".")
        except OutsideFolder:
            inside[row] = paths[row] is None
    outside = [cells[row] for row in split.rows[~inside[split.rows]]]
    if outside and not options.skip_bad_images:
        raise UserError(
            f"A table names the file {shortened(outside[0], 80)!r}, which lies outside of its folder {folder}: copy "
            "the images into it, list them in a CSV file instead, or pass skip_bad_images=True to leave them out."
        )
    for cell in outside:
        left_out.add(OUTSIDE, cell)
    return inside


def license_of(tables: Mapping[str, Any]) -> str:
    """The licence that the first split states."""
    return getattr(next(iter(tables.values())).info, "license", None) or "unknown"
