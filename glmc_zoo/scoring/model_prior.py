"""The prior of a trained model: the class frequencies that its probabilities are for, from the results of its training.

A softmax classifier trained with cross-entropy gives probabilities for the class frequencies of its training images.
Balanced softmax removes these frequencies, and class weights in the loss multiply them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.errors import UserError
from glmc_zoo.method import class_balanced_weights, class_weights
from glmc_zoo.method import log_prior as seen_log_prior
from glmc_zoo.method.mixing import partner_share
from glmc_zoo.results import RunResults

Floats = NDArray[np.float64]
_HEAD_LOSSES = {"cross-entropy": 1.0, "balanced softmax": 0.0}
"""Power of the class frequencies that a classifier on features assumes after each loss."""


def model_log_prior(results: RunResults | None) -> Floats | None:
    """Logarithm of the class frequencies that the probabilities of a model are for, ``(C,)``.

    It is ``None`` where they are not known: without results of a training, for a method, loss or sampler from a
    plug-in, and after a tau-normalisation.
    """
    if results is None or results.class_counts is None:
        return None
    counts = results.class_counts
    correction = results.correction
    if correction is not None and correction.tau_norm is not None:
        return None
    prior = _second_stage_prior(results) if results.second_stage is not None else _method_prior(results)
    if prior is None:
        return None
    if correction is not None and correction.logit_adjustment is not None:
        prior = prior - correction.logit_adjustment * _log(correction.class_counts or counts)
    return normalise(prior)


def normalise(log_weights: Floats) -> Floats:
    """Logarithms of frequencies that add up to 1; ``-inf`` stands for a class that does not occur."""
    shifted = log_weights - log_weights.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def _second_stage_prior(results: RunResults) -> Floats:
    """The log prior after a second stage: class frequencies of the images times the class-balanced weights."""
    counts, stage = results.class_counts or [], results.second_stage
    beta = 0.0 if stage is None else stage.beta
    weights: Floats = class_balanced_weights(counts, beta).double().numpy()
    return _log(counts) + np.log(weights)


def _method_prior(results: RunResults) -> Floats | None:
    """The log prior after a training with the method of the results; ``None`` for a method that is not built in."""
    config, counts = results.config, results.class_counts or []
    loss = config.get("rebalanced_loss") if results.method == "glmc" else results.method
    if loss == "balanced_softmax":
        # The loss removes the frequencies seen in training, and also prior_tau - 1 times those of the images.
        return (1.0 - _numeric_option(config, "prior_tau", 1.0)) * _log(counts)
    if results.method == "ce":
        return _log(counts)
    if results.method == "head" and results.head is not None:
        chosen = results.head.chosen
        if chosen.loss not in _HEAD_LOSSES:
            return None
        return (_HEAD_LOSSES[chosen.loss] - chosen.logit_adjustment) * _log(counts)
    if results.method != "glmc" or config.get("sampler", "power") != "power":
        return None
    # The frequencies that the re-balanced branch sees: shuffled images, mixed with partners that favour rare classes.
    share = partner_share(
        str(config.get("views", "mixup_cutmix")),
        _numeric_option(config, "beta", 1.0, above=0),
        correct_lam=bool(config.get("correct_lam")),
        unmixed_share=_numeric_option(config, "unmixed_share", 0.0),
    )
    power = None if config.get("sampler_power") is None else _numeric_option(config, "sampler_power", 0.0)
    seen_prior = seen_log_prior(counts, power, share=share).double().numpy()
    if loss == "ce":
        return np.asarray(seen_prior)
    if loss == "reweighted":
        weights = class_weights(counts, _numeric_option(config, "class_weight_power", 1.0)).double().numpy()
        return np.asarray(seen_prior + np.log(weights))
    return None


def _numeric_option(config: Mapping[str, Any], name: str, default: float, *, above: float | None = None) -> float:
    """An option of the training as a number; it is checked, because results may come from anybody."""
    value = config.get(name, default)
    allowed = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e3
    if not allowed or (above is not None and value <= above):
        kind = "a number up to 1,000" if above is None else f"a number above {above:g} and up to 1,000"
        raise UserError(
            f"The results of the model have {name} {str(value)[:40]!r}, and it must be {kind}: give another model, or "
            "leave prior= out."
        )
    return float(value)


def _log(counts: list[int]) -> Floats:
    return np.log(np.asarray(counts, np.float64))
