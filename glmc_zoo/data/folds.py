"""Folds of the training images, to choose settings of a classifier on images that did not train it."""

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data.groups import choose_groups
from glmc_zoo.data.load import LongTailData
from glmc_zoo.data.reading.content import content_digests, unit_interval

ALWAYS_TRAINS = -1
"""Fold of an image that is never held out."""


def training_folds(data: LongTailData, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each training image, int64 of shape (N,): from 0 to ``folds - 1``, or `ALWAYS_TRAINS`.

    Each class is spread evenly over the folds. Images of one group share a fold, and so do images with one content
    where there are no groups. An image whose fold would take all images of its class out of the training is never held
    out. Another seed gives other folds.
    """
    labels, salt = data.train.labels, f"fold {seed}"
    if data.groups is None:
        digests = content_digests(data.train.source, data.train.rows)
        contents = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").reshape(-1)
        return stay_trained(deal(contents, labels, folds, salt), labels)
    fold = np.full(len(labels), folds - 1, dtype=np.int64)
    remaining = np.arange(len(labels))
    for number in range(folds - 1):
        held_out = choose_groups(data.groups[remaining], labels[remaining], 1 / (folds - number), f"{salt} {number}")
        fold[remaining[held_out]] = number
        remaining = remaining[~held_out]
    return stay_trained(fold, labels, data.groups)


def deal(contents: NDArray[np.void], labels: NDArray[np.int64], folds: int, salt: str) -> NDArray[np.int64]:
    """Deal images to the folds like cards, class by class, in an order by the hash of their content."""
    _, first, member = np.unique(contents, return_index=True, return_inverse=True)
    hashes = unit_interval([contents[index].tobytes() for index in first.tolist()], salt)
    order = np.lexsort((hashes, labels[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % folds  # goes on from class to class, so that small classes do not share one
    dealt: NDArray[np.int64] = fold[member.reshape(-1)]
    return dealt


def stay_trained(
    fold: NDArray[np.int64], labels: NDArray[np.int64], groups: NDArray[np.str_] | None = None
) -> NDArray[np.int64]:
    """The folds, with `ALWAYS_TRAINS` for images, or groups, whose fold has every image of one of their classes."""
    counts = np.zeros((int(fold.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (fold, labels), 1)
    alone = (counts == counts.sum(axis=0))[fold, labels]
    if groups is not None:
        alone = np.isin(groups, np.unique(groups[alone]))
    return np.where(alone, ALWAYS_TRAINS, fold)
