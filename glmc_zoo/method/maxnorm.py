"""A constraint on the norms of a classifier's rows, for the second stage."""

import torch
from torch import Tensor


class MaxNorm:
    """Keep every row of a classifier's weight inside a ball whose radius is fixed at the start.

    The radius is ``min + threshold * (max - min)`` of the row norms. Source: Alshammari et al., Long-Tailed Recognition
    via Weight Balancing, CVPR 2022, section 4.2.

    Args:
        weight: Classifier weight ``(C, D)``, changed in place by `project_`; the bias is left alone.
        threshold: Position of the radius between the smallest (0) and the largest (1) row norm.
    """

    def __init__(self, weight: Tensor, threshold: float = 0.1) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must lie in 0 to 1, got {threshold}.")
        self.weight = weight
        norms = torch.linalg.vector_norm(weight.detach().flatten(1), dim=1)
        self.limit = norms.min() + threshold * (norms.max() - norms.min())

    @torch.no_grad()
    def project_(self) -> None:
        """Shrink the rows that are longer than the radius; call after each optimiser step."""
        norms = torch.linalg.vector_norm(self.weight.flatten(1), dim=1)
        scale = torch.where(norms > self.limit, self.limit / norms.clamp_min(1e-12), torch.ones_like(norms))
        self.weight.mul_(scale.to(self.weight).reshape(-1, *[1] * (self.weight.ndim - 1)))
