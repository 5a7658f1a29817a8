"""`GLMCTask` as timm's loop and Accelerate see it: one call, a dict of losses, and no state of its own."""

from __future__ import annotations

from typing import Any

import pytest
import timm.task
import torch
from torch import Tensor

from glmc_zoo.method import (
    GLMCModel,
    GLMCTask,
    MixedViews,
    class_weights,
    draw_mix,
    glmc_loss,
    log_prior,
    mix_views,
    preset_switches,
)
from glmc_zoo.method.mixing import partner_share

COUNTS = [50, 20, 10, 5, 2]


def make_task(name: str = "test_vit", **kwargs: Any) -> GLMCTask:
    torch.manual_seed(0)
    model_kwargs: dict[str, Any] = {"depth": 1} if name == "test_vit" else {}
    model = GLMCModel(name, len(COUNTS), image_size=32, **model_kwargs)
    counts = kwargs.pop("class_counts", COUNTS)
    switches = preset_switches("official", **{"consistency_weight": 1.5, "sampler_power": 0.0, **kwargs})
    return GLMCTask(model, class_counts=counts, epochs=10, switches=switches, verbose=False)


def batch() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(4)]
    return (images[0], images[1]), (images[2], images[3]), torch.tensor([0, 0, 1, 2]), torch.tensor([3, 4, 2, 2])


def mixed(task: GLMCTask, seed: int = 2) -> MixedViews:
    return task.mix(*batch(), torch.Generator().manual_seed(seed))


def test_is_a_task_of_timm() -> None:
    task = make_task()
    assert isinstance(task, timm.task.TrainingTask)
    assert isinstance(task.get_eval_model(), GLMCModel)
    assert task.get_eval_model() is task.get_trainable_module() is task.trainable_module


def test_result() -> None:
    task = make_task()
    result = task(mixed(task))
    assert set(result) == {"loss", "conventional", "rebalanced", "consistency", "output"}
    assert result["output"].shape == (4, len(COUNTS))
    assert all(result[name].ndim == 0 for name in result if name != "output")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("rebalanced_loss", ["reweighted", "balanced_softmax"])
@pytest.mark.parametrize("joint_views", [False, True])
def test_is_the_loss_of_the_heads(reduction: Any, rebalanced_loss: str, joint_views: bool) -> None:
    task = make_task(
        "resnet20_cifar", reduction=reduction, rebalanced_loss=rebalanced_loss, joint_views=joint_views
    ).eval()
    task.set_epoch(6)
    views = mixed(task)
    heads = task.trainable_module.forward_views(views.global_images, views.local_images)
    prior = log_prior(COUNTS) if rebalanced_loss == "balanced_softmax" else None
    alpha = 1 - 0.6**2
    expected = glmc_loss(*heads, views, alpha=alpha, consistency_weight=1.5, reduction=reduction, log_prior=prior)
    result = task(views)
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result["output"], heads[0].balanced_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("beta", "correct_lam", "power"), [(1.0, False, 1.0), (0.5, True, 1.2)])
def test_mix(beta: float, correct_lam: bool, power: float) -> None:
    task = make_task(beta=beta, correct_lam=correct_lam, class_weight_power=power)
    expected = mix_views(
        *batch(),
        draw_mix(32, 32, beta=beta, generator=torch.Generator().manual_seed(2)),
        num_classes=len(COUNTS),
        class_weights=class_weights(COUNTS, power),
        correct_lam=correct_lam,
    )
    for ours, value in zip(mixed(task), expected, strict=True):
        assert torch.equal(ours, value)


def test_prior_of_balanced_softmax_knows_the_sampler() -> None:
    torch.testing.assert_close(make_task(sampler_power=0.0).log_prior, log_prior(COUNTS))
    torch.testing.assert_close(make_task(sampler_power=2.0).log_prior, log_prior(COUNTS, 2.0))
    torch.testing.assert_close(make_task(sampler_power=2.0, prior_tau=1.5).log_prior, log_prior(COUNTS, 2.0, tau=1.5))


def test_set_epoch() -> None:
    task = make_task()
    assert task.alpha.item() == 1.0
    for epoch in (0, 3, 9):
        task.set_epoch(epoch)
        assert task.alpha.item() == pytest.approx(1 - (epoch / 10) ** 2)
    held = make_task(constant_alpha=0.5)
    for epoch in (0, 9):
        held.set_epoch(epoch)
        assert held.alpha.item() == 0.5
    straight = make_task(cumulative_power=1.0)
    straight.set_epoch(3)
    assert straight.alpha.item() == pytest.approx(0.7)


@pytest.mark.parametrize("sampler_power", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("correct_lam", [False, True])
def test_the_last_epochs_are_unmixed(sampler_power: float, correct_lam: bool) -> None:
    task = make_task(
        mix_off_epochs=3,
        rebalanced_loss="balanced_softmax",
        prior_tau=1.3,
        sampler_power=sampler_power,
        correct_lam=correct_lam,
    )
    first, _, targets, _ = batch()
    hard = torch.nn.functional.one_hot(targets, len(COUNTS)).float()
    for epoch in (0, 6, 7, 9, 6):  # back to mixing, too
        task.set_epoch(epoch)
        off = epoch >= 7
        share = partner_share("mixup_cutmix", 1.0, correct_lam=correct_lam)
        expected = log_prior(COUNTS, None if off else sampler_power, tau=1.3, share=share)
        assert torch.equal(task.log_prior, expected)
        assert task.alpha.item() == pytest.approx(1 - (epoch / 10) ** 2)
        views = mixed(task)
        assert torch.equal(views.global_images, first[0]) == torch.equal(views.local_images, first[1]) == off
        assert torch.equal(views.global_labels, hard) == torch.equal(views.local_labels, hard) == off
        if off:
            assert task.draw(32, 32, torch.Generator()).area_lam == 1.0
            weighted = hard * class_weights(COUNTS, 1.0)
            torch.testing.assert_close(views.local_weighted_labels, weighted)


def test_mixing_of_every_epoch_without_the_switch() -> None:
    task = make_task(rebalanced_loss="balanced_softmax", sampler_power=0.5)
    expected = task.log_prior.clone()
    for epoch in (0, 9):
        task.set_epoch(epoch)
        assert task.draw(32, 32, torch.Generator().manual_seed(2)) == draw_mix(
            32, 32, generator=torch.Generator().manual_seed(2)
        )
        assert torch.equal(task.log_prior, expected)


def test_any_loss_in_the_rebalanced_branch() -> None:
    """Cross-entropy of the plain labels, and the schedule of `glmc_loss` around it."""
    task = make_task("resnet20_cifar", rebalanced_loss="ce").eval()
    task.set_epoch(6)
    views = mixed(task)
    heads = task.trainable_module.forward_views(views.global_images, views.local_images)
    expected = sum(
        -(labels * out.balanced_logits.log_softmax(1)).sum(1).mean()
        for out, labels in zip(heads, (views.global_labels, views.local_labels), strict=True)
    )
    result = task(views)
    torch.testing.assert_close(result["rebalanced"], expected)
    total = 0.64 * result["conventional"] + 0.36 * expected + 1.5 * result["consistency"]
    torch.testing.assert_close(result["loss"], total)


def test_state_is_the_model_and_nothing_else() -> None:
    task = make_task("test_resnet")
    model = task.trainable_module
    assert list(task.state_dict()) == [f"trainable_module.{key}" for key in model.state_dict()]
    assert [id(p) for p in task.parameters()] == [id(p) for p in model.parameters()]


def test_is_deterministic() -> None:
    losses = []
    for _ in range(2):
        task = make_task("resnet20_cifar")
        optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
        for seed in range(3):
            optimizer.zero_grad()
            loss = task(mixed(task, seed))["loss"]
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:3] == losses[3:]
    assert len(set(losses)) == 3


@pytest.mark.processes
def test_compiled() -> None:
    """The same losses and gradients, and the same keys; traced ahead of time, without the need of a C++ compiler."""
    task, views = make_task(), mixed(make_task())
    keys = list(task.state_dict())
    expected = task(views)
    expected["loss"].backward()
    grads = [p.grad.clone() for p in task.parameters() if p.grad is not None]
    task.zero_grad()
    assert task.compile(backend="aot_eager") is task.trainable_module
    compiled = task(views)
    compiled["loss"].backward()
    for name, value in expected.items():
        torch.testing.assert_close(compiled[name], value)
    for ours, grad in zip(task.parameters(), grads, strict=True):
        torch.testing.assert_close(ours.grad, grad)
    assert list(task.state_dict()) == keys


def test_bf16_autocast() -> None:
    task = make_task().eval()
    views = mixed(task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = task(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(task(views)["loss"].item(), rel=0.05)


def test_class_counts_must_fit() -> None:
    with pytest.raises(ValueError, match="3 class counts do not fit a model of 5 classes"):
        make_task(class_counts=[3, 2, 1])
