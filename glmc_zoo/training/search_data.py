"""The images of a search for learning rate and epochs: which ones its trials train on, and which are held out."""

import copy
import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.data import ImageSplit, LongTailData
from glmc_zoo.data.fingerprint import ordered_digest
from glmc_zoo.data.folds import training_folds
from glmc_zoo.errors import UserError
from glmc_zoo.training.head_search import FOLDS
from glmc_zoo.training.search_plan import stratified_subset

_HELD_OUT = 0  # index of the fold that is held out


@dataclass(frozen=True)
class SearchData:
    """The training images in two parts: those for the trials, and the fold that is held out."""

    data: LongTailData
    train: NDArray[np.int64]
    """Positions of the images that trials may be trained on."""
    test: NDArray[np.int64]
    """Positions of the images that are held out."""
    folds: NDArray[np.int64]
    """Fold of every training image."""
    seed: int
    """Seed of the folds and of the subsets."""

    def positions(self, images: int, at_least: int) -> NDArray[np.int64]:
        """Positions of the training images of a trial: a subset of about ``images``, and of ``at_least`` so many."""
        positions = stratified_subset(self.data.train.labels, self.train, images, self.seed)
        missing = at_least - len(positions)
        if missing <= 0:
            return positions
        others = np.setdiff1d(self.train, positions)
        return np.sort(np.concatenate([positions, others[:missing]]))

    def of_trial(self, positions: NDArray[np.int64]) -> LongTailData:
        """The data set of a trial: the training images at ``positions``, and those held out as its test split."""
        train = _select_images(self.data.train, positions)
        groups = None if self.data.groups is None else self.data.groups[positions]
        return replace(
            self.data, train=train, test=_select_images(self.data.train, self.test), val=None,
            class_counts=train.class_counts, groups=groups,
        )  # fmt: skip


def hold_out(data: LongTailData, seed: int) -> SearchData:
    """Hold a fold of the training images out.

    Raises:
        UserError: No training image can be held out.
    """
    folds = training_folds(data, FOLDS, seed)
    is_held_out = folds == _HELD_OUT
    if not is_held_out.any():
        raise UserError(
            "search_minutes= needs training images that can be held out, and every class has one image or one group: "
            "give lr= and epochs= instead."
        )
    return SearchData(data, np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out), folds, seed)


def search_key(data: LongTailData) -> str:
    """A digest of what a search is made on: the training images in order, their classes and their groups."""
    digest = hashlib.blake2b(ordered_digest(data.train).encode(), digest_size=8)
    digest.update(np.asarray(data.train.labels, dtype=np.int64).tobytes())
    for group in () if data.groups is None else data.groups:
        digest.update(f"{group}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _select_images(split: ImageSplit, positions: NDArray[np.int64]) -> ImageSplit:
    """The images of a split at these positions."""
    subset = copy.copy(split)
    subset.rows, subset.labels = split.rows[positions], split.labels[positions]
    subset.pixels = None if split.pixels is None else split.pixels[positions]
    return subset
