"""The folders of a walk as a tree, with what can be told from their names."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from glmc_zoo.data.reading.split_names import is_filler
from glmc_zoo.data.reading.walk import Walk, join

# Folders that say when, where or by what an image was taken: 2021, 2021-05, cam1, site_3, seq02, night.
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d?){0,2}")
_TAKEN_BY = (
    *("cam", "camera", "site", "station", "location", "loc", "deployment", "area", "plot", "year", "month", "week"),
    *("day", "night", "date", "session", "seq", "sequence", "burst", "video", "clip", "roll", "batch", "visit"),
    *("patient", "subject", "person", "individual", "animal", "scanner", "device", "fold", "run", "trip", "group"),
)
_TAKEN = re.compile(rf"(?:{'|'.join(_TAKEN_BY)})s?(?:[\W_]*(?:[a-z]|\d+))?")


class FolderTree:
    """The folders of a walk that have images at or below them; the root is ``.``."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._children: dict[str, set[str]] = defaultdict(set)
        self._below: dict[str, int] = defaultdict(int)
        for folder, names in walk.folders.items():
            while True:
                self._below[folder] += len(names)
                if folder == ".":
                    break
                above = folder.rpartition("/")[0] or "."
                self._children[above].add(folder.rpartition("/")[2])
                folder = above

    def children(self, folder: str) -> list[str]:
        """Names of the folders in a folder that have images at or below them, sorted."""
        return sorted(self._children.get(folder, ()))

    def images_in(self, folder: str) -> int:
        """Images directly in a folder."""
        return len(self.walk.folders.get(folder, ()))

    def images_below(self, folder: str) -> int:
        """Images in a folder and in those below it."""
        return self._below.get(folder, 0)

    def files(self, folder: str) -> list[str]:
        """The images in a folder and below it, relative to the root of the walk."""
        inside = [f for f in self.walk.folders if is_inside(f, folder)]
        return [join(inner, name) for inner in inside for name in self.walk.folders[inner]]


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def says_how_taken(name: str) -> bool:
    """Whether a folder's name is that of a date, a camera, a patient or the like, rather than of a class."""
    name = name.lower()
    return bool(_DATE.fullmatch(name) or _TAKEN.fullmatch(name))


def repeated_folders(inner: Mapping[str, set[str]]) -> list[str]:
    """The names of second folders that make it unclear which of two folders is the class, sorted; often empty.

    ``inner`` has the folders in each first folder. Cameras that each hold the same species look like classes; so do
    classes that each hold the same years. Names as `says_how_taken` decides where they can; else it is unclear where
    two names or more repeat, and these are half of the second folders.
    """
    folders = {name: {one for one in inside if not is_filler(one)} for name, inside in inner.items()}
    times = Counter(one for inside in folders.values() for one in inside)
    repeated = sorted(one for one, number in times.items() if number > 1)
    first_taken = all(map(says_how_taken, folders))
    second_taken = all(map(says_how_taken, times))
    if second_taken and not first_taken:
        return []
    if first_taken and not second_taken and repeated:
        return repeated
    folders_with = sum(times[one] for one in repeated)
    return repeated if len(repeated) > 1 and 2 * folders_with >= times.total() else []
