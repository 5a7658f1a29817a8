"""Sharpness-aware minimisation against steps worked out in numpy, and what it promises about the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from glmc_zoo.method import SAM


def network() -> nn.Module:
    """A small network with weights of four shapes, its convolutions in another layout than its other weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 5)]
    model: nn.Module = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    return model


def add_gradients(model: nn.Module) -> None:
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    nn.functional.cross_entropy(model(images), torch.arange(6) % 5).backward()


def copies(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def bits(tensors: list[torch.Tensor]) -> list[bytes]:
    """What tells minus zero from zero, and is the same for the same bits in any layout."""
    return [tensor.detach().contiguous().numpy().tobytes() for tensor in tensors]


def test_steps_on_a_least_squares_problem() -> None:
    rng = np.random.default_rng(0)
    x, y, rho, lr = rng.normal(size=(12, 3)), rng.normal(size=12), 0.3, 0.1
    start, start_bias = rng.normal(size=3), 0.5
    weight, bias = start.copy(), start_bias
    model = nn.Linear(3, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))
        model.bias.fill_(start_bias)
    sam, optimizer = SAM(model.parameters(), rho), torch.optim.SGD(model.parameters(), lr=lr)

    def gradient(w: np.ndarray, b: float) -> tuple[np.ndarray, float]:
        error = x @ w + b - y
        return 2 * x.T @ error / len(y), float(2 * error.mean())

    def backward() -> None:
        optimizer.zero_grad()
        (model(torch.from_numpy(x)).squeeze(1) - torch.from_numpy(y)).square().mean().backward()

    for _ in range(5):
        g, gb = gradient(weight, bias)
        norm = math.sqrt((g**2).sum() + gb**2)
        g, gb = gradient(weight + rho * g / norm, bias + rho * gb / norm)
        weight, bias = weight - lr * g, bias - lr * gb
        backward()
        sam.perturb_()
        backward()
        sam.restore_()
        optimizer.step()
        np.testing.assert_allclose(model.weight.detach().numpy()[0], weight, rtol=1e-12)
        assert model.bias.item() == pytest.approx(bias, rel=1e-12)


def test_every_parameter_moves_along_its_gradient_by_rho_in_all() -> None:
    model = network()
    sam = SAM(model.parameters(), 0.05)
    for _ in range(2):  # the second time with what the first has left
        add_gradients(model)
        before, gradients = copies(model), [parameter.grad.double() for parameter in model.parameters()]
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        sam.perturb_()
        for parameter, old, g in zip(model.parameters(), before, gradients, strict=True):
            torch.testing.assert_close(parameter.double(), old.double() + 0.05 * g / norm, rtol=0, atol=1e-7)
        moved = math.sqrt(
            sum(
                float((p.detach() - old).double().square().sum())
                for p, old in zip(model.parameters(), before, strict=True)
            )
        )
        assert moved == pytest.approx(0.05, rel=1e-5)
        sam.restore_()


def test_restoring_gives_the_same_bits() -> None:
    model = network()
    with torch.no_grad():
        model[4].bias.copy_(torch.tensor([-0.0, 1e-42, 1e30, -1.0, 1 / 3]))  # sums with these lose what was small
    before, strides = bits(copies(model)), [parameter.stride() for parameter in model.parameters()]
    sam = SAM(model.parameters(), 0.7)
    add_gradients(model)
    sam.perturb_()
    assert all(one != other for one, other in zip(bits(copies(model))[:4], before[:4], strict=True))
    sam.restore_()
    assert bits(copies(model)) == before
    assert [parameter.stride() for parameter in model.parameters()] == strides


def test_the_radius_is_kept_by_millions_of_parameters() -> None:
    weight = nn.Parameter(torch.zeros(5_000_000))
    weight.grad = 1e-3 * torch.randn(len(weight), generator=torch.Generator().manual_seed(0))
    SAM([weight], 2.0).perturb_()
    assert float(np.linalg.norm(weight.detach().numpy().astype(np.float64))) == pytest.approx(2.0, rel=2e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(value: float) -> None:
    model = network()
    sam, before = SAM(model.parameters(), 0.05), bits(copies(model))
    add_gradients(model)
    model[0].weight.grad[0, 0, 0, 0] = value
    sam.perturb_()
    assert bits(copies(model)) == before
    sam.restore_()
    assert bits(copies(model)) == before
    model.zero_grad()
    add_gradients(model)
    sam.perturb_()  # and the next step is as if nothing had been
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert bits(copies(model)) != before


def test_only_the_direction_of_the_gradient_counts() -> None:
    moved = []
    for scale in (1.0, 2.0**16, 2.0**-10):
        model = network()
        add_gradients(model)
        for parameter in model.parameters():
            parameter.grad.mul_(scale)
        SAM(model.parameters(), 0.05).perturb_()
        moved.append(copies(model))
    for other in moved[1:]:
        for one, two in zip(moved[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-8)


def test_what_has_no_gradient_stays() -> None:
    model = network()
    model[0].requires_grad_(False)
    sam = SAM(model.parameters(), 0.5)
    add_gradients(model)
    sam.perturb_()
    sam.restore_()
    before = copies(model)
    model[4].weight.grad = None  # had one a step ago
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    sam.perturb_()
    for parameter, old in zip(model.parameters(), before, strict=True):
        expected = old if parameter.grad is None else old + 0.5 / norm * parameter.grad
        torch.testing.assert_close(parameter.detach(), expected)
    sam.restore_()
    model.zero_grad()
    sam.perturb_()  # no gradient at all
    assert bits(copies(model)) == bits(before)


def test_a_gradient_of_zero_moves_nothing() -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = bits(copies(model))
    SAM(model.parameters(), 0.05).perturb_()
    assert all(np.array_equal(np.frombuffer(a, np.float32), np.frombuffer(b, np.float32))
               for a, b in zip(bits(copies(model)), before, strict=True))  # fmt: skip


@pytest.mark.parametrize("rho", [0.0, -1.0, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match=rf"rho must be a number above 0, got {rho}"):
        SAM(network().parameters(), rho)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one parameter"):
        SAM(network().requires_grad_(False).parameters())
