"""One split that is read as it comes: pictures and classes in passes, shared between readers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from glmc_zoo.data.images import UNREADABLE, to_rgb
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StreamBatch", "StreamSplit", "guarded", "label_key"]

StreamBatch = tuple[list[Image.Image], "NDArray[np.int64]", "NDArray[np.int64]"]

_SHARD_BITS = 40  # of a position, for the place within a shard


@dataclass(frozen=True)
class StreamSplit:
    """Pictures and classes of one split, read anew in every pass.

    `shard` gives one process its own share. Where there are enough files, each share is whole files, and nothing is
    read twice; else ``datasets.distributed.split_dataset_by_node`` gives it every ``world_size``-th picture.
    """

    dataset: Any
    """A ``datasets.IterableDataset``, its pictures not decoded."""
    image_column: str
    label_column: str
    classes: Mapping[str | int, int]
    """Class of each value of the label column, with the names of a ``ClassLabel`` in place of its numbers."""
    name: str
    """For messages: "training" or "test"."""
    num_images: int | None = None
    """Of the whole split, where the data set says it."""
    rank: int = 0
    world_size: int = 1

    @property
    def num_shards(self) -> int:
        """Files, or parts of a table, that can be read apart from each other."""
        return int(self.dataset.num_shards)

    def shard(self, rank: int, world_size: int) -> StreamSplit:
        """The share of one of ``world_size`` readers; each picture is in exactly one share."""
        return replace(self, rank=rank, world_size=world_size)

    def batches(self, batch_size: int) -> Iterator[StreamBatch]:
        """One pass: RGB pictures, their classes (B,), and their positions (B,).

        Positions rise in the order of the split and differ between shares; they are 0, 1, 2, ... only where the whole
        split is one share.

        Raises:
            UserError: a picture or label cannot be used, or the stream breaks off.
        """
        for shard, step, dataset in self._own():
            place = self.rank if step > 1 else 0
            for rows in guarded(dataset.iter(batch_size=batch_size), self.name):
                records = rows[self.image_column]
                local = place + step * np.arange(len(records), dtype=np.int64)
                where = [f"Image {i} of {f'shard {shard} of ' if shard else ''}the {self.name} split" for i in local]
                pictures = [_decode(record, at) for record, at in zip(records, where, strict=True)]
                labels = [self._class(value, at) for value, at in zip(rows[self.label_column], where, strict=True)]
                yield pictures, np.asarray(labels, dtype=np.int64), local + (shard << _SHARD_BITS)
                place += step * len(records)

    def _own(self) -> Iterator[tuple[int, int, Any]]:
        """Number, step between pictures, and data of each piece of this share."""
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
            raise UserError(
                f"{where} is of the class {str(key)!r}, which has no training image: add some, or remove it from the "
                f"{self.name} part."
            )
        return self.classes[key]


def label_key(value: Any, feature: Any, column: str) -> str | int:
    """What a value of the label column says: of a ``ClassLabel`` the name, else the text or integer itself.

    Raises:
        UserError: there is no label, or none that can be used.
    """
    from datasets import ClassLabel

    if value is None:
        raise UserError(f"The label column {column!r} is empty for some images: remove or label them.")
    if isinstance(feature, ClassLabel):
        if not 0 <= value < len(feature.names):
            raise UserError(
                f"A row has the label {value} in column {column!r}, outside its {len(feature.names)} classes: choose a "
                "split whose labels are published, or remove such rows."
            )
        return str(feature.names[value])
    if isinstance(value, str | int):
        return int(value) if isinstance(value, bool) else value
    raise UserError(
        f"The label column {column!r} holds {type(value).__name__}: it must hold one class an image, as text, an "
        "integer or a ClassLabel, so give another one as --label-column."
    )


def guarded(rows: Iterator[Any], name: str) -> Iterator[Any]:
    """The same rows; what breaks the stream is one sentence."""
    from datasets.exceptions import DatasetsError

    while True:
        try:
            row = next(rows, None)
        except (OSError, ValueError, RuntimeError, DatasetsError) as error:
            reason = " ".join(str(error).split()).rstrip(".")[:200]
            raise UserError(
                f"The stream of the {name} split broke off ({reason}): check the network and start again, or leave "
                "--streaming out to download the set once."
            ) from error
        if row is None:
            return
        yield row


def _decode(record: Any, where: str) -> Image.Image:
    from datasets.utils.file_utils import xopen

    data, path = (record.get("bytes"), record.get("path")) if isinstance(record, dict) else (record, None)
    try:
        if data is None and not path:
            raise ValueError("the cell is empty")
        # A picture that is a file of its own on the Hub has its address for a path.
        with io.BytesIO(data) if data is not None else xopen(path, "rb") as file, Image.open(file) as image:
            image.load()
            return to_rgb(image)
    except UNREADABLE as error:
        not_one = isinstance(error, Image.UnidentifiedImageError)
        reason = "not an image" if not_one else " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{where}{f' ({Path(path).name})' if path else ''} cannot be read: {reason}; remove it, or leave "
            "--streaming out and pass --skip-bad-images."
        ) from error
