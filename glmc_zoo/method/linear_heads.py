"""Many linear classifiers on the same features, trained together to the minimum of their losses.

The loss of a linear classifier is convex: it has one minimum, and no learning rate has to be chosen. All classifiers
take their steps together, with one matrix product for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_MAX_LOGITS = 2**25
"""Logits that are computed at once."""
_BLOCK = 4096
"""Images whose logits are computed at once."""


@dataclass(frozen=True)
class HeadProblems:
    """Classifiers to train on the same features (N, D): G of them for C classes."""

    margins: Tensor
    """Added to the logits in training, (G, C): the logarithm of the class frequencies makes it balanced softmax."""
    weight_decay: Tensor
    """Strength of the pull towards ``anchor``, (G,)."""
    anchor: Tensor
    """Weights that training starts from and is pulled to, (G, C, D)."""
    image_weights: Tensor
    """Weight of each image in the loss, (G, N), not negative; 0 leaves an image out."""

    def select(self, heads: Tensor) -> "HeadProblems":
        """The problems of some of the classifiers."""
        return HeadProblems(
            self.margins[heads], self.weight_decay[heads], self.anchor[heads], self.image_weights[heads]
        )


@dataclass(frozen=True)
class LinearHeads:
    """G linear classifiers."""

    weight: Tensor
    """(G, C, D)."""
    bias: Tensor
    """(G, C)."""

    def logits(self, features: Tensor) -> Tensor:
        """Logits (G, N, C) of features (N, D)."""
        return torch.einsum("nd,gcd->gnc", features, self.weight) + self.bias[:, None]

    def select(self, heads: Tensor) -> "LinearHeads":
        """Some of the classifiers."""
        return LinearHeads(self.weight[heads], self.bias[heads])


@dataclass(frozen=True)
class PrincipalAxes:
    """Centred features along their principal axes, and how far the loss can bend along each of them.

    The curvature of cross-entropy in the logits is at most 1/2 (Boehning, Multinomial logistic regression algorithm,
    1992). So a step along an axis of variance ``s`` may have the length 1 / (s / 2 + weight decay), and no other length
    has to be searched.
    """

    mean: Tensor
    """(D,)."""
    axes: Tensor
    """(D, D), an axis in each column."""
    variance: Tensor
    """(D,)."""
    rotated: Tensor
    """(N, D)."""

    @classmethod
    def from_features(cls, features: Tensor) -> "PrincipalAxes":
        """The principal axes of features (N, D)."""
        mean = features.mean(dim=0)
        centred = features - mean
        covariance = centred.T @ centred / len(features)
        try:
            variance, axes = torch.linalg.eigh(covariance)
        except torch.linalg.LinAlgError:
            # With fewer images than features many eigenvalues are 0, and single precision may not converge.
            variance, axes = (tensor.to(covariance) for tensor in torch.linalg.eigh(covariance.double()))
        # Axes whose variance is only rounding error are left out: a classifier must not learn from them.
        has_variance = variance > 4 * torch.finfo(variance.dtype).eps * variance.max()
        return cls(mean, axes, torch.where(has_variance, variance, 0), (centred @ axes) * has_variance)


def class_means(features: Tensor, labels: Tensor, classes: int, image_weights: Tensor) -> Tensor:
    """Mean features (C, D) of each class.

    Features are (N, D), ``image_weights`` are (N,). A class without images, or with weights of 0 alone, has means of 0.
    """
    weighted_one_hot = torch.nn.functional.one_hot(labels, classes).to(features) * image_weights[:, None]
    means: Tensor = weighted_one_hot.T @ features / weighted_one_hot.sum(dim=0)[:, None].clamp_min(1e-12)
    return means


def mean_anchor(means: Tensor, scale: float) -> Tensor:
    """Weights (C, D) of length ``scale`` that point from the mean of all class means to each class mean."""
    directions = means - means.mean(dim=0)
    lengths: Tensor = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    return directions * (scale / lengths.clamp_min(1e-12))


def fit_heads(
    features: Tensor,
    labels: Tensor,
    problems: HeadProblems,
    *,
    tolerance: float = 1e-3,
    max_steps: int = 300,
    principal_axes: PrincipalAxes | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> LinearHeads:
    """Minimise, for every problem, the mean cross-entropy plus ``weight_decay / 2`` times the squared distance.

    The distance is between the weights and the anchor; the bias is not penalised. Steps use Nesterov momentum, which
    restarts at 0 when it points uphill (O'Donoghue and Candes, 2015).

    Args:
        features: float (N, D); the result has their type.
        labels: int64 (N,).
        problems: The classifiers to train.
        tolerance: A classifier is done when a step changes the logits of the training images by less than this, as a
            root mean square.
        max_steps: Largest number of steps.
        principal_axes: `PrincipalAxes` of the features, if they were computed before.
        progress: Called with the finished share of the work, from 0 to 1.

    Returns:
        The classifiers, for features that are not centred or rotated.
    """
    principal_axes = principal_axes or PrincipalAxes.from_features(features)
    heads, classes, _ = problems.anchor.shape
    chunk = max(1, _MAX_LOGITS // (min(len(features), _BLOCK) * classes))
    weights, biases = [], []
    for start in range(0, heads, chunk):
        indices = torch.arange(start, min(start + chunk, heads), device=features.device)

        def report(share: float, finished: int = start, chunk_heads: int = len(indices)) -> None:
            progress((finished + share * chunk_heads) / heads)

        fitted = _Descent(principal_axes, labels, problems.select(indices)).run(tolerance, max_steps, report)
        weights.append(fitted.weight)
        biases.append(fitted.bias)
    return LinearHeads(torch.cat(weights), torch.cat(biases))


class _Descent:
    """Accelerated steps of some classifiers, along the principal axes of the features."""

    def __init__(self, principal_axes: PrincipalAxes, labels: Tensor, problems: HeadProblems) -> None:
        self.principal_axes = principal_axes
        # A column of ones stands for the bias.
        ones = principal_axes.rotated.new_ones(len(labels), 1)
        self.inputs = torch.cat([principal_axes.rotated, ones], dim=1)
        total = problems.image_weights.sum(dim=1)
        self.problems = replace(problems, image_weights=problems.image_weights / total[:, None])
        self.labels = labels
        anchor = problems.anchor @ principal_axes.axes
        self.anchor = torch.cat([anchor, torch.zeros_like(anchor[..., :1])], dim=2)
        # Leaving images out, or weighing them, raises the variance by no more than the largest weight.
        largest_weight = self.problems.image_weights.amax(dim=1) * len(labels)
        variance = torch.cat([principal_axes.variance, principal_axes.variance.new_ones(1)])
        decay = problems.weight_decay[:, None].expand(-1, len(variance)).clone()
        decay[:, -1] = 0
        self.decay, self.variance = decay[:, None], variance
        # Along an axis without variance there is nothing to learn, and rounding must not be blown up.
        self.curvature = (largest_weight[:, None] * variance / 2 + decay)[:, None].clamp_min(
            1e-6 * float(variance[:-1].max())
        )

    def run(self, tolerance: float, max_steps: int, progress: Callable[[float], None]) -> LinearHeads:
        result = self.anchor.clone()
        active = torch.arange(len(result), device=result.device)
        weights, lookahead, momentum = result.clone(), result.clone(), result.new_ones(len(result))
        for step in range(max_steps):
            gradient = self._gradient(lookahead, active)
            next_weights = lookahead - gradient / self.curvature[active]
            # Momentum that points uphill is dropped, for each classifier by itself.
            uphill = (gradient * (next_weights - weights)).sum(dim=(1, 2)) > 0
            momentum = torch.where(uphill, 1.0, momentum)
            next_momentum = (1 + (1 + 4 * momentum**2).sqrt()) / 2
            factor = torch.where(uphill, 0.0, (momentum - 1) / next_momentum)[:, None, None]
            change = ((next_weights - lookahead) ** 2 * self.variance).sum(dim=2).mean(dim=1).sqrt()
            lookahead = next_weights + factor * (next_weights - weights)
            weights, momentum = next_weights, next_momentum
            result[active] = weights
            unconverged = change > tolerance
            if not bool(unconverged.all()):
                active, weights = active[unconverged], weights[unconverged]
                lookahead, momentum = lookahead[unconverged], momentum[unconverged]
            progress(max((step + 1) / max_steps, 1 - len(active) / len(result)))
            if not len(active):
                break
        weight = result[..., :-1] @ self.principal_axes.axes.T
        return LinearHeads(weight, result[..., -1] - weight @ self.principal_axes.mean)

    def _gradient(self, weights: Tensor, active: Tensor) -> Tensor:
        heads, classes, dim = weights.shape
        matrix, gradient = weights.reshape(-1, dim).T, torch.zeros_like(weights).reshape(-1, dim)
        margins, image_weights = self.problems.margins[active], self.problems.image_weights[active].T
        for start in range(0, len(self.inputs), _BLOCK):
            block = slice(start, start + _BLOCK)
            inputs, labels = self.inputs[block], self.labels[block]
            error = ((inputs @ matrix).reshape(-1, heads, classes) + margins).softmax(dim=2)
            error[torch.arange(len(labels), device=labels.device), :, labels] -= 1
            error *= image_weights[block][..., None]
            gradient += error.reshape(-1, heads * classes).T @ inputs
        return gradient.reshape(weights.shape) + self.decay[active] * (weights - self.anchor[active])
