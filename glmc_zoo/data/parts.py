"""From a data set as it was found to its parts: classes settled, a test part, the long tail, and a held-out part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from glmc_zoo.data.images import ImageSplit, readable_rows
from glmc_zoo.data.longtail import longtail_counts, longtail_indices
from glmc_zoo.data.raw import RawData, RawSplit
from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_split", "hold_out", "make_test_part", "settle_classes", "skip_unreadable", "thin"]

_TEST_FRACTION = 0.2


def skip_unreadable(raw: RawData) -> int:
    """Leave unreadable pictures out of every part, before anything is counted; returns how many."""
    skipped = 0
    for part in raw.parts:
        good = readable_rows(part.source, part.rows)
        skipped += len(part.rows) - len(good)
        part.rows = good
    if not len(raw.train.rows):
        raise UserError("No image of the training split can be read: check that the files are images.")
    return skipped


def settle_classes(raw: RawData) -> None:
    """A name without any image, in training or test, is no class; and every other class must be in both parts."""
    train = np.bincount(raw.train.labels[raw.train.rows], minlength=len(raw.class_names))
    test = np.zeros_like(train)
    if raw.test is not None:
        test = np.bincount(raw.test.labels[raw.test.rows], minlength=len(raw.class_names))
        _refuse(
            raw.class_names, (train == 0) & (test > 0), "no training image: add some, or remove it from the test part."
        )
        _refuse(
            raw.class_names, (train > 0) & (test == 0), "no test image: add some, or remove it from the training part."
        )
    used = np.flatnonzero(train > 0)
    if len(used) == len(raw.class_names):
        return
    unused = [name for name, count in zip(raw.class_names, train, strict=True) if count == 0]
    raw.notes.append(f"{len(unused)} class names have no image and were left out: {', '.join(unused[:10])}.")
    position = np.full(len(raw.class_names), -1, dtype=np.int64)
    position[used] = np.arange(len(used))
    raw.class_names = [raw.class_names[index] for index in used]
    for part in raw.parts:
        part.labels = position[part.labels]


def _refuse(class_names: list[str], bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        more = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        raise UserError(f"Class {class_names[int(np.argmax(bad))]!r}{more} has {problem}")


def make_test_part(raw: RawData) -> ImageSplit:
    """The test split, or a fifth of the training part, always the same and apart from every option."""
    if raw.test is not None:
        return as_split(raw.test)
    rows, labels = raw.train.rows, raw.train.labels[raw.train.rows]
    counts = np.bincount(labels, minlength=len(raw.class_names))
    _refuse(raw.class_names, counts < 2, "a single image and there is no test split: add images, or a test split.")
    aside = _stratified(labels, _TEST_FRACTION, seed=0)
    raw.train.rows = np.delete(rows, aside)
    raw.notes.append(
        f"There is no test split: {len(aside)} images, a fifth of each class, were set aside as the test part."
    )
    return ImageSplit(raw.train.source, rows[aside], labels[aside])


def thin(
    raw: RawData,
    imbalance_factor: float,
    max_count: int | None,
    profile: str,
    selection: str,
    seed: int,
    *,
    strict: bool,
) -> None:
    """Cut the training part down to a long tail, class by class in the order of the class names.

    Raises:
        UserError: a tail that cannot be made; with ``strict`` also where a class has fewer images than it asks for,
            else the class keeps all it has and a note says so.
    """
    labels = raw.train.labels[raw.train.rows]
    have = np.bincount(labels, minlength=len(raw.class_names))
    head = int(have.max()) if max_count is None else max_count
    counts = longtail_counts(len(have), head, imbalance_factor, profile)
    if not strict and (have < counts).any():
        short = int((have < counts).sum())
        raw.notes.append(f"{short} classes have fewer images than the long tail asks for and keep all they have.")
        counts = np.minimum(have, counts).tolist()
    for name, wanted, found in zip(raw.class_names, counts, have.tolist(), strict=True):
        if wanted > found:
            raise UserError(
                f"Class {name!r} has {found} images but a long tail of factor {imbalance_factor:g} from "
                f"{head} wants {wanted}: raise --imbalance-factor or lower --max-count."
            )
    raw.train.rows = raw.train.rows[longtail_indices(labels, counts, seed=seed, selection=selection)]


def hold_out(part: RawSplit, fraction: float, seed: int) -> NDArray[np.int64]:
    """Take the validation rows out of the training part."""
    if not fraction:
        return np.empty(0, dtype=np.int64)
    held = _stratified(part.labels[part.rows], fraction, seed)
    if not len(held):
        raise UserError(f"No class has two images, so a validation fraction of {fraction} cannot be held out: give 0.")
    rows = part.rows[held]
    part.rows = np.delete(part.rows, held)
    return rows


def _stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Positions of about ``fraction`` of each class: at least one of a class of two or more, and never all of it."""
    rng = np.random.RandomState(seed)
    held = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rng.shuffle(members)
        wanted = max(1, math.floor(len(members) * fraction + 0.5))
        held.append(members[: min(wanted, len(members) - 1)])
    return np.sort(np.concatenate(held)).astype(np.int64)


def as_split(part: RawSplit) -> ImageSplit:
    """The part as it is handed out."""
    return ImageSplit(part.source, part.rows, part.labels[part.rows])
