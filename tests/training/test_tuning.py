"""Which blocks and layers are trained, and how fast."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.training.tuning import (
    _layers,
    batch_norms,
    frozen_modules,
    layer_decay_groups,
    scale_classifier_lr,
    train_head,
    train_last_blocks,
)


def trained(model: nn.Module) -> set[str]:
    """Names of the parameters that are trained."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_classifier_alone() -> None:
    model = timm.create_model("test_resnet", num_classes=3)
    train_head(model)
    assert trained(model) == {"fc.weight", "fc.bias"}
    assert {type(module).__name__ for module in frozen_modules(model)} >= {"Conv2d", "BatchNorm2d"}
    assert model.get_submodule("fc") not in frozen_modules(model)


def test_the_last_blocks_and_what_follows_them() -> None:
    model = timm.create_model("test_vit", num_classes=3)
    train_last_blocks(model, 1)
    names = {name.split(".")[0] + "." + name.split(".")[1] for name in trained(model)}
    assert names == {"blocks.5", "norm.weight", "norm.bias", "head.weight", "head.bias"}
    with pytest.raises(
        UserError,
        match=r"last_blocks=9 is too large for this backbone, which has 7 layers below its classifier: give at most 6",
    ):
        train_last_blocks(model, 9)


def test_a_model_without_layers_is_refused() -> None:
    class Plain(nn.Linear):
        def get_classifier(self) -> nn.Module:
            return self

    with pytest.raises(UserError, match=r"Plain does not define its layers \(group_matcher\): give tune='full'"):
        train_last_blocks(Plain(2, 2), 1)


FAMILIES = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rate_of_a_layer_falls_with_its_depth(name: str) -> None:
    """By timm's own group matcher: stem lowest, classifier at the full rate, every parameter once."""
    model = timm.create_model(name, num_classes=3)
    groups = layer_decay_groups(model, model, weight_decay=0.1, decay=0.5)
    rates = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {rates[id(parameter)] for parameter in model.get_classifier().parameters()} == {1.0}
    assert all(group["weight_decay"] == 0.1 for group in groups)
    by_layer: dict[int, set[float]] = {}
    for name_, layer in _layers(model).items():
        by_layer.setdefault(layer, set()).add(rates[id(model.get_parameter(name_))])
    highest = max(by_layer)
    assert by_layer == {layer: {0.5 ** (highest - layer)} for layer in by_layer} and len(by_layer) > 3
    assert rates[id(next(model.parameters()))] == min(rates.values())


@pytest.mark.parametrize("decay", [None, 0.5])
def test_the_classifier_has_a_rate_of_its_own(decay: float | None) -> None:
    model = timm.create_model("test_convnext", num_classes=3)
    groups = None if decay is None else layer_decay_groups(model, model, weight_decay=0.1, decay=decay)
    scaled = scale_classifier_lr(model, groups, [model.get_classifier()], weight_decay=0.1, scale=10.0)
    rates = {id(parameter): group["lr_scale"] for group in scaled for parameter in group["params"]}
    own = {id(parameter) for parameter in model.get_classifier().parameters()}
    assert {rates[one] for one in own} == {10.0} and len(rates) == len(list(model.parameters()))
    before = {id(p): group["lr_scale"] for group in groups or [] for p in group["params"]}
    assert all(rates[one] == before.get(one, 1.0) for one in rates.keys() - own)
    optimizer = torch.optim.SGD(scaled, lr=0.1)
    scheduler = CosineLRScheduler(optimizer, t_initial=4)
    scheduler.step(0)
    assert {group["lr"] for group in optimizer.param_groups if id(group["params"][0]) in own} == {1.0}


def test_batch_norms_are_found_in_any_variant() -> None:
    # EfficientNet's are timm's own, which come with their activation.
    model = timm.create_model("test_efficientnet")
    expected = {name.rpartition(".")[0] for name in model.state_dict() if name.endswith(".running_mean")}
    assert {name for name, module in model.named_modules() if module in batch_norms(model)} == expected
    assert len(expected) > 10 and batch_norms(timm.create_model("test_vit")) == []
