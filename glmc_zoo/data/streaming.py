"""Data sets that are streamed for evaluation: never downloaded as a whole and never held in memory."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glmc_zoo.data import sources
from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.options import DataOptions, data_options
from glmc_zoo.data.reading.columns import find_image_column, find_label_column, label_features, label_key
from glmc_zoo.data.reading.decoding import decode_record, one_line
from glmc_zoo.data.reading.folders import holds_tables
from glmc_zoo.data.reading.intensity import Intensity
from glmc_zoo.data.reading.listing import LABEL_MINUS_ONE, minus_one_means_none
from glmc_zoo.data.reading.split_names import choose_splits, split_role
from glmc_zoo.data.reading.stream_tables import open_stream_tables
from glmc_zoo.data.reading.table_paths import TablePaths
from glmc_zoo.data.splits import check_several_classes, tail_counts, unused_classes
from glmc_zoo.errors import UserError
from glmc_zoo.results import DataFacts
from glmc_zoo.text import agree, counted, escaped

StreamBatch = tuple[list[Image.Image], NDArray[np.int64], NDArray[np.int64]]

_SHARD_BITS = 40  # the low bits of a position are the index within its shard
_LABELS_AT_ONCE = 8192
_ADVICE = "remove it, or leave streaming=True out and pass skip_bad_images=True"


@dataclass(frozen=True)
class StreamSplit:
    """Images and classes of one split, read anew in every pass.

    `shard` gives one process its share. If there are enough files, a share consists of whole files, and nothing is read
    twice. Otherwise it is every ``world_size``-th image, by ``datasets.distributed.split_dataset_by_node``.
    """

    dataset: Any
    """A ``datasets.IterableDataset`` whose images are not decoded."""
    image_column: str
    label_column: str
    classes: Mapping[str | int, int]
    """Class of each value of the label column; a ``ClassLabel`` counts by its names."""
    name: str
    """Name of the split for messages: "training" or "test"."""
    num_images: int | None = None
    """Images of the whole split, where the data set states it."""
    rank: int = 0
    world_size: int = 1
    intensity: Intensity | None = None
    """The range of values of images of more than 8 bits; ``None`` scales each image by its own range."""
    table_paths: TablePaths = field(default_factory=TablePaths.trusted)
    """Which files may be named by paths in the rows."""

    def with_intensity(self, intensity: Intensity) -> "StreamSplit":
        """The same split with this range for images of more than 8 bits."""
        return replace(self, intensity=intensity)

    @property
    def num_shards(self) -> int:
        """Files, or pieces of a table, that can be read independently."""
        return int(self.dataset.num_shards)

    def shard(self, rank: int, world_size: int) -> "StreamSplit":
        """The share of one of ``world_size`` readers; each image is in exactly one share."""
        return replace(self, rank=rank, world_size=world_size)

    def batches(self, batch_size: int) -> Iterator[StreamBatch]:
        """One pass: RGB images, their classes (B,), and their positions (B,).

        Positions rise in the order of the split and differ between shares; they are 0, 1, 2, ... only where the whole
        split is one share. A broken stream, or an image or label that cannot be used, raises `UserError`.
        """
        for shard, step, dataset in self._pieces():
            start = self.rank if step > 1 else 0
            for rows in _guarded(dataset.iter(batch_size=batch_size), self.name):
                records = rows[self.image_column]
                local = start + step * np.arange(len(records), dtype=np.int64)
                where = [f"Image {i} of {f'shard {shard} of ' if shard else ''}the {self.name} split" for i in local]
                decode = partial(
                    decode_record,
                    intensity=self.intensity,
                    open_path=self.table_paths.open,
                    display_path=lambda path: escaped(Path(path).name),
                )
                images = [decode(record, at, _ADVICE) for record, at in zip(records, where, strict=True)]
                labels = [self._class(value, at) for value, at in zip(rows[self.label_column], where, strict=True)]
                yield images, np.asarray(labels, dtype=np.int64), local + (shard << _SHARD_BITS)
                start += step * len(records)

    def _pieces(self) -> Iterator[tuple[int, int, Any]]:
        """Number, step between images, and data of each piece of this share."""
        from datasets.distributed import split_dataset_by_node

        if self.world_size == 1:
            yield 0, 1, self.dataset
        elif self.num_shards >= self.world_size:
            for shard in range(self.rank, self.num_shards, self.world_size):
                yield shard, 1, self.dataset.shard(self.num_shards, shard)
        else:
            yield 0, self.world_size, split_dataset_by_node(self.dataset, self.rank, self.world_size)

    def _class(self, value: Any, where: str) -> int:
        key = label_key(value, self.dataset.features[self.label_column], self.label_column)
        key = str(key) if key not in self.classes else key
        if key not in self.classes:
            raise UserError(f"{where} is of the class {key!r}, which has no training image: add some, or remove it.")
        return self.classes[key]


def position_name(position: int) -> str:
    """An image of a stream by its position, such as ``image 7 of shard 2``."""
    shard, index = position >> _SHARD_BITS, position & ((1 << _SHARD_BITS) - 1)
    return f"image {index}" + (f" of shard {shard}" if shard else "")


@dataclass(frozen=True)
class StreamedData:
    """A data set as `load_stream` returns it."""

    train: StreamSplit | None
    """The complete training split, before any thinning; ``None`` without a training split."""
    test: StreamSplit
    class_names: list[str]
    class_counts: list[int] | None
    """Training images of each class, after thinning; ``None`` if an official list makes the training split, or if there
    is no training split."""
    facts: DataFacts
    """What an evaluation stores with its results."""

    @property
    def name(self) -> str:
        """Catalogue name, Hub id, or the last part of the folder's path."""
        return self.facts.name

    @property
    def notes(self) -> list[str]:
        """Decisions taken on the user's behalf, one sentence each."""
        return list(self.facts.notes)


def load_stream(name_or_path: str | PathLike[str], **options: Any) -> StreamedData:
    """Open a data set to be read as it arrives; the arguments are those of `load_data`.

    The class counts are those that `load_data` would give. For a catalogue data set that a formula thins, they come
    from the formula. For other data sets the label column of the training split is read once. They are unknown
    (``None``) if an official list makes the training split, or if there is none.

    Raises:
        UserError: An option has no effect on a stream, the data set has no test split, or it cannot be streamed.
    """
    return load_stream_data(data_options(name_or_path, options))


def load_stream_data(options: DataOptions) -> StreamedData:
    """`load_stream` with its options as one object."""
    entry = list_data().get(options.data)
    sources.check_options(options, entry)
    _check_streamable(options, entry)
    source = sources.locate(options, entry)
    if entry is not None and isinstance(source, Path) and not holds_tables(source):
        raise UserError(f"streaming=True has no effect: the images are files in {source}; leave it out.")
    tables = open_stream_tables(source, options, sources.configuration(source, options, entry))
    options = sources.with_usual_names(options, entry, tables.splits)
    # An official list defines the training split, unless it lists the whole split or the user thins the data set.
    official = None if entry is None else entry.official
    by_list = official is not None and not (official.natural or sources.is_thinned(options))
    options = sources.with_long_tail(options, entry, by_list=True)
    train_name, test_name, notes = _choose_stream_splits(list(tables.splits), options)
    used = [tables.splits[name] for name in (train_name, test_name) if name is not None]
    image = find_image_column(used[0].features, options.image_column)
    label = find_label_column(used[0].features, options.label_column)

    class_keys, by_formula = _shared_class_names(used, label), entry is not None and official is None
    counts, counts_from = None, "none"
    if train_name is not None and not by_list and not (by_formula and class_keys is not None):
        class_keys, available = _count_classes(class_keys, tables.column(train_name, label), label, notes)
        counts, counts_from = np.minimum(available, tail_counts(available, options)).tolist(), "training split"
    if class_keys is None:
        raise UserError(
            f"The class names of {options.data} are not stored with its splits and cannot be read from the training "
            "split: leave streaming=True out."
        )
    if entry is not None:
        sources.check_num_classes(entry, source, len(class_keys))
        if official is None:
            counts, counts_from = tail_counts([entry.max_count] * len(class_keys), options), "formula"
    check_several_classes([str(key) for key in class_keys])
    classes = {key: position for position, key in enumerate(class_keys)}
    intensity = None if (limits := options.intensity_limits) is None else Intensity(*limits, by_user=True)

    def make_split(table_name: str, split_name: str) -> StreamSplit:
        table = tables.splits[table_name]
        image_column = image if image in table.features else find_image_column(table.features)
        # ``decode(False)`` must come first: after ``select_columns``, ``datasets`` would decode the images.
        undecoded = table.decode(False).select_columns([image_column, label])
        return StreamSplit(
            undecoded, image_column, label, classes, split_name, tables.sizes[table_name], intensity=intensity,
            table_paths=tables.table_paths,
        )  # fmt: skip

    facts = DataFacts(
        **sources.source_facts(options, entry, tables.license),
        streamed=True,
        class_counts_from=counts_from,
        imbalance_factor=options.imbalance_factor,
        imbalance_type=options.imbalance_type if options.imbalance_factor is not None else None,
        train_images=None if counts is None else sum(counts),
        test_images=tables.sizes[test_name],
        **({} if intensity is None else intensity.facts()),
        notes=notes,
    )
    train = None if train_name is None else make_split(train_name, "training")
    return StreamedData(train, make_split(test_name, "test"), [str(key) for key in class_keys], counts, facts)


def _check_streamable(options: DataOptions, entry: DataEntry | None) -> None:
    options.check_stream()
    if entry is not None and entry.hub_id is None and options.data_dir is None:
        raise UserError(f"streaming=True reads tables or a Hub data set; {entry.name} is not on the Hub: leave it out.")


def _choose_stream_splits(names: list[str], options: DataOptions) -> tuple[str | None, str, list[str]]:
    """Training split (``None`` where there is none), test split, and notes."""
    if len(names) == 1 and options.train_split is None:
        (only,) = names
        if options.test_split == only or (options.test_split is None and split_role(only) in ("test", "validation")):
            return None, only, [f"There is no training split: the split {only} is all there is."]
    train, test, notes = choose_splits(names, options.train_split, options.test_split)
    if test is None:
        raise UserError(
            f"There is no test split to stream, only {', '.join(names)}: name one with test_split=, or leave "
            "streaming=True out to set about a fifth of the training split aside."
        )
    return train, test, notes


def _shared_class_names(tables: list[Any], label: str) -> list[str | int] | None:
    """The classes, if every split has the same ``ClassLabel``; else ``None``, and the labels must be read."""
    from datasets import ClassLabel

    features = label_features(tables, label)
    if all(isinstance(feature, ClassLabel) and feature.names == features[0].names for feature in features):
        return list(features[0].names)
    return None


def _count_classes(
    class_keys: list[str | int] | None, train: Any, column: str, notes: list[str]
) -> tuple[list[str | int], list[int]]:
    """Classes with a training image and their counts, from one pass over the labels of the training split.

    Classes without a training image are dropped, as in `load_data`.
    """
    values = Counter[Any]()
    for rows in _guarded(train.iter(batch_size=_LABELS_AT_ONCE), "training"):
        values.update(rows[column])
    counts = Counter({label_key(value, train.features[column], column): count for value, count in values.items()})
    if class_keys is None:
        minus_one = next((key for key in counts if str(key) == "-1"), None)
        if minus_one is not None and minus_one_means_none(map(str, counts)):
            unlabelled = counts.pop(minus_one)
            notes.append(f"{counted(unlabelled, 'training image')} {agree(unlabelled, 'is', 'are')} {LABEL_MINUS_ONE}.")
        class_keys = sorted(counts)
    unused = [str(key) for key in class_keys if not counts[key]]
    if unused:
        notes.append(unused_classes(unused))
    used = [key for key in class_keys if counts[key]]
    return used, [counts[key] for key in used]


def _guarded(rows: Iterator[Any], name: str) -> Iterator[Any]:
    """Yield the same rows; an error of the stream becomes a `UserError`."""
    from datasets.exceptions import DatasetsError

    try:
        yield from rows
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UserError(
            f"The stream of the {name} split broke off ({one_line(error)}): check the network and start again, or "
            "leave streaming=True out to download the data set once."
        ) from error
