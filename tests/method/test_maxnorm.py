"""MaxNorm against the official code's numbers and independent projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from glmc_zoo.method import MaxNorm

Arrays = dict[str, np.ndarray]


def classifier(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(10, 16, generator=generator) * torch.linspace(0.2, 3, 10).unsqueeze(1)


@pytest.mark.parametrize("case", range(4))  # the others have norms that we do not offer
def test_reference(maxnorm: Arrays, case: int) -> None:
    layer = nn.Linear(16, 10)
    layer.load_state_dict({"weight": torch.tensor(maxnorm["weight"]), "bias": torch.tensor(maxnorm["bias"])})
    constraint = MaxNorm(layer.weight, float(maxnorm["case_thresh"][case]))
    np.testing.assert_allclose(constraint.limit, maxnorm[f"case{case}_limit"], rtol=0, atol=1e-6)
    constraint.project_()
    np.testing.assert_allclose(layer.weight.detach(), maxnorm[f"case{case}_weight"], rtol=0, atol=1e-6)
    with torch.no_grad():
        layer.weight.mul_(1.25)
    constraint.project_()
    np.testing.assert_allclose(layer.weight.detach(), maxnorm[f"case{case}_weight_scaled_again"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(layer.bias.detach(), maxnorm["bias"])


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 1.0])
def test_projection_is_torch_renorm(threshold: float) -> None:
    weight = classifier()
    norms = np.linalg.norm(weight.double().numpy(), axis=1)
    limit = norms.min() + threshold * (norms.max() - norms.min())
    expected = torch.renorm(weight, p=2, dim=0, maxnorm=float(limit))
    MaxNorm(weight, threshold).project_()
    torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


def test_default_threshold() -> None:
    weight = classifier()
    norms = weight.norm(dim=1)
    torch.testing.assert_close(MaxNorm(weight).limit, norms.min() + 0.1 * (norms.max() - norms.min()))


def test_rows_stay_in_the_ball_while_training() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 10)
    constraint = MaxNorm(layer.weight, 0.5)
    limit = constraint.limit.clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    x, y = torch.randn(32, 16), torch.randint(10, (32,))
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(x), y).backward()
        optimizer.step()
        constraint.project_()
        assert (layer.weight.norm(dim=1) <= limit * (1 + 1e-6)).all()
    assert torch.equal(constraint.limit, limit)
    assert layer.weight.requires_grad and layer.weight.is_leaf


def test_directions_and_short_rows_stay() -> None:
    weight = classifier()
    before = weight.clone()
    constraint = MaxNorm(weight, 0.3)
    constraint.project_()
    torch.testing.assert_close(torch.cosine_similarity(weight, before), torch.ones(10))
    short = before.norm(dim=1) < constraint.limit
    assert 0 < short.sum() < 10
    assert torch.equal(weight[short], before[short])
    once = weight.clone()
    constraint.project_()
    torch.testing.assert_close(weight, once)


def test_convolutional_classifier() -> None:
    weight = classifier()
    convolution = weight.clone().reshape(10, 16, 1, 1)
    for tensor in (weight, convolution):
        MaxNorm(tensor, 0.2).project_()
    torch.testing.assert_close(convolution.flatten(1), weight)


def test_zero_row() -> None:
    weight = classifier()
    weight[4] = 0
    MaxNorm(weight, 0.1).project_()
    assert weight.isfinite().all()
    assert torch.equal(weight[4], torch.zeros(16))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_threshold_is_checked(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold must lie in 0 to 1, got {threshold}"):
        MaxNorm(classifier(), threshold)
