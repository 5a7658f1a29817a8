"""Parquet files in a folder: whether the images are in them, and which file is which split."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import card_configurations
from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.split_names import split_role, without_shard
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, Walk, join
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

BESIDE_TABLES = "image files beside tables that hold the images"
# Beside a table, a few images are figures of its card; and beside images, a small table describes them.
_FEW = 10


class FolderTables(dict[str, Any]):
    """The ``datasets.Dataset`` of each split of a folder by name, and what the folder holds beside them."""

    def __init__(self, tables: Mapping[str, Any], left_out: LeftOut) -> None:
        super().__init__(tables)
        self.left_out = left_out


def parquet_tables(walk: Walk) -> list[str]:
    """The parquet files of a folder, relative to its root."""
    return [table for table in walk.tables if table.lower().endswith(".parquet")]


def tables_rather_than_images(walk: Walk, options: DataOptions) -> bool:
    """Whether the images of a folder are in its parquet files.

    Parquet files without an image column describe images that lie beside them. Where both hold images, by far the
    larger number decides; else the folder is refused.
    """
    tables = parquet_tables(walk)
    if not tables or not walk.images:
        return bool(tables)
    holding = [table for table in tables if holds_image_struct(walk.root / table, options.image_column)]
    if holding and options.image_column is not None:
        return True
    rows = sum(_rows(walk.root / table) for table in holding)
    if not rows or rows * _FEW <= walk.images:
        return False
    if walk.images * _FEW <= rows or walk.images <= _FEW:
        return True
    raise UserError(
        f"The data folder {walk.root} holds {walk.images:,} image files and {rows:,} rows with images in "
        f"{holding[0]}: give the folder of the ones that are meant."
    )


def holds_image_struct(path: Path, wanted: str | None) -> bool:
    """Whether a parquet file has a column of images, or the one that the user names."""
    import pyarrow.parquet
    import pyarrow.types

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}.") from error
    if wanted is not None:
        return wanted in schema.names
    return any(
        pyarrow.types.is_struct(field.type) and {"bytes", "path"} <= {inner.name for inner in field.type}
        for field in schema
    )


def _rows(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def table_arguments(walk: Walk, options: DataOptions, config: str | None = None) -> dict[str, dict[str, Any]]:
    """The arguments of ``datasets.load_dataset`` that open each split of a folder of parquet files.

    A dataset card with configurations decides which file is which split. Without one the names of the files and of
    their folders do, by the same rules as those of folders of images.
    """
    if card_configurations(walk.root):
        if set(str(walk.root)) & set("*?["):  # ``datasets`` makes a pattern of the folder's path as it stands
            raise UserError(
                f"The path of the data folder {walk.root} contains one of the characters *?[: rename the folder."
            )
        arguments = {"path": str(walk.root), "name": config, "cache_dir": cache_folder(walk.root, config)}
        return {name: {**arguments, "split": name} for name in _card_splits(walk.root, config)}
    files = split_files(used_tables(walk, options))
    return {
        name: {"path": "parquet", "data_files": [_literal(walk.root / path) for path in paths], "split": "train"}
        for name, paths in files.items()
    }


def used_tables(walk: Walk, options: DataOptions) -> list[str]:
    """The parquet files that hold images, where any does; else all of them."""
    tables = parquet_tables(walk)
    holding = [table for table in tables if holds_image_struct(walk.root / table, options.image_column)]
    return holding or tables


def count_beside(walk: Walk, options: DataOptions) -> LeftOut:
    """What a folder of parquet files holds beside them."""
    if not card_configurations(walk.root):
        for table in used_tables(walk, options):
            walk.left_out.discard(NOT_AN_IMAGE, table)
    tables = used_tables(walk, options)
    if not any(holds_image_struct(walk.root / table, None) for table in tables):
        return walk.left_out  # a column names the files
    for folder, names in walk.folders.items():
        walk.left_out.add(BESIDE_TABLES, join(folder, names[0]), len(names))
    return walk.left_out


def split_files(paths: Sequence[str]) -> dict[str, list[str]]:
    """Which parquet files make which split: by the name of the file, else by that of the nearest folder.

    Where no name says a split, all files are one. A file whose name says none, beside others, is a split of its own
    name.
    """
    named = {path: _split_name(path) for path in paths}
    if not any(named.values()):
        return {"train": sorted(paths)}
    files: dict[str, list[str]] = {}
    for path in sorted(paths):
        files.setdefault(named[path] or _stem(path), []).append(path)
    return files


def _split_name(path: str) -> str | None:
    names = [_stem(path), *reversed(path.split("/")[:-1])]
    return next((escaped(name) for name in names if split_role(name)), None)


def _stem(path: str) -> str:
    """The name of a file without suffix and without the number of a shard: ``train-00000-of-00002`` is ``train``."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return escaped(without_shard(stem) or stem)


def _card_splits(folder: Path, config: str | None) -> list[str]:
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config)
    return list(builder.config.data_files or {})


def _literal(path: Path) -> str:
    """A path as a pattern of ``datasets`` that matches it alone."""
    import glob

    return glob.escape(str(path))


def cache_folder(folder: Path, config: str | None = None) -> str:
    """A cache for this folder alone; it changes when a file of its data changes.

    ``datasets`` identifies a folder with a dataset card by its last name and its card alone: after one folder
    ``cifar10``, another of that name, or the same with other images in it, would be read from the cache of the first.
    Files that ``datasets`` does not recognise do not count.
    """
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config)
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for split, paths in sorted((builder.config.data_files or {}).items()):
        for path in paths:
            status = os.stat(path)
            digest.update(os.fsencode(f"{split}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "glmc_zoo", digest.hexdigest()[:16])
