"""Corrections of a trained classifier's logits, batch by batch or folded into the classifier; nothing is learnt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.method.model import check_backbone
from glmc_zoo.method.weights import log_prior


def adjust_logits(logits: Tensor, class_counts: Sequence[int] | Tensor, tau: float = 1.0) -> Tensor:
    """Logits less ``tau`` times the logarithm of the class frequencies: rare classes gain.

    Source: Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, equation 9.

    Args:
        logits: ``(B, C)``.
        class_counts: Training images of each class, ``(C,)``, all positive.
        tau: 0 changes nothing; 1 is right for a model whose softmax gives the frequencies of its training images.

    Returns:
        Tensor ``(B, C)`` of the type of ``logits``.
    """
    return logits - tau * log_prior(class_counts).to(logits)


def tau_norm_logits(logits: Tensor, weight: Tensor, bias: Tensor | None = None, *, tau: float = 1.0) -> Tensor:
    """Logits of the same classifier with its rows divided by their 2-norm to the power ``tau``, and without its bias.

    That is ``(logits - bias) / norm ** tau``. The features before the classifier are not needed, so one pass over the
    images serves any number of values of ``tau``. The bias is dropped, also at ``tau=0``: it follows the frequencies of
    the training images as the norms do. A row of zeros keeps its logit of zero.

    Source: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, section 4.3.

    Args:
        logits: Output of the classifier, ``(B, C)``.
        weight: Weight of the classifier, ``(C, D)``.
        bias: Bias of the classifier, ``(C,)``, if it has one.
        tau: 0 leaves the rows as they are, 1 gives them equal length.

    Returns:
        Tensor ``(B, C)`` of the type of ``logits``.
    """
    scale = torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp_min(1e-12) ** tau
    unbiased = logits if bias is None else logits - bias.to(logits)
    scaled: Tensor = unbiased / scale.to(logits)
    return scaled


@torch.no_grad()
def fold_corrections(
    classifier: nn.Linear,
    *,
    class_counts: Sequence[int] | Tensor | None = None,
    tau_norm: float | None = None,
    logit_adjustment: float | None = None,
    temperature: float | None = None,
) -> None:
    """Change a classifier so that it gives corrected logits by itself.

    In this order: `tau_norm_logits` divides its rows and drops its bias, `adjust_logits` shifts the bias, and the
    temperature divides both. Computed in float64.

    Args:
        classifier: Changed in place.
        class_counts: For ``logit_adjustment``.
        tau_norm, logit_adjustment, temperature: ``None`` leaves that correction out; the temperature is positive.

    Raises:
        UserError: The logits are to be shifted, and the classifier has no bias.
    """
    weight = classifier.weight.double()
    bias = None if classifier.bias is None else classifier.bias.double()
    if tau_norm is not None:
        weight = weight / torch.linalg.vector_norm(weight, dim=1, keepdim=True).clamp_min(1e-12) ** tau_norm
        bias = None if bias is None else torch.zeros_like(bias)
    if logit_adjustment is not None:
        if bias is None or class_counts is None:
            raise UserError(
                f"logit_adjustment={logit_adjustment:g} shifts the bias of the classifier, and this one has no bias: "
                "leave save= out to correct the logits without changing the model."
            )
        bias = adjust_logits(bias, class_counts, logit_adjustment)
    scale = 1.0 if temperature is None else temperature
    classifier.weight.copy_(weight / scale)
    if bias is not None:
        classifier.bias.copy_(bias / scale)


def linear_classifier(model: Any, image_size: int) -> nn.Linear:
    """The one linear layer that gives the logits of a timm model.

    Raises:
        UnsuitableClassifier: The logits are not those of one linear layer on the features.
        UserError: See `check_backbone`.
    """
    check_backbone(model, image_size)
    layer: nn.Linear = model.get_classifier()
    return layer
