"""Long-tailed class counts, and which images of a balanced set make them up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["PROFILES", "SELECTIONS", "longtail_counts", "longtail_indices"]

PROFILES = ("exp", "step", "pareto")
SELECTIONS = ("ldam", "glmc", "first")

# The power that Liu et al. (CVPR 2019) name for ImageNet-LT.
_PARETO_POWER = 6.0


def longtail_counts(num_classes: int, max_count: int, imbalance_factor: float, profile: str = "exp") -> list[int]:
    """Number of images kept of each class, from the head (class 0) to the tail (class ``num_classes - 1``).

    With ``x = c / (C - 1)`` for class ``c`` of ``C``, ``n`` for ``max_count`` and ``IF`` for ``imbalance_factor``:

    - ``exp``: ``n * IF ** -x`` (Cao et al., NeurIPS 2019; the long tail of the GLMC paper);
    - ``step``: ``n`` for the first half of the classes, ``n / IF`` for the rest (an odd middle class counts as head);
    - ``pareto``: ``n * (1 + (IF ** (1 / 6) - 1) * x) ** -6``, a Pareto curve over the class rank, steeper than
      ``exp`` at the head and flatter in the tail.

    All are truncated, not rounded.

    Raises:
        UserError: an unknown profile, fewer than two classes, a factor below 1, or a tail class left without an image.
    """
    if profile not in PROFILES:
        raise UserError(f"The long-tail profile {profile!r} is unknown: choose one of {', '.join(PROFILES)}.")
    if num_classes < 2:
        raise UserError(f"A long tail needs at least 2 classes, not {num_classes}: give a set with more classes.")
    if not 1 <= imbalance_factor < math.inf:
        raise UserError(
            f"The imbalance factor {imbalance_factor} is not possible: it is the largest class count over the "
            "smallest, so give a number of 1 (balanced) or more."
        )
    if max_count < imbalance_factor:
        raise UserError(
            f"An imbalance factor of {imbalance_factor} leaves the last class without an image when the first has "
            f"{max_count}: give a factor of at most {max_count}, or a larger first class."
        )
    positions = [c / (num_classes - 1) for c in range(num_classes)]
    if profile == "exp":
        exact = [max_count * imbalance_factor**-x for x in positions]
    elif profile == "step":
        head = (num_classes + 1) // 2
        exact = [float(max_count)] * head + [max_count / imbalance_factor] * (num_classes - head)
    else:
        stretch = imbalance_factor ** (1 / _PARETO_POWER) - 1
        exact = [max_count * (1 + stretch * x) ** -_PARETO_POWER for x in positions]
    return [_truncate(value) for value in exact]


def _truncate(value: float) -> int:
    """``int(value)``, but 9.999999999 is a 10 that the power function missed by a rounding error."""
    nearest = round(value)
    return nearest if math.isclose(value, nearest, rel_tol=1e-9) else int(value)


def longtail_indices(
    labels: ArrayLike, counts: Sequence[int], *, seed: int = 0, selection: str = "ldam"
) -> NDArray[np.int64]:
    """Indices of the images that make up a long tail, class after class in the order of ``counts``.

    ``ldam`` shuffles the indices of each class with one ``RandomState(seed)`` and takes the head (Cao et al., 2019,
    seed 0); ``glmc`` draws each class without replacement from one ``RandomState(seed)``, as the authors of GLMC do
    from numpy's global generator; ``first`` takes the first images of each class. From a fresh generator ``ldam`` and
    ``glmc`` pick the same images (numpy draws without replacement by taking the head of a permutation); both names are
    kept because they are stored with results.

    Args:
        labels: class of each image, integers of shape (N,).
        counts: images wanted of each class, one number for each class ``0 .. C - 1``.
        seed: of the selection; apart from the seed of the training.
        selection: ``ldam``, ``glmc`` or ``first``.

    Returns:
        int64 array of shape (sum of counts,).

    Raises:
        UserError: an unknown selection, a label outside ``counts``, or a class with fewer images than wanted.
    """
    if selection not in SELECTIONS:
        raise UserError(f"The selection {selection!r} is unknown: choose one of {', '.join(SELECTIONS)}.")
    if not 0 <= seed < 2**32:
        raise UserError(f"The data seed {seed} is not possible: give a number from 0 to 4294967295.")
    classes = np.asarray(labels)
    if classes.size and (classes.min() < 0 or classes.max() >= len(counts)):
        raise UserError(
            f"The {len(counts)} class counts do not fit labels from {classes.min()} to {classes.max()}: "
            "give one count for each class."
        )
    rng = np.random.RandomState(seed)
    chosen: list[NDArray[np.int64]] = []
    for label, wanted in enumerate(counts):
        members = np.flatnonzero(classes == label)
        if not 0 <= wanted <= len(members):
            raise UserError(
                f"Class {label} has {len(members)} images but {wanted} are wanted: "
                "lower the largest class count, or raise the imbalance factor."
            )
        if selection == "ldam":
            rng.shuffle(members)
            members = members[:wanted]
        elif selection == "glmc":
            members = rng.choice(members, wanted, replace=False)
        else:
            members = members[:wanted]
        chosen.append(members)
    return np.concatenate(chosen).astype(np.int64) if chosen else np.empty(0, np.int64)
