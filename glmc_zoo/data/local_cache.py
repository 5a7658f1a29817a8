"""What ``datasets`` is told to open a local folder of tables, and where it keeps what it made of it."""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError

__all__ = ["cache_folder", "has_configurations", "is_saved", "table_arguments"]


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` of ``datasets`` made the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def has_configurations(folder: Path) -> bool:
    """Whether a dataset card in the folder lists configurations to choose from."""
    card = folder / "README.md"
    if is_saved(folder) or not card.is_file():
        return False
    return "\nconfigs:" in card.read_text(encoding="utf-8", errors="replace")


def table_arguments(folder: Path, config: str | None = None) -> dict[str, Any]:
    """The arguments of ``datasets.load_dataset`` that open a folder of parquet files.

    Raises:
        UserError: the folder has a dataset card, and a path that ``datasets`` would take for a pattern.
        ValueError, OSError, datasets.exceptions.DatasetsError: as `cache_folder`.
    """
    path = str(folder)
    if glob.escape(path) == path:
        return {"path": path, "name": config, "cache_dir": cache_folder(folder, config)}
    # ``datasets`` makes a pattern of the folder's path as it stands.
    if has_configurations(folder):
        raise UserError(f"The path of the data folder {folder} has one of the characters *?[ in it: rename the folder.")
    return {"path": "parquet", "data_dir": glob.escape(path)}


def cache_folder(folder: Path, config: str | None = None) -> str:
    """A cache of the folder's own, another one when a file of its data changes.

    ``datasets`` knows a folder with a dataset card by its last name and its card alone: after one folder ``cifar10``
    another of that name, or the same with other pictures in it, would be read from the first one's cache.

    Args:
        folder: with files that ``datasets`` finds; other files in it do not count.
        config: which of the card's configurations.

    Raises:
        ValueError, OSError, datasets.exceptions.DatasetsError: as ``datasets.load_dataset`` does for such a folder.
    """
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config)
    known = hashlib.sha256(os.fsencode(folder.resolve()))
    for split, paths in sorted((builder.config.data_files or {}).items()):
        for path in paths:
            status = os.stat(path)
            known.update(os.fsencode(f"{split}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "glmc_zoo", known.hexdigest()[:16])
