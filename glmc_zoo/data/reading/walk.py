"""Find the image files below a folder, for training, evaluation and prediction alike."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES, looks_like_image
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

# Folders that file servers, archives and other programs make for their own use, in lower case.
_HELPER_FOLDERS = frozenset(
    {
        *("@eadir", "@recycle", "@tmp", "@__thumb", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "found.000"),
        *("network trash folder", "temporary items", "_gsdata_", "@synoresource"),
        *("__macosx", "__pycache__", "lost+found", "node_modules", "_vti_cnf"),
    }
)
_HELPER_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})

# Reasons in the inventory why a file is not used.
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
    """Sorted names of the images in each folder that has any. Folders are relative to `root`, which is ``.``."""
    bare: list[str] = field(default_factory=list)
    """Folders without an image in them or below them, relative to `root`."""
    left_out: LeftOut = field(default_factory=LeftOut)
    tables: list[str] = field(default_factory=list)
    """Files that may list images, relative to `root`: CSV, TSV, JSON lines, parquet. `left_out` counts them as
    `NOT_AN_IMAGE`."""
    links: dict[str, str] = field(default_factory=dict)
    """The target of each image that is a link to a file below `root`; both relative to `root`."""
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

    A file is an image by its suffix, or else by its content. A link to a file below ``root`` is followed. With
    ``follow_links``, a link to any other file is followed as well, and so is a link to a folder that is not visited
    under its own name. Everything else is counted in ``left_out``.

    Raises:
        UserError: A folder cannot be read.
    """
    return _Walker(root, follow_links).run()


class _Walker:
    """One walk, with the folders that were visited so far."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.walk, self.follow_links = Walk(root), follow_links
        self.real_root = os.path.realpath(root)
        self.visited: set[tuple[int, int]] = set()
        self.folders: set[str] = set()
        # Path and target of links to folders; they wait until every folder is visited under its own name.
        self.waiting: list[tuple[str, str]] = []

    def run(self) -> Walk:
        self._visit(".")
        while self.waiting:
            self.waiting.sort(reverse=True)
            self._follow(*self.waiting.pop())
        walk = self.walk
        with_images = {path for folder in walk.folders for path in _with_parents(folder)}
        walk.bare = sorted(self.folders - with_images)
        walk.folders = dict(sorted(walk.folders.items(), key=lambda item: item[0].split("/")))
        return walk

    def _path(self, folder: str) -> str:
        return os.fspath(self.walk.root) if folder == "." else os.path.join(self.walk.root, folder)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder by name; none if it was visited before."""
        try:
            status = os.stat(self._path(folder))
            if (status.st_dev, status.st_ino) in self.visited:
                return []
            with os.scandir(self._path(folder)) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            # Without the right to enter a folder, its names can be listed, but its files cannot be opened.
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
        """Sort the entries of a folder and of the folders below it, but not of folders behind links."""
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
            self._leave_out(path, reason, is_folder=entry.is_dir(follow_symlinks=False))
        elif link and not os.path.exists(entry.path):
            self._leave_out(path, BROKEN)
        elif link and entry.is_dir():
            self.waiting.append((path, os.path.realpath(entry.path)))
        elif link and not self.follow_links and not self._allowed(os.path.realpath(entry.path)):
            self._leave_out(path, OUTSIDE)
        elif entry.is_dir():
            inner.append(path)
        elif not entry.is_file():
            self._leave_out(path, SPECIAL)
        elif is_image_file(entry.path):
            names.append(entry.name)
            if link:
                self._remember_link(path, os.path.realpath(entry.path))
        else:
            if os.path.splitext(entry.name)[1].lower() in (".csv", ".tsv", ".jsonl", ".parquet"):
                self.walk.tables.append(path)
            self._leave_out(path, NOT_AN_IMAGE)

    def _follow(self, path: str, target: str) -> None:
        """Visit the target of a link to a folder, or leave the link out."""
        status = os.stat(target)
        if not self._allowed(target):
            self._leave_out(path, OUTSIDE)
        elif (status.st_dev, status.st_ino) in self.visited:
            self._leave_out(path, READ_ALREADY)
        elif not self.follow_links:
            self._leave_out(path, TO_HIDDEN)  # every other folder below the root was visited under its own name
        else:
            self._visit(path)

    def _remember_link(self, path: str, target: str) -> None:
        """Store the target of an image that is a link, if it lies below the root."""
        inside = os.path.relpath(target, self.real_root)
        if inside.split(os.sep)[0] != os.pardir:
            self.walk.links[path] = inside

    def _allowed(self, target: str) -> bool:
        """Whether links may lead to ``target``, a real path."""
        return self.follow_links or target == self.real_root or target.startswith(self.real_root.rstrip("/") + "/")

    def _leave_out(self, path: str, reason: str, *, is_folder: bool = False) -> None:
        """Count a file as left out, or every file in a folder."""
        if not is_folder:
            self.walk.left_out.add(reason, path)
            return
        # `os.walk` lists links to folders among the folders; each counts as a file. So does an unreadable folder.
        unreadable: list[OSError] = []
        files = 0
        for parent, folders, names in os.walk(self._path(path), onerror=unreadable.append):
            files += len(names) + sum(os.path.islink(os.path.join(parent, folder)) for folder in folders)
        self.walk.left_out.add(reason, f"{path}/", files + len(unreadable))


def join(folder: str, name: str) -> str:
    """``folder/name``, or ``name`` if the folder is the root, ``.``."""
    return name if folder == "." else f"{folder}/{name}"


def _with_parents(folder: str) -> Iterator[str]:
    """The root, every folder on the way to ``folder``, and ``folder`` itself."""
    yield "."
    parts = folder.split("/")
    for length in range(1, len(parts) + 1):
        yield "/".join(parts[:length])


def unwanted(name: str) -> str | None:
    """The reason to leave out a file or folder with this name, whatever it holds; ``None`` if there is none."""
    lower = name.lower()
    if lower in _HELPER_FOLDERS or lower in _HELPER_FILES:
        return HELPER
    return HIDDEN if name.startswith(".") else None


def is_image_file(path: str) -> bool:
    """Whether a file is an image, by its suffix or else by its content."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or looks_like_image(path)
