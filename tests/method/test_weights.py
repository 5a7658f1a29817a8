"""Class and sample weights against the official code's numbers and against float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glmc_zoo.errors import UserError
from glmc_zoo.method import class_balanced_weights, class_weights, log_prior, sampling_weights

COUNTS = [5000, 1200, 300, 77, 5, 1]


def by_numpy(counts: list[int], power: float) -> np.ndarray:
    inverse = np.array([1.0 / float(n) ** power for n in counts])
    return inverse / inverse.sum() * len(counts)


@pytest.mark.parametrize("power", ["1.0", "1.2"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_class_weights_reference(step: dict[str, np.ndarray], data: str, power: str) -> None:
    weights = class_weights(step[f"counts_{data}_if100"].tolist(), float(power))
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights, step[f"per_cls_weights_{data}_if100_{power}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("power", ["0.0", "0.2", "1.0"])
def test_sampling_weights_reference(step: dict[str, np.ndarray], power: str) -> None:
    weights = sampling_weights(
        range(10), step["counts_cifar10_if100"].tolist(), float(power)
    )  # one sample of each class
    assert weights.dtype == torch.float64
    np.testing.assert_allclose(weights, step[f"sampler_class_weights_cifar10_if100_{power}"], rtol=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.2, 1.0, 1.2, 2.0])
def test_class_weights_formula(power: float) -> None:
    weights = class_weights(COUNTS, power)
    np.testing.assert_allclose(weights, by_numpy(COUNTS, power), rtol=1e-6)
    assert weights.sum().item() == pytest.approx(len(COUNTS), rel=1e-6)
    assert torch.equal(weights, class_weights(torch.tensor(COUNTS), power))


def test_class_weights_survive_extremes() -> None:
    weights = class_weights([10_000_000, 1000, 1], 60.0)  # 1e7 ** 60 is beyond float64
    np.testing.assert_allclose(weights, [0, 0, 3])


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("counts", [COUNTS, [1_280_000, 5000, 3], [1], [7, 7, 7, 7]])
def test_class_balanced_weights_formula(counts: list[int], beta: float) -> None:
    weights = class_balanced_weights(counts, beta)
    inverse = np.array([(1 - beta) / (1 - beta**n) for n in counts])
    expected = inverse / inverse.sum() * len(counts)
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.sum().item() == pytest.approx(len(counts), rel=1e-6)
    assert torch.equal(weights, class_balanced_weights(torch.tensor(counts), beta))


def test_class_balanced_weights_between_even_and_inverse_frequency() -> None:
    assert torch.equal(class_balanced_weights(COUNTS, 0.0), torch.ones(len(COUNTS)))
    # So near to 1 that 1 - beta ** n of a few images has hardly a digit left in float64.
    np.testing.assert_allclose(class_balanced_weights(COUNTS, 1 - 1e-14), by_numpy(COUNTS, 1.0), rtol=1e-5)


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0, float("nan")])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(UserError, match=f"The beta {beta} of class-balanced weights must lie in 0 to 1"):
        class_balanced_weights(COUNTS, beta)


@pytest.mark.parametrize("power", [0.0, 0.2, 1.0, 2.0])
def test_sampling_weights_formula(power: float) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    weights = sampling_weights(torch.from_numpy(labels), COUNTS, power).numpy()
    np.testing.assert_allclose(weights, by_numpy(COUNTS, power)[labels], rtol=1e-12)
    # The share of draws that a class gets, against n ** (1 - q).
    share = np.bincount(labels, weights) / weights.sum()
    expected = np.array(COUNTS, dtype=float) ** (1 - power)
    np.testing.assert_allclose(share, expected / expected.sum(), rtol=1e-9)


def test_log_prior_formula() -> None:
    prior = log_prior(COUNTS)
    assert prior.dtype == torch.float32
    np.testing.assert_allclose(prior, np.log(np.array(COUNTS) / sum(COUNTS)), rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.2, 1.0, 2.0])
def test_tau_counts_the_plain_frequencies_once_more(power: float) -> None:
    frequency = np.array(COUNTS) / sum(COUNTS)
    expected = log_prior(COUNTS, power).double().numpy() + 0.4 * np.log(frequency)
    np.testing.assert_allclose(log_prior(COUNTS, power, tau=1.4), expected, rtol=1e-6)
    np.testing.assert_allclose(log_prior(COUNTS, tau=1.4), 1.4 * np.log(frequency), rtol=1e-6)  # of one sampler


@pytest.mark.parametrize("power", [0.0, 0.2, 1.0, 2.0])
def test_log_prior_of_two_samplers(power: float) -> None:
    counts = np.array(COUNTS, dtype=float)
    second = counts ** (1 - power)
    expected = np.log((counts / counts.sum() + second / second.sum()) / 2)
    np.testing.assert_allclose(log_prior(COUNTS, power), expected, rtol=1e-6)
    if power == 0:
        torch.testing.assert_close(log_prior(COUNTS, power), log_prior(COUNTS))


def test_log_prior_of_any_second_sampler() -> None:
    counts, drawn = np.array(COUNTS, dtype=float), np.array([1, 1, 2, 3, 4, 9], dtype=float)
    expected = np.log((counts / counts.sum() + drawn / drawn.sum()) / 2) + 0.2 * np.log(counts / counts.sum())
    prior = log_prior(COUNTS, sampled_counts=torch.from_numpy(drawn), tau=1.2)
    np.testing.assert_allclose(prior, expected, rtol=1e-6)


@pytest.mark.parametrize("counts", [[5, 0, 2], [5, -1], [], [[1, 2], [3, 4]]])
def test_bad_counts(counts: list[int]) -> None:
    for call in (class_balanced_weights, lambda counts: class_weights(counts, 1.0), log_prior):
        with pytest.raises(UserError, match="must be a list of positive numbers"):
            call(counts)
    with pytest.raises(UserError, match="must be a list of positive numbers"):
        sampling_weights([0], counts, 1.0)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_bad_labels(labels: list[int]) -> None:
    with pytest.raises(UserError, match=f"Labels from {min(labels)} to {max(labels)} do not fit 3 class counts"):
        sampling_weights(labels, [3, 2, 1], 1.0)
