"""The cumulative loss, its gradients and plain SGD on it, against the official code's numbers and float64 NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glmc_zoo.method import (
    BalancedSoftmaxLoss,
    ClassBalancedLoss,
    GLMCOutput,
    Mix,
    MixedViews,
    class_weights,
    cumulative_alpha,
    glmc_loss,
    log_prior,
    mix_views,
)

Arrays = dict[str, np.ndarray]
EPOCHS = (0, 50, 100, 199)
HEADS = {"logits": "logits", "cb_logits": "balanced_logits", "z": "projection", "p": "prediction"}
GAMMA = 4.0


def reference_outputs(step: Arrays) -> tuple[dict[str, nn.Parameter], GLMCOutput, GLMCOutput]:
    """The given outputs of the network as parameters, by the reference's names, and as two views' heads."""
    given = {f"{name}{view}": nn.Parameter(torch.tensor(step[f"in_{name}{view}"])) for view in "12" for name in HEADS}
    global_out, local_out = (GLMCOutput(*(given[f"{name}{view}"] for name in HEADS)) for view in "12")
    return given, global_out, local_out


def reference_views(step: Arrays, mix: Mix) -> MixedViews:
    return mix_views(
        (torch.from_numpy(step["org1"]), torch.from_numpy(step["org2"])),
        (torch.from_numpy(step["invs1"]), torch.from_numpy(step["invs2"])),
        torch.from_numpy(step["org_labels"]),
        torch.from_numpy(step["invs_labels"]),
        mix,
        num_classes=10,
        class_weights=class_weights(step["counts_cifar10_if100"].tolist(), 1.2),
    )


def case_b(step: Arrays) -> MixedViews:
    return reference_views(step, Mix(float(step["mixB_lam"]), tuple(step["mixB_x1x2y1y2"].tolist())))


def random_case(seed: int = 0) -> tuple[GLMCOutput, GLMCOutput, MixedViews]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    heads = [GLMCOutput(draw(6, 4), draw(6, 4), draw(6, 3), draw(6, 3)) for _ in range(2)]
    labels = [draw(6, 4).softmax(1) for _ in range(4)]
    return heads[0], heads[1], MixedViews(torch.empty(0), torch.empty(0), *labels)


def soft_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    log_probability = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-(labels * log_probability).sum(1).mean())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


@pytest.mark.parametrize("index", range(4))
def test_terms_reference(step: Arrays, index: int) -> None:
    epoch = int(step["step_epoch"][index])
    alpha = cumulative_alpha(epoch, int(step["step_epochs"]))
    assert (epoch, alpha) == (EPOCHS[index], pytest.approx(step["step_alpha"][index], abs=1e-12))
    assert step["step_contrast_weight"] == GAMMA
    _, global_out, local_out = reference_outputs(step)
    views = case_b(step)

    def terms(out: GLMCOutput = local_out, views: MixedViews = views) -> dict[str, float]:
        losses = glmc_loss(global_out, out, views, alpha=alpha, consistency_weight=GAMMA)
        return {name: value.item() for name, value in losses.items()}

    both = terms()
    expected = {"loss": "total", "conventional": "balance", "rebalanced": "rebalance", "consistency": "contrastive"}
    for name, reference in expected.items():
        assert both[name] == pytest.approx(step[f"step_{reference}"][index], abs=1e-5)
    # Labels of nothing, and a prediction without direction, leave the other view's part of each term.
    nothing = torch.zeros_like(views.local_labels)
    first = terms(views=views._replace(local_labels=nothing, local_weighted_labels=nothing))
    for name, reference in (("conventional", ""), ("rebalanced", "_w")):
        assert first[name] == pytest.approx(step[f"step_loss_mix{reference}"][index], abs=1e-5)
        assert both[name] - first[name] == pytest.approx(step[f"step_loss_cut{reference}"][index], abs=1e-5)
    silent = local_out._replace(prediction=torch.zeros_like(local_out.prediction))
    one_sided = terms(silent)["consistency"]
    parts = (one_sided, both["consistency"] - one_sided)
    assert parts == pytest.approx(tuple(step["step_simsiam_terms"]), abs=1e-5)


@pytest.mark.parametrize("epoch", EPOCHS)
def test_gradients_reference(step: Arrays, epoch: int) -> None:
    given, global_out, local_out = reference_outputs(step)
    alpha = cumulative_alpha(epoch, 200)
    glmc_loss(global_out, local_out, case_b(step), alpha=alpha, consistency_weight=GAMMA)["loss"].backward()
    for name, parameter in given.items():
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        np.testing.assert_allclose(grad, step[f"grad_{name}_e{epoch}"], rtol=0, atol=1e-6, err_msg=name)
        assert (parameter.grad is None) == name.startswith("z")


def sgd(parameters: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-3)


def test_one_sgd_step_reference(step: Arrays) -> None:
    given, global_out, local_out = reference_outputs(step)
    glmc_loss(global_out, local_out, case_b(step), alpha=0.75, consistency_weight=GAMMA)["loss"].backward()
    sgd(given.values()).step()
    for name, parameter in given.items():
        np.testing.assert_allclose(parameter.detach(), step[f"sgd1_{name}"], rtol=0, atol=1e-6, err_msg=name)


def test_three_sgd_steps_reference(step: Arrays) -> None:
    given, global_out, local_out = reference_outputs(step)
    optimizer = sgd(given.values())
    for number, (lam, box) in enumerate(zip(step["sgd3_lam"], step["sgd3_x1x2y1y2"], strict=True), start=1):
        views = reference_views(step, Mix(float(lam), tuple(box.tolist())))
        loss = glmc_loss(global_out, local_out, views, alpha=cumulative_alpha(100, 200), consistency_weight=GAMMA)
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        for name in ("logits1", "cb_logits2", "p1", "z1"):
            expected = step[f"sgd3_{name}_after{number}"]
            np.testing.assert_allclose(given[name].detach(), expected, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("reduction", "scale"), [("sum", 1.0), ("mean", 0.5)])
def test_loss_formula(reduction: Any, scale: float) -> None:
    one, two, views = random_case()
    ours = glmc_loss(one, two, views, alpha=0.3, consistency_weight=2.5, reduction=reduction)
    a, b = (SimpleNamespace(**{name: head.numpy() for name, head in out._asdict().items()}) for out in (one, two))
    kinds = ("global", "local", "global_weighted", "local_weighted")
    labels = [getattr(views, f"{kind}_labels").numpy() for kind in kinds]
    conventional = scale * (soft_cross_entropy(a.logits, labels[0]) + soft_cross_entropy(b.logits, labels[1]))
    rebalanced = soft_cross_entropy(a.balanced_logits, labels[2]) + soft_cross_entropy(b.balanced_logits, labels[3])
    rebalanced *= scale
    consistency = -cosine(a.prediction, b.projection) - cosine(b.prediction, a.projection)
    assert set(ours) == {"loss", "conventional", "rebalanced", "consistency"}
    assert all(value.ndim == 0 for value in ours.values())
    assert ours["conventional"].item() == pytest.approx(conventional, rel=1e-12)
    assert ours["rebalanced"].item() == pytest.approx(rebalanced, rel=1e-12)
    assert ours["consistency"].item() == pytest.approx(consistency, rel=1e-12)
    assert ours["loss"].item() == pytest.approx(0.3 * conventional + 0.7 * rebalanced + 2.5 * consistency, rel=1e-12)


def test_mean_halves_the_cross_entropies_only() -> None:
    total, halved = (
        glmc_loss(*random_case(), alpha=0.3, consistency_weight=1.0, reduction=reduction)
        for reduction in ("sum", "mean")
    )
    for name, factor in (("conventional", 0.5), ("rebalanced", 0.5), ("consistency", 1.0)):
        torch.testing.assert_close(halved[name], factor * total[name])


def test_alpha_may_be_a_tensor() -> None:
    number, tensor = (glmc_loss(*random_case(), alpha=a, consistency_weight=1.0) for a in (0.3, torch.tensor(0.3)))
    torch.testing.assert_close(number["loss"], tensor["loss"], rtol=1e-6, atol=0)


def test_balanced_softmax_branch_formula() -> None:
    counts = np.array([50, 20, 5, 1])
    one, two, views = random_case()
    ours = glmc_loss(one, two, views, alpha=0.3, consistency_weight=1.0, log_prior=log_prior(counts.tolist()))
    expected = 0.0
    for out, labels in ((one, views.global_labels), (two, views.local_labels)):
        # Probability of class c: n_c exp(z_c) / sum_k n_k exp(z_k); the labels are the plain ones.
        scores = counts * np.exp(out.balanced_logits.numpy())
        expected -= (labels.numpy() * np.log(scores / scores.sum(1, keepdims=True))).sum(1).mean()
    assert ours["rebalanced"].item() == pytest.approx(expected, rel=1e-6)
    plain = glmc_loss(one, two, views, alpha=0.3, consistency_weight=1.0)
    for name in ("conventional", "consistency"):
        assert torch.equal(ours[name], plain[name])


def test_criterion_of_the_rebalanced_branch() -> None:
    one, two, views = random_case()

    def criterion(logits: Tensor, target: Tensor) -> Tensor:
        return (logits - 2 * target).square().sum()

    ours = glmc_loss(one, two, views, alpha=0.3, consistency_weight=1.0, reduction="mean", criterion=criterion)
    pairs = ((one.balanced_logits, views.global_labels), (two.balanced_logits, views.local_labels))
    expected = 0.5 * sum(((logits - 2 * labels).numpy() ** 2).sum() for logits, labels in pairs)
    assert ours["rebalanced"].item() == pytest.approx(expected, rel=1e-12)
    plain = glmc_loss(one, two, views, alpha=0.3, consistency_weight=1.0, reduction="mean")
    for name in ("conventional", "consistency"):
        assert torch.equal(ours[name], plain[name])
    prior = torch.zeros(4)
    with pytest.raises(ValueError, match="give one of them"):
        glmc_loss(one, two, views, alpha=0.3, consistency_weight=1.0, criterion=criterion, log_prior=prior)


def test_consistency_range() -> None:
    one, two, views = random_case()

    def consistency(prediction: Tensor) -> float:
        heads = [out._replace(projection=one.projection, prediction=prediction) for out in (one, two)]
        return glmc_loss(heads[0], heads[1], views, alpha=1.0, consistency_weight=1.0)["consistency"].item()

    assert consistency(3 * one.projection) == pytest.approx(-2)
    assert consistency(-one.projection) == pytest.approx(2)
    assert -2 < consistency(two.prediction) < 2


def test_consistency_stops_the_gradient_at_the_target() -> None:
    one, two, views = random_case()
    predictor = nn.Linear(3, 3).double()
    features = [out.projection.clone().requires_grad_() for out in (one, two)]
    heads = [
        out._replace(projection=projection, prediction=predictor(projection))
        for out, projection in zip((one, two), features, strict=True)
    ]
    glmc_loss(heads[0], heads[1], views, alpha=1.0, consistency_weight=1.0)["consistency"].backward()
    # The same with the targets as constants: whatever reached the projections came through the predictions.
    constant = [out.projection.clone().requires_grad_() for out in (one, two)]
    loss = -nn.functional.cosine_similarity(predictor(constant[0]), two.projection).mean()
    loss = loss - nn.functional.cosine_similarity(predictor(constant[1]), one.projection).mean()
    loss.backward()
    for ours, expected in zip(features, constant, strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, expected.grad)


def test_cumulative_alpha() -> None:
    assert [cumulative_alpha(epoch, 4) for epoch in range(5)] == [1.0, 0.9375, 0.75, 0.4375, 0.0]
    assert [cumulative_alpha(epoch, 4, power=1.0) for epoch in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("epochs", [0, -3])
def test_cumulative_alpha_refuses(epochs: int) -> None:
    with pytest.raises(ValueError, match=f"must be positive, got {epochs}"):
        cumulative_alpha(0, epochs)


@pytest.mark.parametrize("epoch", [-1, 5])
def test_an_epoch_outside_of_the_training_has_no_alpha(epoch: int) -> None:
    with pytest.raises(ValueError, match=f"epoch={epoch} is not in a training of 4 epochs"):
        cumulative_alpha(epoch, 4)


def test_reduction_is_checked() -> None:
    wrong: Any = "none"
    with pytest.raises(ValueError, match="must be 'sum' or 'mean', got 'none'"):
        glmc_loss(*random_case(), alpha=0.5, consistency_weight=1.0, reduction=wrong)


def test_balanced_softmax_loss() -> None:
    counts = [50, 20, 5, 1]
    loss = BalancedSoftmaxLoss(counts)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    scores = np.array(counts) * np.exp(logits.double().numpy())
    expected = -np.log(scores[np.arange(6), target] / scores.sum(1)).mean()
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert not loss.state_dict()
    even = BalancedSoftmaxLoss([7, 7, 7, 7])(logits, target)
    torch.testing.assert_close(even, nn.functional.cross_entropy(logits, target))


def test_class_balanced_loss() -> None:
    counts = [500, 20, 5, 1]
    loss = ClassBalancedLoss(counts, 0.99)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    scores = np.exp(logits.double().numpy())
    inverse = 0.01 / (1 - 0.99 ** np.array(counts, dtype=float))
    weights = 4 * inverse / inverse.sum()
    each = -weights[target] * np.log(scores[np.arange(6), target] / scores.sum(1))
    assert loss(logits, target).item() == pytest.approx(each.mean(), rel=1e-6)
    # Two batches add up to one: an image counts the same in any company.
    halves = (loss(logits[:2], target[:2]) * 2 + loss(logits[2:], target[2:]) * 4) / 6
    torch.testing.assert_close(halves, loss(logits, target))
    assert not loss.state_dict()
    even = ClassBalancedLoss(counts, 0.0)(logits, target)
    torch.testing.assert_close(even, nn.functional.cross_entropy(logits, target))
