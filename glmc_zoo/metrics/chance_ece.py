"""The calibration error that probabilities without any error show on a finite number of images."""

import math

from .longtail import ScoreCounts


def chance_ece(counts: ScoreCounts) -> float | None:
    """Compute the mean ``ece`` of perfectly calibrated probabilities on as many images, as a fraction of 1.

    The number of right predictions in a confidence bin is then binomial. It differs from the sum of the bin's
    probabilities by chance, and the ``ece`` counts each difference as an error. The mean is exact where all
    probabilities of a bin are equal; here the mean probability of the bin stands for them.

    Args:
        counts: Counts of the scored images.

    Returns:
        The mean, or ``None`` if the images came without probabilities.

    Example:
        >>> counts = ScoreCounts.without_groups(2)
        >>> counts.update([0, 1], probabilities=[[0.8, 0.2], [0.8, 0.2]])
        >>> round(chance_ece(counts), 3)  # 2 images: (0.64 x 0.4 + 0.32 x 0.6 + 0.04 x 1.6) / 2
        0.256
    """
    bins = [(int(n), float(p)) for n, p in zip(counts.bin_images, counts.bin_confidence, strict=True) if n]
    if not bins:
        return None
    return sum(_mean_absolute_deviation(n, min(total / n, 1.0)) for n, total in bins) / counts.total


def _mean_absolute_deviation(n: int, p: float) -> float:
    """That of a binomial variable from its mean, by De Moivre: ``2 k (1 - p) P(k)`` with ``k = floor(n p) + 1``."""
    if p in (0.0, 1.0):
        return 0.0
    k = math.floor(n * p) + 1
    log_probability = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    log_probability += k * math.log(p) + (n - k) * math.log1p(-p)
    return 2 * k * (1 - p) * math.exp(log_probability)
