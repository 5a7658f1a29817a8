"""timm's policies: what is drawn, from which seeds, and how it is applied."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_policies

from glmc_zoo.data.feeding.policies import PolicyParams, apply_policy, make_policy
from glmc_zoo.errors import UserError

SPECS = ["original", "originalr", "v0", "v0r", "3a", "rand-m9-mstd0.5-inc1", "rand-m15-n3-mmax20-p0.9-mstd101"]
SPECS += ["rand-m7-tweights", "rand-n2-t3aw", "augmix-m3-w3", "augmix-m5-w4-d2-a0.5-mstd0.5", "augmix-m5-b1"]
FILL = torch.tensor((124.0, 116.0, 104.0)).view(1, 3, 1, 1)


def batch(count: int, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return smooth.clamp(0, 1).mul(255).to(torch.uint8)


def pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def equal(one: PolicyParams, other: PolicyParams) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("spec", ["original", "originalr", "v0", "original-mstd0.5"])
def test_autoaugment_is_timms_own_image_by_image(spec: str) -> None:
    # From equal seeds timm itself draws the same operations, since AutoAugment uses Python's generator alone.
    count, side, fill = 60, 32, (124, 116, 104)
    hparams = {"translate_const": 14, "img_mean": fill, "interpolation": Image.Resampling.BILINEAR}
    theirs = timm_policies.auto_augment_transform(spec, hparams)
    images, policy = batch(count, side), make_policy(spec, side, "bilinear")
    found = apply_policy(images, policy.sample_params(range(count), 1), FILL)
    changed = compared = 0
    for seed in range(count):
        random.seed(seed << 16 | 1)
        try:
            expected = np.asarray(theirs(pil(images[seed])))
        except ValueError:  # Pillow refuses to posterize to no bits at all
            continue
        apart = np.abs(found[seed].permute(1, 2, 0).numpy().astype(int) - expected)
        # A value that rounds otherwise can end on the other side of a threshold: solarize, posterize, equalize.
        assert (apart > 2).mean() < 0.02
        changed += (expected != np.asarray(pil(images[seed]))).any()
        compared += 1
    assert compared > 50 and changed > 40


@pytest.mark.parametrize("spec", SPECS)
def test_an_image_depends_on_its_seed_and_view_alone(spec: str) -> None:
    policy, images = make_policy(spec, 32, "bicubic"), batch(12)
    seeds = [2**62 + 7 * row for row in range(12)]
    views = [apply_policy(images, policy.sample_params(seeds, view), FILL) for view in range(2)]
    order = [5, 0, 11]
    for view, whole in enumerate(views):
        part = policy.sample_params([seeds[row] for row in order], view)
        assert torch.equal(apply_policy(images[order], part, FILL), whole[order])
    assert not torch.equal(*views)
    assert sum(not torch.equal(one, other) for one, other in zip(*views, strict=True)) >= 6
    copy = pickle.loads(pickle.dumps(policy))  # as it travels to workers
    assert equal(copy.sample_params(seeds, 0), policy.sample_params(seeds, 0))


def test_global_generators_are_left_as_they_are() -> None:
    random.seed(3)
    np.random.seed(4)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    for spec in SPECS:
        make_policy(spec, 32, "bicubic").sample_params([1, 2], 0)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(5)
    other = make_policy("rand-m9-mstd0.5-inc1", 32, "bicubic").sample_params([1, 2], 0)
    random.seed(6)
    assert equal(make_policy("rand-m9-mstd0.5-inc1", 32, "bicubic").sample_params([1, 2], 0), other)


@pytest.mark.parametrize("spec", ["original", "augmix-m3-w3", "augmix-m5-b1"])
def test_both_layouts_give_the_same_values(spec: str) -> None:
    images = batch(16)
    params = make_policy(spec, 32, "bicubic").sample_params(range(16), 0)
    before = images.clone()
    found = apply_policy(images, params, FILL)
    other = apply_policy(images.contiguous(memory_format=torch.channels_last), params, FILL)
    assert torch.equal(images, before) and torch.equal(found, other)
    assert found.is_contiguous() and other.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == torch.uint8 and not torch.equal(found, images)


# ------------------------------------------------------------------------------------------------ what is drawn
def operations(spec: str, count: int = 4000) -> list[list[str]]:
    """timm's functions of each image, as they are recorded."""
    policy, chosen = make_policy(spec, 32, "bicubic"), []
    random.seed(0)
    for _ in range(count):
        (chain,) = policy._choose().chains
        chosen.append([step.operation for step in chain])
    return chosen


def test_randaugment_chooses_with_replacement_each_with_its_probability() -> None:
    chosen = operations("rand-m9-n2-p0.5")
    lengths = np.bincount([len(chain) for chain in chosen]) / 4000
    np.testing.assert_allclose(lengths, [0.25, 0.5, 0.25], atol=0.03)
    counts = Counter(name for chain in chosen for name in chain)
    # 15 operations, 5 of which move pixels, 4000 in all.
    assert abs(counts["affine"] - 4000 * 5 / 15) < 150 and abs(counts["equalize"] - 4000 / 15) < 70
    assert any(chain == ["invert", "invert"] for chain in operations("rand-m9-n2-p1"))


def test_weighted_choices_are_numpys() -> None:
    spec = "rand-n2-p1-tweights"
    theirs = timm_policies.rand_augment_transform(spec, {"translate_const": 14})
    rng = np.random.RandomState(0)
    draws = [rng.choice(15, 2, replace=False, p=theirs.choice_weights) for _ in range(4000)]
    moves = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
    names = [[theirs.ops[index].name for index in draw] for draw in draws]
    expected = np.mean([[name in moves for name in draw] for draw in names], axis=0)
    found = np.mean([[name == "affine" for name in draw] for draw in operations(spec)], axis=0)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_magnitudes_are_timms() -> None:
    policy = make_policy("rand-m9-inc1-p1-n1", 100, "bicubic")
    seen: dict[str, set[float]] = {}
    random.seed(0)
    for _ in range(500):
        ((step,),) = policy._choose().chains
        seen.setdefault(step.operation, set()).add(round(step.arguments[0], 4))
    assert seen["solarize"] == {256 - int(0.9 * 256)} and seen["posterize"] == {4 - int(0.9 * 4)}
    assert seen["color"] == seen["sharpness"] == {0.19, 1.81} and seen["solarize_add"] == {99.0}


def test_augmix_is_timms_blend_of_its_chains() -> None:
    images, policy = batch(8), make_policy("augmix-m3-w3", 32, "bilinear")
    seeds = range(100, 108)
    params = policy.sample_params(seeds, 0)
    assert params.shares is not None and params.amount is not None
    torch.testing.assert_close(params.shares.sum(1), torch.ones(8))
    found = apply_policy(images, params, FILL)
    repeated = images.repeat(3, 1, 1, 1)
    chains = apply_policy(repeated, params._replace(shares=None, amount=None), FILL).view(3, *images.shape)
    for row in range(8):
        mixed = np.zeros((32, 32, 3), np.float32)
        for chain, share in zip(chains[:, row], params.shares[row], strict=True):
            mixed += np.float32(share) * np.asarray(pil(chain), dtype=np.float32)
        whole = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
        expected = Image.blend(pil(images[row]), whole, float(params.amount[row]))
        assert np.abs(np.asarray(pil(found[row])).astype(int) - np.asarray(expected)).max() <= 1


def test_augmix_blended_has_timms_weights() -> None:
    policy = make_policy("augmix-m3-b1", 32, "bilinear")
    theirs = timm_policies.augment_and_mix_transform("augmix-m3-b1", {"translate_const": 14})
    params = policy.sample_params([5], 0)
    assert params.amount is None and params.shares is not None
    random.seed(5 << 16)
    parts = np.array([random.gammavariate(1.0, 1) for _ in range(3)])
    expected = theirs._calc_blended_weights(parts / parts.sum(), random.betavariate(1.0, 1.0))
    np.testing.assert_allclose(params.shares[0].numpy(), expected, rtol=1e-5)


def test_only_three_augment_keeps_the_jitter() -> None:
    kept = {spec for spec in SPECS if make_policy(spec, 32, "bicubic").keeps_jitter}
    assert kept == {"3a", "rand-n2-t3aw"}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("nonsense", "Unknown AA policy nonsense"),
        ("rand-x3", "Unknown RandAugment config section"),
        ("rand-m9.5", "invalid literal"),
        ("rand-foo", "'foo' has no number"),
        ("rand-m9-tfoo", "no set of operations 'foo'"),
        ("rand-n0", "0 operations cannot be chosen"),
        ("rand-n16-tweights", "16 operations cannot be chosen out of 15"),
        ("rand-p3", "probability exceeds 1"),
        ("augmix-w0", "width of 1 or more"),
        ("original-m9", "Unknown AutoAugment config section"),
        ("", "Unknown AA policy"),
    ],
)
def test_a_bad_string_is_one_sentence(spec: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        make_policy(spec, 32, "bicubic")
    sentence = str(caught.value)
    assert sentence.startswith(f"auto_augment={spec!r} is not a policy of timm that can be used (")
    assert reason in sentence and sentence.endswith("'rand-m9-mstd0.5-inc1' or 'augmix-m3-w3'.")


def test_the_operations_of_a_batch_travel_in_two_tensors() -> None:
    params: Any = make_policy("rand-m9-n3-p1", 32, "bicubic").sample_params(range(20), 0)
    assert params.positions.shape == (60,) and params.arguments.shape == (60, 6)
    assert [first for _, first, _ in params.groups[1:]] == [last for _, _, last in params.groups[:-1]]
    empty = make_policy("rand-p0", 32, "bicubic").sample_params([1, 2], 0)
    assert empty.groups == () and torch.equal(apply_policy(batch(2), empty, FILL), batch(2))
