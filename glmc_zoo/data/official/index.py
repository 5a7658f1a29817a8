"""An index of all images of a large data set by name and class, from a folder or a table, without decoding."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glmc_zoo.data.official.facts import Naming, OfficialSplit
from glmc_zoo.data.reading.images import ArrowImages, stray_image
from glmc_zoo.data.reading.split import RawData
from glmc_zoo.data.reading.table_paths import TablePaths
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

_SUFFIX = r"\.\w+$"
# The Hub's file names end in the class: n01440764_10026_n01440764.JPEG, ILSVRC2012_val_00000001_n01440764.JPEG.
_HUB_CLASS = r"^(n\d+_\d+|ILSVRC2012_val_\d+)_n\d+$"
# Folders of Places365 that hold the folders of the classes.
_PLACES_ROOT = r"^(?:.*/)?(?:train|val|(?:train|val|data)_(?:256|large)(?:_standard)?)/"
_PLACES_LETTER = r"^[a-z]/([^/]+/.+)$"


@dataclass(frozen=True)
class SplitIndex:
    """The images of one split."""

    source: ArrowImages
    names: Any
    """Arrow strings of shape (N,): file names, or paths below the folder of the split; null without a name."""
    classes: NDArray[np.int64]
    """Class of each image, as an index of ``class_names``, of shape (N,); -1 if its folder does not tell it."""


@dataclass(frozen=True)
class ImageIndex:
    """The images of the original data set, before any list is applied."""

    train: SplitIndex
    test: SplitIndex
    class_names: list[str]
    shared: bool = False
    """Whether both splits have the same images, so that a list is needed to separate them."""


def image_keys(paths: Any, naming: Naming) -> Any:
    """One key for each path, the same in every layout and on every list, without the suffix.

    File names are unique in ImageNet and iNaturalist, so the file name is the key. Places counts the training images of
    each class from the start: ``airfield/00004851``, ``apartment_building-outdoor/00000794``; its validation
    images again have unique names. Paths and keys are Arrow strings of shape (N,), with ``/`` between folders.
    """
    if naming == "places":
        keys = pc.replace_substring_regex(_places_path(paths), _SUFFIX, "")
        return pc.replace_substring_regex(keys, r"^(?:.*/)?(Places365_val_\d+)$", r"\1")
    keys = pc.replace_substring_regex(pc.replace_substring_regex(paths, r"^.*/", ""), _SUFFIX, "")
    return pc.replace_substring_regex(keys, _HUB_CLASS, r"\1") if naming == "imagenet" else keys


def list_keys(paths: Any, naming: Naming) -> Any:
    """`image_keys` for the paths of a list, whatever folders they begin with."""
    paths = pc.replace_substring(paths, "\\", "/")
    if naming == "places" and not pc.any(pc.match_substring_regex(paths, _PLACES_ROOT)).as_py():
        ends = pc.min_max(paths).as_py()  # a prefix of the first and the last path is a prefix of all
        common = posixpath.commonpath([posixpath.dirname(end) for end in (ends["min"], ends["max"])])
        paths = pc.utf8_slice_codeunits(paths, len(common) + 1) if common else paths
    return image_keys(paths, naming)


def folder_classes(paths: Any, naming: Naming) -> Any:
    """The class that each image's folder names, as Arrow strings; empty for an image outside the class folders."""
    if naming == "places":
        return pc.replace_substring_regex(_places_path(paths), r"/?[^/]*$", "")
    inner = pc.replace_substring_regex(paths, r"^(?:.*/)?([^/]+)/[^/]*$", r"\1")
    flat = pc.invert(pc.match_substring(paths, "/"))
    return pc.if_else(flat, pa.scalar("", paths.type), inner)


def index_layout(folder: Path, official: OfficialSplit) -> ImageIndex | None:
    """The images of a folder in one of the data set's usual layouts; ``None`` when it has another layout."""
    layout = next((pair for pair in official.layouts if all((folder / inner).is_dir() for inner in pair)), None)
    if layout is None:
        return None
    roots = dict.fromkeys(folder / inner for inner in layout)  # one or two
    names = [_image_names(root) for root in roots]
    folders = [_classes_by_folder(paths, official.naming) for paths in names]
    distinct = {name for folder_names, _ in folders for name in folder_names if name}
    class_names = sorted(distinct, key=lambda name: (int(name) if name.isdecimal() else -1, name))  # numbers by value
    number = {name: index for index, name in enumerate(class_names)}
    splits = []
    for kind, root, paths, (folder_names, positions) in zip(("training", "test"), roots, names, folders, strict=False):
        classes = np.asarray([number.get(name, -1) for name in folder_names], np.int64)[positions]
        if kind == "training" and (classes < 0).any():
            raise stray_image(paths[int(np.argmax(classes < 0))], root)
        # A folder of the layout may be a link to another disk. The paths come from the walk, so they are trusted.
        table, rule = _path_table(root, paths), TablePaths.trusted()
        splits.append(SplitIndex(ArrowImages(table, "image", kind, folder.resolve(), rule), paths, classes))
    return ImageIndex(splits[0], splits[-1], class_names, shared=len(splits) == 1)


def index_raw(raw: RawData, split_names: Iterable[str]) -> ImageIndex:
    """The index of a data set read from tables.

    It reads only the file names: splits and columns are already chosen. ``split_names`` are all splits of the data set,
    for the message.

    Raises:
        UserError: There is no test split.
    """
    if raw.test is None:
        raise UserError(f"No split to test on was found among {', '.join(split_names)}: name one with test_split=.")
    splits = []
    for split in (raw.train, raw.test):
        assert isinstance(split.source, ArrowImages)
        splits.append(SplitIndex(split.source, split.source.names(), split.labels))
    return ImageIndex(splits[0], splits[1], raw.class_names)


def _image_names(root: Path) -> Any:
    """The path of each image below ``root``, relative to it, as Arrow strings."""
    chunks: list[Any] = []
    for folder, files in walk_images(root).folders.items():
        unusable = next((name for name in (folder, *files) if escaped(name) != name), None)
        if unusable is not None:  # Arrow strings are UTF-8, and so are the names on official lists
            raise UserError(
                f"The name {escaped(unusable)} in {root} is not UTF-8: rename it, or move it out of the data."
            )
        names = pa.array(files)
        chunks.append(names if folder == "." else pc.binary_join_element_wise(pa.scalar(folder), names, "/"))
    if not chunks:
        raise UserError(f"The folder {root} has no images: complete the copy of the data set.")
    return pa.concat_arrays(chunks)


def _classes_by_folder(names: Any, naming: Naming) -> tuple[list[str], NDArray[np.int64]]:
    """The class that each distinct folder names, and the folder of each image as an index of these."""
    folders = pc.replace_substring_regex(names, r"[^/]+$", "_").dictionary_encode()
    return folder_classes(folders.dictionary, naming).to_pylist(), folders.indices.to_numpy()


def _places_path(paths: Any) -> Any:
    """``a/apartment_building/outdoor/1.jpg``, below any root, as ``apartment_building-outdoor/1.jpg``."""
    inner = pc.replace_substring_regex(paths, _PLACES_ROOT, "")
    inner = pc.replace_substring_regex(inner, _PLACES_LETTER, r"\1")
    return pc.replace_substring_regex(inner, r"^([^/]+)/([^/]+)/([^/]+)$", r"\1-\2/\3")


def _path_table(root: Path, names: Any) -> Any:
    """A ``datasets.Dataset`` of image files; it holds only their paths."""
    import datasets
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    paths = pc.binary_join_element_wise(pa.scalar(root.resolve().as_posix()), names, "/")
    column = pa.StructArray.from_arrays([pa.nulls(len(names), pa.binary()), paths], names=["bytes", "path"])
    return datasets.Dataset(
        InMemoryTable(pa.table({"image": column})),
        info=datasets.DatasetInfo(features=datasets.Features({"image": datasets.Image(decode=False)})),
        # Without it, ``datasets`` computes a fingerprint from every path, for a cache that is not used here.
        fingerprint=generate_random_fingerprint(),
    )
