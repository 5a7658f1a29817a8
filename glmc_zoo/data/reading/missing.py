"""The errors for data that does not exist: what the name could have meant, and the names nearest to it."""

import os
from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

LISTS = (".csv", ".tsv", ".jsonl", ".txt")
"""Suffixes of files that list images with their classes."""
_MAX_ENTRIES = 2_000  # of the folder where a path ends; a huge folder must not delay an error


def missing_data(name: str, catalogue: Collection[str]) -> UserError:
    """The error for a name without a slash that is no data set of the catalogue and no existing folder or file."""
    return UserError(
        f"data={escaped(name)!r} is neither an existing folder or file nor a data set of the catalogue "
        f"({', '.join(catalogue)}): give one of these, the path of a folder or a CSV file, or a Hub id (org/name)."
        f"{suggest_paths(name, catalogue)}"
    )


def missing_path(path: Path | str) -> UserError:
    """The error for a path that does not exist."""
    what = "file" if Path(path).suffix.lower() in (*LISTS, ".parquet") else "folder"
    return UserError(
        f"The data {what} {path} does not exist: give an existing folder, CSV file, Hub id or catalogue name."
        f"{suggest_paths(path)}"
    )


def suggest_paths(path: Path | str, names: Collection[str] = ()) -> str:
    """``" Did you mean a, b?"`` for the folders and lists nearest to a missing path, or an empty string.

    The part of the path that is missing is compared with what lies where it should be.

    Args:
        path: A path that does not exist.
        names: Names that are no paths, and are compared too.
    """
    missing = Path(path)
    while not os.path.lexists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    neighbours = _usable_entries(missing.parent)
    nearest = get_close_matches(missing.name, {*neighbours, *names}, n=3, cutoff=0.6)
    suggestions = [escaped(name if name in names else str(missing.parent / name)) for name in nearest]
    return f" Did you mean {', '.join(suggestions)}?" if suggestions else ""


def _usable_entries(folder: Path) -> list[str]:
    """Names of the folders, and of the files that may list images, in a folder; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            first = list(islice(entries, _MAX_ENTRIES))
            return [
                entry.name
                for entry in first
                if not entry.name.startswith(".")
                and (entry.is_dir() or (entry.is_file() and os.path.splitext(entry.name)[1].lower() in LISTS))
            ]
    except OSError:
        return []
