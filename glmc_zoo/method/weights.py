"""Re-balancing weights from class counts: of each class in the loss, of each sample in the sampler."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from glmc_zoo.errors import UserError
from glmc_zoo.method.registry import register_sampler


def _counts(counts: Sequence[int] | Tensor) -> Tensor:
    tensor = torch.as_tensor(counts, dtype=torch.float64)
    if tensor.ndim != 1 or tensor.numel() == 0 or bool((tensor <= 0).any()):
        raise UserError(
            f"Class counts {tensor.tolist()} must be a list of positive numbers, one for each class; "
            "leave out the classes that have no training image."
        )
    return tensor


def _scaled_power(counts: Tensor, power: float) -> Tensor:
    # Relative to the smallest class, so that neither a big count nor a big power overflows.
    weights = (counts / counts.min()) ** -power
    return weights * (len(counts) / weights.sum())


def class_weights(counts: Sequence[int] | Tensor, power: float) -> Tensor:
    """Weight of each class in the re-balanced loss: ``n_c ** -power``, scaled to sum to the number of classes.

    Source: GLMC (arXiv 2305.08661), section 3.3, cumulative class-balanced learning.

    Args:
        counts: Training images of each class, ``(C,)``; a `UserError` where one is not positive.
        power: 0 gives all classes the same weight, 1 the inverse frequency; the published recipes use 1.0 to 1.2.

    Returns:
        float32 tensor ``(C,)``.
    """
    return _scaled_power(_counts(counts), power).float()


def class_balanced_weights(counts: Sequence[int] | Tensor, beta: float = 0.9999) -> Tensor:
    """Weight of each class by its effective number of samples: ``(1 - beta) / (1 - beta ** n_c)``, scaled to sum to C.

    Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, section 4.

    ``beta`` 0 gives all classes the same weight. The nearer it is to 1, which is excluded, the nearer the weights come
    to the inverse frequency. ``counts`` and the result are as in `class_weights`.
    """
    if not 0 <= beta < 1:
        raise UserError(f"The beta {beta} of class-balanced weights must lie in 0 to 1, 1 excluded; 0.9999 is usual.")
    # 1 - beta ** n in the form that keeps its digits where beta ** n is nearly 1; the factor 1 - beta scales away.
    log_beta = math.log(beta) if beta > 0 else -math.inf
    weights = -1.0 / torch.expm1(_counts(counts) * log_beta)
    return (weights * (len(weights) / weights.sum())).float()


def sampling_weights(labels: Sequence[int] | Tensor, counts: Sequence[int] | Tensor, power: float) -> Tensor:
    """Weight of each sample for the re-balanced sampler: ``n ** -power`` of its class.

    The class values are scaled to sum to the number of classes; a sampler that draws with replacement in proportion to
    them is plain at ``power=0``, class-balanced at 1, and favours rare classes at 2 (GLMC, section 3.1).

    Args:
        labels: Class of each training sample, ``(N,)`` integers; a `UserError` where one is outside ``[0, C)``.
        counts: As in `class_weights`.
        power: Exponent of the inverse class frequency.

    Returns:
        float64 tensor ``(N,)``.
    """
    per_class = _scaled_power(_counts(counts), power)
    index = torch.as_tensor(labels, dtype=torch.long)
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(per_class):
        raise UserError(
            f"Labels from {int(index.min())} to {int(index.max())} do not fit {len(per_class)} class counts; "
            f"labels must lie in 0 to {len(per_class) - 1}."
        )
    return per_class[index]


@register_sampler("power")
def power_sampler(labels: Tensor, class_counts: list[int], sampler_power: float) -> Tensor:
    """`sampling_weights`, under the arguments that a registered sampler has."""
    return sampling_weights(labels, class_counts, sampler_power)


def log_prior(
    counts: Sequence[int] | Tensor,
    sampler_power: float | None = None,
    *,
    tau: float = 1.0,
    sampled_counts: Tensor | None = None,
    share: float = 0.5,
) -> Tensor:
    """Logarithm of the class frequencies that training sees; balanced softmax adds it to the logits.

    Source: Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, equation 4; ``tau`` is
    that of Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, equation 10.

    Args:
        counts: As in `class_weights`.
        sampler_power: When given, ``share`` of the images come from a second sampler that draws them with weight
            ``n ** -sampler_power``. The frequencies are then the weighted mean of those of both samplers (at 0 they are
            the plain ones).
        tau: 1 is balanced softmax. More gives rare classes a wider margin: ``tau - 1`` times the logarithm of the
            frequencies of ``counts`` is added, whatever the samplers.
        sampled_counts: For another second sampler: how often it draws each class, ``(C,)``, on any scale.
        share: Share of the second sampler; in GLMC that of the partners, see `glmc_zoo.method.mixing.partner_share`.

    Returns:
        float32 tensor ``(C,)``.
    """
    class_counts = _counts(counts)
    class_frequency = class_counts / class_counts.sum()
    if sampler_power is not None:
        sampled_counts = class_counts * _scaled_power(class_counts, sampler_power)
    seen_frequency = (
        class_frequency
        if sampled_counts is None
        else (1 - share) * class_frequency + share * (sampled_counts / sampled_counts.sum())
    )
    return (seen_frequency.log() + (tau - 1.0) * class_frequency.log()).float()
