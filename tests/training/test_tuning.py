"""Adapters that are merged, and the blocks and layers that are trained."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.training.tuning import add_adapters, frozen_modules, merge_adapters, train_head, train_last_blocks


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
    with pytest.raises(UserError, match=r"last_blocks=9 is not less than all the 7 layers .*: give at most 6"):
        train_last_blocks(model, 9)


def test_a_model_without_layers_is_refused() -> None:
    class Plain(nn.Linear):
        def get_classifier(self) -> nn.Module:
            return self

    with pytest.raises(UserError, match=r"Plain does not define its layers \(group_matcher\): give tune='full'"):
        train_last_blocks(Plain(2, 2), 1)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_nfnet", "resnetv2_50x1_bit"])
def test_merging_adapters_changes_no_output(name: str) -> None:
    """Where weights are standardised, an adapter beside them could not be merged: those layers get none."""
    pytest.importorskip("peft", reason="needs the extra peft")

    torch.manual_seed(0)
    model: Any = timm.create_model(name, num_classes=3, **({"img_size": 32} if name == "test_vit" else {})).eval()
    keys = set(model.state_dict())
    try:
        add_adapters(model, rank=2, alpha=4, image_size=32)
    except UserError as error:
        assert name in ("test_nfnet", "resnetv2_50x1_bit") and "no linear or plain convolutional layer" in str(error)
        return
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        assert merge_adapters(model) > 0
        torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5 * float(before.abs().max().clamp(min=1)))
    assert set(model.state_dict()) == keys
