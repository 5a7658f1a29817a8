"""Long-tail scores as plain numpy: exact, additive counts first, scores from the counts last.

Counts are kept per class and per group, never per pair of classes: a set with 8,142 classes takes
less than half a megabyte.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glmc_zoo.errors import UserError

from ._checks import check_class_counts, check_labels, check_logits, check_probabilities, check_thresholds

__all__ = ["GROUPS", "ScoreCounts", "group_of_classes", "longtail_scores", "recalls", "tercile_thresholds"]

GROUPS = ("many", "medium", "few")
"""Names of the groups that :func:`group_of_classes` numbers 0, 1, 2."""

_TOP = 5
_BINS = 15
_EDGES = np.linspace(0, 1, _BINS + 1)
_INTEGERS = ("support", "correct", "predicted", "top5_correct", "group_confusion", "bin_images", "bin_correct")
_FLOATS = ("nll_sum", "bin_confidence")
_LEAST_LOG = float(np.log(np.finfo(np.float64).tiny))
_ROWS_AT_ONCE = 4096


def group_of_classes(
    class_counts: ArrayLike, *, many: int = 100, few: int = 20, few_inclusive: bool = False
) -> NDArray[np.int64]:
    """Group of each class by its number of training images (Liu et al., CVPR 2019, section 4).

    Args:
        class_counts: Training images of each class, whole numbers, shape (C,).
        many: A class with more than ``many`` images is in group 0, many.
        few: A class with fewer than ``few`` images is in group 2, few; all others are in group 1, medium.
        few_inclusive: Count a class with exactly ``few`` images as few, as the published GLMC numbers do.

    Returns:
        int64 (C,): index into :data:`GROUPS`.

    Raises:
        UserError: ``class_counts`` is empty, not one-dimensional, negative or fractional, or not ``0 <= few <= many``.
    """
    counts = check_class_counts(class_counts)
    check_thresholds(many, few)
    is_few = counts <= few if few_inclusive else counts < few
    return np.select([counts > many, is_few], [0, 2], default=1).astype(np.int64)


def tercile_thresholds(class_counts: ArrayLike) -> tuple[int, int]:
    """Thresholds ``(many, few)`` that put about a third of the classes into each group.

    For sets where the usual 100 and 20 put every class into one group. Classes of equal counts stay together, so groups
    are of unequal size where counts repeat; where all counts are equal, or of two classes, every class is medium.

    Args:
        class_counts: Training images of each class, whole numbers, shape (C,).

    Raises:
        UserError: ``class_counts`` is empty, not one-dimensional, negative or fractional.
    """
    ordered = np.sort(check_class_counts(class_counts))[::-1]
    third = len(ordered) // 3
    # The first class that is not among the top third, and the last one that is not among the bottom third.
    return int(ordered[third]), int(ordered[-1 - third])


class ScoreCounts:
    """Sufficient statistics of an evaluation: those of two parts add up to those of the whole.

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
        classes = len(groups)
        self.groups = groups
        self.support = np.zeros(classes, np.int64)
        self.correct = np.zeros(classes, np.int64)
        self.predicted = np.zeros(classes, np.int64)
        self.top5_correct = np.zeros(classes, np.int64)
        self.group_confusion = np.zeros((len(GROUPS), len(GROUPS)), np.int64)
        self.bin_images = np.zeros(_BINS, np.int64)
        self.bin_correct = np.zeros(_BINS, np.int64)
        self.nll_sum = np.zeros((), np.float64)
        self.bin_confidence = np.zeros(_BINS, np.float64)

    @classmethod
    def empty(
        cls, class_counts: ArrayLike, *, many: int = 100, few: int = 20, few_inclusive: bool = False
    ) -> ScoreCounts:
        """Counts of no image yet; the arguments and errors are those of :func:`group_of_classes`."""
        return cls(group_of_classes(class_counts, many=many, few=few, few_inclusive=few_inclusive))

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.groups)

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
    ) -> None:
        """Count one batch of B images; B may be 0. Nothing is counted when an input is refused.

        Args:
            references: True classes, whole numbers (B,).
            predictions: Predicted classes, whole numbers (B,); by default the argmax of the logits or probabilities.
            logits: Raw scores (B, C); the softmax is taken in float64. Either these or ``probabilities``, not both.
            probabilities: Class probabilities (B, C). In the NLL they are cut off below at the epsilon of their type,
                as :func:`sklearn.metrics.log_loss` does.

        Among equal scores the lower class index comes first, as in ``torch.argmax``.

        Raises:
            UserError: No predictions of any kind, logits beside probabilities, lengths or shapes that do not match, a
                label outside 0..C-1, logits with NaN or +inf, probabilities outside 0..1 or not summing to 1.
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
            raise UserError(
                f"predictions has {len(guess)} entries and references {len(true)}: give one of each per image."
            )

        self._count_classes(true, guess)
        if scores is not None:
            log_of = _log_softmax if probabilities is None else _log_clipped
            for start in range(0, len(true), _ROWS_AT_ONCE):  # bounds the memory: the float64 copies are of one block
                rows = slice(start, start + _ROWS_AT_ONCE)
                self._count_confidence(true[rows], guess[rows], scores[rows], log_of(scores[rows]))

    def _count_classes(self, true: NDArray[np.int64], guess: NDArray[np.int64]) -> None:
        self.support += np.bincount(true, minlength=self.num_classes)
        self.predicted += np.bincount(guess, minlength=self.num_classes)
        self.correct += np.bincount(true[true == guess], minlength=self.num_classes)
        np.add.at(self.group_confusion, (self.groups[true], self.groups[guess]), 1)

    def _count_confidence(
        self,
        true: NDArray[np.int64],
        guess: NDArray[np.int64],
        scores: NDArray[np.floating],
        log_probabilities: NDArray[np.float64],
    ) -> None:
        rows = np.arange(len(true))
        of_true = scores[rows, true][:, None]
        earlier = np.arange(self.num_classes) < true[:, None]
        rank = ((scores > of_true) | ((scores == of_true) & earlier)).sum(axis=1)
        self.top5_correct += np.bincount(true[rank < min(_TOP, self.num_classes)], minlength=self.num_classes)
        self.nll_sum -= log_probabilities[rows, true].sum()
        confidence = np.exp(log_probabilities[rows, guess])
        # Bins are closed on the right, (0, 1/15] ... (14/15, 1] (Guo et al., ICML 2017, section 2).
        bins = np.clip(np.searchsorted(_EDGES, confidence, side="left") - 1, 0, _BINS - 1)
        self.bin_images += np.bincount(bins, minlength=_BINS)
        self.bin_correct += np.bincount(bins[true == guess], minlength=_BINS)
        self.bin_confidence += np.bincount(bins, weights=confidence, minlength=_BINS)

    def integers(self) -> NDArray[np.int64]:
        """All exact counts as one int64 vector of ``4 C + 39`` entries, to be summed over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _INTEGERS])

    def floats(self) -> NDArray[np.float64]:
        """All real-valued sums as one float64 vector of 16 entries, to be summed over processes."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in _FLOATS])

    def with_state(self, integers: ArrayLike, floats: ArrayLike) -> ScoreCounts:
        """New counts of the same classes and groups that hold ``integers`` and ``floats`` (sums of those of the parts).

        Raises:
            UserError: A vector of another length: the processes counted other numbers of classes.
        """
        new = copy(self)
        new._load("integers", np.asarray(integers, np.int64), _INTEGERS)
        new._load("floats", np.asarray(floats, np.float64), _FLOATS)
        return new

    def _load(self, kind: str, vector: NDArray, names: tuple[str, ...]) -> None:
        parts = [getattr(self, name) for name in names]
        expected = sum(part.size for part in parts)
        if vector.shape != (expected,):
            raise UserError(
                f"{kind} has shape {vector.shape}, but counts of {self.num_classes} classes have ({expected},): sum "
                f"only counts of the same class list."
            )
        ends = np.cumsum([part.size for part in parts])[:-1]
        for name, part, piece in zip(names, parts, np.split(vector, ends), strict=True):
            setattr(self, name, piece.reshape(part.shape).copy())

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        """Counts of both parts; a ``UserError`` when their classes or groups differ."""
        if not isinstance(other, ScoreCounts):
            return NotImplemented
        if not np.array_equal(self.groups, other.groups):
            raise UserError(
                "The two ScoreCounts have other classes or groups: add only counts of the same class_counts."
            )
        return self.with_state(self.integers() + other.integers(), self.floats() + other.floats())

    def scores(self) -> dict[str, float | None]:
        """The scores as fractions of 1 (``nll`` in nats), ``None`` for a group without a tested class.

        ``top5``, ``ece`` and ``nll`` are there only when every image came with logits or probabilities. Class recalls
        are averaged over classes with at least one test image; ``macro_f1`` over classes that occur in references or
        predictions, as scikit-learn does; ``hmean`` and ``gmean`` (harmonic and geometric mean of the recalls) are 0
        when one recall is.

        Raises:
            UserError: No image was counted, or only a part of the images came with logits or probabilities.
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
        result |= self._class_scores()
        if scored:
            result["ece"] = float(np.abs(self.bin_confidence - self.bin_correct).sum() / total)
            result["nll"] = float(self.nll_sum / total)
        return result

    def _class_scores(self) -> dict[str, float | None]:
        per_class = recalls(self)
        tested = self.support > 0
        recall = per_class[tested]
        in_group = [per_class[tested & (self.groups == group)] for group in range(len(GROUPS))]
        found_any = recall.min() > 0
        occurrences = self.support + self.predicted
        f1 = 2 * self.correct[occurrences > 0] / occurrences[occurrences > 0]
        return {
            "balanced_accuracy": float(recall.mean()),
            **{name: float(own.mean()) if own.size else None for name, own in zip(GROUPS, in_group, strict=True)},
            "hmean": float(1 / np.mean(1 / recall)) if found_any else 0.0,
            "gmean": float(np.exp(np.log(recall).mean())) if found_any else 0.0,
            "worst": float(recall.min()),
            "macro_f1": float(f1.mean()),
        }


def recalls(counts: ScoreCounts) -> NDArray[np.float64]:
    """Recall of each class, 0 to 1, float64 (C,); NaN for a class without a test image."""
    untested = np.full(counts.num_classes, np.nan)
    return np.divide(counts.correct, counts.support, out=untested, where=counts.support > 0)


def longtail_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    class_counts: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    many: int = 100,
    few: int = 20,
    few_inclusive: bool = False,
) -> dict[str, float | None]:
    """Scores of N predictions in one call; see :meth:`ScoreCounts.scores` for the keys.

    Args:
        predictions: Predicted classes, whole numbers (N,).
        references: True classes, whole numbers (N,).
        class_counts: Training images of each class (C,), from which the groups follow.
        probabilities: Class probabilities (N, C), for ``top5``, ``ece`` and ``nll``.
        many, few, few_inclusive: As in :func:`group_of_classes`.

    Raises:
        UserError: As :func:`group_of_classes` and :meth:`ScoreCounts.update`, or nothing to score.
    """
    counts = ScoreCounts.empty(class_counts, many=many, few=few, few_inclusive=few_inclusive)
    counts.update(references, predictions=predictions, probabilities=probabilities)
    return counts.scores()


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True, initial=-np.inf)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return np.maximum(wide, _LEAST_LOG)  # a masked true class (-inf) costs 708 nats, so that the sum stays finite


def _log_clipped(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    least = np.finfo(probabilities.dtype).eps
    return np.log(np.clip(probabilities, least, 1).astype(np.float64))
