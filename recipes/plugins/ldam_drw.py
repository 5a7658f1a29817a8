"""LDAM with deferred re-weighting (Cao et al., NeurIPS 2019): ``--plugin recipes/plugins/ldam_drw.py``."""

from torch import Tensor, nn, tensor

from glmc_zoo import register_loss
from glmc_zoo.method import class_balanced_weights


@register_loss("ldam_drw", title="LDAM with deferred re-weighting")
class LDAMLoss:
    """Cross-entropy with larger margins for rare classes. The logits replace ``scale * cosine`` of the paper."""

    def __init__(self, class_counts: list[int], max_margin: float = 0.5, scale: float = 30.0) -> None:
        self.margins = scale * max_margin * (min(class_counts) / tensor(class_counts)) ** 0.25
        self.weights, self.is_reweighted = class_balanced_weights(class_counts, 0.9999), False

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Re-weight from 80 % of the epochs on."""
        self.is_reweighted = 5 * epoch >= 4 * epochs

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of logits (B, C) against classes (B,) or their probabilities (B, C)."""
        one_hot = target if target.ndim == 2 else nn.functional.one_hot(target, logits.shape[1])
        # Margins and weights stay in float32 if autocast gives logits in half precision.
        margins, weights = (values.to(logits.device) for values in (self.margins, self.weights))
        log_p = nn.functional.log_softmax(logits - margins * one_hot, dim=1)
        return -((weights if self.is_reweighted else 1.0) * one_hot * log_p).sum(dim=1).mean()
