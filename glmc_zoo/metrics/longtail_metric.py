"""The long-tail scores as an ``evaluate`` metric that needs no network."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
from numpy.typing import ArrayLike

from glmc_zoo.errors import UserError

from .longtail import longtail_scores

__all__ = ["LongTailMetrics"]

_DESCRIPTION = """
Scores of a classifier that was trained on long-tailed data: accuracy, mean class recall, recall of the classes with
many, medium and few training images, harmonic and geometric mean and minimum of the class recalls, macro-F1, and with
probabilities also top-5 accuracy, expected calibration error (15 bins) and negative log-likelihood (nats).
"""

_INPUTS = """
Args:
    predictions: Predicted class of each image, whole numbers (N,).
    references: True class of each image, whole numbers (N,).
    class_counts: Number of TRAINING images of each class (C,); the groups follow from it. Required, in compute() only.
    probabilities: Class probabilities (N, C), in compute() only and in the order in which images were added. Over
        several processes: those of process 0 first, then of process 1, and so on, all of them given to process 0.
    many: Classes with more training images than this are "many"; default 100.
    few: Classes with fewer training images than this are "few", all others "medium"; default 20.
    few_inclusive: Count a class with exactly `few` training images as "few", as published GLMC numbers do; default
        False.
Returns:
    dict of top1, balanced_accuracy, many, medium, few, hmean, gmean, worst, macro_f1 as fractions of 1, and with
    probabilities top5, ece and nll; None for a group without a tested class. None on processes other than 0.
Raises:
    UserError (a ValueError): class_counts is missing, a label is outside 0..C-1, shapes do not match, few > many.
"""

_CITATION = """
@inproceedings{du2023glmc,
  title = {Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions},
  author = {Du, Fei and Yang, Peng and Jia, Qi and Nan, Fengtao and Chen, Xiaoting and Yang, Yun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2023}
}
"""


class LongTailMetrics(evaluate.Metric):
    """Scores for long-tailed classification, as ``evaluate`` computes them; offline, and over several processes.

    ``LongTailMetrics().compute(predictions=, references=, class_counts=)`` or ``add_batch(predictions=, references=)``
    and then ``compute(class_counts=)``. Constructor arguments (``num_process``, ``process_id``, ``experiment_id``, ...)
    are those of :class:`evaluate.Metric`; arguments and result of ``compute`` are in ``inputs_description``.

    Probabilities are an argument of ``compute`` and no stored input, because ``evaluate`` requires every input it
    stores to be there in every call. To sum up large evaluations batch by batch, use ``glmc_zoo.metrics.ScoreCounts``.
    """

    def _info(self) -> evaluate.MetricInfo:
        whole = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
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
            raise UserError(
                "compute() got no class_counts: pass class_counts=, the number of training images per class."
            )
        return longtail_scores(predictions, references, class_counts, **options)
