"""Post-hoc corrections against their definitions in numpy, and on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from glmc_zoo.errors import UserError
from glmc_zoo.method.posthoc import adjust_logits, tau_norm_logits

COUNTS = [90, 9, 1]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_adjustment_is_the_definition(tau: float) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = logits - tau * np.log(np.array(COUNTS) / 100)
    found = adjust_logits(torch.from_numpy(logits), COUNTS, tau)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(adjust_logits(torch.from_numpy(logits), torch.tensor(COUNTS), tau), found)


def test_adjustment_turns_a_prior_into_an_even_chance() -> None:
    prior = torch.tensor([COUNTS]).float().div(100).log()  # a model that has learnt the frequencies and nothing else
    np.testing.assert_allclose(adjust_logits(prior, COUNTS).softmax(dim=1), 1 / 3, rtol=1e-5)


def test_adjustment_changes_a_prediction_at_the_margin() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]])  # the lead is 2; log(90 / 9) is 2.3 and log(90 / 1) is 4.5
    assert adjust_logits(logits, COUNTS, 0.4).argmax() == 0
    assert adjust_logits(logits, COUNTS, 1.0).argmax() == 2
    assert adjust_logits(logits, [90, 9, 9], 0.8).argmax() == 0  # 0.8 * 2.3 is below the lead


def test_adjustment_of_a_class_without_images() -> None:
    with pytest.raises(UserError, match="positive"):
        adjust_logits(torch.zeros(1, 2), [3, 0])


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("biased", [True, False])
def test_tau_norm_is_the_normalised_classifier_on_the_features(tau: float, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features, weight, bias = (torch.randn(shape, generator=generator) for shape in ((6, 8), (4, 8), (4,)))
    plain = functional.linear(features, weight, bias if biased else None)
    found = tau_norm_logits(plain, weight, bias if biased else None, tau=tau)
    norms = np.linalg.norm(weight.numpy().astype(np.float64), axis=1)
    np.testing.assert_allclose(
        found, features.numpy() @ (weight.numpy() / norms[:, None] ** tau).T, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("tau", ["1.0", "0.5"])
def test_tau_norm_reference(maxnorm: dict[str, np.ndarray], tau: str) -> None:
    weight, bias = torch.tensor(maxnorm["weight"]), torch.tensor(maxnorm["bias"])
    features = torch.randn(6, weight.shape[1], generator=torch.Generator().manual_seed(0))
    found = tau_norm_logits(functional.linear(features, weight, bias), weight, bias, tau=float(tau))
    np.testing.assert_allclose(found, features.numpy() @ maxnorm[f"taunorm_{tau}"].T, rtol=0, atol=1e-5)


def test_tau_norm_changes_a_prediction() -> None:
    weight, features = torch.tensor([[4.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    plain = features @ weight.T  # 4 to 2: the long row wins, though the feature points the other way
    assert tau_norm_logits(plain, weight, tau=0.0).argmax() == 0
    np.testing.assert_allclose(tau_norm_logits(plain, weight, tau=1.0), [[1.0, 2.0]])


def test_tau_norm_of_a_row_of_zeros() -> None:
    weight = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    np.testing.assert_array_equal(tau_norm_logits(torch.tensor([[0.0, 6.0]]), weight, tau=1.0), [[0.0, 3.0]])
