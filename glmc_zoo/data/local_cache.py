"""Where ``datasets`` keeps what it made of a local folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["cache_folder"]


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
