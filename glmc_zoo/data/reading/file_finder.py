"""Finding the files that are named by a CSV file, by metadata, or by a column of a table."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES


class FileFinder:
    """Finds files by the text of a cell, which another program or system may have written.

    Args:
        root: The folder that paths are given relative to; resolved.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root)
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, cell: str, folder: str = ".") -> str | None:
        """Find the file that the text of a table cell names.

        All `spellings` of the text are tried in order. If nothing exists under any of them and the name has no image
        suffix, the image with that name and any image suffix is taken, if there is exactly one.

        Args:
            cell: A path, absolute or relative to ``folder``.
            folder: Folder relative to the root.

        Returns:
            The path relative to the root of what exists there, which may be a folder; see `is_file`. ``None`` if
            nothing does.
        """
        if not cell.strip():
            return None
        for text in spellings(cell):
            path = os.path.normpath(os.path.join("" if folder == "." else folder, text))
            if os.path.exists(os.path.join(self.root, path)):
                return self._relative(path)
        for text in spellings(cell):
            path = os.path.normpath(os.path.join("" if folder == "." else folder, text))
            if (match := self._by_stem(path)) is not None:
                return self._relative(match)
        return None

    def is_file(self, path: str) -> bool:
        """Whether a path that `find` returned is a regular file, or a link to one."""
        return os.path.isfile(os.path.join(self.root, path))

    def _relative(self, path: str) -> str:
        """A path relative to the root, so that results do not tell where the data lies on this machine."""
        if not os.path.isabs(path):
            return path
        parent, name = os.path.split(path)
        inside = os.path.relpath(path, self.root)
        if not inside.startswith(".."):
            return inside
        return os.path.relpath(os.path.join(os.path.realpath(parent), name), self.root)

    def _by_stem(self, path: str) -> str | None:
        """The only image whose path is ``path`` plus an image suffix; ``None`` if there is none or several."""
        folder, name = os.path.split(path)
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            return None
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            try:
                names = os.listdir(os.path.join(self.root, folder))
            except OSError:
                names = []
            for entry in names:
                stem, suffix = os.path.splitext(entry)
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(stem, []).append(entry)
        matches = self._stems[folder].get(name, [])
        return os.path.join(folder, matches[0]) if len(matches) == 1 else None


def spellings(cell: str) -> Iterator[str]:
    """The path in a cell as it is written, then as another program or system may have written it.

    The variants are: without surrounding spaces, with ``\\`` of Windows as ``/``, and in the two Unicode forms NFC and
    NFD.
    """
    for text in dict.fromkeys((cell, cell.strip())):
        for path in dict.fromkeys((text, text.replace("\\", "/"))):
            yield path
            if not path.isascii():
                yield unicodedata.normalize("NFC", path)
                yield unicodedata.normalize("NFD", path)
