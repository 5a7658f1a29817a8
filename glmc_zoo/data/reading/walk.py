"""Finding the image files below a folder: the one walk of the package, for training, evaluation and prediction."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES, looks_like_image
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

# Folders that file servers, archives and editors make for themselves, in lower case.
_HELPER_FOLDERS = frozenset(
    {
        *("@eadir", "@recycle", "@tmp", "@__thumb", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "found.000"),
        *("network trash folder", "temporary items", "_gsdata_", "@synoresource"),
        *("__macosx", "__pycache__", "lost+found", "node_modules", "_vti_cnf"),
    }
)
_HELPER_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})

NOT_AN_IMAGE = "not an image"
HIDDEN = "hidden"
HELPER = "made by a program for itself"
SPECIAL = "not a regular file"
OUTSIDE = "linking out of the folder"
BROKEN = "linking to nothing"
READ_ALREADY = "linking to a folder that is read under its own name"
TO_HIDDEN = "linking to a hidden folder"


@dataclass
class Walk:
    """The image files below a folder.

    Names may hold bytes that are not UTF-8, as Python's surrogate escapes.
    """

    root: Path
    folders: dict[str, list[str]] = field(default_factory=dict)
    """Sorted names of the images in each folder that has any; the folder relative to `root`, with ``/``, or ``.``."""
    bare: list[str] = field(default_factory=list)
    """Folders without an image at or below them."""
    left_out: LeftOut = field(default_factory=LeftOut)
    tables: list[str] = field(default_factory=list)
    """Files that may list images, relative to `root`: CSV, TSV, JSON lines, parquet. They count as `NOT_AN_IMAGE`."""
    links: dict[str, str] = field(default_factory=dict)
    """The file that an image is a link to, where that lies in the folder too; both relative to `root`."""
    notes: list[str] = field(default_factory=list)
    """Decisions taken on the user's behalf, one sentence each."""

    @property
    def images(self) -> int:
        """Number of image files."""
        return sum(map(len, self.folders.values()))

    @property
    def paths(self) -> list[str]:
        """Every image file, relative to `root`."""
        return [join(folder, name) for folder, names in self.folders.items() for name in names]


def walk_images(root: Path, *, follow_links: bool = False) -> Walk:
    """Every image file below ``root``, in a fixed order; each real folder is visited once.

    A file is an image by its suffix, or else by its content. A link is followed where it leads to a file below
    ``root``, or, with ``follow_links``, to any file or to a folder that is not visited under its own name. Everything
    else is counted in ``left_out``.

    Raises:
        UserError: A folder cannot be read.
    """
    return _Walker(root, follow_links).run()


class _Walker:
    def __init__(self, root: Path, follow_links: bool) -> None:
        self.walk, self.follow_links = Walk(root), follow_links
        self.real_root = os.path.realpath(root)
        self.visited: set[tuple[int, int]] = set()
        self.folders: set[str] = set()
        # Links to folders wait until everything is visited under its own name.
        self.waiting: list[tuple[str, str]] = []

    def run(self) -> Walk:
        self._visit(".")
        while self.waiting:
            self.waiting.sort(reverse=True)
            self._follow(*self.waiting.pop())
        walk = self.walk
        with_images = {above for folder in walk.folders for above in _parents(folder)}
        walk.bare = sorted(self.folders - with_images)
        walk.folders = dict(sorted(walk.folders.items(), key=lambda item: item[0].split("/")))
        return walk

    def _path(self, folder: str) -> str:
        return os.fspath(self.walk.root) if folder == "." else os.path.join(self.walk.root, folder)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder in order; none where it was visited before."""
        try:
            status = os.stat(self._path(folder))
            if (status.st_dev, status.st_ino) in self.visited:
                return []
            with os.scandir(self._path(folder)) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            # A folder without the right to enter it still tells its names, but no file can be opened.
            if listed and not os.access(self._path(folder), os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise UserError(
                f"The folder {escaped(self._path(folder))} cannot be read ({error.strerror}): change its permissions, "
                "or move it out of the data."
            ) from error
        self.visited.add((status.st_dev, status.st_ino))
        self.folders.add(folder)
        return listed

    def _visit(self, top: str) -> None:
        stack = [top]
        while stack:
            folder = stack.pop()
            names: list[str] = []
            inner: list[str] = []
            for entry in self._entries(folder):
                self._sort(entry, join(folder, entry.name), names, inner)
            if names:
                self.walk.folders[folder] = names
            stack += reversed(inner)

    def _sort(self, entry: os.DirEntry[str], path: str, names: list[str], inner: list[str]) -> None:
        """Put one entry of a folder among its images, among the folders to visit, or among what is left out."""
        reason = unwanted(entry.name)
        link = entry.is_symlink()
        if reason:
            self._leave(path, reason, is_folder=entry.is_dir(follow_symlinks=False))
        elif link and not os.path.exists(entry.path):
            self._leave(path, BROKEN)
        elif link and entry.is_dir():
            self.waiting.append((path, os.path.realpath(entry.path)))
        elif link and not self.follow_links and not self._allowed(os.path.realpath(entry.path)):
            self._leave(path, OUTSIDE)
        elif entry.is_dir():
            inner.append(path)
        elif not entry.is_file():
            self._leave(path, SPECIAL)
        elif is_image_file(entry.path):
            names.append(entry.name)
            if link:
                self._remember_link(path, os.path.realpath(entry.path))
        else:
            if os.path.splitext(entry.name)[1].lower() in (".csv", ".tsv", ".jsonl", ".parquet"):
                self.walk.tables.append(path)
            self._leave(path, NOT_AN_IMAGE)

    def _follow(self, path: str, target: str) -> None:
        status = os.stat(target)
        if not self._allowed(target):
            self._leave(path, OUTSIDE)
        elif (status.st_dev, status.st_ino) in self.visited:
            self._leave(path, READ_ALREADY)
        elif not self.follow_links:
            self._leave(path, TO_HIDDEN)
        else:
            self._visit(path)

    def _remember_link(self, path: str, target: str) -> None:
        inside = os.path.relpath(target, self.real_root)
        if inside.split(os.sep)[0] != os.pardir:
            self.walk.links[path] = inside

    def _allowed(self, target: str) -> bool:
        return self.follow_links or target == self.real_root or target.startswith(self.real_root.rstrip("/") + "/")

    def _leave(self, path: str, reason: str, *, is_folder: bool = False) -> None:
        """Count what is left out: of a folder, every file in it."""
        if not is_folder:
            self.walk.left_out.add(reason, path)
            return
        # `os.walk` names a link to a folder among the folders. A folder that cannot be read counts as one.
        unreadable: list[OSError] = []
        files = 0
        for above, folders, names in os.walk(self._path(path), onerror=unreadable.append):
            files += len(names) + sum(os.path.islink(os.path.join(above, folder)) for folder in folders)
        self.walk.left_out.add(reason, f"{path}/", files + len(unreadable))


def join(folder: str, name: str) -> str:
    """``folder/name``; ``.`` is the root."""
    return name if folder == "." else f"{folder}/{name}"


def _parents(folder: str) -> Iterator[str]:
    yield "."
    parts = folder.split("/")
    for length in range(1, len(parts) + 1):
        yield "/".join(parts[:length])


def unwanted(name: str) -> str | None:
    """Why a file or folder of this name is left out, whatever it holds; ``None`` for any other name."""
    lower = name.lower()
    if lower in _HELPER_FOLDERS or lower in _HELPER_FILES:
        return HELPER
    return HIDDEN if name.startswith(".") else None


def is_image_file(path: str) -> bool:
    """Whether a file is an image, by its suffix or else by its content."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or looks_like_image(path)
