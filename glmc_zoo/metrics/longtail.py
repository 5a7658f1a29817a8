"""Scores for long-tailed classification in plain NumPy: exact counts, and the scores computed from them.

Counts are kept per class and per group, not per pair of classes: 8,142 classes take less than half a megabyte.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

from ._checks import check_class_counts, check_labels, check_logits, check_probabilities
from .images import BINS, ImageScores, log_clipped, log_softmax, rows_with_probabilities, rows_without_probabilities

GROUPS = ("many", "medium", "few")
"""Names of the groups 0, 1 and 2 of :func:`group_of_classes`."""

_INTEGERS = ("support", "correct", "predicted", "top5_correct", "group_confusion", "bin_images", "bin_correct")
_FLOATS = ("nll_sum", "bin_confidence")
_ROWS_AT_ONCE = 4096


def group_of_classes(class_counts: ArrayLike, *, many: int = 100, few: int = 20) -> NDArray[np.int64]:
    """Assign each class to a group by its number of training images (Liu et al., CVPR 2019, section 4).

    The published GLMC numbers count a class of exactly 20 images as few; ``few=21`` gives their groups.

    Args:
        class_counts: Training images of each class, whole numbers, shape (C,).
        many: A class with more than ``many`` images is in group 0, many.
        few: A class with fewer than ``few`` images is in group 2, few; all others are in group 1, medium.

    Returns:
        Index of each class's group in :data:`GROUPS`, int64 (C,).

    Raises:
        UserError: The class counts are empty, not one-dimensional, negative or fractional, or the thresholds are not
            ``0 <= few <= many``.
    """
    counts = check_class_counts(class_counts)
    if not 0 <= few <= many:
        raise UserError(
            f"few={few} and many={many} do not separate the groups: 0 <= few <= many must hold, as in few=20, many=100."
        )
    return np.select([counts > many, counts < few], [0, 2], default=1).astype(np.int64)


def tercile_thresholds(class_counts: ArrayLike) -> tuple[int, int]:
    """Compute thresholds ``(many, few)`` that put about a third of the classes into each group.

    Use them for a data set whose classes all fall into one group by the usual 100 and 20. Classes with equal counts
    stay in one group, so the groups can differ in size. With fewer than three classes, or if all counts are equal,
    every class is medium. ``class_counts`` and the errors are those of :func:`group_of_classes`.
    """
    ordered = np.sort(check_class_counts(class_counts))[::-1]
    third = len(ordered) // 3
    # The first class that is not among the top third, and the last one that is not among the bottom third.
    return int(ordered[third]), int(ordered[-1 - third])


class ScoreCounts:
    """Counts of an evaluation, from which its scores follow. Counts of two subsets can be added.

    Make one with :meth:`empty` and feed it batches with :meth:`update`. Add those of other processes with ``+``, or
    all-reduce :meth:`integers` and :meth:`floats`. Read :meth:`scores` at the end. The integer counts are exact.

    >>> counts = ScoreCounts.empty([150, 30, 5])
    >>> rows = counts.update([0, 1, 2, 2], predictions=[0, 1, 2, 0])
    >>> counts.scores()["balanced_accuracy"]
    0.8333333333333334

    Attributes:
        groups: int64 (C,), group of each class, see :func:`group_of_classes`.
        support: int64 (C,), test images of each class.
        correct: int64 (C,), test images of each class that were predicted correctly.
        predicted: int64 (C,), images that were predicted as each class.
        top5_correct: int64 (C,), images of each class whose class is among the ``min(5, C)`` highest scores.
        group_confusion: int64 (3, 3), images by true group (row) and group of the predicted class (column).
        bin_images: int64 (15,), images by confidence bin; their sum is the number of images with probabilities.
        bin_correct: int64 (15,), correctly predicted images by confidence bin.
        nll_sum: float64 (), sum of ``-log p(true class)`` in nats.
        bin_confidence: float64 (15,), sum of the probabilities of the predicted classes by confidence bin.
    """

    def __init__(self, groups: NDArray[np.int64]) -> None:
        """Start with no images. ``groups`` is the group of each class; :meth:`empty` computes it from class counts."""
        self.groups = groups
        self.support, self.correct, self.predicted, self.top5_correct = np.zeros((4, len(groups)), np.int64)
        self.group_confusion = np.zeros((len(GROUPS), len(GROUPS)), np.int64)
        self.bin_images, self.bin_correct = np.zeros((2, BINS), np.int64)
        self.nll_sum = np.zeros((), np.float64)
        self.bin_confidence = np.zeros(BINS, np.float64)

    @classmethod
    def empty(cls, class_counts: ArrayLike, *, many: int = 100, few: int = 20) -> "ScoreCounts":
        """Make counts without images. The arguments and errors are those of :func:`group_of_classes`."""
        return cls(group_of_classes(class_counts, many=many, few=few))

    @classmethod
    def without_groups(cls, num_classes: int) -> "ScoreCounts":
        """Make counts without images when the numbers of training images are unknown: group scores are ``None``."""
        return cls(np.full(num_classes, -1))

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.groups)

    @property
    def has_groups(self) -> bool:
        """Whether the groups are known. If not, ``groups`` is -1 everywhere and ``group_confusion`` stays 0."""
        return bool((self.groups >= 0).all())

    @property
    def total(self) -> int:
        """Number of images counted so far. At the end it must equal the length of the split."""
        return int(self.support.sum())

    def update(
        self,
        references: ArrayLike,
        *,
        predictions: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
    ) -> ImageScores:
        """Count one batch of B images; B may be 0. If an input is refused, nothing is counted.

        Among equal scores the lower class index comes first, as in ``torch.argmax``.

        Args:
            references: True classes, whole numbers (B,).
            predictions: Predicted classes, whole numbers (B,); by default the argmax of the logits or probabilities.
            logits: Scores before the softmax, (B, C); the softmax is in float64. Leave out ``probabilities`` then.
            probabilities: Class probabilities (B, C). The NLL clips them from below to the epsilon of their dtype, as
                :func:`sklearn.metrics.log_loss` does.

        Returns:
            One row for each image, from which `score_intervals` computes the intervals of the scores.

        Raises:
            UserError: An input is missing, lengths differ, or values are not labels, logits or probabilities of these
                classes.
        """
        true = check_labels("references", references, self.num_classes)
        if logits is not None and probabilities is not None:
            raise UserError("update got both logits and probabilities: give one of them.")
        scores = None
        if logits is not None:
            scores = check_logits(logits, len(true), self.num_classes)
        elif probabilities is not None:
            scores = check_probabilities(probabilities, len(true), self.num_classes)
        if predictions is not None:
            predicted = check_labels("predictions", predictions, self.num_classes)
        elif scores is not None:
            predicted = scores.argmax(axis=1)
        else:
            raise UserError("update got references alone: also give predictions, logits or probabilities.")
        if len(predicted) != len(true):
            raise UserError(
                f"predictions has {len(predicted)} entries, references {len(true)}: give one of each for every image."
            )
        if scores is None:
            return self._count(rows_without_probabilities(true, predicted))
        to_log_probabilities = log_softmax if probabilities is None else log_clipped
        batches = []
        # Blocks bound the memory of the float64 copies.
        for start in range(0, max(len(true), 1), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            block = rows_with_probabilities(
                true[rows], predicted[rows], scores[rows], to_log_probabilities(scores[rows])
            )
            batches.append(self._count(block))
        return ImageScores.concatenate(batches)

    def _count(self, images: ImageScores) -> ImageScores:
        true, predicted, classes = images.label, images.prediction, self.num_classes
        is_correct = true == predicted
        self.support += np.bincount(true, minlength=classes)
        self.predicted += np.bincount(predicted, minlength=classes)
        self.correct += np.bincount(true[is_correct], minlength=classes)
        if self.has_groups:
            np.add.at(self.group_confusion, (self.groups[true], self.groups[predicted]), 1)
        if len(images.nll):
            self.top5_correct += np.bincount(true[images.top5], minlength=classes)
            self.nll_sum += images.nll.sum()
            self.bin_images += np.bincount(images.bin, minlength=BINS)
            self.bin_correct += np.bincount(images.bin[is_correct], minlength=BINS)
            self.bin_confidence += np.bincount(images.bin, weights=images.confidence, minlength=BINS)
        return images

    def integers(self) -> NDArray[np.int64]:
        """Return all integer counts as one int64 vector of ``4 C + 39`` entries, for a sum over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _INTEGERS])

    def floats(self) -> NDArray[np.float64]:
        """Return all real-valued sums as one float64 vector of 16 entries, for a sum over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _FLOATS])

    def with_state(self, integers: ArrayLike, floats: ArrayLike) -> "ScoreCounts":
        """Make counts of the same classes and groups from ``integers`` and ``floats`` that were summed over processes.

        Raises:
            UserError: A vector has another length than that of these counts.
        """
        counts = ScoreCounts(self.groups)
        for argument, names, vector, expected in (
            ("integers", _INTEGERS, np.array(integers, np.int64), self.integers()),
            ("floats", _FLOATS, np.array(floats, np.float64), self.floats()),
        ):
            if vector.shape != expected.shape:
                raise UserError(
                    f"{argument} has shape {vector.shape}, but counts of {self.num_classes} classes have "
                    f"{expected.shape}: give sums over counts of the same classes."
                )
            ends = np.cumsum([getattr(self, name).size for name in names])[:-1]
            for name, values in zip(names, np.split(vector, ends), strict=True):
                getattr(counts, name)[...] = values.reshape(getattr(self, name).shape)
        return counts

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        """Add the counts of two subsets. A `UserError` is raised if their classes or groups differ."""
        if not isinstance(other, ScoreCounts):
            return NotImplemented
        if not np.array_equal(self.groups, other.groups):
            raise UserError("The two ScoreCounts differ in classes or groups: add counts of the same class_counts.")
        return self.with_state(self.integers() + other.integers(), self.floats() + other.floats())

    def scores(self) -> dict[str, float | None]:
        """Compute the scores as fractions of 1 (``nll`` in nats); ``None`` for a group without a tested class.

        ``top5``, ``ece`` and ``nll`` are present only if every image came with logits or probabilities. The means over
        classes, including ``macro_f1``, and ``worst`` leave out classes without test images, whose recall is unknown.
        An image that is predicted as such a class still counts as wrong for its true class. ``hmean`` and ``gmean``,
        the harmonic and the geometric mean of the recalls, are 0 if one recall is 0.

        Raises:
            UserError: No image was counted, or only some images came with logits or probabilities.
        """
        total, with_probabilities = self.total, int(self.bin_images.sum())
        if total == 0:
            raise UserError("There are no images to score: references is empty. Score a split that has images.")
        if with_probabilities not in (0, total):
            raise UserError(
                f"Only {with_probabilities} of {total} images came with logits or probabilities: give them for all or "
                "for none."
            )
        result: dict[str, float | None] = {"top1": float(self.correct.sum() / total)}
        if with_probabilities:
            result["top5"] = float(self.top5_correct.sum() / total)
        means = mean_scores(self.correct[None], self.support, self.predicted[None], self.groups)
        result |= {name: None if values is None else float(values[0]) for name, values in means.items()}
        if with_probabilities:
            result["ece"] = float(np.abs(self.bin_confidence - self.bin_correct).sum() / total)
            result["nll"] = float(self.nll_sum / total)
        return result

    def group_support(self) -> dict[str, dict[str, int]]:
        """Count the ``classes`` of each group that have test images, and their test ``images``."""
        tested = self.support > 0
        members = [self.groups == group for group in range(len(GROUPS))]
        return {
            name: {"classes": int((inside & tested).sum()), "images": int(self.support[inside].sum())}
            for name, inside in zip(GROUPS, members, strict=True)
        }


def mean_scores(
    correct: NDArray[Any], support: NDArray[np.int64], predicted: NDArray[Any], groups: NDArray[np.int64]
) -> dict[str, NDArray[np.float64] | None]:
    """Compute the scores that are means over classes, for R test sets of the same classes and class sizes.

    Classes without test images are left out.

    Args:
        correct: Correctly predicted images of each class, (R, C).
        support: Test images of each class, (C,), at least one in total.
        predicted: Images that were predicted as each class, (R, C).
        groups: Group of each class, (C,).

    Returns:
        Scores by name, each float64 (R,); ``None`` for a group without a tested class.
    """
    tested = support > 0
    recall, groups = correct[:, tested] / support[tested], groups[tested]
    group_recalls = [recall[:, groups == group] for group in range(len(GROUPS))]
    f1 = 2 * correct[:, tested] / (support + predicted)[:, tested]
    with np.errstate(divide="ignore"):  # a recall of 0 makes both means 0
        hmean, gmean = 1 / (1 / recall).mean(axis=1), np.exp(np.log(recall).mean(axis=1))
    return {
        "balanced_accuracy": recall.mean(axis=1),
        **{
            name: group_recall.mean(axis=1) if group_recall.size else None
            for name, group_recall in zip(GROUPS, group_recalls, strict=True)
        },
        "hmean": hmean,
        "gmean": gmean,
        "worst": recall.min(axis=1),
        "macro_f1": f1.mean(axis=1),
    }


def recalls(counts: ScoreCounts) -> NDArray[np.float64]:
    """Compute the recall of each class, 0 to 1, float64 (C,); NaN for a class without test images."""
    with np.errstate(invalid="ignore"):
        return counts.correct / counts.support


def longtail_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    class_counts: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    many: int = 100,
    few: int = 20,
) -> dict[str, float | None]:
    """Compute :meth:`ScoreCounts.scores` of N predictions in one call.

    The arguments and errors are those of :func:`group_of_classes` and :meth:`ScoreCounts.update`.

    >>> longtail_scores([0, 1, 2, 0], [0, 1, 2, 2], [150, 30, 5])["few"]
    0.5
    """
    counts = ScoreCounts.empty(class_counts, many=many, few=few)
    counts.update(references, predictions=predictions, probabilities=probabilities)
    return counts.scores()
