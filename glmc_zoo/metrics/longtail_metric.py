"""The long-tail scores as an ``evaluate`` metric that needs no network."""

from typing import Any

import datasets
import evaluate
from numpy.typing import ArrayLike

from glmc_zoo.errors import UserError

from .longtail import longtail_scores

_DESCRIPTION = "Scores of a classifier that was trained on long-tailed data; inputs_description explains each."
_INPUTS = """
Args:
    predictions: Predicted class of each image, whole numbers (N,).
    references: True class of each image, whole numbers (N,).
    class_counts: Number of TRAINING images of each class (C,); the groups follow from it. Required, in compute() only.
    probabilities: Class probabilities (N, C), in compute() only and in the order in which images were added. Over
        several processes: those of process 0 first, then of process 1, and so on, all of them given to process 0.
    many: Classes with more training images than this are "many"; default 100.
    few: Classes with fewer training images than this are "few", all others "medium"; default 20.
Returns:
    dict of top1, balanced_accuracy (the mean class recall), many, medium, few (that of each group), hmean, gmean, worst
    (harmonic and geometric mean and minimum of the recalls) and macro_f1 as fractions of 1, and with probabilities
    top5, ece (15 bins) and nll (nats). A class without a test image enters no mean; a group without a tested class has
    None. None on processes other than 0.
Raises:
    UserError (a ValueError): class_counts is missing, a label is outside 0..C-1, shapes do not match, few > many.
"""
_CITATION = """
Du et al., Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions, CVPR 2023.
"""


class LongTailMetrics(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Scores for long-tailed classification, as ``evaluate`` computes them; offline, and over several processes.

    ``LongTailMetrics().compute(predictions=, references=, class_counts=)`` or ``add_batch(predictions=, references=)``
    and then ``compute(class_counts=)``. Arguments and result of ``compute`` are in ``inputs_description``. To sum up
    large evaluations batch by batch, use ``glmc_zoo.metrics.ScoreCounts``.
    """

    def _info(self) -> evaluate.MetricInfo:
        whole = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # No probabilities: evaluate requires each stored input in every call.
            features=datasets.Features({"predictions": whole, "references": whole}),
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
