"""The folders of a walk as a tree, and what their names tell about the images in them."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from glmc_zoo.data.reading.split_names import is_filler
from glmc_zoo.data.reading.walk import Walk, join

# Names of folders that tell when, where or with what images were recorded: 2021, 2021-05, cam1, site_3, seq02, night.
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d?){0,2}")
_RECORDING_WORDS = (
    *("cam", "camera", "site", "station", "location", "loc", "deployment", "area", "plot", "year", "month", "week"),
    *("day", "night", "date", "session", "seq", "sequence", "burst", "video", "clip", "roll", "batch", "visit"),
    *("patient", "subject", "person", "individual", "animal", "scanner", "device", "fold", "run", "trip", "group"),
)
_RECORDING = re.compile(rf"(?:{'|'.join(_RECORDING_WORDS)})s?(?:[\W_]*(?:[a-z]|\d+))?")


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
                parent = folder.rpartition("/")[0] or "."
                self._children[parent].add(folder.rpartition("/")[2])
                folder = parent

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
        folders = [inner for inner in self.walk.folders if is_inside(inner, folder)]
        return [join(inner, name) for inner in folders for name in self.walk.folders[inner]]


def is_inside(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` itself or lies below it; both relative to the same root, which is ``.``."""
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def describes_recording(name: str) -> bool:
    """Whether the name of a folder is that of a date, a camera, a patient or the like, and so not that of a class."""
    name = name.lower()
    return bool(_DATE.fullmatch(name) or _RECORDING.fullmatch(name))


def repeated_folders(inner: Mapping[str, set[str]]) -> list[str]:
    """Names of inner folders that make it unclear whether the outer or the inner folders are the classes, sorted.

    Both CAMERA/SPECIES and SPECIES/YEAR repeat the same inner names below several outer folders. `describes_recording`
    tells them apart. If it holds for all inner names, and not for all outer names, the outer folders are the classes,
    and nothing is returned. If it holds for all outer names, and not for all inner names, every repeated name is
    returned. In all other cases the repeated names are returned if they are two or more, and at least half of the
    inner folders have one of them.

    Args:
        inner: Names of the folders in each outer folder.
    """
    names = [{name for name in children if not is_filler(name)} for children in inner.values()]
    counts = Counter(name for children in names for name in children)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    outer_are_recordings = all(map(describes_recording, inner))
    inner_are_recordings = all(map(describes_recording, counts))
    if inner_are_recordings and not outer_are_recordings:
        return []
    if outer_are_recordings and not inner_are_recordings and repeated:
        return repeated
    return repeated if len(repeated) > 1 and 2 * sum(counts[name] for name in repeated) >= counts.total() else []
