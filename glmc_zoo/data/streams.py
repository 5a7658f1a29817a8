"""Opening a data set as streams, by what the user calls it: a catalogue entry, a folder, or a Hub id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.data.catalogue import DataEntry
from glmc_zoo.data.list_search import HUB_ID
from glmc_zoo.data.local_cache import has_configurations, is_saved, table_arguments
from glmc_zoo.data.sources import choose_splits, holds_tables, one_line, open_folder
from glmc_zoo.errors import UserError

__all__ = ["Streams", "choose_stream_splits", "entry_choices", "open_streams"]

_TEST_NAMES = ("test", "testing", "validation", "val", "valid", "dev")


@dataclass(frozen=True)
class Streams:
    """The splits of a data set, to be read as they come."""

    splits: dict[str, Any]
    """``datasets.IterableDataset`` by name."""
    sizes: dict[str, int | None]
    """Images of each, where the data set says it."""
    info: dict[str, Any]
    """Its ``name``, ``hub_id``, ``license`` and ``description``."""
    again: dict[str, Any] | None = None
    """Arguments of ``datasets.load_dataset`` that open it again, where it takes ``columns``."""

    def labels(self, split: str, column: str) -> Any:
        """One column of a split; of parquet files nothing else is read."""
        import datasets

        if self.again is None:
            return self.splits[split].decode(False).select_columns([column])
        return datasets.load_dataset(**self.again, split=split, columns=[column], streaming=True)


def open_streams(name: str, entry: DataEntry | None, data_dir: str | Path | None, data_config: str | None) -> Streams:
    """Find the data set, and read nothing of it but what it says of itself.

    Pictures in folders and what ``datasets`` saved lie on disk already: they are opened as `load_data` does it.

    Raises:
        UserError: there is no such set, it cannot be read, or it cannot be streamed.
    """
    if entry is not None and entry.hub_id is None and data_dir is None:
        raise UserError(f"--streaming reads tables or a Hub data set, and {name} is on no Hub: leave --streaming out.")
    folder = Path(name if entry is None else data_dir or "").expanduser()
    if (data_dir is not None or entry is None) and folder.is_dir():
        if entry is not None and not holds_tables(folder):
            raise UserError(f"The pictures of {name} in {folder} are files on disk: leave --streaming out.")
        if entry is not None:
            data_config = entry.hub_config if has_configurations(folder) else None
        streams = _of_folder(folder.resolve(), data_config)
    elif data_dir is not None:
        raise UserError(f"The folder {folder} for {name} does not exist: give an existing one, or leave it out.")
    elif entry is not None:
        streams = _of_hub(str(entry.hub_id), entry.hub_config)
    elif HUB_ID.fullmatch(name) and not name.startswith("."):
        streams = _of_hub(name, data_config)
    else:
        raise UserError(f"The data set {name!r} is unknown: give an existing folder, a Hub id or a catalogue name.")
    if entry is None:
        return streams
    own = {"name": entry.name, "hub_id": entry.hub_id, "license": entry.license, "description": entry.description}
    return Streams(streams.splits, streams.sizes, own, streams.again)


def choose_stream_splits(names: list[str], train: str | None, test: str | None) -> tuple[str | None, str, list[str]]:
    """Training split (``None`` where there is none), test split, and notes.

    Raises:
        UserError: a split that is asked for is not there, or there is no test split.
    """
    alone = names[0] if len(names) == 1 else test
    if train is None and len(names) == 1 and (test == alone or alone in _TEST_NAMES):
        return None, str(alone), [f"There is no training split: the split {alone} is all there is."]
    train, test, notes = choose_splits(names, train, test)
    if test is None:
        raise UserError(
            f"There is no test split to stream, only {', '.join(names)}: name one with --test-split, or leave "
            "--streaming out to set a fifth of the training split aside."
        )
    # What is said of held-out images is for training.
    return train, test, [note for note in notes if "--val-fraction" not in note]


def entry_choices(
    entry: DataEntry, splits: Mapping[str, Any], choices: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The user's columns and splits, else the entry's where the data set has them."""
    features, chosen = next(iter(splits.values())).features, dict(choices)
    for name in ("image_column", "label_column"):
        usual = getattr(entry, name)
        chosen[name] = chosen[name] or (usual if usual in features else None)
    for name, other in (("train_split", "test_split"), ("test_split", "train_split")):
        usual = getattr(entry, name)
        chosen[name] = chosen[name] or (usual if usual in splits and usual != chosen[other] else None)
    return chosen


def _of_hub(hub_id: str, config: str | None) -> Streams:
    import datasets

    try:
        return _lazily({"path": hub_id, "name": config}, hub_id, hub_id)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"The data set {hub_id} cannot be streamed from the Hugging Face Hub ({one_line(error)}): check the name "
            "and the network, or give a local copy (--data-dir FOLDER for a catalogue set, else the folder itself)."
        ) from error


def _of_folder(folder: Path, config: str | None) -> Streams:
    import datasets

    if holds_tables(folder) and not is_saved(folder):
        if config is not None and not has_configurations(folder):
            raise UserError(
                f"The data folder {folder} has no configurations, so no {config!r}: leave --data-config out."
            )
        try:  # with its own cache, where what the data set says of itself is kept as well
            return _lazily(table_arguments(folder, config), folder.name, None)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise UserError(f"The data folder {folder} cannot be read: {one_line(error)}.") from error
    tables = open_folder(folder, config)
    info = getattr(next(iter(tables.values())).info, "license", None)
    return Streams(
        {name: table.to_iterable_dataset() for name, table in tables.items()},
        {name: len(table) for name, table in tables.items()},
        _described(folder.name, None, info),
    )


def _lazily(arguments: dict[str, Any], name: str, hub_id: str | None) -> Streams:
    import datasets

    opened = datasets.load_dataset(**arguments, streaming=True)
    splits = dict(opened)
    if any(split.features is None for split in splits.values()):
        raise UserError(f"The columns of {name} are not known before it is read: leave --streaming out.")
    first = next(iter(splits.values()))
    said = first.info.splits or {}
    sizes = {split: getattr(said.get(split), "num_examples", None) or None for split in splits}
    tables = datasets.load_dataset_builder(**arguments).name == "parquet"
    info = _described(name, hub_id, first.info.license)
    return Streams(splits, sizes, info, arguments if tables else None)


def _described(name: str, hub_id: str | None, license_name: str | None) -> dict[str, Any]:
    return {"name": name, "hub_id": hub_id, "license": license_name or "unknown", "description": ""}
