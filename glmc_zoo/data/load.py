"""One data set, ready to train on: read, thinned to a long tail, and split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmc_zoo.data.catalogue import IMAGENET_MEAN, IMAGENET_STD, DataEntry, Statistics, list_data
from glmc_zoo.data.formats import image_format
from glmc_zoo.data.images import ImageSplit, decode_small
from glmc_zoo.data.official_parts import OfficialParts, is_official
from glmc_zoo.data.openers import open_entry, open_official, open_other
from glmc_zoo.data.parts import as_split, hold_out, make_test_part, settle_classes, skip_unreadable, thin
from glmc_zoo.data.raw import RawData
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LongTailData", "TailShape", "load_data", "refuse_idle"]

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
    split_file: str | Path | None = None,
    official_val: bool = False,
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

    A catalogue set is thinned by its formula, or made by its official list. Where that is not at hand, the set is
    thinned to a Pareto curve, which is noted; ``info["official_split"]`` says whether a list made the parts and the
    class counts of both are the official ones. Any other set is used as it is, or, where ``imbalance_factor`` is
    given, thinned in the order of its classes. A class with fewer images than a formula asks for keeps them all, which
    is noted (but is an error for the sets that are made from balanced ones). A set without a test split has a fifth of
    each class (at least one image) set aside, always the same; it is noted.

    Args:
        name_or_path: a name in `list_data`, a folder (pictures, parquet files, or saved by ``datasets``), or a Hub id.
        data_dir: local copy of a catalogue set, in the layout of its Hub repository or of the original.
        data_config: configuration of a Hub data set or folder that has several.
        split_file: of a set with official lists: the training list, a folder with the lists, or the Hub id of a data
            set with them; ``None`` looks beside the data and then on the Hub. The test list is the one beside it.
        official_val: hold out the pictures of the official validation list as ``val``.
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
        skip_bad_images: decode every picture once, and leave out those that cannot be read; also listed pictures that
            are not there.
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
    choices = {
        "image_column": image_column,
        "label_column": label_column,
        "train_split": train_split,
        "test_split": test_split,
    }
    shape = TailShape(imbalance_factor, max_count, profile)
    by_list: OfficialParts | None = None
    refuse_idle(name, entry, shape, data_dir=data_dir, data_config=data_config)
    _refuse_idle_lists(name, entry, split_file, official_val, val_fraction)
    if entry is None:
        raw, shape = open_other(name, data_config, **choices), shape.filled(None, None, "exp")
    elif entry.official is None:
        raw = open_entry(entry, data_dir, **choices)
        shape = shape.filled(entry.default_imbalance_factor, entry.max_count, entry.profile)
    else:
        by_list = open_official(
            entry, data_dir, split_file=split_file, official_val=official_val, thinned=shape.given,
            skip_missing=skip_bad_images, **choices,
        )  # fmt: skip
        raw = by_list.raw
        tail = shape.given or (by_list.split_file is None and not entry.official.natural)
        shape = shape.filled(entry.official.imbalance_factor if tail else None, entry.max_count, entry.profile)
    skipped = skip_unreadable(raw) if skip_bad_images else 0
    settle_classes(raw)
    if len(raw.class_names) < 2:
        raise UserError(f"The data set {name} has only one class ({raw.class_names[0]}): give a set with at least two.")
    test = make_test_part(raw)
    if shape.factor is not None:
        strict = entry is not None and by_list is None
        thin(raw, shape.factor, shape.max_count, shape.profile or "exp", selection, data_seed, strict=strict)
    val_rows = hold_out(raw.train, val_fraction, data_seed)

    train = as_split(raw.train)
    val = as_split(raw.val) if raw.val is not None else None
    if len(val_rows):
        val = ImageSplit(raw.train.source, val_rows, raw.train.labels[val_rows])
    parts = [train, test] if val is None else [train, test, val]
    if train.pixels is None:
        decode_small(parts, cache_bytes)
    counts = np.bincount(train.labels, minlength=len(raw.class_names)).tolist()
    info = {
        **_origin(name, entry, raw),
        **_official(entry, by_list, shape, counts, test, raw.train.labels[val_rows]),
        "imbalance_factor": shape.factor,
        "effective_imbalance_factor": max(counts) / min(counts),
        "profile": None if shape.factor is None else shape.profile,
        "selection": None if shape.factor is None else selection,
        "data_seed": data_seed,
        "train_images": len(train),
        "test_images": len(test),
        "val_images": 0 if val is None else len(val),
        "skipped_images": skipped + (by_list.missing if by_list else 0),
        "image_format": image_format(train),
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


@dataclass(frozen=True)
class TailShape:
    """How the training part is thinned, as far as it was said."""

    factor: float | None
    max_count: int | None
    profile: str | None

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return any(value is not None for value in (self.factor, self.max_count, self.profile))

    def filled(self, factor: float | None, max_count: int | None, profile: str) -> TailShape:
        """With these in place of what was not said."""
        return TailShape(
            factor if self.factor is None else self.factor,
            max_count if self.max_count is None else self.max_count,
            self.profile or profile,
        )


def refuse_idle(
    name: str, entry: DataEntry | None, shape: TailShape, *, data_dir: str | Path | None, data_config: str | None
) -> None:
    """Refuse options that have no effect on this set.

    Raises:
        UserError: one was given.
    """
    if entry is not None:
        if data_config is not None:
            raise UserError(f"--data-config is for sets outside the catalogue: leave it out with {name}.")
        return
    if data_dir is not None:
        raise UserError(
            f"--data-dir is for catalogue sets, and {name} is none: give the folder itself as the data set."
        )
    if shape.factor is None and (shape.max_count is not None or shape.profile not in (None, "exp")):
        option = "--imbalance-type" if shape.max_count is None else "--max-count"
        raise UserError(
            f"{option} shapes a long tail, and {name} is used as it is: give --imbalance-factor as well, or leave "
            f"{option} out."
        )


def _refuse_idle_lists(
    name: str, entry: DataEntry | None, split_file: str | Path | None, official_val: bool, val_fraction: float
) -> None:
    """Options of lists on a set that has none."""
    if split_file is not None and (entry is None or entry.official is None):
        known = ", ".join(known for known, other in list_data().items() if other.official)
        raise UserError(f"--split-file is for sets with official lists ({known}): leave it out with {name}.")
    if official_val and val_fraction:
        raise UserError(
            f"--official-val and --val-fraction {val_fraction} both say what is held out: give one of them."
        )
    if official_val and (entry is None or entry.official is None or entry.official.val is None):
        known = ", ".join(known for known, other in list_data().items() if other.official and other.official.val)
        raise UserError(
            f"--official-val is for sets with an official validation list ({known}), and {name} has none: hold images "
            "out with --val-fraction."
        )


def _official(
    entry: DataEntry | None,
    by_list: OfficialParts | None,
    shape: TailShape,
    counts: list[int],
    test: ImageSplit,
    held_out: NDArray[np.int64],
) -> dict[str, Any]:
    """What the results say of the list; nothing for a set that has none."""
    if entry is None or entry.official is None or by_list is None:
        return {}
    whole = (np.asarray(counts) + np.bincount(held_out, minlength=len(counts))).tolist()
    official = (
        by_list.split_file is not None
        and shape.factor is None
        and is_official(whole, entry.official.train)
        and is_official(np.bincount(test.labels, minlength=len(counts)).tolist(), entry.official.test)
    )
    if official and len(held_out):
        by_list.raw.notes.append(
            f"--val-fraction holds {len(held_out):,} images out of the official training list: what is left is not the "
            "official split."
        )
    return {"official_split": official and not len(held_out), "split_file": by_list.split_file}


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


def _native_size(split: ImageSplit) -> int | None:
    return None if split.pixels is None else min(split.pixels.shape[1:3])
