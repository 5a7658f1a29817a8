"""Long-tailed class counts, and the choice of images of a balanced data set that have these counts."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.data.options import ImbalanceType, Selection
from glmc_zoo.errors import UserError
from glmc_zoo.fields import convert
from glmc_zoo.text import counted

_PARETO_POWER = 6.0  # Liu et al. (CVPR 2019) give this power for ImageNet-LT


def longtail_counts(num_classes: int, max_count: int, imbalance_factor: float, profile: str = "exp") -> list[int]:
    """Number of images to keep of each class, from the head (class 0) to the tail (class ``num_classes - 1``).

    With ``x = c / (C - 1)`` for class ``c`` of ``C``, ``n`` for ``max_count`` and ``IF`` for ``imbalance_factor``:

    - ``exp``: ``n * IF ** -x`` (Cao et al., NeurIPS 2019; the long tail of the GLMC paper);
    - ``step``: ``n`` for the first half of the classes, ``n / IF`` for the rest (an odd middle class counts as head);
    - ``pareto``: ``n * (1 + (IF ** (1 / 6) - 1) * x) ** -6``, a Pareto curve over the class rank, steeper than
      ``exp`` at the head and flatter in the tail.

    All are truncated, not rounded.

    Raises:
        UserError: A value is out of range, or a tail class would be left without an image.

    Example:
        >>> longtail_counts(3, max_count=100, imbalance_factor=100)
        [100, 10, 1]
    """
    convert("profile", profile, ImbalanceType)
    if num_classes < 2:
        raise UserError(f"A long tail needs at least 2 classes, not {num_classes}: give a data set with more classes.")
    if not 1 <= imbalance_factor < math.inf:
        raise UserError(f"imbalance_factor={imbalance_factor!r} is not possible: give 1 (balanced) or more.")
    if max_count < imbalance_factor:
        raise UserError(
            f"imbalance_factor={imbalance_factor!r} leaves the last class without an image when the first has "
            f"{max_count}: give a smaller one, or a larger max_count=."
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
    """``int(value)``, except that 9.999999999 is 10: the power function missed it by a rounding error."""
    nearest = round(value)
    return nearest if math.isclose(value, nearest, rel_tol=1e-9) else int(value)


def longtail_indices(
    labels: ArrayLike, counts: Sequence[int], *, seed: int = 0, selection: str = "ldam"
) -> NDArray[np.int64]:
    """Indices of the images that make up a long tail, class after class: int64 of shape (sum of ``counts``,).

    ``labels`` holds the class of each image, integers of shape (N,). ``counts`` has the number of images to choose of
    each class.
    ``ldam`` shuffles the indices of each class with one ``RandomState(seed)`` and takes the first of them (Cao et al.,
    2019, seed 0; the authors of GLMC pick the same images). ``first`` takes the first images of each class.

    Raises:
        UserError: A label has no count, or a count is negative or above the number of images of its class.
    """
    convert("selection", selection, Selection)
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r} is not possible: give a number from 0 to 4294967295.")
    classes = np.asarray(labels)
    if classes.size and (classes.min() < 0 or classes.max() >= len(counts)):
        labelled = f"labels from {classes.min()} to {classes.max()}"
        raise UserError(f"The {len(counts)} class counts do not fit {labelled}: give one count for each class.")
    rng = np.random.RandomState(seed)
    chosen: list[NDArray[np.int64]] = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(classes == label)
        if not 0 <= count <= len(members):
            advice = f"give a count from 0 to {len(members)}"
            images = counted(len(members), "image")
            raise UserError(f"counts[{label}]={count} does not fit class {label}, which has {images}: {advice}.")
        if selection == "ldam":
            rng.shuffle(members)
        chosen.append(members[:count])
    return np.concatenate(chosen).astype(np.int64) if chosen else np.empty(0, np.int64)
