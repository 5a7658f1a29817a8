"""Computation for one image, against the tables of timm and against sums by hand."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import glmc_zoo  # registers the CIFAR networks
from glmc_zoo.backbones.complexity import count_operations


# timm's results tables, which also count normalisation and leave out fused attention.
@pytest.mark.parametrize(
    ("name", "gmacs", "mactivations"),
    [
        ("resnet50", 4.11, 11.11),
        ("convnext_tiny", 4.47, 13.44),
        ("tf_efficientnet_lite0", 0.40, 6.74),
        ("cait_xxs24_224", 2.53, 20.29),  # its class token, a parameter, is the input of a layer
    ],
)
def test_the_figures_of_timms_tables(name: str, gmacs: float, mactivations: float) -> None:
    model = timm.create_model(name)
    counted = count_operations(model, (3, 224, 224))
    assert counted["gmacs"] == pytest.approx(gmacs, rel=0.05)
    assert counted["mactivations"] == pytest.approx(mactivations, rel=0.002)
    assert next(model.parameters()).device.type == "cpu" and model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_vision_transformer_by_hand() -> None:
    """ViT with 4 + 1 tokens of width 64: patches, then 6 blocks, then the classifier."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=64, depth=2, num_heads=2, num_classes=10)
    tokens, width = 5, 64
    patches, block = 4 * 3 * 16 * 16 * width, tokens * (3 + 1 + 4 + 4) * width * width + 2 * tokens * tokens * width
    counted = count_operations(model, (3, 32, 32))
    assert counted["gmacs"] * 1e9 == pytest.approx(patches + 2 * block + 10 * width)
    outputs = 4 * width + 2 * (tokens * (3 + 1 + 4 + 1) * width + 2 * tokens * tokens + tokens * width) + 10
    assert counted["mactivations"] * 1e6 == pytest.approx(outputs)


class NeedsValues(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if float(images.sum()) > 0 else -images


def test_a_network_that_needs_values_has_no_figures() -> None:
    assert count_operations(NeedsValues(), (3, 8, 8)) == {}


@pytest.mark.parametrize("error", [AssertionError, AttributeError, KeyError, TypeError, ValueError])
def test_a_network_that_cannot_be_counted_has_no_figures(error: type[Exception]) -> None:
    """The figures are the last step of a run: no failure may lose its model."""

    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise error("not on this device")

    assert count_operations(Fails(), (3, 8, 8)) == {}


@pytest.mark.parametrize("name", ["resnet20_cifar.glmc_cifar10_lt", "resnet20_cifar.glmc_digits_lt"])
def test_timm_loads_a_published_model_by_its_name(name: str) -> None:
    model, ours = timm.create_model(name, pretrained=True).eval(), glmc_zoo.create_model(name).eval()
    assert model.pretrained_cfg["label_names"] == ours.pretrained_cfg["label_names"]
    image = torch.randn(2, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(image), ours(image))
    assert name in timm.list_models("*cifar*", pretrained=True)
    plain = timm.create_model(name.partition(".")[0])  # a name without a tag is that of the network alone
    assert not plain.pretrained_cfg.get("tag") and plain.num_classes == 10
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        timm.create_model("resnet20_cifar.glmc_nosuch", pretrained=True)
