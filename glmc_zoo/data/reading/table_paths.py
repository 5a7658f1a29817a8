"""Which files the paths in a table of images may name: those of its own folder, and no other file of this machine."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from glmc_zoo.data.reading.decoding import UnreadableImage
from glmc_zoo.data.reading.formats import open_regular


class OutsideFolder(UnreadableImage):
    """A path in a table leads out of the folder of the table."""


@dataclass(frozen=True)
class TablePaths:
    """The files that the paths in a table may name; see `below`, `cached` and `trusted`."""

    base: str | None = None
    """Folder for relative paths; ``None``: the current folder."""
    roots: tuple[str, ...] | None = None
    """Real folders that a file must lie in; ``None`` allows every path."""
    follow_links: bool = False
    """Whether a link in one of the folders may lead out of it."""
    open_remote: Callable[[str, str], Any] | None = None
    """Function that opens an address (URL); ``None`` if paths are never addresses."""
    _real: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def below(cls, folder: Path, *, follow_links: bool = False) -> "TablePaths":
        """Files below the folder of the table, which relative paths are relative to."""
        real = os.path.realpath(folder)
        return cls(real, (real,), follow_links)

    @classmethod
    def cached(cls) -> "TablePaths":
        """Files that ``datasets`` downloaded or unpacked."""
        import datasets
        from huggingface_hub import constants

        config = datasets.config
        folders = (
            config.HF_DATASETS_CACHE,
            config.DOWNLOADED_DATASETS_PATH,
            config.EXTRACTED_DATASETS_PATH,
            constants.HF_HUB_CACHE,
        )
        return cls(roots=tuple(os.path.realpath(folder) for folder in folders))

    @classmethod
    def trusted(cls, open_remote: Callable[[str, str], Any] | None = None) -> "TablePaths":
        """Any file: this package wrote the table."""
        return cls(open_remote=open_remote)

    def locate(self, path: str) -> str:
        """The file that a path names.

        Raises:
            OutsideFolder: It lies outside of the folders, or is a link that leads there.
        """
        file = path if self.base is None else os.path.join(self.base, path)
        if self.roots is None:
            return file
        file = os.path.normpath(os.path.abspath(file))
        if not self._inside(file) or not (self.follow_links or self._inside(self._realpath(file))):
            raise OutsideFolder("it lies outside of the folder of the table")
        return file

    def open(self, path: str) -> BinaryIO:
        """The file that a path names, open for reading; an address where those are allowed."""
        if "://" in path and self.open_remote is not None:
            file: BinaryIO = self.open_remote(path, "rb")
            return file
        return open_regular(self.locate(path))

    def _inside(self, file: str) -> bool:
        return any(file.startswith(root.rstrip("/") + "/") for root in self.roots or ())

    def _realpath(self, file: str) -> str:
        """The real path of a file; that of its folder is looked up once."""
        folder, name = os.path.split(file)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        joined = os.path.join(self._real[folder], name)
        return os.path.realpath(joined) if os.path.islink(joined) else joined
