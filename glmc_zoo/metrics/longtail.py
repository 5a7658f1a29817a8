"""Long-tail scores as plain numpy: exact counts that add up, and the scores that follow from them.

There are counts per class and per group, never per pair of classes: 8,142 classes take less than half a megabyte.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

from ._checks import check_class_counts, check_labels, check_logits, check_probabilities
from .images import BINS, ImageScores, confident_rows, log_clipped, log_softmax, plain_rows

GROUPS = ("many", "medium", "few")
"""Names of the groups that :func:`group_of_classes` numbers 0, 1, 2."""

_INTEGERS = ("support", "correct", "predicted", "top5_correct", "group_confusion", "bin_images", "bin_correct")
_FLOATS = ("nll_sum", "bin_confidence")
_ROWS_AT_ONCE = 4096


def group_of_classes(class_counts: ArrayLike, *, many: int = 100, few: int = 20) -> NDArray[np.int64]:
    """Group of each class by its number of training images (Liu et al., CVPR 2019, section 4).

    The published GLMC numbers count a class of exactly 20 images as few: ``few=21`` gives their groups.

    Args:
        class_counts: Training images of each class, whole numbers, shape (C,).
        many: A class with more than ``many`` images is in group 0, many.
        few: A class with fewer than ``few`` images is in group 2, few; all others are in group 1, medium.

    Returns int64 (C,), the index into :data:`GROUPS`. Class counts that are empty, not one-dimensional, negative or
    fractional raise a `UserError`, and so do thresholds without ``0 <= few <= many``.
    """
    counts = check_class_counts(class_counts)
    if not 0 <= few <= many:
        raise UserError(
            f"few={few} and many={many} do not order the groups: choose 0 <= few <= many, for example few=20, many=100."
        )
    return np.select([counts > many, counts < few], [0, 2], default=1).astype(np.int64)


def tercile_thresholds(class_counts: ArrayLike) -> tuple[int, int]:
    """Thresholds ``(many, few)`` that put about a third of the classes into each group.

    For sets where the usual 100 and 20 put every class into one group. Classes of equal counts stay together, so groups
    are of unequal size where counts repeat; where all counts are equal, or of two classes, every class is medium.
    ``class_counts`` is as in :func:`group_of_classes`.
    """
    ordered = np.sort(check_class_counts(class_counts))[::-1]
    third = len(ordered) // 3
    # The first class that is not among the top third, and the last one that is not among the bottom third.
    return int(ordered[third]), int(ordered[-1 - third])


class ScoreCounts:
    """Counts of an evaluation that determine its scores: those of two subsets add up to those of both.

    Make one with :meth:`empty`, feed it batches with :meth:`update`, add those of other processes with ``+`` or by an
    all-reduce of :meth:`integers` and :meth:`floats`, and read :meth:`scores` at the end. Integers add up exactly.

    Attributes:
        groups: int64 (C,), group of each class, see :func:`group_of_classes`.
        support: int64 (C,), test images of each class.
        correct: int64 (C,), those of them that were predicted right.
        predicted: int64 (C,), images that were predicted as each class.
        top5_correct: int64 (C,), images of each class with the class among the best ``min(5, C)``.
        group_confusion: int64 (3, 3), images by true group (row) and group of the predicted class (column).
        bin_images: int64 (15,), images by confidence bin; the sum is the number of images that came with probabilities.
        bin_correct: int64 (15,), those of them that were predicted right.
        nll_sum: float64 (), sum of ``-log p(true class)`` in nats.
        bin_confidence: float64 (15,), sum of the predicted class's probability by confidence bin.
    """

    def __init__(self, groups: NDArray[np.int64]) -> None:
        """Counts of no image yet, of classes in these groups; :meth:`empty` makes them from class counts."""
        self.groups = groups
        self.support, self.correct, self.predicted, self.top5_correct = np.zeros((4, len(groups)), np.int64)
        self.group_confusion = np.zeros((len(GROUPS), len(GROUPS)), np.int64)
        self.bin_images, self.bin_correct = np.zeros((2, BINS), np.int64)
        self.nll_sum = np.zeros((), np.float64)
        self.bin_confidence = np.zeros(BINS, np.float64)

    @classmethod
    def empty(cls, class_counts: ArrayLike, *, many: int = 100, few: int = 20) -> "ScoreCounts":
        """Counts of no image yet; the arguments and errors are those of :func:`group_of_classes`."""
        return cls(group_of_classes(class_counts, many=many, few=few))

    @classmethod
    def without_groups(cls, num_classes: int) -> "ScoreCounts":
        """Counts of no image yet, where the numbers of training images are not known: the group scores are ``None``."""
        return cls(np.full(num_classes, -1))

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.groups)

    @property
    def has_groups(self) -> bool:
        """Whether the classes are in groups; without, ``groups`` holds -1 and ``group_confusion`` stays empty."""
        return bool((self.groups >= 0).all())

    @property
    def total(self) -> int:
        """Number of images counted so far: compare it with the length of the split."""
        return int(self.support.sum())

    def update(
        self,
        references: ArrayLike,
        *,
        predictions: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
    ) -> ImageScores:
        """Count one batch of B images; B may be 0. Nothing is counted when an input is refused.

        Returns a row for each image, from which `score_intervals` computes the intervals of the scores.

        Args:
            references: True classes, whole numbers (B,).
            predictions: Predicted classes, whole numbers (B,); by default the argmax of the logits or probabilities.
            logits: Raw scores (B, C); the softmax is taken in float64. Either these or ``probabilities``, not both.
            probabilities: Class probabilities (B, C). In the NLL they are cut off below at the epsilon of their type,
                as :func:`sklearn.metrics.log_loss` does.

        Among equal scores the lower class index comes first, as in ``torch.argmax``. Inputs that are missing, do not
        match, or are no labels, logits or probabilities of these classes raise a `UserError`.
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
            guess = check_labels("predictions", predictions, self.num_classes)
        elif scores is not None:
            guess = scores.argmax(axis=1)
        else:
            raise UserError("update got references alone: give predictions, logits or probabilities with them.")
        if len(guess) != len(true):
            raise UserError(f"predictions has {len(guess)} entries and references {len(true)}: give one of each.")
        if scores is None:
            return self._count(plain_rows(true, guess))
        log_of = log_softmax if probabilities is None else log_clipped
        batches = []
        for start in range(
            0, max(len(true), 1), _ROWS_AT_ONCE
        ):  # bounds the memory: the float64 copies are of one block
            rows = slice(start, start + _ROWS_AT_ONCE)
            block = confident_rows(true[rows], guess[rows], scores[rows], log_of(scores[rows]))
            batches.append(self._count(block))
        return ImageScores.joined(batches)

    def _count(self, images: ImageScores) -> ImageScores:
        true, guess, classes = images.label, images.prediction, self.num_classes
        right = true == guess
        self.support += np.bincount(true, minlength=classes)
        self.predicted += np.bincount(guess, minlength=classes)
        self.correct += np.bincount(true[right], minlength=classes)
        if self.has_groups:
            np.add.at(self.group_confusion, (self.groups[true], self.groups[guess]), 1)
        if len(images.nll):
            self.top5_correct += np.bincount(true[images.top5], minlength=classes)
            self.nll_sum += images.nll.sum()
            self.bin_images += np.bincount(images.bin, minlength=BINS)
            self.bin_correct += np.bincount(images.bin[right], minlength=BINS)
            self.bin_confidence += np.bincount(images.bin, weights=images.confidence, minlength=BINS)
        return images

    def integers(self) -> NDArray[np.int64]:
        """All exact counts as one int64 vector of ``4 C + 39`` entries, to be summed over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _INTEGERS])

    def floats(self) -> NDArray[np.float64]:
        """All real-valued sums as one float64 vector of 16 entries, to be summed over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _FLOATS])

    def with_state(self, integers: ArrayLike, floats: ArrayLike) -> "ScoreCounts":
        """Counts of the same classes and groups with these ``integers`` and ``floats``, as summed over processes."""
        new = ScoreCounts(self.groups)
        for kind, names, vector, expected in (
            ("integers", _INTEGERS, np.array(integers, np.int64), self.integers()),
            ("floats", _FLOATS, np.array(floats, np.float64), self.floats()),
        ):
            if vector.shape != expected.shape:
                raise UserError(
                    f"{kind} has shape {vector.shape}, but counts of {self.num_classes} classes have {expected.shape}: "
                    "sum only counts of the same class list."
                )
            ends = np.cumsum([getattr(self, name).size for name in names])[:-1]
            for name, piece in zip(names, np.split(vector, ends), strict=True):
                getattr(new, name)[...] = piece.reshape(getattr(self, name).shape)
        return new

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        """Counts of both subsets; a ``UserError`` when their classes or groups differ."""
        if not isinstance(other, ScoreCounts):
            return NotImplemented
        if not np.array_equal(self.groups, other.groups):
            raise UserError("The two ScoreCounts have other classes or groups: add only those of one class_counts.")
        return self.with_state(self.integers() + other.integers(), self.floats() + other.floats())

    def scores(self) -> dict[str, float | None]:
        """The scores as fractions of 1 (``nll`` in nats), ``None`` for a group without a tested class.

        ``top5``, ``ece`` and ``nll`` are there only when every image came with logits or probabilities. All means over
        classes, ``macro_f1`` among them, and ``worst`` leave out a class without a test image: its recall is not known.
        An image that is predicted as such a class still counts as wrong for its own. ``hmean`` and ``gmean`` (harmonic
        and geometric mean of the recalls) are 0 when one recall is.
        """
        total, scored = self.total, int(self.bin_images.sum())
        if total == 0:
            raise UserError("There is no image to score: references is empty, so check the split that was evaluated.")
        if scored not in (0, total):
            raise UserError(
                f"Only {scored} of {total} images came with logits or probabilities: give them for all or for none."
            )
        result: dict[str, float | None] = {"top1": float(self.correct.sum() / total)}
        if scored:
            result["top5"] = float(self.top5_correct.sum() / total)
        means = mean_scores(self.correct[None], self.support, self.predicted[None], self.groups)
        result |= {name: None if values is None else float(values[0]) for name, values in means.items()}
        if scored:
            result["ece"] = float(np.abs(self.bin_confidence - self.bin_correct).sum() / total)
            result["nll"] = float(self.nll_sum / total)
        return result

    def group_support(self) -> dict[str, dict[str, int]]:
        """What each group's score rests on: its ``classes`` with a test image, and their test ``images``."""
        tested = self.support > 0
        inside = [self.groups == group for group in range(len(GROUPS))]
        return {
            name: {"classes": int((of & tested).sum()), "images": int(self.support[of].sum())}
            for name, of in zip(GROUPS, inside, strict=True)
        }


def mean_scores(
    correct: NDArray[Any], support: NDArray[np.int64], predicted: NDArray[Any], groups: NDArray[np.int64]
) -> dict[str, NDArray[np.float64] | None]:
    """The scores that are means over classes, of R test sets of the same classes and sizes; each score is (R,).

    A class without a test image is left out of all of them; a group without a tested class has ``None``.

    Args:
        correct: Images of each class that were predicted right, (R, C).
        support: Test images of each class, (C,), at least one in all.
        predicted: Images that were predicted as each class, (R, C).
        groups: Group of each class, (C,).
    """
    tested = support > 0
    recall, groups = correct[:, tested] / support[tested], groups[tested]
    in_groups = [recall[:, groups == group] for group in range(len(GROUPS))]
    f1 = 2 * correct[:, tested] / (support + predicted)[:, tested]
    with np.errstate(divide="ignore"):  # a recall of 0 makes both means 0
        hmean, gmean = 1 / (1 / recall).mean(axis=1), np.exp(np.log(recall).mean(axis=1))
    return {
        "balanced_accuracy": recall.mean(axis=1),
        **{name: part.mean(axis=1) if part.size else None for name, part in zip(GROUPS, in_groups, strict=True)},
        "hmean": hmean,
        "gmean": gmean,
        "worst": recall.min(axis=1),
        "macro_f1": f1.mean(axis=1),
    }


def recalls(counts: ScoreCounts) -> NDArray[np.float64]:
    """Recall of each class, 0 to 1, float64 (C,); NaN for a class without a test image."""
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
    """The :meth:`ScoreCounts.scores` of N predictions in one call.

    The arguments are those of :func:`group_of_classes` and :meth:`ScoreCounts.update`, and so are the errors.
    """
    counts = ScoreCounts.empty(class_counts, many=many, few=few)
    counts.update(references, predictions=predictions, probabilities=probabilities)
    return counts.scores()
