"""Adapters that are put on a timm model and merged into its weights."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from glmc_zoo.errors import UserError
from glmc_zoo.training.adapters import add_adapters, encoder_tensors, merge_adapters

pytest.importorskip("peft", reason="needs the extra peft")


def make(name: str) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=3, **({"img_size": 32} if name == "test_vit" else {})).eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_nfnet", "resnetv2_50x1_bit"])
def test_merging_adapters_changes_no_output(name: str) -> None:
    """Where weights are standardised, an adapter beside them could not be merged: those layers get none."""
    model = make(name)
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


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora", "ia3"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "tf_efficientnet_lite0"])
def test_every_kind_learns_in_the_layout_of_the_training_and_is_merged(name: str, kind: str) -> None:
    model = make(name)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = model(x)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if kind == "dora" and name in ("test_resnet", "tf_efficientnet_lite0"):
        with pytest.raises(UserError, match=r"has no linear layer for adapter='dora': give tune='full'"):
            add_adapters(model, rank=2, alpha=4, image_size=32, kind=kind)
        return
    adapted = add_adapters(model, rank=2, alpha=4, image_size=32, kind=kind)
    model.to(memory_format=torch.channels_last)
    # At first they change nothing, and the encoder is the one that was given.
    torch.testing.assert_close(model(x), plain, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder_tensors(model).items())
    classifier = {id(parameter) for parameter in model.get_classifier().parameters()}
    learnt = [p for p in model.parameters() if p.requires_grad and id(p) not in classifier]
    optimizer = torch.optim.Adam(learnt, lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    model.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        trained = model(x)
        assert merge_adapters(model) == adapted
        moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
        assert moved and not any(key.startswith(("head.fc", "fc")) for key in moved)
        scale = float(trained.abs().max().clamp(min=1))
        torch.testing.assert_close(model(x), trained, rtol=1e-4, atol=1e-5 * scale)
        fresh = make(name)
        fresh.load_state_dict(model.state_dict())  # no key is missing, and there is none more
        assert torch.equal(fresh(x), model(x))


def test_modules_that_were_frozen_stay_in_evaluation_mode() -> None:
    model = make("test_resnet").train()
    model.bn1.eval()
    add_adapters(model, rank=2, alpha=4, image_size=32)
    assert model.training and model.layer1.training and not model.bn1.training


def test_the_tensors_of_the_encoder_are_named_as_before() -> None:
    model = make("test_vit")
    names = [name for name in model.state_dict() if not name.startswith("head.")]
    assert list(encoder_tensors(model)) == names
    add_adapters(model, rank=2, alpha=4, image_size=32)
    assert list(encoder_tensors(model)) == names
