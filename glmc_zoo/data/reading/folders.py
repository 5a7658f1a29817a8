"""Local folders: images, parquet files, or a folder saved by ``datasets``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import card_configurations, list_by_card
from glmc_zoo.data.reading.dataset_errors import errors_as_sentence
from glmc_zoo.data.reading.label_files import list_metadata
from glmc_zoo.data.reading.layout import NoClassFolders, list_class_folders
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.lists_beside import compare_class_folders, refuse_bare_images
from glmc_zoo.data.reading.missing import missing_path
from glmc_zoo.data.reading.parquet_folder import (
    FolderTables,
    count_beside,
    images_are_in_tables,
    table_arguments,
    used_tables,
)
from glmc_zoo.data.reading.table_sizes import check_expansion
from glmc_zoo.data.reading.walk import OUTSIDE, Walk, walk_images
from glmc_zoo.errors import UserError


def open_folder(folder: Path, options: DataOptions, config: str | None = None) -> FileListing | Mapping[str, Any]:
    """What a folder holds: a listing of image files, or the ``datasets.Dataset`` of each split.

    Images lie in class folders (`layout`) or are listed by ``metadata.csv`` or ``metadata.jsonl`` (`label_files`);
    tables are parquet files, or a folder that ``save_to_disk`` of ``datasets`` wrote.
    """
    if not folder.is_dir():
        raise missing_path(folder)
    check_configuration(folder, config)
    if is_saved(folder):
        return _open_saved(folder)
    walk = walk_images(folder.resolve(), follow_links=options.follow_links)
    if images_are_in_tables(walk, options):
        import datasets

        with errors_as_sentence(folder):
            for table in used_tables(walk, options):
                check_expansion(walk.root / table)
            splits = table_arguments(walk, options, config)
            tables = {name: datasets.load_dataset(**arguments) for name, arguments in splits.items()}
            return FolderTables(tables, count_beside(walk, options, config))
    return list_images(walk, options, config)


def list_images(walk: Walk, options: DataOptions, config: str | None = None) -> FileListing:
    """The images of a folder with their classes: by metadata, by the dataset card's splits, or by class folders."""
    if not walk.images:
        raise _no_images(walk)
    listing = list_metadata(walk, options)
    if listing is None and card_configurations(walk.root):
        listing = list_by_card(walk, options, config)
    if listing is None:
        listing = _list_class_folders(walk, options)
    listing.notes = [*walk.notes, *listing.notes]
    return listing


def _no_images(walk: Walk) -> UserError:
    reasons = walk.left_out.text
    what = f"The data folder {walk.root} has no images{f', only {reasons}' if reasons else ''}"
    if walk.left_out.count(OUTSIDE):
        return UserError(f"{what}: pass follow_links=True to read what the links lead to.")
    return UserError(
        f"{what}: expected CLASS/*.jpg, train/CLASS/*.jpg with test/CLASS/*.jpg, *.parquet, or a folder saved by "
        "datasets."
    )


def _list_class_folders(walk: Walk, options: DataOptions) -> FileListing:
    """List class folders; refuse them if a file beside them contradicts them."""
    try:
        listing = list_class_folders(walk, options)
    except NoClassFolders:
        refuse_bare_images(walk, options)
        raise
    compare_class_folders(walk, listing, options)
    return listing


def holds_tables(folder: Path) -> bool:
    """Whether a folder was saved by ``datasets`` or holds parquet files with images, rather than image files."""
    return is_saved(folder) or images_are_in_tables(walk_images(folder.resolve()), DataOptions())


def _open_saved(folder: Path) -> Mapping[str, Any]:
    import datasets

    with errors_as_sentence(folder):
        saved = datasets.load_from_disk(str(folder))
    return saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` of ``datasets`` wrote the folder."""
    whole = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return whole or (folder / "dataset_dict.json").is_file()


def has_configurations(folder: Path) -> bool:
    """Whether a dataset card in the folder lists configurations to choose from."""
    return not is_saved(folder) and bool(card_configurations(folder))


def check_configuration(folder: Path, config: str | None) -> None:
    """Refuse a configuration for a folder that has none."""
    if config is not None and not has_configurations(folder):
        raise UserError(f"data_config={config!r} is not known: {folder} has no configurations, so leave it out.")
