"""Groups of images that stay together in one split, such as all images of one camera, patient or sender."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.options import PATH_PREFIX, path_pattern
from glmc_zoo.data.reading.content import content_digests, unit_interval
from glmc_zoo.data.reading.images import ArrayImages, image_name
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError
from glmc_zoo.text import agree, counted

_ALONE = "\x01"  # first character of the group name of an image without a group
_MOST_CHANGES = 1000
_MOST_FOR_EXCHANGE = 500
_SMALLEST_GAIN = 1e-9


@dataclass(frozen=True)
class GroupFacts:
    """How the images of a data set are grouped."""

    groups: int
    """Number of groups in all splits; images without a group do not count."""
    alone: int
    """Images without a group."""
    shared: int
    """Groups with images in more than one of the data set's own splits."""


def read_groups(raw: RawData, split_by: str | None) -> GroupFacts | None:
    """Set the ``groups`` of every split by a pattern on the path, or check the groups that a column gave.

    An image that the pattern does not match, or without a value in the column, is a group of its own. Notes tell the
    number of such images, and of groups that are in more than one split.

    Returns:
        Facts about the groups; ``None`` if neither ``split_by`` nor a column of the data gives groups.

    Raises:
        UserError: The column or the paths do not exist, the pattern is invalid or matches no path, or there is one
            group only.
    """
    if split_by is not None and split_by.startswith(PATH_PREFIX):
        pattern, raw.grouped_by = path_pattern(split_by), split_by
        for split in raw.splits:
            split.groups = _groups_by_path(split, pattern, split_by)
    elif split_by is not None and any(split.groups is None for split in raw.splits):
        raise UserError(
            f"split_by={split_by!r} is not a column of this data set: name a column of its table, or give a pattern "
            "on the path, such as 'path:([^/]+)/[^/]+$'."
        )
    if any(split.groups is None for split in raw.splits):
        return None
    by = f"split_by={split_by or raw.grouped_by or 'group'!r}"
    values = []
    for split in raw.splits:
        split.groups = _name_empty(split)
        values.append(np.unique(split.groups[split.rows]))
    names, occurrences = np.unique(np.concatenate(values), return_counts=True)
    is_alone = np.char.startswith(names, _ALONE)
    facts = GroupFacts(int((~is_alone).sum()), int(is_alone.sum()), int((occurrences[~is_alone] > 1).sum()))
    if not facts.groups and split_by is not None and split_by.startswith(PATH_PREFIX):
        example = image_name(raw.train.source, int(raw.train.rows[0]))
        raise UserError(f"{by} matches no path, for instance not {example!r}: change the pattern.")
    if facts.groups + facts.alone < 2:
        advice = "give another column or pattern, or leave it out"
        if split_by is None:
            advice = f"name another column, or remove the column {raw.grouped_by or 'group'}"
        raise UserError(f"{by} puts every image in one group, {str(names[0])!r}, which cannot be split: {advice}.")
    if facts.alone:
        have = agree(facts.alone, "has", "have")
        raw.notes.append(f"{counted(facts.alone, 'image')} {have} no group by {by}: each is a group of its own.")
    if facts.shared:
        raw.notes.append(
            f"{counted(facts.shared, 'group')} {agree(facts.shared, 'has', 'have')} images in more than one split of "
            "the data set."
        )
    return facts


def choose_groups(groups: NDArray[np.str_], labels: NDArray[np.int64], fraction: float, salt: str) -> NDArray[np.bool_]:
    """Which images to hold out, whole groups at a time, so that about ``fraction`` of every class is held out.

    At first the groups whose hash is below the fraction are held out. Then, step by step, one group changes sides or
    two groups are exchanged. Each step is the one that brings the held-out shares of the classes nearest to the
    fraction (smallest sum of squared differences). No class loses its last training image: a group that has all images
    of a class stays in training. scikit-learn's ``StratifiedGroupKFold`` is not used, because it only gives shares of
    1/k and may hold out such a group.

    Args:
        groups: Name of the group of each image, of shape (N,).
        labels: Class of each image, of shape (N,).
        fraction: Share to hold out, from 0 to 1.
        salt: Text that is hashed with the group names; another salt chooses other groups.

    Returns:
        Whether each image is held out, of shape (N,).
    """
    names, members = np.unique(groups, return_inverse=True)
    counts = _Counts(members, labels, fraction)
    hashes = unit_interval([name.encode("utf-8", "surrogateescape") for name in names.tolist()], salt)
    for group in np.argsort(hashes, kind="stable"):
        if hashes[group] >= fraction:
            break
        if counts.can_hold_group(group):
            counts.change(group)
    for _ in range(_MOST_CHANGES):
        changes = counts.best_change()
        if not changes:
            break
        for group in changes:
            counts.change(group)
    return counts.held[members]


class _Counts:
    """Number of images of each group in each class, as a sparse matrix, and which groups are held out."""

    def __init__(self, members: NDArray[np.int64], labels: NDArray[np.int64], fraction: float) -> None:
        classes = int(labels.max()) + 1
        cells, images = np.unique(members * classes + labels, return_counts=True)
        self.group, self.label, self.images = cells // classes, cells % classes, images
        self.starts = np.searchsorted(self.group, np.arange(self.group[-1] + 2))
        self.total = np.bincount(labels, minlength=classes)
        self.share = images / self.total[self.label]
        self.held = np.zeros(len(self.starts) - 1, dtype=bool)
        self.held_images = np.zeros(classes, dtype=np.int64)
        self.fraction = fraction

    def change(self, group: int) -> None:
        """Move a group to the other side."""
        cells = slice(self.starts[group], self.starts[group + 1])
        sign = -1 if self.held[group] else 1
        self.held_images[self.label[cells]] += sign * self.images[cells]
        self.held[group] = not self.held[group]

    def can_hold_group(self, group: int) -> bool:
        """`can_hold` for one group."""
        cells = slice(self.starts[group], self.starts[group + 1])
        remaining = self.total - self.held_images
        return bool((self.images[cells] < remaining[self.label[cells]]).all())

    def can_hold(self) -> NDArray[np.bool_]:
        """Whether every class keeps a training image when a group is held out, of shape (groups,)."""
        remaining = self.total - self.held_images
        return np.logical_and.reduceat(self.images < remaining[self.label], self.starts[:-1])

    def best_change(self) -> list[int]:
        """The group to move, or the two groups to exchange, with the largest gain; empty if none gains."""
        gains = self.gains()
        movable = np.where(~self.held & ~self.can_hold(), -np.inf, gains)
        group = int(np.argmax(movable))
        if movable[group] >= _SMALLEST_GAIN:
            return [group]
        if len(gains) > _MOST_FOR_EXCHANGE:
            return []
        shares = np.zeros((len(gains), len(self.total)))
        shares[self.group, self.label] = self.share
        out, into = np.flatnonzero(self.held), np.flatnonzero(~self.held)
        pairs = gains[out, None] + gains[into] + 2 * shares[out] @ shares[into].T
        for pair in np.argsort(-pairs, axis=None)[:_MOST_FOR_EXCHANGE]:
            leaving, entering = np.unravel_index(pair, pairs.shape)
            if pairs[leaving, entering] < _SMALLEST_GAIN:
                break
            share = self.held_images / np.maximum(self.total, 1) - shares[out[leaving]] + shares[into[entering]]
            if (share[self.total > 0] < 1 - _SMALLEST_GAIN).all():
                return [int(out[leaving]), int(into[entering])]
        return []

    def gains(self) -> NDArray[np.float64]:
        """Decrease of the sum of squared differences when each group changes sides, of shape (groups,)."""
        known = np.maximum(self.total, 1)
        excess = self.held_images / known - self.fraction
        sign = np.where(self.held, -1, 1)
        change = sign[self.group] * self.share
        gains: NDArray[np.float64] = -np.add.reduceat(change * (2 * excess[self.label] + change), self.starts[:-1])
        return gains


def _groups_by_path(split: RawSplit, pattern: re.Pattern[str], split_by: str) -> NDArray[np.str_]:
    paths = [] if isinstance(split.source, ArrayImages) else split.source.paths(split.rows)
    if not any(paths):
        raise UserError(f"split_by={split_by!r} needs images with a path, and these have none: give a column.")
    groups = np.full(len(split.labels), "", dtype=object)
    for row, path in zip(split.rows, paths, strict=True):
        match = None if path is None else pattern.search(path)
        # ``match[1]`` is None if the first group of the pattern is optional and matched nothing.
        groups[row] = "" if match is None else (match[1] if pattern.groups else match[0]) or ""
    return groups.astype(np.str_)


def _name_empty(split: RawSplit) -> NDArray[np.str_]:
    """The groups as text; an image without a group gets a group of its own, named by its content."""
    assert split.groups is not None
    groups = split.groups.astype(np.str_)
    rows = split.rows[groups[split.rows] == ""]
    if len(rows):
        names = [_ALONE + digest.tobytes().hex() for digest in content_digests(split.source, rows)]
        groups = groups.astype(f"<U{max(groups.dtype.itemsize // 4, len(names[0]))}")
        groups[rows] = names
    return groups
