"""Tables from the Hub or a folder, opened to be read as they arrive."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.dataset_errors import errors_as_sentence
from glmc_zoo.data.reading.folders import check_configuration, holds_tables, is_saved, list_images, open_folder
from glmc_zoo.data.reading.hub import ask_hub, holds_image_files, walk_hub
from glmc_zoo.data.reading.label_files import list_csv
from glmc_zoo.data.reading.listing import FileListing, check_class_level, listing_tables
from glmc_zoo.data.reading.parquet_folder import table_arguments
from glmc_zoo.data.reading.split_names import SPLIT_COLUMN, column_key
from glmc_zoo.data.reading.table_paths import TablePaths
from glmc_zoo.data.reading.tables import license_of
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError


@dataclass(frozen=True)
class StreamTables:
    """The splits of a data set, opened but not read."""

    splits: dict[str, Any]
    """``datasets.IterableDataset`` by name."""
    sizes: dict[str, int | None]
    """Images of each, where the data set states it."""
    license: str
    arguments: dict[str, dict[str, Any]] | None = None
    """Arguments of ``datasets.load_dataset`` that open each again, where it takes ``columns``."""
    table_paths: TablePaths = field(default_factory=TablePaths.cached)
    """Which files the paths in the rows may name."""

    def column(self, split: str, column: str) -> Any:
        """One column of a split; of parquet files nothing else is read."""
        import datasets

        if self.arguments is None:
            return self.splits[split].decode(False).select_columns([column])
        return datasets.load_dataset(**self.arguments[split], columns=[column], streaming=True)


def open_stream_tables(source: Path | str, options: DataOptions, config: str | None) -> StreamTables:
    """The tables of a folder or, by its id, of a Hub data set.

    Image files and saved folders lie on disk already: they are opened as `open_folder` does it. Image files on the
    Hub are listed by the same rules, and each is read when its turn comes.
    """
    with errors_as_sentence(source):
        if isinstance(source, str):
            return _open_hub(source, options, config)
        if source.is_file():
            return _listed(list_csv(source, options), options)
        if holds_tables(source) and not is_saved(source):
            check_configuration(source, config)
            walk = walk_images(source.resolve(), follow_links=options.follow_links)
            tables = _open_lazily(table_arguments(walk, options, config), options)
            return replace(tables, table_paths=_below(source, options))
        tables = _listed(opened := open_folder(source, options, config), options)
        return tables if isinstance(opened, FileListing) else replace(tables, table_paths=_below(source, options))


def _below(folder: Path, options: DataOptions) -> TablePaths:
    return TablePaths.below(folder, follow_links=options.follow_links)


def _open_hub(hub_id: str, options: DataOptions, config: str | None) -> StreamTables:
    import datasets

    if holds_image_files(ask_hub(hub_id, lambda: datasets.load_dataset_builder(hub_id, config))):
        walk, address = walk_hub(hub_id, config)
        return _listed(list_images(walk, options, config), options, address)
    names = ask_hub(hub_id, lambda: datasets.get_dataset_split_names(hub_id, config))
    arguments = {name: {"path": hub_id, "name": config, "split": name} for name in names}
    return ask_hub(hub_id, lambda: _open_lazily(arguments, options))


def _listed(opened: FileListing | Mapping[str, Any], options: DataOptions, address: str | None = None) -> StreamTables:
    from datasets.utils.file_utils import xopen  # the path of an image file on the Hub is its address

    if isinstance(opened, FileListing):
        check_class_level(options, opened.layout, opened.root)
        tables = listing_tables(opened, address)
    else:
        _refuse_unread_columns(opened, options)
        tables = opened
    splits = {name: table.to_iterable_dataset() for name, table in tables.items()}
    return StreamTables(
        splits, {name: len(table) for name, table in tables.items()}, license_of(tables),
        table_paths=TablePaths.trusted(xopen),
    )  # fmt: skip


def _open_lazily(arguments: dict[str, dict[str, Any]], options: DataOptions) -> StreamTables:
    import datasets

    splits = {name: datasets.load_dataset(**keywords, streaming=True) for name, keywords in arguments.items()}
    if any(split.features is None for split in splits.values()):
        raise UserError("The columns of the data set are not known before it is read: leave streaming=True out.")
    _refuse_unread_columns(splits, options)
    stated = next(iter(splits.values())).info.splits or {}
    sizes = {name: getattr(stated.get(name), "num_examples", None) or None for name in splits}
    first = {name: value for name, value in next(iter(arguments.values())).items() if name != "split"}
    parquet = first["path"] == "parquet" or datasets.load_dataset_builder(**first).name == "parquet"
    return StreamTables(splits, sizes, license_of(splits), arguments if parquet else None)


def _refuse_unread_columns(splits: Mapping[str, Any], options: DataOptions) -> None:
    """Refuse a column of splits, which a stream does not read, and options about such a column or about folders."""
    for option in ("split_column", "class_level"):
        if (value := getattr(options, option)) is not None:
            raise UserError(f"{option}={value!r} has no effect on tables with streaming=True: leave one of them out.")
    features = next(iter(splits.values())).features
    if len(splits) == 1 and (column := next((name for name in features if column_key(name) == SPLIT_COLUMN), None)):
        raise UserError(
            f"The column {column} names the split of each image, which streaming=True does not read: leave "
            "streaming=True out."
        )
