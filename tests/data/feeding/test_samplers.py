from __future__ import annotations

import numpy as np
import pytest
import torch

from glmc_zoo.data.feeding.samplers import EpochSampler
from glmc_zoo.errors import UserError


def test_order_is_a_permutation_fixed_by_seed_and_epoch() -> None:
    sampler = EpochSampler(100, second_weights=None, seed=3)
    first = list(sampler)
    assert sorted(pair.first for pair in first) == list(range(100))
    assert [pair.first for pair in first] != list(range(100))
    assert {pair.second for pair in first} == {-1}
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert [pair.first for pair in sampler] != [pair.first for pair in first]
    fresh = EpochSampler(100, second_weights=None, seed=3)
    fresh.set_epoch(1)
    assert list(fresh) == list(sampler)
    assert list(EpochSampler(100, second_weights=None, seed=4)) != first
    assert len(sampler) == 100


def test_sampler_leaves_global_generators_alone() -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(EpochSampler(100, second_weights=torch.ones(100), seed=0))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_sample_seeds_are_unique_63_bit_seeds() -> None:
    sampler = EpochSampler(500, second_weights=None, seed=0)
    seeds = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        seeds += [pair.sample_seed for pair in sampler]
    assert len(set(seeds)) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Every bit is used: about half of the seeds have it.
    bits = [sum(seed >> bit & 1 for seed in seeds) / 2000 for bit in range(63)]
    assert min(bits) > 0.44
    assert max(bits) < 0.56


def test_partners_follow_the_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0]).repeat(250)
    sampler = EpochSampler(1000, second_weights=weights, seed=0)
    counts = np.zeros(1000)
    for epoch in range(50):
        sampler.set_epoch(epoch)
        counts += np.bincount([pair.second for pair in sampler], minlength=1000)
    kinds = counts.reshape(250, 4).sum(0)
    assert kinds[0] == 0
    expected = 50_000 * np.array([1, 2, 5]) / 8
    # Chi-square with 2 degrees of freedom: above 13.8 once in a thousand.
    assert ((kinds[1:] - expected) ** 2 / expected).sum() < 13.8


def test_order_does_not_depend_on_the_partners() -> None:
    plain = EpochSampler(64, second_weights=None, seed=5)
    paired = EpochSampler(64, second_weights=torch.arange(64), seed=5)
    assert [(p.first, p.sample_seed) for p in plain] == [(p.first, p.sample_seed) for p in paired]


@pytest.mark.parametrize(
    ("weights", "seed", "parts"),
    [
        (torch.ones(9), 0, ["(9,)", "10 images"]),
        (torch.zeros(10), 0, ["not all 0"]),
        (-torch.ones(10), 0, ["0 or more"]),
        (torch.full((10,), float("inf")), 0, ["finite"]),
        (None, -1, ["-1", "0 or more"]),
    ],
)
def test_bad_sampler_options(weights: torch.Tensor | None, seed: int, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        EpochSampler(10, second_weights=weights, seed=seed)
    assert all(part in str(caught.value) for part in parts)
    assert str(caught.value) == caught.value.sentence
