"""Finds the images to classify: files, folders, CSV files that list images, and patterns."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from glmc_zoo.data.reading.file_finder import FileFinder, spellings
from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES
from glmc_zoo.data.reading.inventory import LeftOut
from glmc_zoo.data.reading.label_files import PATH_NAMES
from glmc_zoo.data.reading.split_names import column_key
from glmc_zoo.data.reading.table_rows import csv_cells
from glmc_zoo.data.reading.walk import BROKEN, HELPER, NOT_AN_IMAGE, SPECIAL, is_image_file, unwanted, walk_images
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

EMPTY_CELL = "without a path"


@dataclass
class FoundImages:
    """The images to classify, each once, and the files that were left out of folders, patterns and lists."""

    files: list[Path] = field(default_factory=list)
    """Paths of the images. Bytes that are not UTF-8 are surrogate escapes."""
    left_out: LeftOut = field(default_factory=LeftOut)

    def left_out_line(self) -> str:
        """A line like ``left out: 3 hidden (.a, .b, ...); 1 not an image (c.txt)``; empty where nothing is left out."""
        return f"left out: {text}" if (text := self.left_out.text) else ""


def find_images(paths: Iterable[str], *, follow_links: bool = False) -> FoundImages:
    """Find image files, in the order of ``paths``.

    - A file is taken as it is, even if it is not an image.
    - A folder stands for the images below it, sorted.
    - A CSV file stands for the paths in its column of paths (`PATH_NAMES`), or in its first column, relative to the
      folder of the CSV file.
    - A pattern with ``*``, ``?`` or ``[`` stands for the files and folders that match it, sorted; ``**`` matches any
      number of folders.

    Args:
        paths: The values of ``images=``.
        follow_links: Whether to follow links to folders.

    Raises:
        UserError: A path does not exist, a pattern matches nothing, a CSV file cannot be read, or no image is found.
    """
    names, finder = list(paths), _Finder(follow_links)
    for name in names:
        finder.add(name)
    if not finder.images.files:
        left_out_text = f" ({left_out})" if (left_out := finder.images.left_out_line()) else ""
        raise UserError(
            f"No image was found in {', '.join(map(escaped, names))}{left_out_text}: give image files, such as .jpg, "
            ".png or .tif, or folders that contain some."
        )
    return finder.images


class _Finder:
    def __init__(self, follow_links: bool) -> None:
        self.follow_links = follow_links
        self.images = FoundImages()
        self.seen: set[str] = set()
        self.real_folders: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Add the images of one value of the option."""
        path = _existing_form(Path(name))
        if os.path.isdir(path):  # unlike `Path.is_dir`, this takes names of any length
            self._add_folder(path)
        elif os.path.lexists(path):
            self._add_file(path)
        elif glob.has_magic(name):
            self._add_pattern(str(path), name)
        else:
            raise UserError(
                f"images={escaped(name)!r} does not exist: give image files, folders that contain some, CSV files that "
                "list some, or patterns such as 'images/*.png'."
            )

    def _add_file(self, path: Path) -> None:
        if path.suffix.lower() == ".csv" and path.is_file():
            self._add_all(_read_image_list(path, self.images.left_out))
        else:
            self._add_all([path])

    def _add_folder(self, folder: Path, select: Callable[[list[str]], bool] | None = None) -> int:
        """Add the images below ``folder`` for which ``select`` is true, and return how many match, those added before
        included.

        ``select`` gets the parts of the path below ``folder``; by default all match.
        """
        walk = walk_images(folder, follow_links=self.follow_links)
        self.images.left_out.update(walk.left_out, "" if folder == Path() else folder.as_posix())
        paths = [
            [*(part for part in subfolder.split("/") if part != "."), name]
            for subfolder, names in walk.folders.items()
            for name in names
        ]
        selected = [parts for parts in sorted(paths) if select is None or select(parts)]
        self._add_all(Path(folder, *parts) for parts in selected)
        return len(selected)

    def _add_pattern(self, pattern: str, name: str) -> None:
        parts = Path(pattern).parts
        if "**" in parts:
            start = parts.index("**")
            top = str(Path(*parts[:start]))
            # The walk visits each folder once, even where links lead back to it.
            folders = sorted(filter(os.path.isdir, glob.glob(top) if glob.has_magic(top) else [top]))
            select = partial(_path_matches, pattern=parts[start:])
            matches = sum(self._add_folder(Path(folder), select) for folder in folders)
        else:
            names = sorted(glob.glob(pattern))
            matches = len(names)
            for match in names:
                self._add_match(Path(match), parts)
        if not matches:
            raise UserError(
                f"images={escaped(name)!r} matches no image: check the pattern, in which * and ? stand for a part of a "
                "name and ** for any number of folders."
            )

    def _add_match(self, path: Path, pattern: Sequence[str]) -> None:
        """Add a file or folder that matches a pattern; what is not an image is left out unless the pattern names it."""
        names_csv = pattern[-1].lower().endswith(".csv")
        helper_folders = [part for part in path.parts if part not in pattern and unwanted(part) == HELPER]
        reason = None
        if helper_folders:
            reason = HELPER
        elif path.is_dir():
            self._add_folder(path)
        elif not path.exists():
            reason = BROKEN
        elif not path.is_file():
            reason = SPECIAL
        elif (names_csv and path.suffix.lower() == ".csv") or is_image_file(str(path)):
            self._add_file(path)
        else:
            reason = NOT_AN_IMAGE
        if reason:
            self.images.left_out.add(reason, str(path))

    def _add_all(self, paths: Iterable[Path]) -> None:
        for path in paths:
            parent = str(path.parent)
            if parent not in self.real_folders:
                self.real_folders[parent] = os.path.realpath(parent)
            key = os.path.join(self.real_folders[parent], path.name)
            if key not in self.seen:
                self.seen.add(key)
                self.images.files.append(path)


def _existing_form(path: Path) -> Path:
    """The path in the Unicode normal form that exists on disk; unchanged where none exists."""
    forms = map(Path, spellings(os.fspath(path)))
    return path if os.path.lexists(path) else next((form for form in forms if os.path.lexists(form)), path)


def _path_matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a file, or a folder that contains it, matches a pattern; both are given in parts."""
    return any(_matches(parts[:end], pattern) for end in range(1, len(parts) + 1))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _read_image_list(table: Path, left_out: LeftOut) -> list[Path]:
    """The images that a CSV file lists, relative to its folder; paths are read as in a list of training images."""
    try:
        text = table.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"images={escaped(str(table))!r} cannot be read: {error.strerror or error}.") from error
    rows = list(csv_cells(table, text))
    if not rows:
        raise UserError(
            f"images={escaped(str(table))!r} is empty: give a CSV file with the path of an image in each row."
        )
    column, rows = _path_column(table, rows)
    finder = FileFinder(table.parent.resolve())
    paths = []
    for number, row in rows:
        cell = row[column] if column < len(row) else ""
        if not cell.strip():
            left_out.add(EMPTY_CELL, f"{table} row {number}")
            continue
        # A file that does not exist is kept: the output reports it as unreadable.
        paths.append(table.parent / (finder.find(cell) or cell.replace("\\", "/")))
    return paths


def _path_column(table: Path, rows: list[tuple[int, list[str]]]) -> tuple[int, list[tuple[int, list[str]]]]:
    """Index of the column of paths, and the rows without the header."""
    header = [column_key(cell) for cell in rows[0][1]]
    column = next((header.index(name) for name in PATH_NAMES if name in header), None)
    if column is not None:
        return column, rows[1:]
    first = table.parent / rows[0][1][0]
    has_header = not (first.suffix.lower() in IMAGE_SUFFIXES or os.path.isfile(first))
    return 0, rows[1:] if has_header else rows
