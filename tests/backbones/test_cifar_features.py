"""Features of the CIFAR ResNets, by timm's own ways to them."""

from __future__ import annotations

import pytest
import torch
from small_resnet import create, small

from glmc_zoo.errors import UserError


def test_features_only() -> None:
    x = torch.randn(2, 3, 32, 32)
    model = create("resnet20_cifar", features_only=True)
    assert model.feature_info.channels() == [16, 16, 32, 64]
    assert model.feature_info.reduction() == [1, 1, 2, 4]
    assert model.feature_info.module_name() == ["act1", "layer1", "layer2", "layer3"]
    assert [tuple(f.shape[1:]) for f in model(x)] == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]
    some = create("resnet20_cifar", features_only=True, out_indices=(1, -1))
    assert [tuple(f.shape[1:]) for f in some(x)] == [(16, 32, 32), (64, 8, 8)]


@pytest.mark.parametrize("feature_cls", ["list", "hook", "getter", "fx"])
def test_every_feature_extractor_agrees(feature_cls: str) -> None:
    if feature_cls == "fx":
        pytest.importorskip("torchvision")
    torch.manual_seed(3)
    plain = create("resnet20_cifar").eval()
    torch.manual_seed(3)
    model = create("resnet20_cifar", features_only=True, out_indices=(0, 2), feature_cls=feature_cls).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = plain.forward_intermediates(x, indices=[0, 2], intermediates_only=True)
    for got, wanted in zip(model(x), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_forward_intermediates() -> None:
    model = small().eval()
    x = torch.randn(2, 3, 32, 32)
    final, intermediates = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert torch.equal(intermediates[-1], final)
    assert len(intermediates) == 4
    early, kept = model.forward_intermediates(x, indices=[0, 2], stop_early=True)
    assert torch.equal(early, intermediates[2])
    assert all(torch.equal(a, b) for a, b in zip(kept, [intermediates[0], intermediates[2]], strict=True))
    with pytest.raises(UserError, match="output_fmt='NLC'"):
        model.forward_intermediates(x, output_fmt="NLC")


def test_prune_intermediate_layers() -> None:
    model = small().eval()
    x = torch.randn(2, 3, 32, 32)
    expected = model.forward_intermediates(x, indices=[0, 2], intermediates_only=True)
    assert model.prune_intermediate_layers([0, -2]) == [0, 2]
    assert not list(model.layer3.parameters())
    assert model.num_features == model.head_hidden_size == 8
    kept = model.forward_intermediates(x, indices=[0, 2], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, expected, strict=True))
    model.set_grad_checkpointing()
    assert torch.equal(model(x), expected[-1])
    assert torch.equal(model.forward_intermediates(x)[0], expected[-1])


def test_prune_keeps_the_head_that_still_fits() -> None:
    model = small()
    assert model.prune_intermediate_layers(1, prune_head=False) == [3]
    assert model.fc.out_features == 10
