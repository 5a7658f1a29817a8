"""Data sets that are read as they come, for evaluation: never downloaded as a whole, and never held in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmc_zoo.data.catalogue import list_data
from glmc_zoo.data.columns import find_image_column, find_label_column
from glmc_zoo.data.load import TailShape, refuse_idle
from glmc_zoo.data.longtail import longtail_counts
from glmc_zoo.data.stream_split import StreamSplit, guarded, label_key
from glmc_zoo.data.streams import Streams, choose_stream_splits, entry_choices, open_streams
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    pass

__all__ = ["StreamedData", "load_stream"]

_LABELS_AT_ONCE = 8192


@dataclass(frozen=True)
class StreamedData:
    """A data set as `load_stream` hands it out."""

    name: str
    train: StreamSplit | None
    """The complete training split, before any thinning; ``None`` where there is none."""
    test: StreamSplit
    class_names: list[str]
    class_counts: list[int] | None
    """Training images of each class, after thinning; ``None`` where an official list makes the training part, or where
    there is none."""
    info: dict[str, Any] = field(default_factory=dict)
    """What an evaluation stores with its results; plain JSON types."""

    @property
    def notes(self) -> list[str]:
        """Decisions taken on the user's behalf, one sentence each."""
        return list(self.info["notes"])


def load_stream(
    name_or_path: str | Path,
    *,
    data_dir: str | Path | None = None,
    data_config: str | None = None,
    imbalance_factor: float | None = None,
    max_count: int | None = None,
    profile: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
) -> StreamedData:
    """Open a data set to be read as it comes; the arguments are those of `load_data`.

    The class counts are those that `load_data` would give. A catalogue set made by a formula has them from the formula;
    for other sets the label column alone of the training split is read once. A set made by an official list has none,
    nor has one without a training split.

    Raises:
        UserError: anything the caller can put right: as of `load_data`; also a set that has no test split or that
            cannot be streamed.
    """
    name = str(name_or_path)
    entry = list_data().get(name)
    choices = {
        "image_column": image_column,
        "label_column": label_column,
        "train_split": train_split,
        "test_split": test_split,
    }
    shape = TailShape(imbalance_factor, max_count, profile)
    refuse_idle(name, entry, shape, data_dir=data_dir, data_config=data_config)
    # Only an official list knows which training images there are, of a set that is neither natural nor thinned anew.
    by_list = entry is not None and entry.official is not None and not (entry.official.natural or shape.given)
    by_formula = entry is not None and entry.official is None
    if entry is None:
        shape = shape.filled(None, None, "exp")
    elif entry.official is None:
        shape = shape.filled(entry.default_imbalance_factor, entry.max_count, entry.profile)
    else:
        shape = shape.filled(entry.official.imbalance_factor if shape.given else None, entry.max_count, entry.profile)
    streams = open_streams(name, entry, data_dir, data_config)
    if entry is not None:
        choices = entry_choices(entry, streams.splits, choices)
    train_name, test_name, notes = choose_stream_splits(
        list(streams.splits), choices["train_split"], choices["test_split"]
    )
    train = None if train_name is None else streams.splits[train_name]
    test = streams.splits[test_name]
    first = test if train is None else train
    label = find_label_column(first.features, choices["label_column"])
    image = find_image_column(first.features, choices["image_column"])
    names = _shared_names([part for part in (train, test) if part is not None], label)
    counts: list[int] | None = None
    origin = "none"
    if train_name is not None and not by_list and (names is None or not by_formula):
        names, have = _settled(names, _count(streams, train_name, label), notes)
        counts, origin = _thinned(have, shape), "training split"
    if names is None:
        raise UserError(f"The classes of {name} cannot be told from a test split alone: leave --streaming out.")
    if entry is not None and len(names) != entry.num_classes:
        raise UserError(
            f"{entry.name} has {entry.num_classes} classes but {data_dir or entry.hub_id} has {len(names)}: give "
            f"{entry.local_layout}."
        )
    if by_formula:
        assert shape.factor is not None and shape.max_count is not None
        counts = longtail_counts(len(names), shape.max_count, shape.factor, shape.profile or "exp")
        origin = "formula"
    if len(names) < 2:
        raise UserError(f"The data set {name} has only one class ({names[0]}): give a set with at least two.")
    classes = {key: position for position, key in enumerate(names)}

    def split(part_name: str, part: Any, shown: str) -> StreamSplit:
        column = image if image in part.features else find_image_column(part.features, None)
        # In this order: of pictures that are files, ``datasets`` decodes what was selected before.
        raw = part.decode(False).select_columns([column, label])
        return StreamSplit(raw, column, label, classes, shown, streams.sizes[part_name])

    return StreamedData(
        name=streams.info["name"],
        train=None if train_name is None else split(train_name, train, "training"),
        test=split(test_name, test, "test"),
        class_names=[str(key) for key in names],
        class_counts=counts,
        info={
            **streams.info,
            "streamed": True,
            "class_counts_from": origin,
            "imbalance_factor": shape.factor,
            "profile": None if shape.factor is None else shape.profile,
            "train_images": None if counts is None else sum(counts),
            "test_images": streams.sizes[test_name],
            "notes": notes,
        },
    )


def _shared_names(parts: list[Any], label: str) -> list[str | int] | None:
    """The classes where every split has the same ``ClassLabel``; else ``None``: they are what the labels hold."""
    from datasets import ClassLabel

    features = [part.features.get(label) for part in parts]
    for part, feature in zip(parts, features, strict=True):
        if feature is None:
            raise UserError(f"A split has no column {label!r}, only {', '.join(part.features)}: give --label-column.")
    if all(isinstance(feature, ClassLabel) and feature.names == features[0].names for feature in features):
        return list(features[0].names)
    return None


def _count(streams: Streams, split: str, column: str) -> Counter[str | int]:
    """Images of each class, by one pass over the label column."""
    dataset, found = streams.labels(split, column), Counter[str | int]()
    feature = dataset.features[column]
    for rows in guarded(dataset.iter(batch_size=_LABELS_AT_ONCE), "training"):
        found.update(rows[column])
    return Counter({label_key(value, feature, column): count for value, count in found.items()})


def _settled(
    names: list[str | int] | None, found: Counter[str | int], notes: list[str]
) -> tuple[list[str | int], list[int]]:
    """Classes with a training image and how many; a name without any is no class, as in `load_data`."""
    if names is None:
        mixed = len({type(key) for key in found}) > 1
        used = sorted({str(key) if mixed else key for key in found})  # type: ignore[type-var]
    else:
        used = [key for key in names if found[key]]
        unused = [str(key) for key in names if not found[key]]
        if unused:
            notes.append(f"{len(unused)} class names have no image and were left out: {', '.join(unused[:10])}.")
    return used, [found[key] for key in used]


def _thinned(have: list[int], shape: TailShape) -> list[int]:
    """The counts that `load_data` leaves of those that are there."""
    if shape.factor is None:
        return have
    wanted = longtail_counts(len(have), shape.max_count or max(have), shape.factor, shape.profile or "exp")
    return np.minimum(have, wanted).tolist()
