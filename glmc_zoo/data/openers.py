"""Opening a data set by what the user calls it: a catalogue entry, a folder, or a Hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.list_search import HUB_ID, find_lists
from glmc_zoo.data.local_cache import has_configurations
from glmc_zoo.data.official_parts import OfficialParts, split_by_lists, split_without_lists
from glmc_zoo.data.picture_index import PictureIndex, index_layout, index_tables
from glmc_zoo.data.raw import RawData
from glmc_zoo.data.sources import (
    holds_tables,
    open_digits,
    open_folder,
    open_hub,
    raw_from_tables,
)
from glmc_zoo.errors import UserError, did_you_mean

__all__ = ["open_entry", "open_official", "open_other"]


def open_entry(entry: DataEntry, data_dir: str | Path | None, **choices: str | None) -> RawData:
    """A catalogue set that a formula thins, complete.

    Args:
        entry: of the catalogue.
        data_dir: local copy; ``None`` reads from the Hub, or the library that the set comes with.
        choices: ``image_column``, ``label_column``, ``train_split`` and ``test_split``, where the user names them.

    Raises:
        UserError: the set is not there, or has other classes.
    """
    if entry.hub_id is None:
        if data_dir is not None:
            raise UserError(
                f"{entry.name} comes with scikit-learn and is not read from {data_dir}: leave --data-dir out."
            )
        return open_digits()
    folder = _local(entry, data_dir)
    tables = _tables(entry, folder)
    raw = raw_from_tables(tables, **_chosen(entry, tables, choices), folder=folder)
    if len(raw.class_names) != entry.num_classes:
        raise UserError(
            f"{entry.name} has {entry.num_classes} classes but {data_dir or entry.hub_id} has {len(raw.class_names)}: "
            f"give {entry.local_layout}."
        )
    return raw


def open_official(
    entry: DataEntry,
    data_dir: str | Path | None,
    *,
    split_file: str | Path | None,
    official_val: bool,
    thinned: bool,
    skip_missing: bool,
    **choices: str | None,
) -> OfficialParts:
    """A catalogue set that official lists make, in its parts, or complete where no list is at hand.

    Args:
        entry: of the catalogue, with ``official`` facts.
        data_dir: local copy; ``None`` reads from the Hub.
        split_file: where the user says the lists are.
        official_val: take the official validation list as the held-out part.
        thinned: the user shapes the long tail, so that the list is not wanted.
        skip_missing: leave out listed pictures that are not there.
        choices: as of `open_entry`.

    Raises:
        UserError: the set or a list is not there or cannot be read, or the two do not fit.
    """
    official = entry.official
    assert official is not None
    if thinned and (split_file is not None or official_val):
        option = "--official-val" if split_file is None else "--split-file"
        raise UserError(
            f"{option} goes with the official list of {entry.name}, and --imbalance-factor, --max-count and "
            "--imbalance-type thin the set without it: give either."
        )
    folder = _local(entry, data_dir)
    index, notes = _index(entry, folder, choices)
    lists = find_lists(
        entry.name,
        official,
        split_file=split_file,
        data_dir=folder,
        lists_repo=None if thinned and not official.natural else entry.lists_repo,
    )
    where = str(folder or entry.hub_id)
    wanted = official.natural or not thinned
    if wanted and (lists.train is not None or (index.in_one and lists.test is not None)):
        parts = split_by_lists(
            official, index, lists, official_val=official_val, skip_missing=skip_missing, where=where
        )
        notes += lists.notes
    elif official_val:
        raise UserError(
            f"--official-val goes with the official list of {entry.name}, and there is no {official.train.file}: give "
            "its place as --split-file, or hold images out with --val-fraction."
        )
    else:
        parts = split_without_lists(official, index, lists, where=where)
        notes += [] if thinned else [*lists.notes, _stand_in(entry)]
        notes += _other_classes(entry, index)
    if thinned:
        notes.append(f"The training part of {entry.name} is thinned as asked for: it is not the official split.")
    parts.raw.notes[:0] = notes
    return parts


def open_other(name: str, config: str | None, **choices: str | None) -> RawData:
    """A set outside the catalogue, by folder or Hub id.

    Raises:
        UserError: there is no such set, or it cannot be read.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return raw_from_tables(open_folder(folder, config), **choices, folder=folder.resolve())
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return raw_from_tables(open_hub(name, config), folder=None, **choices)
    if "/" in name or name.startswith(("~", ".")):
        raise UserError(
            f"The data folder {name} does not exist: give an existing folder, a Hub id or a catalogue name."
        )
    known = list(list_data())
    hint = did_you_mean(name, known).strip().rstrip("?")
    raise UserError(
        f"The data set {name!r} is unknown"
        + (f" ({hint[0].lower()}{hint[1:]}?)" if hint else "")
        + f": give one of {', '.join(known)}, a Hub id (org/name), or an existing folder."
    )


def _local(entry: DataEntry, data_dir: str | Path | None) -> Path | None:
    if data_dir is None:
        if entry.hub_id is None:
            raise UserError(
                f"The images of {entry.name} are not on the Hub: give --data-dir FOLDER with {entry.local_layout}."
            )
        return None
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise UserError(f"The folder {folder} for {entry.name} does not exist: give {entry.local_layout}.")
    return folder


def _tables(entry: DataEntry, folder: Path | None) -> Mapping[str, Any]:
    if folder is not None:
        return open_folder(folder, entry.hub_config if has_configurations(folder) else None)
    assert entry.hub_id is not None
    return open_hub(entry.hub_id, entry.hub_config)


def _chosen(entry: DataEntry, tables: Mapping[str, Any], choices: Mapping[str, str | None]) -> dict[str, Any]:
    """The user's columns and splits, else the entry's where the tables have them."""
    features = next(iter(tables.values())).features
    chosen: dict[str, Any] = dict(choices)
    for name in ("image_column", "label_column"):
        usual = getattr(entry, name)
        chosen[name] = chosen[name] or (usual if usual in features else None)
    for name in ("train_split", "test_split"):
        usual = getattr(entry, name)
        other = chosen["test_split" if name == "train_split" else "train_split"]
        chosen[name] = chosen[name] or (usual if usual in tables and usual != other else None)
    return chosen


def _index(entry: DataEntry, folder: Path | None, choices: Mapping[str, str | None]) -> tuple[PictureIndex, list[str]]:
    """Every picture of a large set, and what was decided about its tables."""
    assert entry.official is not None
    if folder is not None and not holds_tables(folder):
        given = next((name for name, value in choices.items() if value is not None), None)
        if given is not None:
            raise UserError(f"--{given.replace('_', '-')} is for tables, and {folder} has picture files: leave it out.")
        index = index_layout(folder, entry.official)
        if index is None:
            raise UserError(f"The folder {folder} is in no layout of {entry.name}: give {entry.local_layout}.")
        return index, []
    tables = _tables(entry, folder)
    raw = raw_from_tables(tables, folder=folder, **_chosen(entry, tables, choices))
    return index_tables(raw, tables), raw.notes


def _stand_in(entry: DataEntry) -> str:
    official = entry.official
    assert official is not None
    if official.natural:
        return f"{official.train.file} is not at hand: the training split is used as it is, and was not checked."
    return (
        f"{official.train.file} is not at hand: the training part is thinned to a Pareto curve instead, which is not "
        "the official split."
    )


def _other_classes(entry: DataEntry, index: PictureIndex) -> list[str]:
    if len(index.class_names) == entry.num_classes:
        return []
    return [f"The images are of {len(index.class_names)} classes, those of {entry.name} of {entry.num_classes}."]
