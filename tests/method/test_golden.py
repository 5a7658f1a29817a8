"""The same parity in small, from ``golden.npz``, which travels with the tests.

``golden.npz`` was cut from the reference (the official GLMC code's numbers on small fixed cases): arrays of
``glmc_step.npz`` and ``maxnorm.npz`` under their own names, whole, or at the index that `CUT` gives for them. Images
are one row of pixels (`ROW`, inside the box of case B) of the first two images; the projections, too big to travel, are
stood in for by vectors of the reference's cosines.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glmc_zoo.method import (
    GLMCOutput,
    MaxNorm,
    Mix,
    MixedViews,
    class_weights,
    cumulative_alpha,
    cut_box,
    glmc_loss,
    mix_views,
    sampling_weights,
)

Arrays = dict[str, np.ndarray]
ROW = 26
BOXES = (slice(0, 240, 8),)
PIXELS = (slice(2), slice(None), ROW)
CASE = 2  # of MaxNorm: the default threshold
EPOCHS = (50, 199)
LOGITS = ("logits1", "cb_logits1", "logits2", "cb_logits2")
WHOLE = [
    *("counts_cifar10_if100", "per_cls_weights_cifar10_if100_1.0", "per_cls_weights_cifar10_if100_1.2"),
    *("sampler_class_weights_cifar10_if100_0.2", "bbox_tall_size", "org_labels", "invs_labels"),
    *("mixB_lam", "mixB_centre", "mixB_x1x2y1y2", "mixB_mixup_y", "mixB_mixup_y_w_1.2"),
    *("step_epoch", "step_epochs", "step_contrast_weight", "step_alpha", "step_balance", "step_rebalance"),
    *("step_contrastive", "step_total", "step_simsiam_terms"),
]
WHOLE += [f"in_{name}" for name in LOGITS] + [f"grad_{name}_e{epoch}" for name in LOGITS for epoch in EPOCHS]
CUT: dict[str, Any] = {f"bbox_tall_{name}": BOXES for name in ("lam", "centre", "x1x2y1y2")}
CUT |= dict.fromkeys(("org1", "org2", "invs1", "invs2", "mixB_mixup_x", "mixB_cutmix_x"), PIXELS)
MAXNORM = ["weight", f"case{CASE}_limit", f"case{CASE}_weight", f"case{CASE}_weight_scaled_again"]


def cut(step: Arrays, maxnorm: Arrays) -> Arrays:
    """What ``golden.npz`` holds; ``np.savez_compressed("golden.npz", **cut(...))`` made it."""
    arrays = {name: step[name] for name in WHOLE} | {name: step[name][index] for name, index in CUT.items()}
    return arrays | {name: maxnorm[name] for name in MAXNORM}


def test_is_the_reference(golden: Arrays, step: Arrays, maxnorm: Arrays) -> None:
    expected = cut(step, maxnorm)
    assert golden.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(golden[name], array, err_msg=name)
        assert golden[name].dtype == array.dtype


def test_is_small() -> None:
    assert Path(__file__).with_name("golden.npz").stat().st_size < 32_000


@pytest.fixture
def views(golden: Arrays) -> MixedViews:
    def images(name: str) -> Tensor:  # the stored row of pixels, in every row of the image
        return torch.from_numpy(golden[name]).unsqueeze(2).expand(-1, -1, 32, -1)

    mix = Mix(float(golden["mixB_lam"]), tuple(golden["mixB_x1x2y1y2"].tolist()))
    weights = class_weights(golden["counts_cifar10_if100"].tolist(), 1.2)
    first, second = (images("org1"), images("org2")), (images("invs1"), images("invs2"))
    org, invs = (torch.from_numpy(golden[f"{name}_labels"]) for name in ("org", "invs"))
    return mix_views(first, second, org, invs, mix, num_classes=10, class_weights=weights)


def test_weights(golden: Arrays) -> None:
    counts = golden["counts_cifar10_if100"].tolist()
    for power in ("1.0", "1.2"):
        weights = class_weights(counts, float(power))
        np.testing.assert_allclose(weights, golden[f"per_cls_weights_cifar10_if100_{power}"], rtol=0, atol=1e-5)
    of_samples = sampling_weights(range(10), counts, 0.2)
    np.testing.assert_allclose(of_samples, golden["sampler_class_weights_cifar10_if100_0.2"], rtol=1e-12)


def test_boxes(golden: Arrays) -> None:
    height, width = golden["bbox_tall_size"].tolist()[2:]
    lams, centres, boxes = (golden[f"bbox_tall_{name}"].tolist() for name in ("lam", "centre", "x1x2y1y2"))
    ours = [cut_box(height, width, lam, tuple(centre)) for lam, centre in zip(lams, centres, strict=True)]
    assert ours == [tuple(box) for box in boxes]
    assert len(ours) == 30


def test_views(golden: Arrays, views: MixedViews) -> None:
    box = cut_box(32, 32, float(golden["mixB_lam"]), tuple(golden["mixB_centre"].tolist()))
    assert box == tuple(golden["mixB_x1x2y1y2"].tolist())
    assert box[0] <= ROW < box[1]
    np.testing.assert_allclose(views.global_images[:, :, ROW], golden["mixB_mixup_x"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(views.local_images[:, :, ROW], golden["mixB_cutmix_x"])
    for view in ("global", "local"):
        labels, weighted = getattr(views, f"{view}_labels"), getattr(views, f"{view}_weighted_labels")
        np.testing.assert_allclose(labels, golden["mixB_mixup_y"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(weighted, golden["mixB_mixup_y_w_1.2"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_losses_and_gradients(golden: Arrays, views: MixedViews, index: int) -> None:
    given = {name: torch.from_numpy(golden[f"in_{name}"]).requires_grad_() for name in LOGITS}
    outputs = []
    for view, term in zip("12", golden["step_simsiam_terms"].tolist(), strict=True):
        # Unit vectors: this view's prediction has the reference's cosine with the other view's projection (1, 0).
        prediction, projection = torch.tensor([[-term, math.sqrt(1 - term**2)]]), torch.tensor([[1.0, 0.0]])
        outputs.append(GLMCOutput(given[f"logits{view}"], given[f"cb_logits{view}"], projection, prediction))
    epoch, epochs = int(golden["step_epoch"][index]), int(golden["step_epochs"])
    alpha, gamma = cumulative_alpha(epoch, epochs), float(golden["step_contrast_weight"])
    ours = glmc_loss(outputs[0], outputs[1], views, alpha=alpha, consistency_weight=gamma)
    assert alpha == pytest.approx(golden["step_alpha"][index], abs=1e-12)
    names = {"loss": "total", "conventional": "balance", "rebalanced": "rebalance", "consistency": "contrastive"}
    for name, reference in names.items():
        assert ours[name].item() == pytest.approx(golden[f"step_{reference}"][index], abs=1e-5)
    if epoch in EPOCHS:
        ours["loss"].backward()
        for name, logits in given.items():
            expected = golden[f"grad_{name}_e{epoch}"]
            assert logits.grad is not None
            np.testing.assert_allclose(logits.grad, expected, rtol=0, atol=1e-6, err_msg=name)


def test_maxnorm(golden: Arrays) -> None:
    weight = torch.from_numpy(golden["weight"]).clone()
    constraint = MaxNorm(weight)
    np.testing.assert_allclose(constraint.limit, golden[f"case{CASE}_limit"], rtol=0, atol=1e-6)
    constraint.project_()
    np.testing.assert_allclose(weight, golden[f"case{CASE}_weight"], rtol=0, atol=1e-6)
    weight.mul_(1.25)
    constraint.project_()
    np.testing.assert_allclose(weight, golden[f"case{CASE}_weight_scaled_again"], rtol=0, atol=1e-6)
