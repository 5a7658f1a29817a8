"""Methods, losses and samplers by name: registered, looked up and built."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import timm
import torch
from timm.task import ClassificationTask, TrainingTask
from torch import Tensor, nn

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.method import (
    BalancedSoftmaxLoss,
    GLMCModel,
    GLMCTask,
    LossTask,
    Method,
    MethodSetup,
    get_loss,
    get_method,
    get_sampler,
    log_prior,
    loss_names,
    loss_switches,
    method_names,
    plugins_of,
    preset_switches,
    register_loss,
    register_method,
    register_sampler,
    sampler_names,
    sampling_weights,
)

pytestmark = pytest.mark.usefixtures("own_registry")

COUNTS = [9, 3, 1]


def make_setup(**changes: Any) -> MethodSetup:
    return MethodSetup(
        class_counts=COUNTS,
        epochs=4,
        switches=preset_switches("official", **changes),
        image_size=32,
        make_backbone=lambda: timm.create_model("resnet20_cifar", num_classes=3),
    )


def test_built_in_names() -> None:
    assert method_names()[:3] == ["glmc", "ce", "balanced_softmax"]
    assert loss_names()[:2] == ["ce", "balanced_softmax"]
    assert sampler_names()[:1] == ["power"]
    assert plugins_of("glmc", "ce", "balanced_softmax", "power", "reweighted", "nosuch") == []
    for name in ("register_method", "register_loss", "register_sampler"):
        assert name in glmc_zoo.__all__ and getattr(glmc_zoo, name) is getattr(glmc_zoo.method, name)


def test_glmc_is_a_method() -> None:
    method = get_method("glmc")
    assert (method.name, method.title, method.views, method.partners) == ("glmc", None, 2, True)
    torch.manual_seed(0)
    task = method.build(make_setup(projection_dim=7))
    assert isinstance(task, GLMCTask) and task.epochs == 4 and task.trainable_module.projector.out_features == 7
    torch.manual_seed(0)  # the same random numbers as a model by name
    expected = GLMCModel("resnet20_cifar", 3, projection_dim=7, image_size=32).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in task.trainable_module.state_dict().items())


@pytest.mark.parametrize(("name", "tau"), [("ce", 1.0), ("balanced_softmax", 1.0), ("balanced_softmax", 1.4)])
def test_built_in_losses_are_baselines(name: str, tau: float) -> None:
    method = get_method(name)
    assert (method.name, method.views, method.partners) == (name, 1, False)
    torch.manual_seed(0)
    task = method.build(make_setup(prior_tau=tau))
    torch.manual_seed(0)
    model = timm.create_model("resnet20_cifar", num_classes=3)
    criterion = nn.CrossEntropyLoss() if name == "ce" else BalancedSoftmaxLoss(COUNTS, tau)
    expected = ClassificationTask(model, criterion=criterion, verbose=False)
    images, target = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    assert isinstance(task, LossTask)
    task.set_epoch(0)
    assert torch.equal(task(images, target)["loss"], expected(images, target)["loss"])
    assert task.state_dict().keys() == expected.state_dict().keys()


def test_baselines_check_the_backbone() -> None:
    setup = make_setup()
    wrong = MethodSetup(COUNTS, 4, setup.switches, 65, lambda: timm.create_model("test_vit", num_classes=3))
    with pytest.raises(UserError, match="'test_vit' refuses images of 65 x 65 pixels"):
        get_method("ce").build(wrong)


def test_a_loss_of_the_user() -> None:
    calls: list[Any] = []

    @register_loss("hinge", title="a hinge")
    class Hinge(nn.Module):
        def __init__(self, class_counts: list[int], prior_tau: float, sampler_power: float) -> None:
            super().__init__()
            calls.append((class_counts, prior_tau, sampler_power))

        def set_epoch(self, epoch: int, epochs: int) -> None:
            calls.append((epoch, epochs))

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            calls.append(tuple(target.shape))
            return logits.square().mean()

    assert loss_switches("hinge") == ["prior_tau", "sampler_power"]
    assert "hinge" in loss_names() and "hinge" in method_names()
    method = get_method("hinge")
    assert (method.title, method.views, method.partners) == ("a hinge", 1, False)
    task: Any = method.build(make_setup(prior_tau=1.5, sampler_power=0.7))
    task.set_epoch(3)
    task(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    assert calls == [(COUNTS, 1.5, 0.0), (3, 4), (2,)]

    calls.clear()
    task = get_method("glmc").build(make_setup(rebalanced_loss="hinge", sampler_power=0.7))
    task.set_epoch(1)
    images = torch.randn(2, 3, 32, 32)
    views = task.mix((images, images), (images, images), torch.tensor([0, 1]), torch.tensor([1, 2]))
    assert task(views)["rebalanced"].item() > 0
    # It is tried with mixed labels before the training, as in the first epoch.
    assert calls == [(COUNTS, 1.0, 0.7), (0, 4), (2, 3), (1, 4), (2, 3), (2, 3)]


def test_a_loss_may_be_a_function() -> None:
    @register_loss("squares")
    def squares(class_counts: list[int]) -> Any:
        return lambda logits, target: logits.square().mean()

    task: Any = get_method("squares").build(make_setup())
    task.set_epoch(0)
    assert task(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))["loss"].ndim == 0
    register_loss("tenth")(functools.partial(squares))
    assert get_loss("tenth")(COUNTS, prior_tau=1.0)(torch.ones(1, 3), torch.tensor([0])) == 1


def test_samplers() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    assert torch.equal(get_sampler("power")(labels, COUNTS, sampler_power=0.5), sampling_weights(labels, COUNTS, 0.5))

    @register_sampler("rare_only")
    def rare_only(labels: Tensor, class_counts: list[int]) -> Tensor:
        return (torch.tensor(class_counts)[labels] < 5).double()

    assert get_sampler("rare_only")(labels, COUNTS, sampler_power=0.5).tolist() == [0, 0, 1, 1]
    # Balanced softmax adds the frequencies that this sampler leads to: 3 and 1 of 4 for the partners.
    switches = {"rebalanced_loss": "balanced_softmax", "sampler": "rare_only"}
    task: Any = get_method("glmc").build(make_setup(**switches))
    expected = (torch.tensor([9 / 13, 3 / 13, 1 / 13]) + torch.tensor([0, 3 / 4, 1 / 4])) / 2
    torch.testing.assert_close(task.log_prior.exp(), expected)

    @register_sampler("as_power")
    def as_power(labels: Tensor, class_counts: list[int], sampler_power: float) -> Tensor:
        return sampling_weights(labels, class_counts, sampler_power)

    task = get_method("glmc").build(make_setup(**switches | {"sampler": "as_power"}, sampler_power=0.7))
    torch.testing.assert_close(task.log_prior, log_prior(COUNTS, 0.7))


def test_a_method_of_the_user() -> None:
    @register_method("plain", title="plainly", views=2)
    def build(setup: MethodSetup) -> TrainingTask:
        return ClassificationTask(setup.make_backbone(), criterion=nn.CrossEntropyLoss(), verbose=False)

    method = get_method("plain")
    assert isinstance(method, Method) and (method.title, method.views, method.partners) == ("plainly", 2, False)
    assert isinstance(method.build(make_setup()), ClassificationTask)
    register_method("paired", partners=True)(build)
    with pytest.raises(UserError, match=r"method='paired' asks for partners: give its task draw\(\) and mix\(\)"):
        get_method("paired").build(make_setup())

    @register_method("wrong")
    def wrong(setup: MethodSetup) -> Any:
        return setup.make_backbone()

    with pytest.raises(UserError, match=r"method='wrong' built a CifarResNet: return a timm.task.TrainingTask"):
        get_method("wrong").build(make_setup())
    with pytest.raises(UserError, match="views=3 is not accepted"):
        register_method("three", views=3)
    with pytest.raises(UserError, match=r"^switches= names 'betta', which is not one of rebalanced_loss, prior_tau, "):
        register_method("mixed", switches=["beta", "betta"])


@pytest.mark.parametrize("name", ["", "Focal", "2x", "a-b", "_x", "a b", "ä"])
def test_malformed_names(name: str) -> None:
    with pytest.raises(UserError, match=f"name='{name}' is not accepted: give lower-case letters"):
        register_loss(name)


def test_names_that_are_taken() -> None:
    def thing(class_counts: list[int]) -> Any: ...

    for register, name in [
        *((register_loss, name) for name in ("ce", "balanced_softmax", "glmc", "reweighted")),
        *((register_method, name) for name in ("ce", "glmc")),
        (register_sampler, "power"),
    ]:
        with pytest.raises(UserError, match=f"name='{name}' is already registered by glmc_zoo: choose another"):
            register(name)(thing)
    register_loss("thing")(thing)
    register_sampler("thing")(thing)  # a name of its own
    register_loss("thing")(thing)  # a cell that is run again
    for register in (register_loss, register_method):
        with pytest.raises(UserError, match=r"name='thing' is already registered by .*thing of .*test_registry.py"):
            register("thing")(lambda class_counts: None)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match=r"^method='glcm' is not known: give one of glmc, ce, .* Did you mean glmc\?"):
        get_method("glcm")
    with pytest.raises(UserError, match=r"^rebalanced_loss='cee' is not known: give one of ce, .* Did you mean ce\?"):
        get_loss("cee")
    with pytest.raises(UserError, match=r"^sampler='even' is not known: give one of power, or the plugin"):
        get_sampler("even")


@pytest.mark.parametrize("drawn", [lambda labels, counts: labels[:-1], lambda labels, counts: labels.tolist()])
def test_a_sampler_must_give_a_weight_for_each_label(drawn: Any) -> None:
    register_sampler("drawn")(drawn)
    with pytest.raises(UserError, match="sampler='drawn' must return a tensor with a weight for each of the 9 labels"):
        get_sampler("drawn")(torch.arange(9) % 3, [3, 3, 3])


@pytest.mark.parametrize(
    ("value", "returned"),
    [
        (lambda loss: loss, r"a tensor of shape \(2,\) for a batch, .*: return loss\.mean\(\)\.$"),
        (lambda loss: loss.mean()[None], r"a tensor of shape \(1,\) for a batch"),
        (lambda loss: loss.mean().item(), r"a float for a batch, and training needs a tensor of one number: "),
        (lambda loss: loss.mean().detach(), r"a tensor without a gradient, so it could not train the network: "),
        (lambda loss: torch.tensor(loss.mean().item()), r"a tensor without a gradient"),
    ],
    ids=["per image", "one value in a list", "float", "detached", "a tensor made of a float"],
)
def test_a_loss_that_cannot_train_is_named(value: Any, returned: str) -> None:
    def per_image(logits: Tensor, target: Tensor) -> Any:
        return value(nn.functional.cross_entropy(logits, target, reduction="none"))

    register_loss("per_image")(lambda class_counts: per_image)
    images, target = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    sentence = rf"^The loss 'per_image' returned {returned}"
    with pytest.raises(UserError, match=sentence):
        get_method("per_image").build(make_setup())(images, target)
    for views in ("alternate", "mixup_cutmix"):
        task = get_method("glmc").build(make_setup(rebalanced_loss="per_image", views=views))
        batch = ((images, images), (images, images), target, target)
        with pytest.raises(UserError, match=sentence):
            task(task.mix(*batch, step=0))
    mixed = get_method("per_image").build(make_setup(views="alternate"))
    with pytest.raises(UserError, match=sentence):
        mixed(mixed.mix((images,), (images,), target, target, mix=mixed.draw(32, 32, step=0)))


def test_a_loss_of_classes_alone_is_refused_where_labels_are_mixed() -> None:
    register_loss("of_classes")(lambda class_counts: lambda logits, target: logits.gather(1, target[:, None]).mean())
    for views in ("alternate", "mixup_cutmix"):
        with pytest.raises(
            UserError, match=r"^GLMC mixes labels, and the loss refuses class probabilities \(.*\): let"
        ):
            get_method("glmc").build(make_setup(rebalanced_loss="of_classes", views=views))


@pytest.mark.parametrize("loss", [lambda logits, target: logits.sum(), lambda class_counts: None])
def test_what_does_not_make_a_loss_is_refused_before_training(loss: Any) -> None:
    register_loss("odd")(loss)
    for name, switches in (("odd", {}), ("glmc", {"rebalanced_loss": "odd"})):
        with pytest.raises(UserError, match=r"^The loss 'odd' must return a function of logits and target"):
            get_method(name).build(make_setup(**switches))
