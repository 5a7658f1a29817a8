"""Sharpness-aware minimisation: the gradient is taken where the loss is highest nearby."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_EPS = 1e-12  # keeps the direction of a zero gradient finite


class SAM:
    """Move the parameters that need a gradient to the point of steepest ascent at distance ``rho``, and back again.

    Between two gradients of one optimiser step: `perturb_` goes from ``w`` to ``w + rho * g / (||g|| + 1e-12)``, where
    the second gradient is taken, and `restore_` goes back to ``w``, from where the optimiser steps along that second
    gradient. The norm goes over all parameters together. Only the direction of ``g`` counts: gradients may be scaled,
    as they are in fp16, but must already be summed over processes and accumulated batches.

    No call waits for the device. The extra memory is twice that of the parameters.

    Source: Foret et al., Sharpness-Aware Minimization for Efficiently Improving Generalization, ICLR 2021, algorithm 1;
    for long-tailed data Rangwani et al., Escaping Saddle Points for Effective Generalization on Class-Imbalanced Data,
    NeurIPS 2022.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rho: float = 0.05) -> None:
        if not 0 < rho < math.inf:
            raise ValueError(f"rho must be a number above 0, got {rho}.")
        self.rho = rho
        self.parameters: list[Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
        if not self.parameters:
            raise ValueError("SAM needs at least one parameter that is trained.")
        self._saved: list[Tensor] = []
        self._shift = torch.empty(0)
        self._chunks: tuple[Tensor, ...] = ()
        self._shifts: list[Tensor] = []
        self._is_perturbed = False

    def _allocate(self) -> None:
        # At the first step and not before: by then the model is on its device, in its layout.
        first = self.parameters[0]
        self._saved = [torch.empty_like(parameter) for parameter in self.parameters]
        self._shift = torch.zeros(sum(copy.numel() for copy in self._saved), dtype=first.dtype, device=first.device)
        # On a CPU the norm of tens of millions of numbers at once is wrong by a thousandth.
        self._chunks = torch.split(self._shift, 2**16)
        # Views in the layout of the parameters, so that whole lists are copied and added at once.
        shifts = torch.split(self._shift, [copy.numel() for copy in self._saved])
        self._shifts = [
            shift.as_strided(copy.size(), copy.stride()) for shift, copy in zip(shifts, self._saved, strict=True)
        ]

    @torch.no_grad()
    def perturb_(self) -> None:
        """Go to the perturbed point along the gradients; a parameter without a gradient stays.

        If the norm of the gradient is not finite, no parameter moves.
        """
        assert not self._is_perturbed, "perturb_ was called twice without restore_"
        if not self._saved:
            self._allocate()
        pairs = [(s, p.grad) for s, p in zip(self._shifts, self.parameters, strict=True) if p.grad is not None]
        if len(pairs) < len(self.parameters):
            self._shift.zero_()
        if pairs:
            torch._foreach_copy_([shift for shift, _ in pairs], [gradient for _, gradient in pairs])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._chunks)))
        scale = torch.where(norm.isfinite(), self.rho / (norm + _EPS), torch.zeros_like(norm))
        # Infinity times zero is not a number, and must move nothing either.
        self._shift.mul_(scale).nan_to_num_(nan=0.0)
        torch._foreach_copy_(self._saved, self.parameters)
        torch._foreach_add_(self.parameters, self._shifts)
        self._is_perturbed = True

    @torch.no_grad()
    def restore_(self) -> None:
        """Go back to the point from which `perturb_` started, bit for bit."""
        assert self._is_perturbed, "restore_ was called without perturb_"
        torch._foreach_copy_(self.parameters, self._saved)
        self._is_perturbed = False
