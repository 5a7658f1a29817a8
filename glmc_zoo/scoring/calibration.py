"""Temperature scaling: calibrates the probabilities of a classifier by one number, fitted on held-out images.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.files import percent, text_table
from glmc_zoo.method import UnsuitableClassifier, fold_corrections, linear_classifier
from glmc_zoo.method.model import evaluation_mode
from glmc_zoo.metrics import ScoreCounts, chance_ece
from glmc_zoo.results import CalibrationFacts, Reliability
from glmc_zoo.scoring.loop import ScoredSplit
from glmc_zoo.scoring.model import Classifier, logit_batches
from glmc_zoo.scoring.thresholds import precision_thresholds
from glmc_zoo.text import agree, counted

MIN_IMAGES = 20
"""With fewer held-out images no temperature is fitted."""
_RANGE = 0.01, 100.0
_STEPS = 60  # of bisection: enough for the precision of float64

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def fit_temperature(logits: Floats, labels: Labels, weights: Floats | None = None) -> float | None:
    """The temperature T that minimises the weighted negative log-likelihood of ``logits / T``.

    The likelihood is convex in 1 / T, so bisection finds the root of its derivative.

    Args:
        logits: float64 ``(N, C)``.
        labels: Class of each image, ``(N,)``.
        weights: Weight of each image, ``(N,)``, at least 0; equal weights by default.

    Returns:
        The temperature; ``None`` where it is outside 0.01 to 100, for example because every image is classified right.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    target = shifted[np.arange(len(labels)), labels]
    weights = np.ones(len(labels)) if weights is None else weights

    def slope(inverse: float) -> float:
        likelihood = np.exp(shifted * inverse)
        expected = (likelihood * shifted).sum(axis=1) / likelihood.sum(axis=1)
        return float(weights @ (expected - target))

    low, high = (np.log(1 / bound) for bound in reversed(_RANGE))
    if slope(np.exp(low)) >= 0 or slope(np.exp(high)) <= 0:
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def image_weights(labels: Labels, target_counts: Sequence[int]) -> Floats:
    """Weights ``(N,)`` with mean 1 that give each class the same share as in a split with ``target_counts`` images.

    Classes without an image in ``labels`` or in that split do not count.
    """
    target = np.asarray(target_counts, np.float64)
    support = np.bincount(labels, minlength=len(target))
    weights: Floats = (target / np.maximum(support, 1))[labels]
    return weights * (len(labels) / weights.sum()) if weights.any() else np.ones(len(labels))


@torch.inference_mode()
def split_logits(
    classifier: Classifier,
    loader: Iterable[tuple[Tensor, Tensor, Tensor]],
    accelerator: Accelerator,
    *,
    select: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> tuple[Floats, Labels]:
    """Logits ``(N, C)`` and classes ``(N,)`` of a split, in its order, the same in each process.

    ``select`` is applied to each batch of logits. The training mode of each module is left as it was.
    """
    with evaluation_mode(classifier.network):
        rows = [
            (positions.numpy(), select(logits).cpu().double().numpy(), labels.numpy())
            for logits, labels, positions in logit_batches(classifier, loader, accelerator)
        ]
    positions, logits, labels = (np.concatenate(column) for column in zip(*gather_object(rows), strict=True))
    order = np.argsort(positions, kind="stable")
    return logits[order], labels[order].astype(np.int64)


def calibration_temperature(
    logits: Floats, labels: Labels, test_counts: Sequence[int] | None
) -> tuple[float | None, str, str | None]:
    """The temperature from held-out images, weighted to the class frequencies of the test split.

    Only the class counts of the test split are used, not its images: they say for which class frequencies the
    probabilities are to be calibrated. Each held-out image counts once without a test split, and where the weighted
    images have an effective number below `MIN_IMAGES`.

    Args:
        logits: Logits of the held-out images, float64 ``(N, C)``.
        labels: Their classes, ``(N,)``.
        test_counts: Test images of each class; ``None`` without a test split.

    Returns:
        The temperature (``None`` if none could be fitted), the weighting (``test`` or ``none``, as in
        `CalibrationFacts`), and the reason for a missing temperature.
    """
    if len(labels) < MIN_IMAGES:
        are = agree(len(labels), "is", "are")
        too_few = f"{counted(len(labels), 'held-out image')} {are} too few to fit a temperature"
        return None, "none", f"{too_few}, which needs {MIN_IMAGES}."
    weights, weighting = np.ones(len(labels)), "none"
    if test_counts is not None and any(test_counts):
        test_weights = image_weights(labels, test_counts)
        if test_weights.sum() ** 2 / (test_weights @ test_weights) >= MIN_IMAGES:
            weights, weighting = test_weights, "test"
    temperature = fit_temperature(logits, labels, weights)
    reason = None
    if temperature is None:
        correct = int((logits.argmax(axis=1) == labels).sum())
        reason = (
            f"No temperature from {_RANGE[0]:g} to {_RANGE[1]:g} fits the held-out images ({correct} of {len(labels)} "
            "are classified right)."
        )
    return temperature, weighting, reason


def calibrate_classifier(
    model: nn.Module, image_size: int, logits: Floats, labels: Labels, test_counts: Sequence[int] | None
) -> CalibrationFacts:
    """Fit a temperature and fold it into the classifier of a timm model.

    A model whose logits are not one linear layer on its features is not changed, and the facts give the reason.

    Args:
        model: The timm model; its classifier is changed in place.
        image_size: Side of its images in pixels.
        logits: Logits of the held-out images, ``(N, C)``.
        labels: Their classes, ``(N,)``.
        test_counts: Test images of each class, see `calibration_temperature`.
    """
    temperature, weighting, reason = calibration_temperature(logits, labels, test_counts)
    if temperature is not None:
        try:
            layer = linear_classifier(model, image_size)
        except UnsuitableClassifier:
            reason = "The logits are not one linear layer on the features, which could hold a temperature."
            temperature = None
        except UserError as error:  # at the end of a training, whose weights must not be lost
            reason, temperature = error.sentence, None
        else:
            fold_corrections(layer, temperature=temperature)
    return CalibrationFacts(
        images=len(labels),
        temperature=temperature,
        reason=reason,
        weighting=weighting,
        thresholds=precision_thresholds(logits / (temperature or 1.0), labels),
    )


def undo_calibration(classifier: Any, facts: CalibrationFacts | None) -> None:
    """Take the temperature out of a classifier again, for a training that goes on with it."""
    if facts is not None and facts.temperature is not None:
        fold_corrections(classifier, temperature=1 / facts.temperature)


def add_reliability(facts: CalibrationFacts | None, scored: Mapping[str, ScoredSplit]) -> CalibrationFacts | None:
    """The facts with calibration error and negative log-likelihood of each split, without and with the temperature."""
    if facts is None:
        return None
    after = {split: reliability(result.counts) for split, result in scored.items()}
    before = {split: reliability(result.plain or result.counts) for split, result in scored.items()}
    return replace(facts, before=before, after=after)


def reliability(counts: ScoreCounts) -> Reliability:
    """Expected calibration error (ECE) and negative log-likelihood (NLL); 0 if the counts hold no probabilities."""
    scores = counts.scores()
    return Reliability(ece=scores["ece"] or 0.0, nll=scores["nll"] or 0.0, chance_ece=chance_ece(counts))


def calibration_lines(facts: CalibrationFacts) -> list[str]:
    """Lines for the screen: the temperature, what a table of errors means, and the table; or why there is none."""
    if facts.temperature is None:
        return [f"The probabilities are not calibrated: {facts.reason}"]
    weighting = ", weighted to the class frequencies of the test split" if facts.weighting == "test" else ""
    rows = [("images", "ECE in % before", "after", "by chance", "NLL before", "after")]
    for split, before in facts.before.items():
        after = facts.after[split]
        errors = (percent(before.ece), percent(after.ece), percent(after.chance_ece))
        rows.append((split, *errors, f"{before.nll:.3f}", f"{after.nll:.3f}"))
    return [
        f"Calibration: the exported classifier divides its logits by {facts.temperature:.3f}, the "
        f"temperature that fits {facts.images} held-out images best{weighting}.",
        "ECE, the calibration error, is the mean difference between the probability of the predicted class and the "
        "share of right predictions; NLL is the negative log-likelihood in nats. Lower is better for both. "
        "Perfectly calibrated probabilities have an ECE too, by chance; the column shows its mean on as many images.",
        text_table(rows),
    ]
