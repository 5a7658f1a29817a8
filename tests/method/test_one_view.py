"""One mixed view a step: GLMC with alternate views, and baselines with mixing. Losses are computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.method import (
    GLMCModel,
    GLMCTask,
    MethodSetup,
    Mix,
    MixedBatch,
    MixedLossTask,
    class_weights,
    create_backbone,
    get_method,
    preset_switches,
)

COUNTS = [50, 20, 10, 5, 2]
FREQUENCY = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)


def setup(**switches: Any) -> MethodSetup:
    torch.manual_seed(0)
    return MethodSetup(
        class_counts=COUNTS,
        epochs=10,
        switches=preset_switches("tuned", **switches),
        image_size=32,
        make_backbone=lambda: create_backbone("test_vit", len(COUNTS), image_size=32, depth=1),
    )


def glmc(**switches: Any) -> GLMCTask:
    task = get_method("glmc").build(setup(views="alternate", **switches))
    assert isinstance(task, GLMCTask)
    return task


def images(seed: int) -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def batch() -> tuple[tuple[Tensor], tuple[Tensor], Tensor, Tensor]:
    return (images(1),), (images(2),), torch.tensor([0, 0, 1, 2]), torch.tensor([3, 4, 2, 2])


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    return float(-(labels.double() * logits.detach().double().log_softmax(1)).sum(1).mean())


def test_glmc_has_one_view_and_no_consistency_heads() -> None:
    assert get_method("glmc").num_views(preset_switches("official")) == 2
    assert get_method("glmc").num_views(preset_switches("tuned", views="alternate")) == 1
    assert get_method("ce").num_views(preset_switches("official")) == 1
    task = glmc()
    model = task.trainable_module
    assert isinstance(model, GLMCModel) and not hasattr(model, "projector") and not hasattr(model, "predictor")
    assert set(model.training_heads()) == {"conventional_classifier.weight", "conventional_classifier.bias"}
    # A parameter without a gradient stops a training of several processes.
    task(task.mix(*batch(), mix=Mix(0.3, (0, 16, 0, 16), (32, 32))))["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("loss", ["balanced_softmax", "reweighted"])
def test_loss_of_glmc_by_hand(kind: Any, loss: str) -> None:
    task = glmc(rebalanced_loss=loss, sampler_power=0.5, class_weight_power=1.2).eval()
    task.set_epoch(4)
    mixed = task.mix(*batch(), mix=Mix(0.3, (4, 20, 0, 16), (32, 32), kind))
    assert isinstance(mixed, MixedBatch)
    result = task(mixed)
    assert set(result) == {"loss", "conventional", "rebalanced", "output"}

    model = task.trainable_module
    features = model.timm_model.forward_head(model.timm_model.forward_features(mixed.images), pre_logits=True)
    logits, balanced = model.conventional_classifier(features), model.timm_model.get_classifier()(features)
    assert torch.equal(result["output"], balanced)
    one_hot = torch.eye(len(COUNTS), dtype=torch.float64)
    _, _, targets, partners = batch()
    labels = 0.3 * one_hot[targets] + 0.7 * one_hot[partners]
    conventional = soft_cross_entropy(logits, labels)
    if loss == "balanced_softmax":
        drawn = torch.tensor(COUNTS, dtype=torch.float64) ** 0.5
        rebalanced = soft_cross_entropy(balanced + ((FREQUENCY + drawn / drawn.sum()) / 2).log(), labels)
    else:
        rebalanced = soft_cross_entropy(balanced, labels * class_weights(COUNTS, 1.2).double())
    alpha = 1 - (4 / 10) ** 0.5
    expected = {"conventional": conventional, "rebalanced": rebalanced}
    expected["loss"] = alpha * conventional + (1 - alpha) * rebalanced
    for name, value in expected.items():
        assert float(result[name].detach()) == pytest.approx(value, rel=1e-5), name


def test_mixup_and_cutmix_take_turns() -> None:
    task = glmc()
    generators = [torch.Generator().manual_seed(seed) for seed in range(5)]
    kinds = [task.draw(32, 32, generator, step=step).kind for step, generator in enumerate(generators)]
    assert kinds == ["mixup", "cutmix", "mixup", "cutmix", "mixup"]
    views = [task.mix(*batch(), generators[0].manual_seed(0), step=step) for step in (0, 1)]
    assert not torch.equal(views[0][0], views[1][0])
    with pytest.raises(ValueError, match="views='alternate' takes MixUp and CutMix in turn: give step="):
        task.mix(*batch())


def test_the_last_epochs_are_unmixed() -> None:
    task = glmc(mix_off_epochs=3)
    for epoch, unmixed in ((6, False), (7, True)):
        task.set_epoch(epoch)
        mix = task.draw(32, 32, torch.Generator().manual_seed(0), step=1)
        assert (mix.lam == 1.0) == unmixed
        mixed = task.mix(*batch(), mix=mix)
        assert torch.equal(mixed.images, batch()[0][0]) == unmixed
    assert torch.allclose(task.log_prior.double(), FREQUENCY.log())  # the images are shuffled plainly


def test_a_share_of_the_batches_is_unmixed_and_the_prior_knows_it() -> None:
    task = glmc(unmixed_share=0.3, sampler_power=1.0)
    mixes = [task.draw(32, 32, torch.Generator().manual_seed(seed), step=seed) for seed in range(2000)]
    share = sum(mix.lam == 1.0 for mix in mixes) / len(mixes)
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 2000) ** 0.5)
    # With q 1 partners are of all classes alike; their share is half of the mixed batches.
    assert torch.allclose(task.log_prior.double().exp(), 0.65 * FREQUENCY + 0.35 / len(COUNTS))


def test_the_prior_knows_the_area_that_cutmix_labels_have() -> None:
    task = get_method("glmc").build(setup(views="cutmix", correct_lam=True, sampler_power=1.0))
    # By hand, for beta 1: the mean of (r - r ** 2 / 4) ** 2 with r ** 2 uniform is 1/2 - 1/5 + 1/48.
    pasted = 1 / 2 - 1 / 5 + 1 / 48
    assert torch.allclose(task.log_prior.double().exp(), (1 - pasted) * FREQUENCY + pasted / len(COUNTS))


@pytest.mark.parametrize(("views", "kinds"), [("mixup", ["mixup"] * 2), ("alternate", ["mixup", "cutmix"])])
def test_a_baseline_mixes_its_own_images(views: str, kinds: list[str]) -> None:
    task = get_method("balanced_softmax").build(setup(views=views, prior_tau=1.0, mix_off_epochs=2))
    assert isinstance(task, MixedLossTask)
    assert [task.draw(32, 32, torch.Generator().manual_seed(3), step=step).kind for step in (0, 1)] == kinds
    x, targets = images(1), torch.tensor([0, 0, 1, 2])
    mixed = task.mix((x,), (x.flip(0),), targets, targets.flip(0), mix=Mix(0.3, (0, 0, 0, 0), (32, 32)))
    assert torch.allclose(mixed.images, 0.3 * x + 0.7 * x.flip(0), atol=1e-6)
    result = task.eval()(mixed)
    logits = task.trainable_module(mixed.images)
    labels = 0.3 * torch.eye(5)[targets] + 0.7 * torch.eye(5)[targets.flip(0)]
    expected = soft_cross_entropy(logits + FREQUENCY.log(), labels)
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    task.set_epoch(8)
    assert task.draw(32, 32, torch.Generator().manual_seed(3), step=0).lam == 1.0


def test_a_baseline_labels_cutmix_by_the_area_where_it_is_asked_to() -> None:
    x, targets = images(1), torch.tensor([0, 0, 1, 2])
    for correct, share in ((False, 0.3), (True, 0.75)):  # a quarter of the image is pasted
        task = get_method("ce").build(setup(views="cutmix", correct_lam=correct))
        assert isinstance(task, MixedLossTask)
        mix = Mix(0.3, (0, 16, 0, 16), (32, 32), "cutmix")
        labels = task.mix((x,), (x.flip(0),), targets, targets.flip(0), mix=mix).labels
        assert torch.allclose(labels[0], torch.tensor([share, 0, 1 - share, 0, 0]))


def test_unmixed_baselines_are_as_before() -> None:
    for views in ("none", "auto", "mixup_cutmix"):
        task = get_method("ce").build(setup(views=views))
        assert not isinstance(task, MixedLossTask)
        assert isinstance(task.criterion, nn.CrossEntropyLoss)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="do not make GLMC"):
        get_method("glmc").build(setup(views="none"))
    model = GLMCModel("test_vit", 5, image_size=32, depth=1, consistency=False)
    with pytest.raises(ValueError, match="without consistency=True and views='mixup' do not make GLMC"):
        GLMCTask(model, class_counts=COUNTS, epochs=2, switches=preset_switches("tuned", views="mixup"), verbose=False)

    for views in ("auto", "none"):
        with pytest.raises(ValueError, match=f"views='{views}'"):
            GLMCTask(model, class_counts=COUNTS, epochs=2, switches=preset_switches("tuned", views=views))

    def hard(logits: Tensor, target: Tensor) -> Tensor:
        return logits[torch.arange(len(target)), target].mean()

    model = create_backbone("test_vit", 5, image_size=32, depth=1)
    with pytest.raises(UserError, match=r"^views='mixup' mixes labels, and the loss refuses class probabilities"):
        MixedLossTask(model, hard, 2, 5, preset_switches("tuned", views="mixup"))
