"""Tables from the Hugging Face Hub or a folder: which splits and columns are used, and the classes as integers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.images import ArrowImages, one_line
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("validation", "val", "valid", "dev")
_LABEL_NAMES = ("label", "labels", "class", "target", "category")


def open_hub(hub_id: str, config: str | None = None) -> Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a data set on the Hugging Face Hub."""
    import datasets

    with errors_as_sentence(hub_id):
        tables: Mapping[str, Any] = datasets.load_dataset(hub_id, config)
        return tables


@contextmanager
def errors_as_sentence(source: Path | str) -> Iterator[None]:
    """Turn the errors of ``datasets`` about a folder, or about a Hub data set (its id), into one sentence."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        if isinstance(source, Path):
            raise UserError(f"The data folder {source} cannot be read: {one_line(error)}.") from error
        raise UserError(
            f"The data set {source} cannot be read from the Hugging Face Hub ({one_line(error)}): check the name and "
            "the network, or give a local copy (data_dir= for a catalogue data set, else the folder as the data set)."
        ) from error


def raw_from_tables(tables: Mapping[str, Any], options: DataOptions, folder: Path | None = None) -> RawData:
    """Choose the splits and columns, and read the classes; paths of images are given relative to ``folder``."""
    train_name, test_name, notes = choose_splits(list(tables), options.train_split, options.test_split)
    idle = [name for name in VALIDATION_NAMES if name in tables and name not in (train_name, test_name)]
    if idle:
        notes.append(f"The split {idle[0]} is not used: validation images are held out of the training split.")
    chosen = [tables[train_name]] + ([tables[test_name]] if test_name else [])
    features = chosen[0].features
    images = find_image_column(features, options.image_column)
    labels, class_names = read_labels(chosen, find_label_column(features, options.label_column))
    splits = []
    for table, name, label in zip(chosen, ("training", "test"), labels, strict=False):
        column = images if images in table.features else find_image_column(table.features)
        splits.append(RawSplit(ArrowImages(table, column, name, folder), label, np.arange(len(label))))
    return RawData(class_names, splits[0], splits[1] if test_name else None, license_of(tables), notes)


def license_of(tables: Mapping[str, Any]) -> str:
    """The licence that the first split states."""
    return getattr(next(iter(tables.values())).info, "license", None) or "unknown"


def choose_splits(names: list[str], train: str | None, test: str | None) -> tuple[str, str | None, list[str]]:
    """Training split, test split (``None`` where there is none), and what was decided for the user."""
    notes = []
    for option, wanted in (("train_split", train), ("test_split", test)):
        if wanted is not None and wanted not in names:
            raise UserError(f"{option}={wanted!r} is not a split: give one of {', '.join(names)}.")
    if train is None:
        usable = [name for name in names if name != test]
        train = next((name for name in TRAIN_NAMES if name in usable), None)
        if train is None:
            if len(usable) != 1:
                raise UserError(f"None of the splits {', '.join(names)} is called train: name one with train_split=.")
            train = usable[0]
            notes.append(f"The split {train} is used as the training split.")
    if test == train:
        raise UserError(f"test_split={test!r} cannot be both training and test split: name another with test_split=.")
    if test is None:
        usual = (*TEST_NAMES, *VALIDATION_NAMES)
        test = next((name for name in usual if name in names and name != train), None)
        if test in VALIDATION_NAMES:
            notes.append(f"There is no test split: the split {test} is used as the test split.")
    return train, test, notes


def find_image_column(features: Mapping[str, Any], wanted: str | None = None) -> str:
    """The column that holds the images: the one asked for, or the only one of feature type ``Image``."""
    return _only("image", [name for name, feature in features.items() if _holds_images(feature)], features, wanted)


def find_label_column(features: Mapping[str, Any], wanted: str | None = None) -> str:
    """The column that holds the classes: the one asked for, the only ``ClassLabel``, or one of a usual name."""
    from datasets import ClassLabel

    columns = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if not columns:
        columns = [name for name in _LABEL_NAMES if name in features][:1]
    return _only("label", columns, features, wanted)


def label_features(tables: Sequence[Any], column: str) -> list[Any]:
    """The feature of the label column in each table."""
    for table in tables:
        if column not in table.features:
            names = ", ".join(table.features)
            raise UserError(f"A split has no column {column!r}, only {names}: name another with label_column=.")
    return [table.features[column] for table in tables]


def read_labels(tables: Sequence[Any], column: str) -> tuple[list[NDArray[np.int64]], list[str]]:
    """The classes of every row of each ``datasets.Dataset``, read from the Arrow column (no image is decoded).

    Returns an int64 array of shape (rows,) for each table, and the class names: those of ``ClassLabel``, else the
    distinct strings or integers of all tables, sorted.
    """
    from datasets import ClassLabel

    features = label_features(tables, column)
    names = [list(feature.names) if isinstance(feature, ClassLabel) else None for feature in features]
    values = [_column_values(table, column) for table in tables]
    for known, value in zip(names, values, strict=True):
        if known is not None and len(bad := np.flatnonzero((value < 0) | (value >= len(known)))):
            raise _outside(f"Row {bad[0]}", int(value[bad[0]]), column, len(known))
    if names[0] is not None and all(other == names[0] for other in names):
        return values, names[0]
    # The splits number their classes differently: they share the names.
    values = [v if known is None else np.asarray(known)[v] for known, v in zip(names, values, strict=True)]
    if any(value.dtype.kind == "U" for value in values):
        values = [value.astype(np.str_) for value in values]
    classes = np.unique(np.concatenate(values))
    return [np.searchsorted(classes, value).astype(np.int64) for value in values], [str(name) for name in classes]


def label_key(value: Any, feature: Any, column: str) -> str | int:
    """The class that one value of the label column means: the name of a ``ClassLabel``, else the text or integer."""
    from datasets import ClassLabel

    if value is None:
        raise UserError(f"The label column {column!r} is empty for some images: remove or label them.")
    if isinstance(feature, ClassLabel):
        if not 0 <= value < len(feature.names):
            raise _outside("A row", value, column, len(feature.names))
        return str(feature.names[value])
    if isinstance(value, str | int):
        return int(value) if isinstance(value, bool) else value
    raise _unusable(column, type(value).__name__)


def _holds_images(feature: Any) -> bool:
    from datasets import Image

    # A parquet file that another library wrote has the struct, but not the feature type.
    return isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _only(kind: str, candidates: list[str], features: Mapping[str, Any], wanted: str | None) -> str:
    columns = f"the columns are {', '.join(features)}"
    if wanted is not None:
        if wanted not in features:
            raise UserError(f"{kind}_column={wanted!r} is not a column: {columns}; give one of them.")
        return wanted
    if not candidates:
        raise UserError(f"No column is recognised as the {kind} column: {columns}; name one with {kind}_column=.")
    if len(candidates) > 1:
        both = " and ".join(candidates)
        raise UserError(f"The columns {both} may each be the {kind} column: name one with {kind}_column=.")
    return candidates[0]


def _column_values(table: Any, column: str) -> NDArray[Any]:
    # The arrow format follows the index mapping of a table that was filtered or shuffled; the raw table does not.
    values = table.select_columns([column]).with_format("arrow")[:].column(column)
    if values.null_count:
        raise UserError(f"The label column {column!r} is empty for {values.null_count} images: remove or label them.")
    kind = str(values.type)
    if kind == "bool" or kind.startswith(("int", "uint")):
        return np.asarray(values.to_numpy(), np.int64)
    if kind in ("string", "large_string"):
        return np.asarray(values.to_pylist(), dtype=np.str_)
    raise _unusable(column, kind)


def _outside(row: str, value: int, column: str, num_classes: int) -> UserError:
    return UserError(
        f"{row} has the label {value} in column {column!r}, outside its {num_classes} classes: choose a split whose "
        "labels are published, or remove such rows."
    )


def _unusable(column: str, kind: str) -> UserError:
    return UserError(
        f"The label column {column!r} holds {kind}: it must hold one class per image, as text, an integer or a "
        "ClassLabel; name another with label_column=."
    )
