"""Finding the files that a CSV file, metadata or a column of a table names."""

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
        """The path relative to the root that a cell means; ``None`` where nothing exists there.

        A cell is relative to ``folder``, or absolute. It is taken as it is where that exists; else without spaces
        around it, with ``\\`` of Windows as ``/``, and in the other Unicode form. A name without an image suffix also
        means the one image of that name.
        """
        if not cell.strip():
            return None
        for text in spellings(cell):
            path = os.path.normpath(os.path.join("" if folder == "." else folder, text))
            if os.path.exists(os.path.join(self.root, path)):
                return self._relative(path)
        for text in spellings(cell):
            path = os.path.normpath(os.path.join("" if folder == "." else folder, text))
            if (named := self._by_stem(path)) is not None:
                return self._relative(named)
        return None

    def is_file(self, path: str) -> bool:
        """Whether a path that was found is a regular file, or a link to one."""
        return os.path.isfile(os.path.join(self.root, path))

    def _relative(self, path: str) -> str:
        """The path relative to the root: no result tells a folder of this machine where it need not."""
        if not os.path.isabs(path):
            return path
        above, name = os.path.split(path)
        inside = os.path.relpath(path, self.root)
        if not inside.startswith(".."):
            return inside
        return os.path.relpath(os.path.join(os.path.realpath(above), name), self.root)

    def _by_stem(self, path: str) -> str | None:
        folder, name = os.path.split(path)
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            return None
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            try:
                names = os.listdir(os.path.join(self.root, folder))
            except OSError:
                names = []
            for other in names:
                stem, suffix = os.path.splitext(other)
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(stem, []).append(other)
        named = self._stems[folder].get(name, [])
        return os.path.join(folder, named[0]) if len(named) == 1 else None


def spellings(cell: str) -> Iterator[str]:
    """The path in a cell as it is written, then as other programs and systems may have meant it."""
    for text in dict.fromkeys((cell, cell.strip())):
        for path in dict.fromkeys((text, text.replace("\\", "/"))):
            yield path
            if not path.isascii():
                yield unicodedata.normalize("NFC", path)
                yield unicodedata.normalize("NFD", path)
