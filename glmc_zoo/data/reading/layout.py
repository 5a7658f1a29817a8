"""Folders of images: which folders are splits, and which folder is the class of an image.

The class is the first folder below the split, however deep the file lies. If folders can be understood in two ways,
an error says which option decides.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folder_tree import FolderTree, is_inside, repeated_folders
from glmc_zoo.data.reading.inventory import name_few
from glmc_zoo.data.reading.listing import UNLABELLED, FileListing, FileRows, class_name
from glmc_zoo.data.reading.split_names import Role, is_filler, split_role
from glmc_zoo.data.reading.walk import Walk, join
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

BESIDE_SPLITS = "beside the folders of the splits"
BESIDE_CLASSES = "beside the class folders"
# Beside an inner folder with the splits, at most one image in so many.
_FEW = 10


class NoClassFolders(UserError):
    """A folder has images, and none of them is in a class folder."""


@dataclass(frozen=True)
class Layout:
    """Where the splits lie."""

    base: str
    """Folder that holds the splits, or the classes where there are no splits."""
    splits: dict[str, str]
    """Folder that holds the classes of each split, by the split's name; empty where there are no splits."""
    beside: list[str]
    """Folders beside the splits that belong to none."""


def list_class_folders(walk: Walk, options: DataOptions, base: str = ".") -> FileListing:
    """Every image of class folders below ``base`` with its class and split; what has none is counted as left out."""
    for option in ("image_column", "label_column", "split_column"):
        if (value := getattr(options, option)) is not None:
            raise UserError(f"{option}={value!r} is for tables, and {walk.root} has class folders: leave it out.")
    tree = FolderTree(walk)
    layout = find_layout(tree, options, base)
    listing = FileListing(
        walk.root,
        "class folders in split folders" if layout.splits else "class folders",
        unsplit=not layout.splits,
        left_out=walk.left_out,
        links=walk.links,
    )
    for folder in layout.beside:
        files = tree.images_below(join(layout.base, folder))
        listing.left_out.add(BESIDE_SPLITS, f"{join(layout.base, folder)}/", files)
    if layout.splits and (beside_splits := tree.images_in(layout.base)):
        listing.left_out.add(BESIDE_SPLITS, join(layout.base, walk.folders[layout.base][0]), beside_splits)
    if layout.base != base:
        listing.notes.append(f"The images lie in the inner folder {escaped(layout.base)}.")
    _count_outside(tree, layout.base, listing)
    for name, folder in (layout.splits or {"train": layout.base}).items():
        images = tree.files(join(layout.base, name) if layout.splits else layout.base)
        rows = list_rows(images, folder, name, options, listing)
        if rows.paths:
            listing.splits[escaped(name)] = rows
    if not listing.splits:
        raise NoClassFolders(
            f"The folder {walk.root} has images but no class folders: make one folder for each class (CLASS/*.jpg, or "
            "train/CLASS/*.jpg with test/CLASS/*.jpg), or list the images with their classes in a CSV file."
        )
    check_trainable(listing)
    _note_empty_classes(tree, layout, options, listing)
    return listing


def find_layout(tree: FolderTree, options: DataOptions, base: str) -> Layout:
    """Which folders below ``base`` are splits; those that the user names, else those with a usual name."""
    base = _base(tree, options, base)
    children = tree.children(base)
    splits = _named_splits(children, options)
    if splits:
        splits = _checked_splits(tree, base, children, splits, options)
    if not splits:
        _refuse_splits_in_classes(tree, base, children)
        _check_classes(tree, [base], options)
        return Layout(base, {}, [])
    classes = {name: _inner(tree, join(base, name)) for name in splits}
    classes = _with_lone_classes(tree, base, classes)
    for name, folder in classes.items():
        inside = [child for child in tree.children(folder) if split_role(child)]
        if split_role(name) and {split_role(child) for child in inside} - {split_role(name)} and len(inside) > 1:
            raise UserError(
                f"The folder {escaped(folder)} has the name of a split and holds others, {name_few(inside)}: give that "
                "folder as the data, or move its folders up."
            )
    _check_classes(tree, classes.values(), options)
    return Layout(base, classes, [name for name in children if name not in splits])


def _base(tree: FolderTree, options: DataOptions, top: str) -> str:
    """The folder with the splits or the classes: the top one, or an inner one where an archive was unpacked."""
    base, plain, last = top, True, tree.walk.root.name if top == "." else top.rpartition("/")[2]
    while True:
        children = tree.children(base)
        if _named_splits(children, options):
            return base
        if (inner := _with_splits(tree, base)) is not None:
            return inner
        if len(children) != 1 or tree.images_in(base):
            break
        (only,) = children
        repeated = is_filler(only) or only == last
        if not tree.children(join(base, only)) and not is_filler(only):
            break
        base, plain, last = join(base, only), plain and repeated, only
    if base == top or plain:
        return base
    (only,) = tree.children(top)
    if options.class_level is None:
        raise UserError(
            f"The folder {tree.walk.root} holds only the folder {escaped(join(top, only))}: give that folder as the "
            "data if its folders are the classes, or add the folders of the other classes if it is a class."
        )
    return top


def _with_splits(tree: FolderTree, base: str) -> str | None:
    """The one inner folder that holds training and test split, with at most a few images beside it."""
    for name in tree.children(base):
        inner = join(base, name)
        holding = {split_role(child) for child in tree.children(inner) if len(tree.children(join(inner, child))) > 1}
        inside = tree.images_below(inner)
        if "train" in holding and len(holding - {None}) > 1 and (tree.images_below(base) - inside) * _FEW <= inside:
            return inner
    return None


def _named_splits(children: list[str], options: DataOptions) -> dict[str, Role | None]:
    """The folders that are splits by the user's names or by usual names, with the split that each name stands for."""
    requested = [name for name in (options.train_split, options.test_split) if name is not None]
    if requested and all(name in children for name in requested):
        return {name: split_role(name) for name in children if name in requested or split_role(name)}
    return {name: role for name in children if (role := split_role(name))}


def _checked_splits(
    tree: FolderTree, base: str, children: list[str], splits: dict[str, Role | None], options: DataOptions
) -> dict[str, Role | None]:
    """The splits, or nothing where the names are those of classes; refused where both can be meant."""
    by_user = options.train_split is not None or options.test_split is not None
    holding = {name for name in splits if tree.children(join(base, name))}
    others = [name for name in children if name not in splits]
    train = any(role == "train" and name in holding for name, role in splits.items())
    scored = any(role in ("test", "validation") for role in splits.values())
    if by_user or not others:
        return splits
    if options.class_level is not None and not (train and scored):
        return {}
    if train and scored:
        return splits
    if not holding and not scored:  # a class called "train", beside others
        return {}
    name = min(splits, key=lambda name: (splits[name] == "train", name not in holding))
    raise UserError(
        f"The folder {escaped(join(base, name))} may be a split or a class, as {name_few(others)} beside it "
        f"{'is not a split' if len(others) == 1 else 'are not splits'}: give train_split= or test_split= with its name "
        "if it is a split, or class_level=1 if it is a class."
    )


def _refuse_splits_in_classes(tree: FolderTree, base: str, children: list[str]) -> None:
    """Refuse class folders that hold several splits, such as ``ant/train`` and ``ant/test``."""
    for name in children:
        roles = [child for child in tree.children(join(base, name)) if split_role(child)]
        if len({split_role(child) for child in roles}) > 1:
            holding = [child for child in children if set(roles) & set(tree.children(join(base, child)))]
            _refuse_class_first(holding, roles)


def _refuse_class_first(names: list[str], roles: list[str]) -> NoReturn:
    raise UserError(
        f"The folder{'s' if len(names) > 1 else ''} {name_few(names)} hold{'' if len(names) > 1 else 's'} the splits "
        f"{name_few(roles)}: put the split first, as in {escaped(roles[0])}/{escaped(names[0])}, or list the images "
        "in a CSV file with a column split."
    )


def _check_classes(tree: FolderTree, bases: Iterable[str], options: DataOptions) -> None:
    """Refuse folders that may be cameras, years or splits instead of classes, because they hold the same inner folders.

    ``bases`` are the folders that hold the classes, one for each split.
    """
    if options.class_level is not None:
        return
    inner: dict[str, set[str]] = defaultdict(set)
    with_images = set()
    for base in bases:
        for name in tree.children(base):
            inner[name] |= set(tree.children(join(base, name)))
            if tree.images_in(join(base, name)):
                with_images.add(name)
    # If the inner folders were the classes, an image directly in an outer folder would have no class.
    if len(inner) < 2 or 2 * len(with_images) >= len(inner):
        return
    if repeated := repeated_folders(inner):
        raise UserError(
            f"The folders {name_few(sorted(inner))} hold the same folders, {name_few(repeated)}: give class_level=1 if "
            "the former are the classes, class_level=2 if the latter are, or train_split= and test_split= if the "
            "former are splits."
        )


def _inner(tree: FolderTree, folder: str) -> str:
    """The folder that holds the classes of a split: an archive often repeats its name or adds one like images."""
    role = split_role(folder.rpartition("/")[2])
    while True:
        children = tree.children(folder)
        if len(children) != 1:
            return folder
        (only,) = children
        if not (is_filler(only) or (role is not None and split_role(only) == role)):
            return folder
        folder = join(folder, only)


def _with_lone_classes(tree: FolderTree, base: str, classes: dict[str, str]) -> dict[str, str]:
    """The folder that holds the classes of each split, corrected for a split with one class.

    `_inner` skips a single folder with a name such as ``images``. It is a class if another split has a class of that
    name.
    """
    known = {
        class_name(child)
        for name, folder in classes.items()
        if folder == join(base, name) and len(tree.children(folder)) > 1
        for child in tree.children(folder)
    }
    corrected = {}
    for name, folder in classes.items():
        while folder != join(base, name) and class_name(folder.rpartition("/")[2]) in known:
            folder = folder.rpartition("/")[0]
        corrected[name] = folder
    return corrected


def list_rows(files: list[str], folder: str, name: str, options: DataOptions, listing: FileListing) -> FileRows:
    """These images of a split, each with its class below a folder; those without one are counted as left out."""
    level, rows = options.class_level or 1, FileRows()
    depth = 0 if folder == "." else folder.count("/") + 1
    outside_classes = []
    for path in files:
        parts = path.split("/")[depth:]
        if len(parts) <= level or not is_inside(path, folder):
            outside_classes.append(path)
            continue
        if split_role(name) not in ("test", "validation"):
            _refuse_split_in_class(parts[level:-1], path)
        rows.add(path, class_name(parts[level - 1]))
    if outside_classes and not rows.paths:
        listing.bare_splits.append(name)
        listing.notes.append(f"The split {escaped(name)} has no class folders and is not used.")
    elif len(outside_classes) > len(rows):
        raise UserError(
            f"{len(outside_classes):,} images, such as {escaped(outside_classes[0])}, lie beside the class "
            "folders and so have no class: move each into the folder of its class, or list them in a CSV file."
        )
    for path in outside_classes:
        listing.left_out.add(BESIDE_CLASSES if rows.paths else UNLABELLED, path)
    return rows


def _refuse_split_in_class(folders: list[str], path: str) -> None:
    """Refuse a training image in a folder for test or validation images.

    Args:
        folders: Names of the folders between the class folder and the image.
        path: Path of the image, for the error.
    """
    for folder in folders:
        role = split_role(folder)
        if role in ("test", "validation"):
            raise UserError(
                f"The folder {escaped(folder)} of {escaped(path)} looks like a {role} split, but lies inside a class "
                f"of training images: put the split first ({role}/CLASS/*.jpg), or rename the folder."
            )


def check_trainable(listing: FileListing) -> None:
    """Refuse a training split without class folders beside another that has them, which would be trained on instead."""
    train = [name for name in listing.bare_splits if split_role(name) == "train"]
    if train and listing.splits:
        raise UserError(
            f"The training split {escaped(train[0])} of {listing.root} has images but no class folders, and the split "
            f"{next(iter(listing.splits))} has them: sort its images into class folders, or list them in a CSV file."
        )


def _count_outside(tree: FolderTree, base: str, listing: FileListing) -> None:
    """Count the images outside of ``base`` as left out."""
    for folder in tree.walk.folders:
        if not is_inside(folder, base):
            listing.left_out.add(BESIDE_SPLITS, f"{folder}/", tree.images_in(folder))


def _note_empty_classes(tree: FolderTree, layout: Layout, options: DataOptions, listing: FileListing) -> None:
    """Name the folders of splits without an image, and the class folders that have none in any split."""
    level = options.class_level or 1
    names = {label for rows in listing.splits.values() for label in rows.labels}
    bare: set[str] = set()
    for folder in tree.walk.bare:
        for base in layout.splits.values() or [layout.base]:
            inner = folder if base == "." else folder.removeprefix(f"{base}/")
            if (base == "." or inner != folder) and inner.count("/") == level - 1:
                bare.add(class_name(inner.rpartition("/")[2]))
    for folder in tree.walk.bare:
        if (folder.rpartition("/")[0] or ".") == layout.base and split_role(folder.rpartition("/")[2]):
            listing.notes.append(f"The folder {escaped(folder)} has the name of a split and has no image.")
            bare.discard(class_name(folder.rpartition("/")[2]))
    if bare - names:
        listing.notes.append(f"The folders of these classes have no image: {name_few(sorted(bare - names), 10)}.")
