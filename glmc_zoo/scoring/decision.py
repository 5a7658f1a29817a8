"""Turns logits into answers, for other class frequencies, a choice of classes, or a least probability."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.options.commands import PredictOptions
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.scoring.loop import top_classes
from glmc_zoo.scoring.model_prior import Floats, model_log_prior
from glmc_zoo.scoring.prediction_files import UNSURE
from glmc_zoo.scoring.prior_shift import estimate_log_prior, read_classes, read_prior
from glmc_zoo.scoring.thresholds import precision_key


@dataclass(frozen=True)
class Decision:
    """The rule by which the logits of one model become answers; by default the logits are used as they are."""

    num_classes: int
    """Number of classes that can occur."""
    shift: Floats | None = None
    """Added to the logits, ``(C,)``; ``-inf`` for a class that cannot occur."""
    model_prior: Floats | None = None
    """Logarithm of the class frequencies that the model's probabilities are for, ``(C,)``; ``None`` without a prior."""
    thresholds: Floats | None = None
    """Least probability of a sure answer for each class, ``(C,)``; ``inf`` for a class whose answers are never sure."""

    def top(self, logits: Tensor, k: int) -> tuple[list[list[int]], list[list[float]], list[bool]]:
        """The ``k`` most probable classes of each image, their probabilities, and whether the first one is sure.

        ``logits`` are those of the model, ``(B, C)``.
        """
        logits = self._shift_logits(logits)
        order, probabilities = top_classes(logits, min(k, self.num_classes))
        sure = [True] * len(order)
        if self.thresholds is not None:
            sure = (probabilities[:, 0].numpy() >= self.thresholds[order[:, 0].numpy()]).tolist()
        return order.tolist(), probabilities.tolist(), sure

    def probabilities(self, logits: Tensor) -> Floats:
        """Probabilities of all classes for logits ``(B, C)``, float64 ``(B, C)``."""
        probabilities: Floats = self._shift_logits(logits).cpu().double().softmax(dim=1).numpy()
        return probabilities

    def _shift_logits(self, logits: Tensor) -> Tensor:
        return logits if self.shift is None else logits.cpu().double() + torch.from_numpy(self.shift)

    def estimate_prior(self, logits: Floats) -> tuple["Decision", Floats]:
        """Estimate the class frequencies of the images with these logits, ``(N, C)``.

        Returns:
            The decision for these frequencies, and their logarithm, ``(C,)``.
        """
        assert self.model_prior is not None
        shift = np.zeros(logits.shape[1]) if self.shift is None else self.shift
        prior = estimate_log_prior(logits + shift, self.model_prior)
        return replace(self, shift=prior - self.model_prior), prior


def make_decision(options: PredictOptions, source: ModelSource, class_names: Sequence[str]) -> Decision:
    """The decision that the options describe.

    With ``prior="estimate"``, `Decision.estimate_prior` adds the estimate later.

    Raises:
        UserError: A class is unknown, the CSV file cannot be read, or the model lacks the results that an option needs.
    """
    decision = corrected_decision(options, source, class_names)
    return replace(decision, thresholds=_thresholds(options, source, class_names))


def corrected_decision(
    options: PredictOptions | DemoOptions, source: ModelSource, class_names: Sequence[str]
) -> Decision:
    """The decision for the class frequencies and classes that the options name, without thresholds; as above."""
    num_classes, shift, prior = len(class_names), None, None
    if options.prior is not None:
        prior = _model_prior(options, source, num_classes)
        if options.prior != "estimate":
            shift = read_prior(options.prior, class_names) - prior
    if options.classes:
        possible = np.where(read_classes(options.classes, class_names), 0.0, -np.inf)
        shift = possible if shift is None else shift + possible
    if shift is not None:
        num_classes = int(np.isfinite(shift).sum())
        if not num_classes:
            raise UserError(
                f"prior={options.prior!r} gives all classes of classes= the count 0: give those that can occur a count."
            )
    return Decision(num_classes, shift, prior)


def _model_prior(options: PredictOptions | DemoOptions, source: ModelSource, num_classes: int) -> Floats:
    """Log class frequencies that the model's probabilities are for: derived, or as ``model_prior`` says."""
    uniform = np.full(num_classes, -np.log(num_classes))
    if options.model_prior == "uniform":
        return uniform
    results = source.results
    if options.model_prior == "training":
        if results is None or results.class_counts is None:
            raise UserError(
                f"model_prior='training' needs the training images of each class, and {source.name} does not state "
                "them: give model_prior='uniform' if it was trained on balanced classes, or leave prior= out."
            )
        return np.log(np.array(results.class_counts) / sum(results.class_counts))
    prior = model_log_prior(results)
    if prior is None:
        raise UserError(
            f"prior= needs the class frequencies that the probabilities of {source.name} are for, and its results do "
            "not state them: give model_prior='uniform' or model_prior='training'."
        )
    return prior


def _thresholds(options: PredictOptions, source: ModelSource, class_names: Sequence[str]) -> Floats | None:
    if options.min_probability is None and options.precision is None:
        return None
    if UNSURE in class_names:
        raise UserError(f"A class of {source.name} is called {UNSURE!r}: leave min_probability= and precision= out.")
    if options.precision is None:
        return np.full(len(class_names), options.min_probability, np.float64)
    facts = None if source.results is None else source.results.calibration
    thresholds = {} if facts is None else facts.thresholds
    if not thresholds:
        raise UserError(
            f"precision= needs thresholds that were chosen on held-out images, and {source.name} has none: train it "
            "with val_fraction=, or give min_probability=."
        )
    if (key := precision_key(options.precision)) not in thresholds:
        raise UserError(f"{source.name} has no thresholds for precision={key}: give one of {', '.join(thresholds)}.")
    return np.array([np.inf if value is None else value for value in thresholds[key]])
