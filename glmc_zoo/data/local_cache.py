"""Where ``datasets`` keeps what it made of a local folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(folder: Path) -> str:
    """A cache of the folder's own, another one when a file below it changes.

    ``datasets`` knows a folder with a dataset card by its last name and its card alone: after one folder ``cifar10``
    another of that name, or the same with other pictures in it, would be read from the first one's cache.

    Args:
        folder: resolved, so that one folder has one cache.
    """
    import datasets

    known = hashlib.sha256(os.fsencode(folder))
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(parent, name)
            try:
                status = os.stat(path)
            except OSError:  # a link to nowhere is no data
                continue
            known.update(os.fsencode(f"{os.path.relpath(path, folder)}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "glmc_zoo", known.hexdigest()[:16])
