"""The columns of a table that hold images and classes, and the classes as integers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.reading.label_files import LABEL_NAMES
from glmc_zoo.data.reading.listing import class_name, minus_one_means_none
from glmc_zoo.data.reading.split_names import SPLIT_COLUMNS, column_key
from glmc_zoo.errors import UserError

MINUS_ONE = -2
"""Class number of a row whose label -1 means that it has no label."""
# Value of a missing label in a column of integers.
_NO_NUMBER = np.iinfo(np.int64).min


def find_image_column(features: Mapping[str, Any], requested: str | None = None) -> str:
    """The column that holds the images: the requested one, or the only one of feature type ``Image``."""
    return _only("image", [name for name, feature in features.items() if _holds_images(feature)], features, requested)


def find_label_column(features: Mapping[str, Any], requested: str | None = None) -> str:
    """The column that holds the classes: the requested one, the only ``ClassLabel``, or one with a usual name."""
    return _only("label", label_columns(features), features, requested)


def label_columns(features: Mapping[str, Any]) -> list[str]:
    """The columns that may hold the classes."""
    from datasets import ClassLabel

    columns = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    splits = [name for name in columns if column_key(name) in SPLIT_COLUMNS]
    return [name for name in columns if name not in splits] or [n for n in LABEL_NAMES if n in features][:1]


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
    distinct strings or integers of all tables, sorted. A row without a class has -1, or `MINUS_ONE` where the label -1
    says so (`minus_one_means_none`).
    """
    from datasets import ClassLabel

    features = label_features(tables, column)
    names = [list(map(class_name, f.names)) if isinstance(f, ClassLabel) else None for f in features]
    values = [_column_values(table, column) for table in tables]
    for class_names, value in zip(names, values, strict=True):
        if class_names is not None and len(bad := np.flatnonzero((value < -1) | (value >= len(class_names)))):
            raise _outside(f"Row {bad[0]}", int(value[bad[0]]), column, len(class_names))
    if names[0] is not None and all(other == names[0] for other in names) and len(set(names[0])) == len(names[0]):
        return values, names[0]
    # The splits number their classes differently: they share the names.
    texts = [_as_names(value, class_names) for value, class_names in zip(values, names, strict=True)]
    missing = [_is_missing(value) for value in texts]
    if any(value.dtype.kind == "U" for value in texts):
        texts = [value.astype(np.str_) for value in texts]
    classes = np.unique(np.concatenate([text[~unlabelled] for text, unlabelled in zip(texts, missing, strict=True)]))
    minus_one = "-1" if classes.dtype.kind == "U" else -1
    minus_ones = [np.equal(text, minus_one) & ~unlabelled for text, unlabelled in zip(texts, missing, strict=True)]
    if any(rows.any() for rows in minus_ones) and minus_one_means_none(map(str, classes)):
        classes = classes[classes != minus_one]
    else:
        minus_ones = [np.zeros_like(rows) for rows in minus_ones]
    numbers = [np.searchsorted(classes, text).astype(np.int64) for text in texts]
    for number, unlabelled, minus_rows in zip(numbers, missing, minus_ones, strict=True):
        number[unlabelled], number[minus_rows] = -1, MINUS_ONE
    return numbers, [str(name) for name in classes]


def _as_names(values: NDArray[Any], known: list[str] | None) -> NDArray[Any]:
    return values if known is None else np.asarray([*known, ""])[values]


def _is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows without a label: an empty text, the number that stands for null, or -1 in all of a split."""
    if values.dtype.kind == "U":
        empty: NDArray[np.bool_] = np.equal(values, "")
        return empty
    missing: NDArray[np.bool_] = np.isin(values, [_NO_NUMBER, -1] if (values == -1).all() else [_NO_NUMBER])
    return missing


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


def may_hold_images(feature: Any) -> bool:
    """Whether a column is of a kind that holds encoded images: the feature ``Image``, its struct, or bytes."""
    return _holds_images(feature) or str(getattr(feature, "dtype", "")) in ("binary", "large_binary")


def _holds_images(feature: Any) -> bool:
    from datasets import Image

    # A parquet file that another library wrote has the struct, but not the feature type.
    return isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _only(kind: str, candidates: list[str], features: Mapping[str, Any], requested: str | None) -> str:
    columns = f"the columns are {', '.join(features)}"
    if requested is not None:
        if requested not in features:
            raise UserError(f"{kind}_column={requested!r} is not a column: {columns}; give one of them.")
        return requested
    if not candidates:
        raise UserError(f"No column is recognised as the {kind} column: {columns}; name one with {kind}_column=.")
    if len(candidates) > 1:
        both = " and ".join(candidates)
        raise UserError(f"The columns {both} may each be the {kind} column: name one with {kind}_column=.")
    return candidates[0]


def _column_values(table: Any, column: str) -> NDArray[Any]:
    """Text or int64 of shape (rows,); a row without a label is an empty text, -1 of a ``ClassLabel``, else a number
    that no label is."""
    from datasets import ClassLabel

    # The arrow format follows the index mapping of a table that was filtered or shuffled; the raw table does not.
    values = table.select_columns([column]).with_format("arrow")[:].column(column)
    kind = str(values.type)
    if kind == "null":
        return np.full(len(values), "", dtype=np.str_)
    if kind == "bool" or kind.startswith(("int", "uint")):
        missing = -1 if isinstance(table.features[column], ClassLabel) else _NO_NUMBER
        if not values.null_count and kind != "uint64":
            return np.asarray(values.to_numpy(), np.int64)
        numbers = [missing if value is None else int(value) for value in values.to_pylist()]
        if max(numbers, default=0) > np.iinfo(np.int64).max:  # such as hashes: they stay what they are, as text
            return np.asarray(["" if value == missing else str(value) for value in numbers], dtype=np.str_)
        return np.asarray(numbers, np.int64)
    if kind in ("string", "large_string", "string_view"):
        return np.asarray([class_name(value or "") for value in values.to_pylist()], dtype=np.str_)
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
