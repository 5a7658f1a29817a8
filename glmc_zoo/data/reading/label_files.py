"""Files that list images with their classes: a CSV file, or metadata files in a folder, such as ``metadata.csv``."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.file_finder import FileFinder
from glmc_zoo.data.reading.inventory import LeftOut, name_few
from glmc_zoo.data.reading.listing import FileListing, FileRows, class_name
from glmc_zoo.data.reading.split_names import column_key, find_split_column, split_cells, split_role
from glmc_zoo.data.reading.table_rows import Rows, SeveralValues, check_header, read_rows
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, Walk, is_image_file, unwanted
from glmc_zoo.errors import UserError
from glmc_zoo.text import agree, counted, escaped

# The usual names, in order of preference, as `column_key` writes them.
PATH_NAMES = (
    *("file_name", "filename", "file", "path", "filepath", "file_path", "image_path", "img_path", "image_file"),
    *("image", "img", "image_name", "img_name", "filenames", "filepaths", "paths", "images", "image_id"),
)
LABEL_NAMES = ("label", "labels", "class", "class_name", "target", "category", "classes", "class_label")
GROUP_NAME = "group"
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

NO_ROW = "without a row in the metadata"
NOT_LISTED = "not listed in the file"
LISTED_TWICE = "listed twice"
MISSING = "listed and missing"
NOT_A_FILE = "listed and not a regular file"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are used."""

    path: str
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class _Table:
    """One file that lists images."""

    path: Path
    rows: Rows
    columns: Columns
    folder: str = "."
    """Folder of the file, relative to the root of the listing."""
    alone: bool = True
    """Whether no other file lists images of the same source."""

    def cells(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]


def list_csv(path: Path, options: DataOptions) -> FileListing:
    """The images that a CSV file lists, with classes, splits and groups; paths are relative to the file.

    Image files that lie in the folders of listed ones, and are not listed, are counted as left out.
    """
    listing = FileListing(path.resolve().parent, f"{path.suffix.lstrip('.').upper()} file")
    finder = FileFinder(listing.root)
    rows = read_rows(path)
    table = _Table(path, rows, find_columns(path, rows, options, finder))
    _fill(listing, table, finder, options, {})
    listed = {path for rows in listing.splits.values() for path in rows.paths}
    for folder in sorted({os.path.dirname(path) for path in listed}):
        for name in sorted(os.listdir(os.path.join(listing.root, folder))):
            inside = os.path.join(folder, name)
            file = os.path.join(listing.root, inside)
            if inside not in listed and not unwanted(name) and os.path.isfile(file) and is_image_file(file):
                listing.left_out.add(NOT_LISTED, inside)
    return listing


def list_metadata(walk: Walk, options: DataOptions) -> FileListing | None:
    """The images that metadata files in a folder list; ``None`` where there is no such file.

    An image in the folder without a row is counted as left out.
    """
    paths = [path for path in walk.tables if path.rpartition("/")[2].lower() in METADATA]
    paths.sort(key=lambda path: (path.count("/"), path))
    finder = FileFinder(walk.root)
    used: list[tuple[str, Rows, Columns]] = []
    for path in paths:
        rows = read_rows(walk.root / path)
        if lists_images(rows, options):
            used.append((path, rows, find_columns(walk.root / path, rows, options, finder, path.rpartition("/")[0])))
        else:
            walk.notes.append(f"{escaped(path)} has no columns of images and classes, and is not used.")
    if not used:
        return None
    listing = FileListing(walk.root, "images listed in metadata", left_out=walk.left_out)
    known = set(walk.paths)
    entries: dict[str, tuple[str, str]] = {}
    for path, rows, columns in used:
        listing.left_out.discard(NOT_AN_IMAGE, path)
        table = _Table(walk.root / path, rows, columns, path.rpartition("/")[0] or ".", len(used) == 1)
        _fill(listing, table, finder, options, entries, known)
    listed = {path for split in listing.splits.values() for path in split.paths}
    unlisted = sorted(known - listed)
    for path in unlisted:
        listing.left_out.add(NO_ROW, path)
    _note_unlisted_splits(listing, unlisted)
    return listing


def _note_unlisted_splits(listing: FileListing, unlisted: Sequence[str]) -> None:
    """Note each folder that has the name of a split, if its images have no row and are therefore not used."""
    used = {split_role(name) for name in listing.splits} if not listing.unsplit else {"train"}
    for folder, images in Counter(path.split("/")[0] for path in unlisted if "/" in path).items():
        if split_role(folder) not in {None, *used}:
            listing.notes.append(
                f"The folder {escaped(folder)} has the name of a split but {counted(images, 'image')} in it "
                f"{agree(images, 'has', 'have')} no row in the metadata and {agree(images, 'is', 'are')} not used."
            )


def lists_images(rows: Rows, options: DataOptions) -> bool:
    """Whether a table has a column of paths and a column of classes, by the user's names or by usual names."""
    names = {column_key(name) for name in rows[0]}
    image = options.image_column in rows[0] or bool(names & set(PATH_NAMES))
    return image and (options.label_column in rows[0] or bool(names & set(LABEL_NAMES)))


def find_columns(
    path: Path, rows: Rows, options: DataOptions, finder: FileFinder | None = None, folder: str = "."
) -> Columns:
    """The columns that are used: those that the user names, else those with a usual name."""
    names = list(rows[0])
    images = _candidates(path, names, options.image_column, PATH_NAMES, "image")
    image = next((name for name in images if finder and _first_exists(rows, name, finder, folder)), images[0])
    others = [name for name in names if name != image]
    labels = _candidates(path, others, options.label_column, LABEL_NAMES, "label")
    for other in labels[1:]:
        if not same_classes((row[labels[0]], row[other]) for row in rows):
            raise UserError(
                f"The columns {labels[0]} and {other} of {path} may each be the label column: name one with "
                "label_column=."
            )
    others = [name for name in others if name != labels[0]]
    split: str | None
    if options.split_column is not None:
        (split,) = _candidates(path, names, options.split_column, (), "split")
    group = next((name for name in others if column_key(name) == GROUP_NAME), None)
    if options.split_by is not None and not options.split_by.startswith("path:"):
        if options.split_by not in names:
            raise UserError(
                f"split_by={options.split_by!r} is not a column of {path}: give one of {', '.join(names)}, or "
                "path:PATTERN."
            )
        group = options.split_by
    if options.split_column is None:
        others = [name for name in others if name != group]
        split = find_split_column(others, lambda name: [row[name] for row in rows])
    return Columns(image, labels[0], split, group)


def _candidates(path: Path, names: Sequence[str], requested: str | None, usual: Sequence[str], kind: str) -> list[str]:
    columns = f"the columns of {path} are {', '.join(names)}"
    if requested is not None:
        if requested not in names:
            check_header(path, names)
            raise UserError(f"{kind}_column={requested!r} is not a column: {columns}; give one of them.")
        return [requested]
    matching = [name for name in names if column_key(name) in usual]
    if not matching:
        check_header(path, names)
        raise UserError(f"No column is recognised as the {kind} column: {columns}; name one with {kind}_column=.")
    return sorted(matching, key=lambda name: usual.index(column_key(name)))


def _first_exists(rows: Rows, column: str, finder: FileFinder, folder: str) -> bool:
    first = next((row[column] for row in rows if row[column].strip()), "")
    return finder.find(first, folder or ".") is not None


def same_classes(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether two columns of labels divide the images into the same classes, such as their numbers and their names."""
    distinct = {pair for pair in ((first.strip(), second.strip()) for first, second in pairs) if all(pair)}
    return len({first for first, _ in distinct}) == len(distinct) == len({second for _, second in distinct})


def _fill(
    listing: FileListing,
    table: _Table,
    finder: FileFinder,
    options: DataOptions,
    entries: dict[str, tuple[str, str]],
    known: set[str] | None = None,
) -> None:
    """Add the images of one table to the listing.

    Args:
        listing: Gets the images, and the rows that are left out.
        table: The file with its rows.
        finder: Finds the files below the root of the listing.
        options: Columns and splits that the user names.
        entries: Class and split of each image of the tables before; gets those of this table.
        known: The images that a walk found; ``None`` if any file may be listed.
    """
    columns = table.columns
    paths = _paths(listing, table, finder, options, known)
    splits, how = _splits(table, paths, options)
    if how and how not in listing.layout:
        listing.layout += f", {how}"
    listing.unsplit = splits is None  # `_splits` gives splits to each of several tables
    if listing.splits and listing.grouped_by != columns.group:
        raise UserError(
            f"{table.path} groups its images by {columns.group or 'no column'}, and other metadata by "
            f"{listing.grouped_by or 'no column'}: give all of them the same column of groups."
        )
    listing.grouped_by = columns.group
    without_group = 0
    listed_here: set[str] = set()
    for index, (row, path) in enumerate(zip(table.rows, paths, strict=True)):
        split = splits[index] if splits else "train"
        if path is None:
            if split:  # a split without any file is noted later
                listing.splits.setdefault(split, FileRows())
            continue
        if isinstance(row[columns.label], SeveralValues):
            raise UserError(
                f"{table.path} has the {columns.label} {row[columns.label]}: give one class for each image."
            )
        label = class_name(row[columns.label])
        if path in entries:
            _check_same(table.path, path, entries[path], (label, split))
            if path in listed_here:
                listing.left_out.add(LISTED_TWICE, path)
            continue
        entries[path] = (label, split)
        listed_here.add(path)
        group = None if columns.group is None else class_name(row[columns.group])
        without_group += group == ""
        listing.splits.setdefault(split, FileRows()).add(path, label, group)
    if without_group:
        raise UserError(
            f"The column {columns.group} of {table.path} is empty for {counted(without_group, 'image')}: write the "
            "group of "
            "each, a name of its own for one that stands alone."
        )


def _check_same(table: Path, path: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    for first_value, second_value, what in zip(first, second, ("classes", "splits"), strict=True):
        if first_value != second_value:
            raise UserError(
                f"{table} lists {path} in two {what}, {first_value} and {second_value}: keep one of the rows."
            )


def _paths(
    listing: FileListing, table: _Table, finder: FileFinder, options: DataOptions, known: set[str] | None
) -> list[str | None]:
    """The path of each row relative to the root of the listing; ``None`` for a row that is left out."""
    paths: list[str | None] = []
    missing: list[str] = []
    left_out = LeftOut()
    for cell in table.cells(table.columns.path):
        path = finder.find(cell, table.folder)
        if path is not None and known is not None and path not in known:
            path = _walked(listing.root, path, known)
        if path is None:
            missing.append(cell.strip() or "an empty cell")
            left_out.add(MISSING, missing[-1])
        elif not finder.is_file(path):
            left_out.add(NOT_A_FILE, path)
        paths.append(path if path is not None and finder.is_file(path) else None)
    if missing and (not options.skip_bad_images or not any(paths)):
        advice = "mend them" + (", or pass skip_bad_images=True to leave them out" if any(paths) else "")
        be, do = agree(len(missing), "is", "are"), agree(len(missing), "does", "do")
        what = f"that {do} not exist" if known is None else f"that {be} not among the images of the folder"
        raise UserError(
            f"{table.path} lists {counted(len(missing), 'file')} {what}, such as {missing[0]!r}: paths are relative "
            "to the folder of "
            f"that file; {advice}."
        )
    listing.left_out.update(left_out)
    return paths


def _walked(root: Path, path: str, known: set[str]) -> str | None:
    """The path of a listed file as the walk visited it, if it is listed through a link; ``None`` without one."""
    real = os.path.relpath(os.path.realpath(os.path.join(root, path)), root)
    return real if real in known else None


def _splits(table: _Table, paths: Sequence[str | None], options: DataOptions) -> tuple[list[str] | None, str]:
    """The split of each row (``None`` without splits), and how it was found, for the layout of the listing.

    The column of splits decides. Without one, the split is the folder of the table, or else a folder in the path of
    each image.
    """
    column = table.columns.split
    if column is not None:
        cells = split_cells(
            column,
            table.cells(column),
            named_by_user=options.split_column is not None,
            train_split=options.train_split,
        )
        if cells is not None:
            return cells, f"split by its column {column}"
    split_folders = [folder for folder in table.folder.split("/") if split_role(folder)]
    if len({split_role(folder) for folder in split_folders}) > 1:
        raise UserError(
            f"{table.path} lies in the folders of several splits, {' and '.join(split_folders)}: add a column split."
        )
    if split_folders or not table.alone:
        return [split_folders[0] if split_folders else table.folder] * len(table.rows), ""
    folders = [None if path is None else path.split("/")[:-1] for path in paths]
    for level in range(max((len(above) for above in folders if above is not None), default=0)):
        names = {above[level] if len(above) > level else "" for above in folders if above is not None}
        roles = {split_role(name) for name in names}
        if not roles & {"test", "validation"}:
            continue
        if None in roles:
            other = sorted(name or "." for name in names if split_role(name) is None)
            raise UserError(
                f"{table.path} lists images in split folders and others outside of them "
                f"({name_few(other)}): add a column split that names the split of each image."
            )
        return ["" if above is None else above[level] for above in folders], "split by the folders in its paths"
    return None, ""
