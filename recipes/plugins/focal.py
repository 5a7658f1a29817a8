"""Focal loss (Lin et al., ICCV 2017): ``--plugin recipes/plugins/focal.py --method focal``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glmc_zoo import register_loss


@register_loss("focal", title="focal loss")
class FocalLoss(nn.Module):
    """Cross-entropy weighted by ``(1 - p) ** gamma``, so that well classified images count less."""

    def __init__(self, class_counts: list[int], gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits (B, C) against classes (B,) or their probabilities (B, C)."""
        if target.ndim == 1:
            target = F.one_hot(target, logits.shape[1])
        # Autocast on a CPU would keep bfloat16, in which 1 - p of a confident prediction is 0.
        log_p = F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return -(target * (1 - log_p.exp()) ** self.gamma * log_p).sum(dim=1).mean()
