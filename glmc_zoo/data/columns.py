"""Which columns of a table hold the pictures and the classes, and the classes as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_image_column", "find_label_column", "read_labels"]

_LABEL_NAMES = ("label", "labels", "class", "target", "category")


def find_image_column(features: Mapping[str, Any], wanted: str | None = None) -> str:
    """The column that holds the pictures: the one asked for, or the only one of feature type ``Image``.

    Raises:
        UserError: the column is not there, or not exactly one holds pictures; the sentence lists the columns.
    """
    found = [name for name, feature in features.items() if _holds_images(feature)]
    return _only("image", found, features, wanted)


def find_label_column(features: Mapping[str, Any], wanted: str | None = None) -> str:
    """The column that holds the classes: the one asked for, the only ``ClassLabel``, or one of a usual name.

    Raises:
        UserError: the column is not there or cannot be told; the sentence lists the columns.
    """
    from datasets import ClassLabel

    found = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if not found:
        found = [name for name in _LABEL_NAMES if name in features][:1]
    return _only("label", found, features, wanted)


def read_labels(tables: Sequence[Any], column: str) -> tuple[list[NDArray[np.int64]], list[str]]:
    """The classes of every row of each ``datasets.Dataset``, read from the Arrow column (no picture is decoded).

    Classes are those of ``ClassLabel``, else the distinct strings or integers of all tables, sorted.

    Returns:
        one int64 array of shape (rows,) for each table, and the class names.

    Raises:
        UserError: rows without a label, or a column that is neither ``ClassLabel``, text nor integers.
    """
    from datasets import ClassLabel

    features = [table.features.get(column) for table in tables]
    for table, feature in zip(tables, features, strict=True):
        if feature is None:
            raise UserError(
                f"A split has no column {column!r}, only {', '.join(table.column_names)}: give --label-column."
            )
    values = [_column_values(table, column) for table in tables]
    names = [list(feature.names) if isinstance(feature, ClassLabel) else None for feature in features]
    values = [v if own is None else _checked(v, len(own), column) for own, v in zip(names, values, strict=True)]
    if names[0] is not None and all(other == names[0] for other in names):
        return values, names[0]
    # The splits number their classes differently: the names are what they share.
    values = [v if own is None else np.asarray(own)[v] for own, v in zip(names, values, strict=True)]
    if any(value.dtype.kind == "U" for value in values):
        values = [value.astype(np.str_) for value in values]
    classes = np.unique(np.concatenate(values))
    return [np.searchsorted(classes, value).astype(np.int64) for value in values], [str(name) for name in classes]


def _holds_images(feature: Any) -> bool:
    from datasets import Image

    # A parquet file that another library wrote has the struct, but not the feature type.
    return isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _only(kind: str, found: list[str], features: Mapping[str, Any], wanted: str | None) -> str:
    columns = f"the columns are {', '.join(features)}"
    if wanted is not None:
        if wanted not in features:
            raise UserError(f"There is no {kind} column {wanted!r}: {columns}; give one of them as --{kind}-column.")
        return wanted
    if not found:
        raise UserError(
            f"No column is recognised as the {kind} column: {columns}; give one of them as --{kind}-column."
        )
    if len(found) > 1:
        raise UserError(
            f"The columns {' and '.join(found)} may each be the {kind} column: give one of them as --{kind}-column."
        )
    return found[0]


def _column_values(table: Any, column: str) -> NDArray[Any]:
    # The arrow format follows the index mapping of a table that was filtered or shuffled; the raw table does not.
    values = table.select_columns([column]).with_format("arrow")[:].column(column)
    if values.null_count:
        raise UserError(f"The label column {column!r} is empty for {values.null_count} images: remove or label them.")
    kind = str(values.type)
    if kind == "bool" or kind.startswith(("int", "uint")):
        return values.to_numpy().astype(np.int64)
    if kind in ("string", "large_string"):
        return np.asarray(values.to_pylist(), dtype=np.str_)
    raise UserError(
        f"The label column {column!r} holds {kind}: it must hold one class an image, as text, an integer or a "
        "ClassLabel, so give another one as --label-column."
    )


def _checked(values: NDArray[Any], num_classes: int, column: str) -> NDArray[np.int64]:
    bad = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(bad):
        raise UserError(
            f"Row {bad[0]} has the label {values[bad[0]]} in column {column!r}, outside its {num_classes} classes: "
            "choose a split whose labels are published, or remove such rows."
        )
    return values.astype(np.int64)
