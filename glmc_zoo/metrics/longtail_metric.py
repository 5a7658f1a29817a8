"""The long-tail scores as an ``evaluate`` metric that needs no network."""

from typing import Any

import datasets
import evaluate
from numpy.typing import ArrayLike

from glmc_zoo.errors import UserError

from .longtail import longtail_scores

_DESCRIPTION = "Scores of a classifier trained on long-tailed data. inputs_description explains each of them."
_INPUTS = """
Args:
    predictions: Predicted class of each image, whole numbers (N,).
    references: True class of each image, whole numbers (N,).
    class_counts: Number of TRAINING images of each class (C,), which decides the groups. Required, in compute() only.
    probabilities: Class probabilities (N, C), in compute() only, in the order in which images were added. With
        several processes, give process 0 the rows of all processes: those of process 0, then of process 1, and so on.
    many: Classes with more training images than this are "many"; default 100.
    few: Classes with fewer training images than this are "few", all others "medium"; default 20.
Returns:
    dict of fractions of 1: top1, balanced_accuracy (mean recall of the classes), many, medium, few (mean recall of each
    group), hmean, gmean, worst (harmonic mean, geometric mean and minimum of the recalls) and macro_f1. With
    probabilities also top5, ece (15 bins) and nll (nats). Classes without test images are left out of the means; a
    group without a tested class has None. On processes other than 0 the result is None.
Raises:
    UserError (a ValueError): class_counts is missing, a label is outside 0..C-1, shapes do not match, few > many.
"""
_CITATION = """
Du et al., Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions, CVPR 2023.
"""


class LongTailMetrics(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Scores for long-tailed classification as an ``evaluate`` metric. It needs no network and takes several processes.

    Call ``compute(predictions=, references=, class_counts=)``, or ``add_batch(predictions=, references=)`` for each
    batch and then ``compute(class_counts=)``. ``inputs_description`` explains arguments and result. For large
    evaluations, `ScoreCounts` adds up batches without storing them.

    >>> scores = LongTailMetrics().compute(predictions=[0, 1, 0], references=[0, 1, 2], class_counts=[150, 30, 5])
    >>> scores["many"], scores["few"]
    (1.0, 0.0)
    """

    def _info(self) -> evaluate.MetricInfo:
        integer = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # No probabilities: evaluate requires each stored input in every call.
            features=datasets.Features({"predictions": integer, "references": integer}),
            format="numpy",
            reference_urls=["https://arxiv.org/abs/2305.08661", "https://arxiv.org/abs/1904.05160"],
        )

    def _compute(
        self,
        *,
        predictions: ArrayLike = (),
        references: ArrayLike = (),
        class_counts: ArrayLike | None = None,
        **options: Any,
    ) -> dict[str, float | None]:
        if class_counts is None:
            raise UserError("compute() got no class_counts: give the number of training images of each class.")
        return longtail_scores(predictions, references, class_counts, **options)
