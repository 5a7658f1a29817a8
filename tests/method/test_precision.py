"""Losses of heads in half precision under autocast on a CPU, against the same numbers in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glmc_zoo.method import BalancedSoftmaxLoss, ClassBalancedLoss, GLMCOutput, MixedViews, get_loss, glmc_loss
from glmc_zoo.method.registry import load_plugin

PLUGINS = Path(__file__).resolve().parents[2] / "recipes" / "plugins"
COUNTS = [int(5000 * 100 ** (-index / 9)) for index in range(10)]
HALF = [torch.bfloat16, torch.float16]
# A gradient leaves the loss in half precision, in bfloat16 rounded by up to 2 ** -9 of each value, for each view once.
ROUNDING = 6e-3


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradient(loss: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    leaf = inputs.clone().requires_grad_()
    value = loss(leaf)
    (1024 * value).backward()  # as a gradient scaler does for float16
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def compare(loss: Callable[[Tensor], Tensor], inputs: Tensor, reference: Callable[[Tensor], Tensor]) -> None:
    """The loss under autocast is float32, and as exact as that in value and gradient."""
    expected, direction = value_and_gradient(reference, inputs.double())
    with torch.autocast("cpu", inputs.dtype):
        value, gradient = value_and_gradient(loss, inputs)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert float((gradient.double() - direction).norm() / direction.norm()) < ROUNDING


def heads(prediction: Tensor, projection: Tensor) -> GLMCOutput:
    logits = torch.zeros(len(prediction), 10, dtype=prediction.dtype)
    return GLMCOutput(logits, logits, projection, prediction)


def consistency(prediction: Tensor, projection: Tensor) -> Tensor:
    """Half of the consistency of two views with the same heads."""
    labels = torch.full((len(prediction), 10), 0.1, dtype=torch.promote_types(prediction.dtype, torch.float32))
    views = MixedViews(torch.empty(0), torch.empty(0), labels, labels, labels, labels)
    both = heads(prediction, projection)
    return glmc_loss(both, both, views, alpha=1.0, consistency_weight=1.0)["consistency"] / 2


@pytest.mark.parametrize("dtype", HALF)
def test_consistency_of_views_that_nearly_agree(dtype: torch.dtype) -> None:
    projection = noise(0, 64, 128)
    apart = noise(1, 64, 128) * projection.norm(dim=1, keepdim=True) / 128**0.5
    projection, prediction = projection.to(dtype), (projection + 0.051 * apart).to(dtype)

    def reference(prediction: Tensor) -> Tensor:
        target = projection.double()
        cosine = (prediction * target).sum(1) / prediction.norm(dim=1) / target.norm(dim=1)
        return -cosine.mean()

    assert reference(prediction.double()).item() == pytest.approx(-0.9987, abs=1e-4)
    compare(lambda values: consistency(values, projection), prediction, reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_autocast_the_consistency_is_that_of_pytorch_bit_for_bit(dtype: torch.dtype) -> None:
    projection, prediction = noise(0, 64, 128).to(dtype), noise(1, 64, 128).to(dtype)

    def by_pytorch(values: Tensor) -> Tensor:
        each = [-F.cosine_similarity(values, projection, dim=-1).mean() for _ in range(2)]
        return (each[0] + each[1]) / 2

    ours = value_and_gradient(lambda values: consistency(values, projection), prediction)
    expected = value_and_gradient(by_pytorch, prediction)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))
    assert ours[0].dtype == dtype


def cross_entropy(logits: Tensor, labels: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    logits = logits + shift
    return -((logits - logits.logsumexp(1, keepdim=True)) * labels).sum(1).mean()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("sure", [0.0, 8.0])
@pytest.mark.parametrize("name", ["balanced_softmax", "class_balanced", "focal", "ldam_drw"])
def test_losses_of_logits_in_half_precision(name: str, sure: float, dtype: torch.dtype) -> None:
    """Those of undecided and of sure predictions."""
    target = torch.arange(60) % 10
    labels = F.one_hot(target, 10)
    logits = (2 * noise(2, 60, 10) + sure * labels).to(dtype)
    if name in ("focal", "ldam_drw"):
        load_plugin(PLUGINS / f"{name}.py")
        loss = get_loss(name)(COUNTS)
        compare(lambda values: loss(values, target), logits, lambda values: loss(values, target))
    elif name == "class_balanced":
        weighted = ClassBalancedLoss(COUNTS)
        scale = weighted.class_weights.double()[target][:, None]
        compare(lambda values: weighted(values, target), logits, lambda values: cross_entropy(values, labels * scale))
    else:
        balanced = BalancedSoftmaxLoss(COUNTS)
        prior = (torch.tensor(COUNTS).double() / sum(COUNTS)).log()
        compare(lambda values: balanced(values, target), logits, lambda values: cross_entropy(values, labels, prior))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("branch", ["reweighted", "balanced_softmax", "plugin"])
def test_both_cross_entropies_of_glmc(branch: str, dtype: torch.dtype) -> None:
    prior = (torch.tensor(COUNTS).double() / sum(COUNTS)).log()
    soft, weighted = noise(3, 60, 10).softmax(1), noise(4, 60, 10).exp()
    logits = (2 * noise(5, 60, 10)).to(dtype)
    more = {"balanced_softmax": {"log_prior": prior.float()}, "plugin": {"criterion": own_loss}}.get(branch, {})

    def loss(values: Tensor) -> Tensor:
        out = GLMCOutput(values, values, torch.ones(60, 4), torch.ones(60, 4))
        views = MixedViews(
            torch.empty(0), torch.empty(0), *(labels.float() for labels in (soft, soft, weighted, weighted))
        )
        return glmc_loss(out, out, views, alpha=0.3, consistency_weight=0.0, **more)["loss"]  # type: ignore[arg-type]

    def reference(values: Tensor) -> Tensor:
        rebalanced = {
            "reweighted": lambda: cross_entropy(values, weighted),
            "balanced_softmax": lambda: cross_entropy(values, soft, prior),
            "plugin": lambda: own_loss(values, soft),
        }[branch]()
        return 2 * (0.3 * cross_entropy(values, soft) + 0.7 * rebalanced)

    compare(loss, logits, reference)


def own_loss(logits: Tensor, target: Tensor) -> Tensor:
    """A loss as users write it, without a thought about precision."""
    p = logits.softmax(dim=1)
    return -(target * (1 - p) ** 2 * p.log()).sum(dim=1).mean()
