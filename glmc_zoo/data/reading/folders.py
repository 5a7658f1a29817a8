"""Local folders: images, parquet files, or a folder saved by ``datasets``, and the cache of each."""

import glob
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import card_configurations, list_by_card
from glmc_zoo.data.reading.label_files import list_metadata
from glmc_zoo.data.reading.layout import list_class_folders
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.tables import errors_as_sentence, holds_image_struct
from glmc_zoo.data.reading.walk import Walk, walk_images
from glmc_zoo.errors import UserError

# Beside a table, a few images are figures of its card; and beside images, a small table describes them.
_FEW = 10


def open_folder(folder: Path, options: DataOptions, config: str | None = None) -> FileListing | Mapping[str, Any]:
    """What a folder holds: a listing of image files, or the ``datasets.Dataset`` of each split.

    Images lie in class folders (`layout`) or are listed by ``metadata.csv`` or ``metadata.jsonl`` (`label_files`);
    tables are parquet files, or a folder that ``save_to_disk`` of ``datasets`` wrote.
    """
    if not folder.is_dir():
        raise missing_folder(folder)
    check_configuration(folder, config)
    if is_saved(folder):
        return _open_saved(folder)
    walk = walk_images(folder.resolve(), follow_links=options.follow_links)
    if tables_rather_than_images(walk, options):
        import datasets

        with errors_as_sentence(folder):
            tables: Mapping[str, Any] = datasets.load_dataset(**table_arguments(folder.resolve(), config))
            return tables
    return list_images(walk, options, config)


def list_images(walk: Walk, options: DataOptions, config: str | None = None) -> FileListing:
    """The images of a folder with their classes: by metadata, by the dataset card's splits, or by class folders."""
    if not walk.images:
        reasons = ", ".join(f"{one.files:,} {one.reason}" for one in walk.left_out.facts())
        raise UserError(
            f"The data folder {walk.root} has no images{f' ({reasons})' if reasons else ''}: expected CLASS/*.jpg, "
            "train/CLASS/*.jpg with test/CLASS/*.jpg, *.parquet, or a folder saved by datasets."
        )
    listing = list_metadata(walk, options)
    if listing is None and card_configurations(walk.root):
        listing = list_by_card(walk, options, config)
    return list_class_folders(walk, options) if listing is None else listing


def missing_folder(folder: Path | str) -> UserError:
    """The error for a folder that does not exist."""
    return UserError(
        f"The data folder {folder} does not exist: give an existing folder, CSV file, Hub id or catalogue name."
    )


def holds_tables(folder: Path) -> bool:
    """Whether a folder was saved by ``datasets`` or holds parquet files with images, rather than image files."""
    return is_saved(folder) or tables_rather_than_images(walk_images(folder.resolve()), DataOptions())


def tables_rather_than_images(walk: Walk, options: DataOptions) -> bool:
    """Whether the images of a folder are in its parquet files.

    Parquet files without an image column describe images that lie beside them. Where both hold images, by far the
    larger number decides; else the folder is refused.
    """
    tables = [table for table in walk.tables if table.lower().endswith(".parquet")]
    if not tables or not walk.images:
        return bool(tables)
    holding = [table for table in tables if holds_image_struct(walk.root / table, options.image_column)]
    rows = sum(_rows(walk.root / table) for table in holding)
    if not rows or rows * _FEW <= walk.images:
        return False
    if walk.images * _FEW <= rows or walk.images <= _FEW:
        return True
    raise UserError(
        f"The data folder {walk.root} holds {walk.images:,} image files and {rows:,} rows with images in "
        f"{holding[0]}: give the folder of the ones that are meant."
    )


def _rows(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def _open_saved(folder: Path) -> Mapping[str, Any]:
    import datasets

    with errors_as_sentence(folder):
        saved = datasets.load_from_disk(str(folder))
    return saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` of ``datasets`` wrote the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def has_configurations(folder: Path) -> bool:
    """Whether a dataset card in the folder lists configurations to choose from."""
    return not is_saved(folder) and bool(card_configurations(folder))


def check_configuration(folder: Path, config: str | None) -> None:
    """Refuse a configuration for a folder that has none."""
    if config is not None and not has_configurations(folder):
        raise UserError(f"data_config={config!r} is not known: {folder} has no configurations, so leave it out.")


def table_arguments(folder: Path, config: str | None = None) -> dict[str, Any]:
    """The arguments of ``datasets.load_dataset`` that open a folder of parquet files."""
    path = str(folder)
    if glob.escape(path) != path:
        # ``datasets`` makes a pattern of the folder's path as it stands.
        if has_configurations(folder):
            raise UserError(
                f"The path of the data folder {folder} contains one of the characters *?[: rename the folder."
            )
        return {"path": "parquet", "data_dir": glob.escape(path)}
    return {"path": path, "name": config, "cache_dir": cache_folder(folder, config)}


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
