"""One data set, ready to train on: read, thinned to a long tail, and split."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from glmc_zoo.data.catalogue import IMAGENET_MEAN, IMAGENET_STD, DataEntry, Statistics, list_data
from glmc_zoo.data.images import ImageSplit, decode_small
from glmc_zoo.data.parts import as_split, hold_out, make_test_part, settle_classes, skip_unreadable, thin
from glmc_zoo.data.sources import RawData, has_configurations, open_digits, open_folder, open_hub, raw_from_tables
from glmc_zoo.errors import UserError, did_you_mean

__all__ = ["LongTailData", "load_data"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SMALL_SIDE = 64


@dataclass
class LongTailData:
    """A data set as `load_data` hands it out."""

    name: str
    train: ImageSplit
    test: ImageSplit
    val: ImageSplit | None
    """Held out of the training part, to choose an epoch by; ``None`` unless asked for."""
    class_names: list[str]
    class_counts: list[int]
    """Training images of each class, without those held out in ``val``."""
    mean: Statistics
    std: Statistics
    image_size: int | None
    """Side in pixels to train at by default; ``None`` where pictures are large or of many sizes."""
    augment: str
    """Kind of training augmentation, for ``build_transforms``."""
    info: dict[str, Any] = field(default_factory=dict)
    """What a run stores with its results; plain JSON types."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def notes(self) -> list[str]:
        """Decisions taken on the user's behalf, one sentence each."""
        return list(self.info.get("notes", []))


def load_data(
    name_or_path: str | Path,
    *,
    data_dir: str | Path | None = None,
    data_config: str | None = None,
    imbalance_factor: float | None = None,
    max_count: int | None = None,
    profile: str | None = None,
    selection: str = "ldam",
    data_seed: int = 0,
    val_fraction: float = 0.0,
    image_column: str | None = None,
    label_column: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    skip_bad_images: bool = False,
    cache_bytes: int = 1 << 30,
) -> LongTailData:
    """Load a long-tailed data set.

    A catalogue set is thinned by its formula. Any other set is used as it is, or, where ``imbalance_factor`` is given,
    thinned in the order of its classes; a class with fewer images than the formula asks for keeps them all, which is
    noted. A set without a test split has a fifth of each class (at least one image) set aside, always the same; it is
    noted.

    Args:
        name_or_path: a name in `list_data`, a folder (pictures, parquet files, or saved by ``datasets``), or a Hub id.
        data_dir: local copy of a catalogue set, in the layout of its Hub repository.
        data_config: configuration of a Hub data set or folder that has several.
        imbalance_factor: largest class count over the smallest; ``None`` means the catalogue's, or no thinning.
        max_count: images of the first class; ``None`` means the catalogue's, or the largest class count.
        profile: shape of the tail, see `longtail_counts`; ``None`` means the catalogue's, or ``exp``.
        selection: which images are kept, see `longtail_indices`.
        data_seed: of the selection and of the held-out part.
        val_fraction: share of the thinned training part held out as ``val``, stratified; a class of two images or more
            gives at least one and keeps at least one.
        image_column: column of the pictures; ``None`` finds it by its type.
        label_column: column of the classes; ``None`` finds it by its type.
        train_split: name of the training split.
        test_split: name of the test split.
        skip_bad_images: decode every picture once, and leave out those that cannot be read.
        cache_bytes: pictures of one size up to 64 pixels a side are decoded into memory when they take no more than
            this.

    Raises:
        UserError: anything the caller can put right: an unknown set, a missing folder, column, split or class, a factor
            that the set cannot give, an option that would have no effect, or a picture that cannot be read.
    """
    if not 0 <= val_fraction < 1:
        raise UserError(f"The validation fraction {val_fraction} is not possible: give a number from 0 to below 1.")
    name = str(name_or_path)
    entry = list_data().get(name)
    if entry is None and data_dir is not None:
        raise UserError(
            f"--data-dir is for catalogue sets, and {name} is none: give the folder itself as the data set."
        )
    if entry is not None and data_config is not None:
        raise UserError(f"--data-config is for sets outside the catalogue: leave it out with {name}.")
    if entry is None and imbalance_factor is None and (max_count is not None or profile not in (None, "exp")):
        option = "--profile" if max_count is None else "--max-count"
        raise UserError(
            f"{option} shapes a long tail, and {name} is used as it is: give --imbalance-factor as well, or leave "
            f"{option} out."
        )
    columns = {"image_column": image_column, "label_column": label_column}
    splits = {"train_split": train_split, "test_split": test_split}
    if entry is not None:
        raw = _open_entry(entry, data_dir, **columns, **splits)
        imbalance_factor = entry.default_imbalance_factor if imbalance_factor is None else imbalance_factor
        max_count = entry.max_count if max_count is None else max_count
        profile = profile or entry.profile
    else:
        raw = _open_other(name, data_config, **columns, **splits)
    profile = profile or "exp"
    skipped = skip_unreadable(raw) if skip_bad_images else 0
    settle_classes(raw)
    if len(raw.class_names) < 2:
        raise UserError(f"The data set {name} has only one class ({raw.class_names[0]}): give a set with at least two.")
    test = make_test_part(raw)
    if imbalance_factor is not None:
        thin(raw, imbalance_factor, max_count, profile, selection, data_seed, strict=entry is not None)
    val_rows = hold_out(raw.train, val_fraction, data_seed)

    train = as_split(raw.train)
    val = ImageSplit(raw.train.source, val_rows, raw.train.labels[val_rows]) if len(val_rows) else None
    parts = [train, test] if val is None else [train, test, val]
    if train.pixels is None:
        decode_small(parts, cache_bytes)
    counts = np.bincount(train.labels, minlength=len(raw.class_names)).tolist()
    info = {
        **_origin(name, entry, raw),
        "imbalance_factor": imbalance_factor,
        "effective_imbalance_factor": max(counts) / min(counts),
        "profile": None if imbalance_factor is None else profile,
        "selection": None if imbalance_factor is None else selection,
        "data_seed": data_seed,
        "train_images": len(train),
        "test_images": len(test),
        "val_images": 0 if val is None else len(val),
        "skipped_images": skipped,
        "notes": raw.notes,
    }
    size = _native_size(train) if entry is None else entry.image_size
    return LongTailData(
        name=info["name"],
        train=train,
        test=test,
        val=val,
        class_names=raw.class_names,
        class_counts=counts,
        mean=entry.mean if entry else IMAGENET_MEAN,
        std=entry.std if entry else IMAGENET_STD,
        image_size=size,
        augment=entry.augment if entry else "large" if size is None or size >= _SMALL_SIDE else "crop_flip",
        info=info,
    )


def _origin(name: str, entry: DataEntry | None, raw: RawData) -> dict[str, Any]:
    if entry is not None:
        return {"name": entry.name, "hub_id": entry.hub_id, "license": entry.license, "description": entry.description}
    folder = Path(name).expanduser()
    # The name goes into model cards: of a folder its last part alone, not where it lies on this machine.
    local = folder.is_dir()
    return {
        "name": folder.resolve().name if local else name,
        "hub_id": None if local else name,
        "license": raw.license,
        "description": "",
    }


def _open_entry(
    entry: DataEntry,
    data_dir: str | Path | None,
    image_column: str | None,
    label_column: str | None,
    train_split: str | None,
    test_split: str | None,
) -> RawData:
    if not entry.available:
        ready = ", ".join(name for name, other in list_data().items() if other.available)
        raise UserError(
            f"{entry.name} needs {entry.needs}, which this version does not read yet: give a folder of images as the "
            f"data set, or one of {ready}."
        )
    if entry.hub_id is None:
        if data_dir is not None:
            raise UserError(
                f"{entry.name} comes with scikit-learn and is not read from {data_dir}: leave --data-dir out."
            )
        return open_digits()
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise UserError(f"The folder {folder} for {entry.name} does not exist: give {entry.local_layout}.")
    if folder is None:
        tables = open_hub(entry.hub_id, entry.hub_config)
    else:
        tables = open_folder(folder, entry.hub_config if has_configurations(folder) else None)
    features = next(iter(tables.values())).features
    raw = raw_from_tables(
        tables,
        image_column=image_column or (entry.image_column if entry.image_column in features else None),
        label_column=label_column or (entry.label_column if entry.label_column in features else None),
        train_split=train_split,
        test_split=test_split,
        folder=folder,
    )
    if len(raw.class_names) != entry.num_classes:
        raise UserError(
            f"{entry.name} has {entry.num_classes} classes but {data_dir or entry.hub_id} has {len(raw.class_names)}: "
            f"give {entry.local_layout}."
        )
    return raw


def _open_other(name: str, config: str | None, **options: Any) -> RawData:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return raw_from_tables(open_folder(folder, config), **options, folder=folder.resolve())
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return raw_from_tables(open_hub(name, config), **options)
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


def _native_size(split: ImageSplit) -> int | None:
    return None if split.pixels is None else min(split.pixels.shape[1:3])
