"""The cumulative loss of GLMC (sections 3.2 and 3.3), as pure functions of the heads' outputs."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from glmc_zoo.method import weights
from glmc_zoo.method.mixing import MixedViews

__all__ = ["BalancedSoftmaxLoss", "ClassBalancedLoss", "GLMCOutput", "Reduction", "cumulative_alpha", "glmc_loss"]

Reduction = Literal["sum", "mean"]


class GLMCOutput(NamedTuple):
    """What the heads say of one view: logits ``(B, C)``, projection and prediction ``(B, P)``."""

    logits: Tensor
    balanced_logits: Tensor
    projection: Tensor
    prediction: Tensor


def cumulative_alpha(epoch: int, epochs: int, *, power: float = 2.0) -> float:
    """Share of the conventional loss in epoch ``epoch`` of ``epochs``, counted from 0: ``1 - (epoch / epochs) ** 2``.

    ``power`` in place of the published 2 moves the point where the re-balanced loss takes over: 1 is a straight line,
    less than 1 an early take-over.

    Raises:
        ValueError: ``epochs`` or ``power`` is not positive.
    """
    if epochs <= 0 or power <= 0:
        raise ValueError(f"epochs and power must be positive, got {epochs} and {power}.")
    return 1.0 - (epoch / epochs) ** power


def _consistency(prediction: Tensor, projection: Tensor) -> Tensor:
    # The target is detached: the stop-gradient of SimSiam keeps the two views from collapsing to one point.
    return -F.cosine_similarity(prediction, projection.detach(), dim=-1).mean()


def glmc_loss(
    global_out: GLMCOutput,
    local_out: GLMCOutput,
    views: MixedViews,
    *,
    alpha: float | Tensor,
    consistency_weight: float,
    reduction: Reduction = "sum",
    log_prior: Tensor | None = None,
) -> dict[str, Tensor]:
    """Total loss of one step and its terms.

    ``loss = alpha * conventional + (1 - alpha) * rebalanced + consistency_weight * consistency``. The consistency term
    runs from -2 to 2 and is normally negative, so the loss may be negative as well.

    Args:
        global_out: Heads of the MixUp view.
        local_out: Heads of the CutMix view.
        views: The labels that belong to the two views; ``(B, C)`` each. Re-weighted labels are not normalised.
        alpha: Share of the conventional loss, see `cumulative_alpha`.
        consistency_weight: gamma of the paper.
        reduction: ``"sum"`` adds the cross-entropies of the two views (the published numbers), ``"mean"`` halves them
            (the paper's 1/2N).
        log_prior: Log class frequencies ``(C,)``. When given, the re-balanced branch is balanced softmax (Ren et al.,
            NeurIPS 2020) on the plain soft labels in place of cross-entropy on the re-weighted ones.

    Returns:
        0-d tensors ``loss``, ``conventional``, ``rebalanced``, ``consistency``.

    Raises:
        ValueError: ``reduction`` is neither ``"sum"`` nor ``"mean"``.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}.")
    scale = 1.0 if reduction == "sum" else 0.5
    cross_entropy = F.cross_entropy  # soft labels, mean over the batch
    conventional = cross_entropy(global_out.logits, views.global_labels)
    conventional = scale * (conventional + cross_entropy(local_out.logits, views.local_labels))
    if log_prior is None:
        rebalanced = cross_entropy(global_out.balanced_logits, views.global_weighted_labels)
        rebalanced = rebalanced + cross_entropy(local_out.balanced_logits, views.local_weighted_labels)
    else:
        rebalanced = cross_entropy(global_out.balanced_logits + log_prior, views.global_labels)
        rebalanced = rebalanced + cross_entropy(local_out.balanced_logits + log_prior, views.local_labels)
    rebalanced = scale * rebalanced
    consistency = _consistency(global_out.prediction, local_out.projection)
    consistency = consistency + _consistency(local_out.prediction, global_out.projection)
    loss = alpha * conventional + (1.0 - alpha) * rebalanced + consistency_weight * consistency
    return {"loss": loss, "conventional": conventional, "rebalanced": rebalanced, "consistency": consistency}


class BalancedSoftmaxLoss(nn.Module):
    """Cross-entropy on logits shifted by the log class frequencies (Ren et al., NeurIPS 2020, equation 4).

    The shift is for training only: at inference the logits are used as they are. ``tau`` is that of `log_prior`.
    """

    log_prior: Tensor

    def __init__(self, class_counts: list[int], tau: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("log_prior", weights.log_prior(class_counts, tau=tau), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits ``(B, C)`` against classes ``(B,)``."""
        return F.cross_entropy(logits + self.log_prior.to(logits), target)


class ClassBalancedLoss(nn.Module):
    """Cross-entropy of each image times the class-balanced weight of its class (Cui et al., CVPR 2019, equation 12).

    The mean goes over the images and not over their weights: what an image counts does not depend on the others of its
    batch, so that accumulated batches and several processes add up to one big batch.

    Raises:
        UserError: As of `class_balanced_weights`.
    """

    class_weights: Tensor

    def __init__(self, class_counts: list[int], beta: float = 0.9999) -> None:
        super().__init__()
        self.register_buffer("class_weights", weights.class_balanced_weights(class_counts, beta), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits ``(B, C)`` against classes ``(B,)``."""
        return (self.class_weights[target] * F.cross_entropy(logits, target, reduction="none")).mean()
