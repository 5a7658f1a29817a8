"""Boxes, draws and mixed views against the official code's numbers, NumPy, and the statistics they must have."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glmc_zoo.method import Mix, MixedViews, class_weights, cut_box, draw_mix, mix_batch, mix_views
from glmc_zoo.method.mixing import area_lam, partner_share

CLASSES = 5
Arrays = dict[str, np.ndarray]


def batch(height: int = 12, width: int = 8, size: int = 4) -> dict[str, Any]:
    """Arguments of `mix_views` but for the mix."""
    generator = torch.Generator().manual_seed(0)

    def images() -> Tensor:
        return torch.randn(size, 3, height, width, generator=generator)

    return {
        "first": (images(), images()),
        "second": (images(), images()),
        "targets": torch.tensor([0, 1, 2, 3]),
        "second_targets": torch.tensor([4, 1, 0, 0]),
        "num_classes": CLASSES,
    }


def numpy_state() -> list[int]:
    state: Any = np.random.get_state()
    return state[1].tolist()


def expected_area(height: int, width: int) -> float:
    """Mean share that a clipped box covers: lam over a fine grid of the uniform, centres over all pixels."""
    total, lams = 0.0, (np.arange(2000) + 0.5) / 2000
    for lam in lams:
        sides = []
        for side in (height, width):
            half = int(np.ceil(side * np.sqrt(1 - lam))) // 2
            centre = np.arange(side)
            sides.append((np.minimum(centre + half, side) - np.maximum(centre - half, 0)).mean())
        total += sides[0] * sides[1] / (height * width)  # row and column are independent given lam
    return total / len(lams)


@pytest.mark.parametrize("name", ["bbox", "bbox_tall"])
def test_boxes_reference(step: Arrays, name: str) -> None:
    height, width = step[f"{name}_size"].tolist()[2:]
    for lam, centre, box in zip(step[f"{name}_lam"], step[f"{name}_centre"], step[f"{name}_x1x2y1y2"], strict=True):
        assert cut_box(height, width, float(lam), tuple(centre.tolist())) == tuple(box.tolist())


@pytest.mark.parametrize("power", ["1.2", "1.0"])
@pytest.mark.parametrize("case", "ABCD")
def test_mixed_views_reference(step: Arrays, case: str, power: str) -> None:
    lam, centre = float(step[f"mix{case}_lam"]), tuple(step[f"mix{case}_centre"].tolist())
    box = cut_box(32, 32, lam, centre)
    assert box == tuple(step[f"mix{case}_x1x2y1y2"].tolist())
    views = mix_views(
        (torch.from_numpy(step["org1"]), torch.from_numpy(step["org2"])),
        (torch.from_numpy(step["invs1"]), torch.from_numpy(step["invs2"])),
        torch.from_numpy(step["org_labels"]),
        torch.from_numpy(step["invs_labels"]),
        Mix(lam, box),
        num_classes=10,
        class_weights=class_weights(step["counts_cifar10_if100"].tolist(), float(power)),
    )
    np.testing.assert_allclose(views.global_images, step[f"mix{case}_mixup_x"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(views.local_images, step[f"mix{case}_cutmix_x"])
    for view, mixed in (("global", "mixup"), ("local", "cutmix")):
        labels, weighted = getattr(views, f"{view}_labels"), getattr(views, f"{view}_weighted_labels")
        np.testing.assert_allclose(labels, step[f"mix{case}_{mixed}_y"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(weighted, step[f"mix{case}_{mixed}_y_w_{power}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("lam", "images", "labels"), [(1.0, "org", "org_labels"), (0.0, "invs", "invs_labels")])
def test_one_hots_reference(step: Arrays, lam: float, images: str, labels: str) -> None:
    views = mix_views(
        (torch.from_numpy(step["org1"]), torch.from_numpy(step["org2"])),
        (torch.from_numpy(step["invs1"]), torch.from_numpy(step["invs2"])),
        torch.from_numpy(step["org_labels"]),
        torch.from_numpy(step["invs_labels"]),
        Mix(lam, cut_box(32, 32, lam, (16, 16))),
        num_classes=10,
    )
    np.testing.assert_array_equal(views.global_labels, step[f"one_hot_{images}"])
    np.testing.assert_array_equal(views.global_weighted_labels, step[f"one_hot_{images}"])
    np.testing.assert_array_equal(views.global_images, step[f"{images}1"])
    np.testing.assert_array_equal(views.local_images, step[f"{images}2"])


def test_box_formula() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = rng.integers(1, 70, 2).tolist()
        row, column, lam = int(rng.integers(height)), int(rng.integers(width)), float(rng.random())
        half_h, half_w = (int(np.ceil(side * np.sqrt(1 - lam))) // 2 for side in (height, width))
        rows, columns = np.arange(height), np.arange(width)
        inside_rows = rows[(rows >= row - half_h) & (rows < row + half_h)]
        inside_columns = columns[(columns >= column - half_w) & (columns < column + half_w)]
        top, bottom, left, right = cut_box(height, width, lam, (row, column))
        assert list(range(top, bottom)) == inside_rows.tolist()
        assert list(range(left, right)) == inside_columns.tolist()


def test_box_extremes() -> None:
    assert cut_box(32, 32, 0.0, (16, 16)) == (0, 32, 0, 32)
    top, bottom, left, right = cut_box(32, 32, 1.0, (5, 9))
    assert (top, left) == (bottom, right) == (5, 9)


def test_area_lam() -> None:
    assert area_lam((2, 5, 1, 7), 10, 12) == pytest.approx(1 - 3 * 6 / 120)
    mix = draw_mix(20, 30, generator=torch.Generator().manual_seed(3))
    covered = np.zeros((20, 30))
    covered[mix.box[0] : mix.box[1], mix.box[2] : mix.box[3]] = 1
    assert mix.area_lam == pytest.approx(1 - covered.mean())
    with pytest.raises(ValueError, match="needs the image size"):
        _ = Mix(0.5, (0, 1, 0, 1)).area_lam


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_draw_moments(beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    number = 8000
    lams = np.array([draw_mix(8, 8, beta=beta, generator=generator).lam for _ in range(number)])
    variance = 1 / (4 * (2 * beta + 1))  # of Beta(beta, beta); the mean is 1/2
    assert lams.mean() == pytest.approx(0.5, abs=5 * np.sqrt(variance / number))
    assert lams.var() == pytest.approx(variance, rel=0.05)
    assert 0 <= lams.min() < lams.max() <= 1


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_share_of_the_partners_is_that_of_the_labels(beta: float) -> None:
    generator, number = torch.Generator().manual_seed(0), 8000
    mixes = [draw_mix(512, 512, beta=beta, generator=generator) for _ in range(number)]
    pasted = np.array([1 - mix.area_lam for mix in mixes])
    error = 5 * pasted.std() / np.sqrt(number) + 1e-3  # a thousandth for boxes of whole pixels
    assert partner_share("cutmix", beta, correct_lam=True) == pytest.approx(pasted.mean(), abs=error)
    for views in ("alternate", "mixup_cutmix"):
        expected = (0.5 + pasted.mean()) / 2
        assert partner_share(views, beta, correct_lam=True) == pytest.approx(expected, abs=error)
        assert partner_share(views, beta, unmixed_share=0.2) == 0.4
    assert partner_share("mixup", beta, correct_lam=True) == partner_share("cutmix", beta) == 0.5


def test_draw_boxes() -> None:
    """The mean pasted area is about 0.32 where the nominal one is 0.50, and centres are uniform over the pixels."""
    generator = torch.Generator().manual_seed(1)
    draws = [draw_mix(48, 32, generator=generator) for _ in range(8000)]
    area = np.mean([1 - mix.area_lam for mix in draws])
    assert expected_area(32, 32) == pytest.approx(0.32, abs=0.01)
    assert area == pytest.approx(expected_area(48, 32), abs=0.015)
    # Small boxes that are not clipped show their centre.
    small = [mix.box for mix in draws if mix.lam > 0.98 and mix.box[1] - mix.box[0] in (2, 4)]
    rows = np.array([(top + bottom) / 2 for top, bottom, _, _ in small])
    columns = np.array([(left + right) / 2 for _, _, left, right in small])
    assert rows.mean() == pytest.approx(23.5, abs=5 * 48 / np.sqrt(12 * len(small)))
    assert columns.mean() == pytest.approx(15.5, abs=5 * 32 / np.sqrt(12 * len(small)))
    assert rows.max() > 40 and columns.max() > 27


def test_draw_is_reproducible_and_keeps_to_its_generator() -> None:
    before = torch.get_rng_state(), numpy_state(), random.getstate()
    first, second = (torch.Generator().manual_seed(7) for _ in range(2))
    ours = [draw_mix(32, 32, generator=first) for _ in range(5)]
    assert ours == [draw_mix(32, 32, generator=second) for _ in range(5)]
    assert len({mix.lam for mix in ours}) == 5
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (numpy_state(), random.getstate())


def test_draw_follows_the_global_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ours = draw_mix(32, 32)
        torch.manual_seed(3)
        assert draw_mix(32, 32) == ours != draw_mix(32, 32)


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_draw_refuses_beta(beta: float) -> None:
    with pytest.raises(ValueError, match=f"beta must be positive, got {beta}"):
        draw_mix(32, 32, beta=beta)


def test_views_formula() -> None:
    args = batch()
    mix = Mix(0.7, (2, 9, 3, 8))
    weights = torch.tensor([0.1, 0.4, 0.5, 1.0, 3.0])
    views = mix_views(**args, mix=mix, class_weights=weights)
    (one, two), (other_one, other_two) = (
        [x.double().numpy() for x in pair] for pair in (args["first"], args["second"])
    )
    np.testing.assert_allclose(views.global_images, 0.7 * one + 0.3 * other_one, atol=1e-6)
    inside = np.zeros((12, 8), dtype=bool)
    inside[2:9, 3:8] = True
    np.testing.assert_array_equal(views.local_images, np.where(inside, other_two, two).astype(np.float32))
    labels = np.zeros((4, CLASSES))
    weighted = np.zeros((4, CLASSES))
    for row, (i, j) in enumerate(zip(args["targets"].tolist(), args["second_targets"].tolist(), strict=True)):
        labels[row, i] += 0.7
        labels[row, j] += 0.3
        weighted[row, i] += 0.7 * weights[i].item()
        weighted[row, j] += 0.3 * weights[j].item()
    for name, expected in (("labels", labels), ("weighted_labels", weighted)):
        for view in ("global", "local"):
            np.testing.assert_allclose(getattr(views, f"{view}_{name}"), expected, atol=1e-6)


def test_correct_lam_labels_the_local_view_by_the_pasted_area() -> None:
    mix = Mix(0.7, (0, 6, 0, 2))  # 12 of 96 pixels
    weights = torch.linspace(0.5, 1.5, CLASSES)
    plain = mix_views(**batch(), mix=mix, class_weights=weights)
    corrected = mix_views(**batch(), mix=mix, class_weights=weights, correct_lam=True)
    area = mix_views(**batch(), mix=Mix(1 - 12 / 96, mix.box), class_weights=weights)
    for field in MixedViews._fields:
        source = area if field in ("local_labels", "local_weighted_labels") else plain
        torch.testing.assert_close(getattr(corrected, field), getattr(source, field))
    assert corrected.local_labels[0, 0].item() == pytest.approx(0.875)
    torch.testing.assert_close(corrected.local_labels.sum(1), torch.ones(4))
    assert torch.equal(plain.local_labels, plain.global_labels)


@pytest.mark.parametrize("correct_lam", [False, True])
def test_both_views_of_one_kind(correct_lam: bool) -> None:
    args, mix = batch(), Mix(0.7, (0, 6, 0, 2))  # 12 of 96 pixels
    swapped = args | {name: args[name][::-1] for name in ("first", "second")}
    pair, other = (mix_views(**a, mix=mix, correct_lam=correct_lam) for a in (args, swapped))
    mixup = mix_views(**args, mix=mix, correct_lam=correct_lam, views="mixup")
    cutmix = mix_views(**args, mix=mix, correct_lam=correct_lam, views="cutmix")
    # Each kind on both augmentations: what the published pair makes of them, and of them the other way about.
    for found, expected in (
        (mixup, (pair.global_images, other.global_images)),
        (cutmix, (other.local_images, pair.local_images)),
    ):
        for ours, theirs in zip((found.global_images, found.local_images), expected, strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(found.global_labels, found.local_labels)
        assert torch.equal(found.global_weighted_labels, found.local_weighted_labels)
    assert torch.equal(mixup.local_labels, pair.global_labels)
    assert torch.equal(cutmix.global_labels, pair.local_labels)
    assert cutmix.local_labels[0, 0].item() == pytest.approx(0.875 if correct_lam else 0.7)


def test_views_of_no_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="mixup_cutmix, mixup, cutmix, got 'mosaic'"):
        mix_views(**batch(), mix=Mix(0.7, (0, 6, 0, 2)), views="mosaic")  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(2, 9, 3, 8), (4, 4, 5, 5)])
def test_inputs_stay(box: tuple[int, int, int, int]) -> None:
    args, untouched = batch(), batch()
    weights = torch.rand(CLASSES)
    kept = weights.clone()
    views = mix_views(**args, mix=Mix(0.6, box), class_weights=weights)
    for image in (views.global_images, views.local_images):
        image.zero_()  # an output that shared memory with an input would show now
    for pair in ("first", "second"):
        for ours, theirs in zip(args[pair], untouched[pair], strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(args["targets"], untouched["targets"])
    assert torch.equal(weights, kept)


def test_labels_are_unweighted_without_class_weights() -> None:
    views = mix_views(**batch(), mix=Mix(0.25, (0, 3, 0, 3)))
    torch.testing.assert_close(views.global_weighted_labels, views.global_labels)
    assert views.global_labels.dtype == torch.float32


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("correct_lam", [False, True])
def test_one_view_is_that_half_of_the_two_views(kind: Any, correct_lam: bool) -> None:
    arguments = batch()
    weights = class_weights([50, 20, 10, 5, 2], 1.2)
    mix = Mix(0.6, (2, 9, 3, 8), (12, 8), kind)
    two = mix_views(**arguments, mix=mix, class_weights=weights, correct_lam=correct_lam)
    position = 0 if kind == "mixup" else 1
    first, second = arguments.pop("first")[position], arguments.pop("second")[position]
    one = mix_batch(first, second, **arguments, mix=mix, class_weights=weights, correct_lam=correct_lam)
    assert torch.equal(one.images, two[position])
    assert torch.equal(one.labels, two[2 + position]) and torch.equal(one.weighted_labels, two[4 + position])


def test_one_view_without_class_weights() -> None:
    arguments = batch()
    first, second = arguments.pop("first")[0], arguments.pop("second")[0]
    mixed = mix_batch(first, second, **arguments, mix=Mix(0.25, (0, 0, 0, 0), (12, 8)))
    assert torch.allclose(mixed.images, 0.25 * first + 0.75 * second)
    expected = torch.zeros(4, CLASSES)
    for row, (label, other) in enumerate([(0, 4), (1, 1), (2, 0), (3, 0)]):
        expected[row, label] += 0.25
        expected[row, other] += 0.75
    assert torch.equal(mixed.labels, expected) and torch.equal(mixed.weighted_labels, expected)
