"""Parquet files in a folder: whether they hold the images, and which file belongs to which split."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import NOT_CONFIGURED, card_configurations
from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.split_names import split_role, without_shard
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, Walk, join
from glmc_zoo.errors import UserError
from glmc_zoo.text import counted, escaped

BESIDE_TABLES = "image files beside tables that hold the images"
# If images in files and images in tables differ ten times in number, the larger number is the data. The others are, for
# instance, figures of the dataset card, or a small table of examples.
_FEW = 10


class FolderTables(dict[str, Any]):
    """The ``datasets.Dataset`` of each split of a folder by name, and the files that lie beside the tables."""

    def __init__(self, tables: Mapping[str, Any], left_out: LeftOut) -> None:
        super().__init__(tables)
        self.left_out = left_out


def parquet_tables(walk: Walk) -> list[str]:
    """The parquet files of a folder, relative to the root of the walk."""
    return [table for table in walk.tables if table.lower().endswith(".parquet")]


def images_are_in_tables(walk: Walk, options: DataOptions) -> bool:
    """Whether the images of a folder are in its parquet files.

    They are if there are no image files, or if a parquet file has the column that ``image_column`` names. Otherwise the
    numbers decide: ten times more images in one place than in the other, or at most ten image files. Parquet files
    without an image column only describe the images beside them.

    Raises:
        UserError: A parquet file cannot be read, or the numbers of images do not decide.
    """
    tables = parquet_tables(walk)
    if not tables or not walk.images:
        return bool(tables)
    image_tables = [table for table in tables if holds_image_struct(walk.root / table, options.image_column)]
    if image_tables and options.image_column is not None:
        return True
    rows = sum(_rows(walk.root / table) for table in image_tables)
    if not rows or rows * _FEW <= walk.images:
        return False
    if walk.images * _FEW <= rows or walk.images <= _FEW:
        return True
    raise UserError(
        f"The data folder {walk.root} holds {counted(walk.images, 'image file')}, and {counted(rows, 'image')} in "
        "parquet files such as "
        f"{image_tables[0]}: move one of the two out of the folder, or name the column of the parquet files with "
        "image_column= to use these."
    )


def holds_image_struct(path: Path, column: str | None) -> bool:
    """Whether a parquet file has a column of images: a struct of ``bytes`` and ``path``, or the given ``column``."""
    import pyarrow.parquet
    import pyarrow.types

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}.") from error
    if column is not None:
        return column in schema.names
    return any(
        pyarrow.types.is_struct(field.type) and {"bytes", "path"} <= {child.name for child in field.type}
        for field in schema
    )


def _rows(path: Path) -> int:
    """Number of rows of a parquet file."""
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def table_arguments(walk: Walk, options: DataOptions, config: str | None) -> dict[str, dict[str, Any]]:
    """The arguments of ``datasets.load_dataset`` for each split of a folder of parquet files.

    If the folder has a dataset card with configurations, the card decides which files belong to which split. Otherwise
    `split_files` decides by their names.

    Raises:
        UserError: The path of the folder has a special character, or a parquet file has no rows.
    """
    if card_configurations(walk.root):
        if set(str(walk.root)) & set("*?["):  # ``datasets`` takes the path of the folder as a pattern
            raise UserError(
                f"The path of the data folder {walk.root} contains one of the characters *?[: rename the folder."
            )
        arguments = {"path": str(walk.root), "name": config, "cache_dir": cache_folder(walk.root, config)}
        return {name: {**arguments, "split": name} for name in _card_files(walk.root, config)}
    tables = used_tables(walk, options)
    for table in tables:
        if not _rows(walk.root / table):  # ``datasets`` fails on it with a text about the size of a batch
            raise UserError(f"The parquet file {walk.root / table} has no rows: move it out of the data folder.")
    files = split_files(tables)
    return {
        name: {"path": "parquet", "data_files": [_literal(walk.root / path) for path in paths], "split": "train"}
        for name, paths in files.items()
    }


def used_tables(walk: Walk, options: DataOptions) -> list[str]:
    """The parquet files that hold images, or all parquet files if none does."""
    tables = parquet_tables(walk)
    image_tables = [table for table in tables if holds_image_struct(walk.root / table, options.image_column)]
    return image_tables or tables


def count_beside(walk: Walk, options: DataOptions, config: str | None) -> LeftOut:
    """The files of a folder that lie beside its parquet files and are not used."""
    tables, has_card = used_tables(walk, options), bool(card_configurations(walk.root))
    if has_card:
        paths = chain.from_iterable(_card_files(walk.root, config).values())
        tables = [Path(os.path.relpath(path, walk.root)).as_posix() for path in paths]
    for table in parquet_tables(walk):
        if table in tables or has_card:
            walk.left_out.discard(NOT_AN_IMAGE, table)
        if table not in tables and has_card:
            walk.left_out.add(NOT_CONFIGURED, table)
    if not any(holds_image_struct(walk.root / table, None) for table in tables):
        return walk.left_out  # the image files are used: a column of the tables names them
    for folder, names in walk.folders.items():
        walk.left_out.add(BESIDE_TABLES, join(folder, names[0]), len(names))
    return walk.left_out


def split_files(paths: Sequence[str]) -> dict[str, list[str]]:
    """The parquet files of each split, by the name of the file, else by that of the nearest folder.

    If no name stands for a split, all files are the split ``train``. If only some names do, each other file is a split
    with the file's name.
    """
    split_of = {path: _split_name(path) for path in paths}
    if not any(split_of.values()):
        return {"train": sorted(paths)}
    files: dict[str, list[str]] = {}
    for path in sorted(paths):
        files.setdefault(split_of[path] or _stem(path), []).append(path)
    return files


def _split_name(path: str) -> str | None:
    """The first of file name and folder names, from the inside out, that stands for a split; ``None`` without one."""
    names = [_stem(path), *reversed(path.split("/")[:-1])]
    return next((escaped(name) for name in names if split_role(name)), None)


def _stem(path: str) -> str:
    """The name of a file without suffix and shard number: ``train-00000-of-00002.parquet`` gives ``train``."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return escaped(without_shard(stem) or stem)


def _card_files(folder: Path, config: str | None) -> dict[str, list[str]]:
    """The paths of the files of each split in a configuration of the dataset card, as ``datasets`` resolves them."""
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config)
    return {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}


def _literal(path: Path) -> str:
    """A pattern for ``datasets`` that matches only this path."""
    import glob

    return glob.escape(str(path))


def cache_folder(folder: Path, config: str | None = None) -> str:
    """A cache folder of ``datasets`` for this folder alone; it is another one when a data file has changed.

    ``datasets`` identifies a folder with a dataset card only by the last part of its path and by the card. Without a
    cache folder of its own, a second folder called ``cifar10``, or the same folder with other images, would be read
    from the cache of the first. Files that ``datasets`` does not recognise do not count.
    """
    import datasets

    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for split, paths in sorted(_card_files(folder, config).items()):
        for path in paths:
            status = os.stat(path)
            digest.update(os.fsencode(f"{split}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "glmc_zoo", digest.hexdigest()[:16])
