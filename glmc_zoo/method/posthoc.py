"""Corrections of a trained classifier's logits for the class frequencies it was trained on; nothing is learnt."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
