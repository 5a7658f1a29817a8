"""The configurations that a dataset card lists: which files of a folder of images are which split."""

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folder_tree import is_inside
from glmc_zoo.data.reading.layout import check_trainable, list_class_folders, list_rows
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.split_names import is_filler, split_role
from glmc_zoo.data.reading.walk import Walk, join
from glmc_zoo.documents import MAX_BYTES, parse_yaml
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

NOT_CONFIGURED = "not in the configuration of the dataset card"

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


def card_configurations(folder: Path) -> list[dict[str, Any]]:
    """The entries under ``configs`` in the front matter of a folder's README.md; empty without any."""
    card = folder / "README.md"
    if not card.is_file():
        return []
    with card.open("rb") as file:
        text = file.read(MAX_BYTES).decode("utf-8-sig", "replace")
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text.replace("\r\n", "\n"), re.DOTALL)
    try:
        values = parse_yaml(front[1], str(card), fix="Mend it.") if front else None
    except UserError:
        return []
    configs = values.get("configs") if isinstance(values, dict) else None
    return [entry for entry in configs if isinstance(entry, dict)] if isinstance(configs, list) else []


def list_by_card(walk: Walk, options: DataOptions, config: str | None) -> FileListing | None:
    """The images in the splits that a configuration of the card names; ``None`` where it names no files.

    The class is the first folder below that of the split, as without a card. Where the card names files but no
    splits, the folders' names tell the splits.
    """
    entry = _choose_configuration(walk.root, config)
    patterns = _patterns(entry, walk.root)
    if not patterns:
        return None
    images = walk.paths
    split_of: dict[str, str] = {}
    for split, globs in patterns.items():
        for path in _matching(walk, images, globs):
            if split_of.setdefault(path, split) != split:
                raise UserError(
                    f"The dataset card of {walk.root} puts {escaped(path)} in two splits, {split_of[path]} and "
                    f"{split}: mend its configs."
                )
    outside = [path for path in images if path not in split_of]
    if outside:
        walk.left_out.add(NOT_CONFIGURED, outside[0], len(outside))
    if list(patterns) == [""]:
        return list_class_folders(_restricted(walk, split_of), options, base=_common_folder(patterns[""]))
    listing = FileListing(
        walk.root, "class folders in the splits of a dataset card", left_out=walk.left_out, links=walk.links
    )
    for split, globs in patterns.items():
        files = [path for path in images if split_of.get(path) == split]
        _check_roles(walk.root, split, files)
        rows = list_rows(files, _class_parent(files, _common_folder(globs), split), split, options, listing)
        if rows.paths:
            listing.splits[split] = rows
    if not listing.splits:
        raise UserError(f"The dataset card of {walk.root} names no image in class folders: mend or remove its configs.")
    check_trainable(listing)
    return listing


def _choose_configuration(folder: Path, config: str | None) -> dict[str, Any]:
    """The entry of the dataset card that ``config`` names; without a name, the default or the only one.

    Raises:
        UserError: The name is unknown, or it is missing and the card has several entries without exactly one default.
    """
    entries = {str(entry.get("config_name", "default")): entry for entry in card_configurations(folder)}
    defaults = [name for name, entry in entries.items() if entry.get("default") or name == "default"]
    if config is None and len(entries) > 1 and len(defaults) != 1:
        raise UserError(
            f"The dataset card of {folder} has several configurations: choose one with data_config= "
            f"({', '.join(entries)})."
        )
    name = config if config is not None else (defaults or list(entries))[0]
    if name not in entries:
        raise UserError(f"data_config={name!r} is not a configuration of {folder}: give one of {', '.join(entries)}.")
    return entries[name]


def _patterns(entry: Mapping[str, Any], root: Path) -> dict[str, list[str]]:
    """The glob patterns of each split in one entry of ``configs`` of a dataset card.

    ``data_files`` is a path, a list of paths, a mapping of splits to paths, or a list of ``{split, path}``. The
    patterns are relative to the folder of the card. Those that belong to no split have the key ``""``.

    Raises:
        UserError: A path in ``data_files`` is missing, empty or not a string.
    """
    files, folder = entry.get("data_files"), str(entry.get("data_dir") or "")
    listed: list[tuple[str, Any]] = []
    if files is None and folder:
        listed = [("", "**")]
    elif isinstance(files, Mapping):
        listed = [(str(split), path) for split, path in files.items()]
    elif isinstance(files, list) and any(isinstance(item, Mapping) for item in files):
        listed = [(str(item.get("split", "")), item.get("path")) for item in files if isinstance(item, Mapping)]
    elif files is not None:
        listed = [("", files)]
    patterns: dict[str, list[str]] = {}
    for split, paths in listed:
        for path in paths if isinstance(paths, list) else [paths]:
            if not isinstance(path, str) or not path:
                raise UserError(
                    f"The dataset card of {root} has an entry in data_files without a path: correct its configs."
                )
            patterns.setdefault(split, []).append(posixpath.normpath(posixpath.join(folder, path)))
    return patterns


def _matching(walk: Walk, images: list[str], patterns: list[str]) -> list[str]:
    """The images that any of the patterns names; a pattern may also be a folder."""
    matched: dict[str, None] = {}
    for pattern in patterns:
        if os.path.isfile(walk.root / pattern) and pattern.lower().endswith(ARCHIVES):
            raise UserError(
                f"The dataset card of {walk.root} names the archive {pattern}: unpack it, and name the folder with its "
                "images in the configs of the card instead."
            )
        expression = _expression(pattern)
        matching = [path for path in images if expression.fullmatch(path) or is_inside(path, pattern)]
        if not matching:
            raise UserError(
                f"The dataset card of {walk.root} names {pattern}, which matches no image of the folder: mend its "
                "configs, or unpack the archives that hold the images."
            )
        matched.update(dict.fromkeys(matching))
    return list(matched)


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of the card as a regular expression: ``**`` crosses folders, ``*`` and ``?`` do not."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^]]+\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    special = [meaning.get(part, part.replace("[!", "[^", 1)) for part in parts[1::2]]
    fixed = [re.escape(part) for part in parts[::2]]
    return re.compile(
        "".join(text + expression for text, expression in zip(fixed, [*special, ""], strict=True)), re.DOTALL
    )


def _common_folder(patterns: list[str]) -> str:
    """The folder that all patterns of a split begin with, up to the first special character."""
    fixed = []
    for pattern in patterns:
        parts = pattern.split("/")[:-1]
        special = next((index for index, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        fixed.append(parts[:special])
    return posixpath.commonpath(["/".join(parts) for parts in fixed]) or "."


def _class_parent(files: list[str], folder: str, split: str) -> str:
    """The folder that holds the class folders: inner folders that repeat the split or say nothing are skipped."""
    while True:
        inner = {path if folder == "." else path[len(folder) + 1 :] for path in files}
        names = {path.partition("/")[0] for path in inner if "/" in path}
        if len(names) != 1:
            return folder
        (only,) = names
        if not is_filler(only) and (split_role(only) is None or split_role(only) != split_role(split)):
            return folder
        folder = join(folder, only)


def _check_roles(root: Path, split: str, files: list[str]) -> None:
    """Refuse a card that trains on the images of a folder whose name says test."""
    if split_role(split) in ("test", "validation"):
        return
    for path in files:
        for folder in path.split("/")[:-1]:
            if split_role(folder) in ("test", "validation"):
                raise UserError(
                    f"The dataset card of {root} puts {escaped(path)} in the split {split}, and its folder "
                    f"{escaped(folder)} looks like another: mend its configs."
                )


def _restricted(walk: Walk, images: Mapping[str, str]) -> Walk:
    """The walk with only these images."""
    folders: dict[str, list[str]] = {}
    for path in images:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder or ".", []).append(name)
    return replace(walk, folders=folders)
