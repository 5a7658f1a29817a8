"""Files beside class folders that list the same images. The user may mean these files, so they are not ignored."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.inventory import name_few
from glmc_zoo.data.reading.label_files import (
    METADATA,
    PATH_NAMES,
    find_columns,
    lists_images,
    same_classes,
)
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.parquet_folder import holds_image_struct
from glmc_zoo.data.reading.split_names import column_key, split_cells
from glmc_zoo.data.reading.table_rows import Rows, read_rows
from glmc_zoo.data.reading.walk import Walk, join
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped


@dataclass(frozen=True)
class _ListBeside:
    """A file that lists images of a folder."""

    path: str
    labels: dict[str, str] | None
    """Label of each image that it lists; ``None`` where no column is known as that of the classes."""
    has_splits: bool = False


def refuse_bare_images(walk: Walk, options: DataOptions) -> None:
    """Refuse images without class folders where a file lists their classes."""
    lists = [listed.path for listed in _lists_beside(walk, options) if listed.labels is not None]
    if not lists:
        return
    has = f"The folder {walk.root} has images but no class folders, and its"
    if len(lists) == 1:
        raise UserError(
            f"{has} file {escaped(lists[0])} lists images with their classes: give {_that_file(lists[0])} as the data."
        )
    raise UserError(
        f"{has} files {name_few(lists)} list images with their classes: write them into one CSV file with a column "
        "split, and give that file as the data."
    )


def compare_class_folders(walk: Walk, listing: FileListing, options: DataOptions) -> None:
    """Refuse class folders that a file beside them contradicts; a list whose classes are not known is noted.

    Where ``class_level`` is given, the user has said that the folders are the classes.

    Raises:
        UserError: The file has other classes for the images, or tells splits where the folders do not.
    """
    classes = {
        path: label for rows in listing.splits.values() for path, label in zip(rows.paths, rows.labels, strict=True)
    }
    for listed in _lists_beside(walk, options):
        if listed.labels is None:
            listing.notes.append(
                f"{escaped(listed.path)} lists images of this folder and is not used, as no column of it is known as "
                "that of the classes."
            )
            continue
        if listing.unsplit and listed.has_splits:
            raise UserError(
                f"The folder {walk.root} has class folders without splits, and its file {escaped(listed.path)} names "
                f"the split of each image: give {_that_file(listed.path)} as the data, or move it out of the folder."
            )
        pairs = {(classes[path], label) for path, label in listed.labels.items() if path in classes}
        if options.class_level is None and not same_classes(pairs):
            _refuse(walk, listed.path, pairs)


def _refuse(walk: Walk, path: str, pairs: set[tuple[str, str]]) -> NoReturn:
    folder, label = min(pairs)
    raise UserError(
        f"The folder {walk.root} has class folders, and its file {escaped(path)} gives the images other classes, such "
        f"as {label} for one in {folder}: give {_that_file(path)} as the data, or class_level=1 if the folders are the "
        "classes."
    )


def _that_file(path: str) -> str:
    return "it as a CSV file" if path.lower().endswith(".parquet") else "that file"


def _lists_beside(walk: Walk, options: DataOptions) -> list[_ListBeside]:
    """The files at the root, or one folder below it, whose rows are mostly images of the folder."""
    paths = [
        path
        for path in sorted(walk.tables, key=lambda path: (path.count("/"), path))
        if path.count("/") <= 1 and path.rpartition("/")[2].lower() not in METADATA
    ]
    if not paths:
        return []
    known = set(walk.paths)
    by_name: dict[str, str] = {}
    for path in known:
        name = path.rpartition("/")[2]
        for key in (name, os.path.splitext(name)[0]):
            by_name[key] = "" if key in by_name else path  # two images of one name cannot be told apart
    lists = []
    for path in paths:
        if path.lower().endswith(".parquet") and holds_image_struct(walk.root / path, None):
            continue
        try:
            rows = read_rows(walk.root / path)
            lists.append(_listed(path, rows, known, by_name, options))
        except UserError:  # another kind of table
            continue
    return [listed for listed in lists if listed is not None]


def _listed(
    path: str, rows: Rows, known: set[str], by_name: dict[str, str], options: DataOptions
) -> _ListBeside | None:
    names = [name for name in rows[0] if column_key(name) in PATH_NAMES]
    for name in sorted(names, key=lambda name: PATH_NAMES.index(column_key(name))):
        images = [_image(row[name], path.rpartition("/")[0] or ".", known, by_name) for row in rows]
        if 2 * sum(map(bool, images)) > len(rows):
            break
    else:
        return None
    try:
        if not lists_images(rows, options):
            return _ListBeside(path, None)
        columns = find_columns(Path(path), rows, options)
        cells = None
        if columns.split is not None:
            values = [row[columns.split] for row in rows]
            cells = split_cells(columns.split, values, named_by_user=False, train_split=options.train_split)
    except UserError:  # several columns may be meant
        return _ListBeside(path, None)
    labels = {image: row[columns.label] for image, row in zip(images, rows, strict=True) if image}
    return _ListBeside(path, labels, cells is not None)


def _image(cell: str, folder: str, known: set[str], by_name: dict[str, str]) -> str:
    """The image that a cell means, by its path or by its name alone; empty for none."""
    text = cell.strip().replace("\\", "/")
    path = os.path.normpath(join(folder, text)) if text else ""
    return path if path in known else by_name.get(text.rpartition("/")[2], "")
