"""Folders of images: which folders are splits, and which folder is the class of an image.

The class is the first folder below the split, however deep the file lies. Where folders may be read in two ways, the
reading stops and says how to tell it.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NoReturn

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.inventory import escaped
from glmc_zoo.data.reading.listing import UNLABELLED, FileListing, FileRows, class_name
from glmc_zoo.data.reading.split_names import Role, is_filler, split_role
from glmc_zoo.data.reading.walk import Walk
from glmc_zoo.errors import UserError

BESIDE_SPLITS = "beside the folders of the splits"
BESIDE_CLASSES = "beside the class folders"
_MOST_NAMED = 4


class FolderTree:
    """The folders of a walk that have images at or below them."""

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
        inside = [f for f in self.walk.folders if folder == "." or f == folder or f.startswith(f"{folder}/")]
        return [join(inner, name) for inner in inside for name in self.walk.folders[inner]]


@dataclass(frozen=True)
class Layout:
    """Where the splits lie."""

    base: str
    """Folder that holds the splits, or the classes where there are no splits."""
    splits: dict[str, str]
    """Folder that holds the classes of each split, by the split's name; empty where there are no splits."""
    beside: list[str]
    """Folders beside the splits that belong to none."""


def join(folder: str, name: str) -> str:
    """``folder/name``; ``.`` is the root."""
    return name if folder == "." else f"{folder}/{name}"


def list_class_folders(walk: Walk, options: DataOptions) -> FileListing:
    """Every image of class folders with its class and split; what has none is counted as left out."""
    for option in ("image_column", "label_column", "split_column"):
        if (value := getattr(options, option)) is not None:
            raise UserError(f"{option}={value!r} is for tables, and {walk.root} has class folders: leave it out.")
    tree = FolderTree(walk)
    layout = find_layout(tree, options)
    listing = FileListing(
        walk.root,
        "class folders in split folders" if layout.splits else "class folders",
        unsplit=not layout.splits,
        left_out=walk.left_out,
    )
    for folder in layout.beside:
        files = tree.images_below(join(layout.base, folder))
        listing.left_out.add(BESIDE_SPLITS, f"{join(layout.base, folder)}/", files)
    if layout.splits and (loose := tree.images_in(layout.base)):
        listing.left_out.add(BESIDE_SPLITS, join(layout.base, walk.folders[layout.base][0]), loose)
    if layout.base != ".":
        listing.notes.append(f"The images lie in the inner folder {escaped(layout.base)}.")
        _count_outside(tree, layout.base, listing)
    for name, folder in (layout.splits or {"train": layout.base}).items():
        rows = list_rows(tree.files(folder), folder, name, options, listing)
        if rows.paths:
            listing.splits[name] = rows
    if not listing.splits:
        raise UserError(
            f"The folder {walk.root} has images but no class folders: make one folder for each class (CLASS/*.jpg, or "
            "train/CLASS/*.jpg with test/CLASS/*.jpg), or list the images with their classes in a CSV file."
        )
    _note_empty_classes(tree, layout, listing)
    return listing


def find_layout(tree: FolderTree, options: DataOptions) -> Layout:
    """Which folders are splits; those that the user names, else those with a usual name."""
    base, plain = ".", True
    while True:
        children = tree.children(base)
        splits = _named_splits(children, options)
        inner = join(base, children[0]) if children else base
        if splits or len(children) != 1 or tree.images_in(base) or not tree.children(inner):
            break
        base, plain = inner, plain and is_filler(children[0])
    if base != "." and not splits and not plain:
        base, children = ".", tree.children(".")
        if options.class_level is None:
            raise UserError(
                f"The folder {tree.walk.root} holds the one folder {escaped(children[0])}: give that folder as the "
                "data if its folders are the classes, or class_level=1 if it is a class."
            )
    if splits:
        splits = _checked_splits(tree, base, children, splits, options)
    if not splits:
        _check_classes(tree, base, children, options)
        return Layout(base, {}, [])
    inner_folders = {name: _inner(tree, join(base, name)) for name in splits}
    return Layout(base, inner_folders, [name for name in children if name not in splits])


def _named_splits(children: list[str], options: DataOptions) -> dict[str, Role | None]:
    given = [name for name in (options.train_split, options.test_split) if name is not None]
    if given and all(name in children for name in given):
        return {name: split_role(name) for name in children if name in given or split_role(name)}
    return {name: role for name in children if (role := split_role(name))}


def _checked_splits(
    tree: FolderTree, base: str, children: list[str], splits: dict[str, Role | None], options: DataOptions
) -> dict[str, Role | None]:
    """The splits, or nothing where the names are those of classes; refused where both can be meant."""
    given = options.train_split is not None or options.test_split is not None
    holding = {name for name in splits if tree.children(join(base, name))}
    others = [name for name in children if name not in splits]
    train = any(role == "train" and name in holding for name, role in splits.items())
    scored = any(role in ("test", "validation") for role in splits.values())
    if given or not others:
        return splits
    if options.class_level is not None and not (train and scored):
        return {}
    if train and scored:
        return splits
    if not holding and not scored:  # a class called "train", beside others
        return {}
    shown = _few(others)
    name = next(name for name in sorted(splits, key=lambda name: (splits[name] == "train", name not in holding)))
    raise UserError(
        f"The folder {escaped(join(base, name))} may be a split or a class, as {shown} beside it "
        f"{'is' if len(others) == 1 else 'are'} no split: give train_split= or test_split= with its name if it is a "
        "split, or class_level=1 if it is a class."
    )


def _check_classes(tree: FolderTree, base: str, children: list[str], options: DataOptions) -> None:
    """Refuse first folders that hold the same folders: they may be splits, cameras or years instead of classes."""
    if len(children) < 2:
        return
    inner = [set(tree.children(join(base, name))) for name in children]
    shared, every = set.intersection(*inner), set.union(*inner)
    roles = sorted(name for name in shared if split_role(name))
    if roles:
        _refuse_class_first(children, roles)
    if options.class_level is not None or len(shared) < 2 or 2 * len(shared) < len(every):
        return
    raise UserError(
        f"The folders {_few(children)} all hold the folders {_few(sorted(shared))}: give class_level=1 if the former "
        "are the classes, class_level=2 if the latter are, or train_split= and test_split= if the former are splits."
    )


def _refuse_class_first(children: list[str], roles: list[str]) -> NoReturn:
    raise UserError(
        f"The folders {_few(children)} hold the splits {_few(roles)}: put the split first, as in {roles[0]}/"
        f"{children[0]}, or list the images in a CSV file with a column split."
    )


def _inner(tree: FolderTree, folder: str) -> str:
    """The folder that holds the classes of a split: an archive often repeats its name or adds one like images."""
    role = split_role(folder.rpartition("/")[2])
    while True:
        children = tree.children(folder)
        if len(children) != 1 or tree.images_in(folder):
            return folder
        (only,) = children
        repeated = is_filler(only) or (role is not None and split_role(only) == role)
        if not repeated or not tree.children(join(folder, only)):
            return folder
        folder = join(folder, only)


def list_rows(files: list[str], folder: str, name: str, options: DataOptions, listing: FileListing) -> FileRows:
    """These images below the folder of a split, each with its class; those without one are counted as left out."""
    level, rows = options.class_level or 1, FileRows()
    depth = 0 if folder == "." else folder.count("/") + 1
    loose = []
    for path in files:
        parts = path.split("/")[depth:]
        if len(parts) <= level:
            loose.append(path)
            continue
        if split_role(name) == "train":
            _refuse_hidden_split(parts[level:-1], path)
        rows.add(path, class_name(parts[level - 1]))
    if loose and not rows.paths:
        listing.notes.append(f"The split {escaped(name)} has no class folders and is not used.")
    elif len(loose) > len(rows):
        raise UserError(
            f"{len(loose)} images, such as {escaped(loose[0])}, lie beside the class folders and so have no class: "
            "move each into the folder of its class, or list them in a CSV file."
        )
    for path in loose:
        listing.left_out.add(BESIDE_CLASSES if rows.paths else UNLABELLED, path)
    return rows


def _refuse_hidden_split(folders: list[str], path: str) -> None:
    for folder in folders:
        if split_role(folder) in ("test", "validation"):
            raise UserError(
                f"The folder {escaped(folder)} of {escaped(path)} looks like a test split inside a class that is "
                "trained on: put the split first (test/CLASS/*.jpg), or rename the folder."
            )


def _count_outside(tree: FolderTree, base: str, listing: FileListing) -> None:
    for folder in tree.walk.folders:
        if folder == "." or not (folder == base or folder.startswith(f"{base}/")):
            listing.left_out.add(BESIDE_SPLITS, f"{folder}/", tree.images_in(folder))


def _note_empty_classes(tree: FolderTree, layout: Layout, listing: FileListing) -> None:
    """Name the class folders that have no image in any split."""
    level = 1
    names = {label for rows in listing.splits.values() for label in rows.labels}
    bare: set[str] = set()
    for folder in tree.walk.bare:
        for base in layout.splits.values() or [layout.base]:
            inner = folder if base == "." else folder.removeprefix(f"{base}/")
            if (base == "." or inner != folder) and inner.count("/") < level and class_name(inner) not in names:
                bare.add(class_name(inner))
    if bare:
        listing.notes.append(f"The folders of these classes have no image: {_few(sorted(bare), 10)}.")


def _few(names: list[str], most: int = _MOST_NAMED) -> str:
    shown = ", ".join(escaped(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
