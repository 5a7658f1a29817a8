"""Constraints on the norms of a classifier's rows, for the second stage and for inference."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MaxNorm", "tau_normalize"]


def _powered_norms(weight: Tensor, p: float, tau: float) -> Tensor:
    return torch.linalg.vector_norm(weight.flatten(1), ord=p, dim=1) ** tau


class MaxNorm:
    """Keep every row of a classifier's weight inside a ball whose radius is fixed at the start.

    The radius is ``min + threshold * (max - min)`` of the row norms. Source: Alshammari et al., Long-Tailed Recognition
    via Weight Balancing, CVPR 2022, section 4.2.

    Args:
        weight: Classifier weight ``(C, D)``, changed in place by `project_`; the bias is left alone.
        threshold: Place of the radius between the smallest (0) and the largest (1) row norm.
        p: Order of the norm.
        tau: Power of the norms that are compared with the radius, and again of the factor by which a row shrinks;
            1 projects onto the ball.

    Raises:
        ValueError: ``threshold`` lies outside 0 to 1.
    """

    def __init__(self, weight: Tensor, threshold: float = 0.1, *, p: float = 2, tau: float = 1.0) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in 0 to 1, got {threshold}.")
        self.weight, self.p, self.tau = weight, p, tau
        norms = _powered_norms(weight.detach(), p, 1.0)
        self.limit = norms.min() + threshold * (norms.max() - norms.min())

    @torch.no_grad()
    def project_(self) -> None:
        """Shrink the rows that are longer than the radius; call after each optimiser step."""
        norms = _powered_norms(self.weight, self.p, self.tau)
        scale = torch.where(norms > self.limit, self.limit / norms.clamp_min(1e-12) ** self.tau, torch.ones_like(norms))
        self.weight.mul_(scale.to(self.weight).reshape(-1, *[1] * (self.weight.ndim - 1)))


def tau_normalize(weight: Tensor, tau: float = 1.0) -> Tensor:
    """Rows of ``weight`` ``(C, D)`` divided by their 2-norm to the power ``tau``, as a new tensor; zero rows stay zero.

    Source: Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, equation 3.
    """
    return weight / _powered_norms(weight, 2, tau).clamp_min(1e-12).unsqueeze(1)
