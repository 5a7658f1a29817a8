"""What a picture is called apart from where it lies, for all names of a set at once."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from glmc_zoo.data.official import Naming

__all__ = ["folder_classes", "list_keys", "picture_keys"]

_SUFFIX = r"\.\w+$"
# The Hub's file names end in the class: n01440764_10026_n01440764.JPEG, ILSVRC2012_val_00000001_n01440764.JPEG.
_HUB_CLASS = r"^(n\d+_\d+|ILSVRC2012_val_\d+)_n\d+$"
# Folders of Places365 that hold the folders of the classes.
_PLACES_ROOT = r"^(?:.*/)?(?:train|val|(?:train|val|data)_(?:256|large)(?:_standard)?)/"
_PLACES_LETTER = r"^[a-z]/([^/]+/.+)$"


def picture_keys(paths: Any, naming: Naming) -> Any:
    """One key for each path, the same in every layout and on every list, without the suffix.

    ImageNet and iNaturalist number their files through, so that the file's name is enough. Places numbers those of the
    training split anew in each class: ``airfield/00004851``, ``apartment_building-outdoor/00000794``; its validation
    pictures again have names of their own.

    Args:
        paths: Arrow strings of shape (N,), with ``/`` between folders.
        naming: the set's way.

    Returns:
        Arrow strings of shape (N,).
    """
    if naming == "places":
        keys = pc.replace_substring_regex(_places_path(paths), _SUFFIX, "")
        return pc.replace_substring_regex(keys, r"^(?:.*/)?(Places365_val_\d+)$", r"\1")
    keys = pc.replace_substring_regex(pc.replace_substring_regex(paths, r"^.*/", ""), _SUFFIX, "")
    return pc.replace_substring_regex(keys, _HUB_CLASS, r"\1") if naming == "imagenet" else keys


def list_keys(paths: Any, naming: Naming) -> Any:
    """`picture_keys` of the paths of a list, whatever folders they begin with."""
    paths = pc.replace_substring(paths, "\\", "/")
    if naming == "places" and not pc.any(pc.match_substring_regex(paths, _PLACES_ROOT)).as_py():
        ends = pc.min_max(paths).as_py()  # what these two begin with, all do
        common = posixpath.commonpath([posixpath.dirname(end) for end in (ends["min"], ends["max"])])
        paths = pc.utf8_slice_codeunits(paths, len(common) + 1) if common else paths
    return picture_keys(paths, naming)


def folder_classes(paths: Any, naming: Naming) -> Any:
    """The class that each picture's folder names; empty for one that lies in no folder of a class.

    Args:
        paths: Arrow strings of shape (N,), below the folder of a split or with it.
        naming: the set's way.

    Returns:
        Arrow strings of shape (N,).
    """
    if naming == "places":
        return pc.replace_substring_regex(_places_path(paths), r"/?[^/]*$", "")
    inner = pc.replace_substring_regex(paths, r"^(?:.*/)?([^/]+)/[^/]*$", r"\1")
    flat = pc.invert(pc.match_substring(paths, "/"))
    return pc.if_else(flat, pa.scalar("", paths.type), inner)


def _places_path(paths: Any) -> Any:
    """``a/apartment_building/outdoor/1.jpg``, from whatever root, as ``apartment_building-outdoor/1.jpg``."""
    inner = pc.replace_substring_regex(paths, _PLACES_ROOT, "")
    inner = pc.replace_substring_regex(inner, _PLACES_LETTER, r"\1")
    return pc.replace_substring_regex(inner, r"^([^/]+)/([^/]+)/([^/]+)$", r"\1-\2/\3")
