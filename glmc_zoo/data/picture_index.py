"""Every picture of a large set by name and class, from a folder or a table, without reading one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmc_zoo.data.images import IMAGE_SUFFIXES, ArrowImages
from glmc_zoo.data.names import folder_classes
from glmc_zoo.data.raw import RawData
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glmc_zoo.data.official import OfficialSplit

__all__ = ["PictureIndex", "SplitIndex", "index_layout", "index_tables", "walk_pictures"]


@dataclass(frozen=True)
class SplitIndex:
    """The pictures of one split."""

    source: ArrowImages
    names: Any
    """Arrow strings of shape (N,): the file names, or paths below the folder of the split; null without a name."""
    classes: NDArray[np.int64]
    """Class of each picture, as an index of ``class_names``, of shape (N,); -1 where its place does not tell."""


@dataclass(frozen=True)
class PictureIndex:
    """The pictures of a set as the original comes, before any list."""

    train: SplitIndex
    test: SplitIndex
    class_names: list[str]
    in_one: bool = False
    """Whether both splits are the same pictures, which only a list tells apart."""


def index_layout(folder: Path, official: OfficialSplit) -> PictureIndex | None:
    """The pictures of a folder in one of the set's usual layouts; ``None`` when it is in none of them.

    Raises:
        UserError: a folder of the layout without pictures, or training pictures outside the folders of the classes.
    """
    layout = next((pair for pair in official.layouts if all((folder / part).is_dir() for part in pair)), None)
    if layout is None:
        return None
    walked = {part: walk_pictures(folder / part) for part in dict.fromkeys(layout)}
    for part, names in walked.items():
        if not len(names):
            raise UserError(f"The folder {folder / part} has no pictures: complete the copy of the data set.")
    folders = {part: _folders(names) for part, names in walked.items()}
    told = {part: folder_classes(encoded.dictionary, official.naming).to_pylist() for part, encoded in folders.items()}
    class_names = sorted({name for names in told.values() for name in names if name}, key=_as_listed)
    number = {name: index for index, name in enumerate(class_names)}
    splits = {}
    for part, names in walked.items():
        of_folder = np.asarray([number.get(name, -1) for name in told[part]], np.int64)
        own = of_folder[folders[part].indices.to_numpy()]
        if part == layout[0] and (own < 0).any():
            raise UserError(
                f"The picture {names[int(np.argmax(own < 0))]} lies in {folder / part} itself and so has no class: "
                "move it into the folder of its class, or away."
            )
        kind = "training" if part == layout[0] else "test"
        table = _path_table(folder / part, names)
        splits[part] = SplitIndex(ArrowImages(table, "image", kind, folder.resolve()), names, own)
    return PictureIndex(splits[layout[0]], splits[layout[1]], class_names, in_one=layout[0] == layout[1])


def index_tables(raw: RawData, tables: Mapping[str, Any]) -> PictureIndex:
    """The pictures of tables whose splits and columns were chosen already; of the pictures only their names are read.

    Raises:
        UserError: there is no test split.
    """
    if raw.test is None:
        raise UserError(
            f"There is no split to test on among {', '.join(tables)}: give the split of the original's validation "
            "pictures as --test-split."
        )
    parts = []
    for part in (raw.train, raw.test):
        assert isinstance(part.source, ArrowImages)
        parts.append(SplitIndex(part.source, _column_names(part.source), part.labels))
    return PictureIndex(parts[0], parts[1], raw.class_names)


def walk_pictures(root: Path) -> Any:
    """The path of each picture below ``root``, relative to it, as Arrow strings; folder by folder, in a fixed order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    suffixes = tuple(IMAGE_SUFFIXES)
    chunks = []
    for here, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = sorted(name for name in files if name.lower().endswith(suffixes) and not name.startswith("."))
        if not found:
            continue
        names, inside = pa.array(found), os.path.relpath(here, root).replace(os.sep, "/")
        chunks.append(names if inside == "." else pc.binary_join_element_wise(pa.scalar(inside), names, "/"))
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())


def _folders(names: Any) -> Any:
    """The folder of each path, as a dictionary of few paths: with ``_`` for the file."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(names, r"[^/]+$", "_").dictionary_encode()


def _as_listed(class_name: str) -> tuple[int, str]:
    """Key that sorts numbers by value."""
    return (int(class_name) if class_name.isdecimal() else -1, class_name)


def _path_table(root: Path, names: Any) -> Any:
    """A ``datasets.Dataset`` of pictures in files; it holds their paths alone."""
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    paths = pc.binary_join_element_wise(pa.scalar(root.resolve().as_posix()), names, "/")
    column = pa.StructArray.from_arrays([pa.nulls(len(names), pa.binary()), paths], names=["bytes", "path"])
    return datasets.Dataset(
        InMemoryTable(pa.table({"image": column})),
        info=datasets.DatasetInfo(features=datasets.Features({"image": datasets.Image(decode=False)})),
        # Otherwise it is made from every path in the table, for a cache that is not used here.
        fingerprint=generate_random_fingerprint(),
    )


def _column_names(source: ArrowImages) -> Any:
    """The file name of each picture of a table, without touching the pictures' bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = source.dataset.data.column(source.column)
    if not pa.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return pa.nulls(len(column), pa.string())
    return pc.struct_field(column, "path").combine_chunks()
