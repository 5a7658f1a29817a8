"""The cumulative loss of GLMC (sections 3.2 and 3.3), as pure functions of the heads' outputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.method import weights
from glmc_zoo.method.mixing import MixedBatch, MixedViews
from glmc_zoo.method.registry import register_loss
from glmc_zoo.method.switches import Reduction


class GLMCOutput(NamedTuple):
    """Outputs of the heads for one view: logits ``(B, C)``, projection and prediction ``(B, P)``."""

    logits: Tensor
    balanced_logits: Tensor
    projection: Tensor
    prediction: Tensor


def cumulative_alpha(epoch: int, epochs: int, *, power: float = 2.0) -> float:
    """Share of the conventional loss in epoch ``epoch`` of ``epochs``, counted from 0: ``1 - (epoch / epochs) ** 2``.

    Below the published ``power`` of 2 the re-balanced loss takes over earlier; 1 is a straight line.

    Raises:
        ValueError: ``epochs`` or ``power`` is not positive, or ``epoch`` is not among 0 to ``epochs``.
    """
    if epochs <= 0 or power <= 0:
        raise ValueError(f"epochs and power must be positive, got {epochs} and {power}.")
    if not 0 <= epoch <= epochs:
        raise ValueError(f"epoch={epoch} is not in a training of {epochs} epochs, counted from 0.")
    return float(1.0 - (epoch / epochs) ** power)


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are.

    Heads give half precision under autocast. On a GPU autocast computes most losses in float32 by itself, on a CPU only
    some of them. No autocast takes a loss of float32 values back to half precision.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _consistency(prediction: Tensor, projection: Tensor) -> Tensor:
    # In bfloat16 the gradient is off by a tenth where the two nearly agree, as they do after some epochs.
    prediction, projection = at_least_float32(prediction), at_least_float32(projection)
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
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
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
            NeurIPS 2020) on the plain soft labels instead of cross-entropy on the re-weighted ones.
        criterion: Another loss for the re-balanced branch, as `register_loss` describes, called with the re-balanced
            logits, in float32 or float64, and the plain soft labels of each view. It excludes ``log_prior``.

    Returns:
        0-d tensors ``loss``, ``conventional``, ``rebalanced``, ``consistency``; in float32 for heads in half precision.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}.")

    conventional = F.cross_entropy(global_out.logits, views.global_labels)
    conventional = conventional + F.cross_entropy(local_out.logits, views.local_labels)
    rebalanced = _rebalance(
        global_out.balanced_logits, views.global_labels, views.global_weighted_labels, log_prior, criterion
    )
    rebalanced = rebalanced + _rebalance(
        local_out.balanced_logits, views.local_labels, views.local_weighted_labels, log_prior, criterion
    )
    consistency = _consistency(global_out.prediction, local_out.projection)
    consistency = consistency + _consistency(local_out.prediction, global_out.projection)
    if reduction == "mean":
        conventional, rebalanced = 0.5 * conventional, 0.5 * rebalanced
    loss = alpha * conventional + (1.0 - alpha) * rebalanced + consistency_weight * consistency
    return {"loss": loss, "conventional": conventional, "rebalanced": rebalanced, "consistency": consistency}


def one_view_loss(
    logits: Tensor,
    balanced_logits: Tensor,
    batch: MixedBatch,
    *,
    alpha: float | Tensor,
    log_prior: Tensor | None = None,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The loss of GLMC with one view a step: `glmc_loss` without the other view, and so without consistency.

    ``logits`` and ``balanced_logits`` are those of the two classifiers, ``(B, C)`` each. Returns 0-d tensors ``loss``,
    ``conventional`` and ``rebalanced``.
    """
    conventional = F.cross_entropy(logits, batch.labels)
    rebalanced = _rebalance(balanced_logits, batch.labels, batch.weighted_labels, log_prior, criterion)
    loss = alpha * conventional + (1.0 - alpha) * rebalanced
    return {"loss": loss, "conventional": conventional, "rebalanced": rebalanced}


def _rebalance(
    logits: Tensor,
    labels: Tensor,
    weighted_labels: Tensor,
    log_prior: Tensor | None,
    criterion: Callable[[Tensor, Tensor], Tensor] | None,
) -> Tensor:
    if log_prior is not None and criterion is not None:
        raise ValueError("log_prior and criterion both decide the re-balanced branch: give one of them.")
    if criterion is not None:
        return criterion(at_least_float32(logits), labels)
    if log_prior is not None:
        return F.cross_entropy(logits + log_prior, labels)
    return F.cross_entropy(logits, weighted_labels)


def check_loss(owner: str, loss: Any) -> Tensor:
    """``loss`` of a batch as it is, if it is one number with a gradient; ``owner`` begins the sentence.

    The owner is, for instance, ``The loss 'focal'``. Without a gradient a part of the loss would have no effect.

    Raises:
        UserError: It is something else, for instance a loss for each image.
    """
    if not isinstance(loss, Tensor):
        raise UserError(
            f"{owner} returned a {type(loss).__name__} for a batch, and training needs a tensor of one number: return "
            "what PyTorch computes from the logits, without item() or float()."
        )
    if loss.ndim:
        raise UserError(
            f"{owner} returned a tensor of shape {tuple(loss.shape)} for a batch, and training needs one number: "
            "return loss.mean()."
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise UserError(
            f"{owner} returned a tensor without a gradient, so it could not train the network: compute it from the "
            "logits with PyTorch, without detach(), item() or no_grad()."
        )
    return loss


@register_loss("ce")
def cross_entropy_loss(class_counts: list[int]) -> nn.CrossEntropyLoss:
    """Plain cross-entropy, whatever the class counts."""
    return nn.CrossEntropyLoss()


@register_loss("balanced_softmax")
class BalancedSoftmaxLoss(nn.Module):
    """Cross-entropy on logits shifted by the `log_prior`, in training only (Ren et al., NeurIPS 2020, equation 4)."""

    log_prior: Tensor

    def __init__(self, class_counts: list[int], prior_tau: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("log_prior", weights.log_prior(class_counts, tau=prior_tau), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits ``(B, C)`` against classes ``(B,)`` or their probabilities ``(B, C)``."""
        # The prior stays in float32: half precision would shift the margins of rare classes by up to 0.03.
        return F.cross_entropy(at_least_float32(logits) + self.log_prior.to(logits.device), target)


class ClassBalancedLoss(nn.Module):
    """Cross-entropy of each image times the class-balanced weight of its class (Cui et al., CVPR 2019, equation 12).

    The mean is over images, not over their weights: how much an image counts does not depend on the rest of its batch,
    so accumulated batches and several processes add up to one large batch.
    """

    class_weights: Tensor

    def __init__(self, class_counts: list[int], beta: float = 0.9999) -> None:
        super().__init__()
        self.register_buffer("class_weights", weights.class_balanced_weights(class_counts, beta), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits ``(B, C)`` against classes ``(B,)``."""
        return (self.class_weights[target] * F.cross_entropy(logits, target, reduction="none")).mean()
