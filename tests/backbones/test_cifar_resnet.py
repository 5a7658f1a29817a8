"""CIFAR ResNets against hand-counted sizes, a forward pass written out, and timm's own conventions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_resnet import create, small
from timm.models import group_parameters
from torch import nn

import glmc_zoo.backbones
from glmc_zoo.backbones import CifarResNet
from glmc_zoo.backbones.cifar_resnet import PadShortcut
from glmc_zoo.errors import UserError

ZOO = {"resnet20_cifar": (3, 16), "resnet32_cifar": (5, 16), "resnet56_cifar": (9, 16), "resnet32x4_cifar": (5, 64)}
NAMES = list(ZOO)


def counted_by_hand(blocks: int, width: int, classes: int, in_chans: int = 3) -> int:
    """Parameters: convolutions without bias, two per batch-norm channel, a linear classifier, nothing in shortcuts."""
    total = 9 * in_chans * width + 2 * width
    before = width
    for channels in (width, 2 * width, 4 * width):
        total += 9 * before * channels + 9 * channels**2 + 4 * channels
        total += (blocks - 1) * (2 * 9 * channels**2 + 4 * channels)
        before = channels
    return total + 4 * width * classes + classes


def written_out(state: dict[str, torch.Tensor], x: torch.Tensor, blocks: int, training: bool) -> torch.Tensor:
    """The forward pass from the state dict alone, with functions and no modules."""

    def conv_bn(x: torch.Tensor, prefix: str, number: int, stride: int) -> torch.Tensor:
        x = F.conv2d(x, state[f"{prefix}conv{number}.weight"], stride=stride, padding=1)
        bn = f"{prefix}bn{number}."
        mean, var = state[bn + "running_mean"].clone(), state[bn + "running_var"].clone()
        return F.batch_norm(x, mean, var, state[bn + "weight"], state[bn + "bias"], training=training)

    x = conv_bn(x, "", 1, 1).relu()
    for stage in (1, 2, 3):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            prefix = f"layer{stage}.{block}."
            y = conv_bn(conv_bn(x, prefix, 1, stride).relu(), prefix, 2, 1)
            if stride == 2:
                zeros = torch.zeros_like(x[:, : x.shape[1] // 2, ::2, ::2])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
            x = (x + y).relu()
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [10, 100])
def test_parameter_counts(name: str, classes: int) -> None:
    model = create(name, num_classes=classes)
    assert sum(p.numel() for p in model.parameters()) == counted_by_hand(*ZOO[name], classes)


@pytest.mark.parametrize(("name", "millions"), zip(NAMES, ["0.27", "0.46", "0.85", "7.4"], strict=True))
def test_sizes_people_quote(name: str, millions: str) -> None:
    counted = counted_by_hand(*ZOO[name], classes=10)
    assert f"{counted / 1e6:.{len(millions) - 2}f}" == millions


def test_depth_counts_the_weighted_layers() -> None:
    for depth in (8, 20, 44):
        weighted = [m for m in CifarResNet(depth, width=2).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert len(weighted) == depth


def test_state_dict_names() -> None:
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{n}" for n in norm)}
    for block in (f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(5)):
        for i in (1, 2):
            expected |= {f"{block}.conv{i}.weight", *(f"{block}.bn{i}.{n}" for n in norm)}
    assert set(create("resnet32_cifar").state_dict()) == expected


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [32, 30])
@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet32x4_cifar"])
def test_forward_written_out(name: str, size: int, training: bool) -> None:
    torch.manual_seed(1)
    model = create(name, num_classes=7)
    model(torch.randn(8, 3, 32, 32))  # moves the running statistics away from 0 and 1
    model.train(training)
    x = torch.randn(2, 3, size, size)
    expected = written_out(model.state_dict(), x, ZOO[name][0], training)  # before: the call moves the statistics
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (224, 224)])
def test_any_input_size(size: tuple[int, int]) -> None:
    model = create("resnet20_cifar").eval()
    x = torch.randn(1, 3, *size)
    assert model.forward_features(x).shape == (1, 64, math.ceil(size[0] / 4), math.ceil(size[1] / 4))
    assert model(x).shape == (1, 10)


def test_shortcut_subsamples_and_pads_half_on_each_side() -> None:
    x = torch.randn(2, 4, 5, 6)
    out = PadShortcut(4, 8, stride=2)(x)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


def test_only_the_blocks_that_shrink_have_a_padding_shortcut() -> None:
    model: Any = small()
    padded = [name for name, module in model.named_modules() if isinstance(module, PadShortcut)]
    assert padded == ["layer2.0.downsample", "layer3.0.downsample"]
    assert not list(model.layer2[0].downsample.parameters())


def test_registered_with_timm() -> None:
    assert set(NAMES) <= set(timm.list_models("*cifar*"))
    assert set(timm.list_models(module="cifar_resnet")) == set(NAMES)
    assert all(timm.is_model(name) for name in NAMES)
    assert not set(NAMES) & set(timm.list_models("*cifar*", pretrained=True))
    assert set(glmc_zoo.backbones.__all__) == {"CifarResNet", *NAMES}


def test_pretrained_cfg() -> None:
    config = timm.data.resolve_data_config(model=create("resnet32_cifar"))
    assert config["input_size"] == (3, 32, 32)
    assert config["crop_pct"] == 1.0
    assert config["mean"] == pytest.approx((0.49139968, 0.48215827, 0.44653124), abs=1e-3)
    assert config["std"] == pytest.approx((0.24703233, 0.24348505, 0.26158768), abs=1e-3)
    cfg = timm.get_pretrained_cfg("resnet32_cifar")
    assert cfg is not None
    assert not cfg.has_weights
    assert (cfg.architecture, cfg.num_classes, cfg.license) == ("resnet32_cifar", 10, "apache-2.0")
    assert create("resnet32_cifar").forward_features(torch.randn(1, 3, 32, 32)).shape[2:] == cfg.pool_size


def test_pretrained_without_weights_fails_as_in_timm() -> None:
    with pytest.raises(RuntimeError, match="No pretrained weights exist for resnet32_cifar"):
        create("resnet32_cifar", pretrained=True)


def test_weights_load_into_other_classes_and_channels(tmp_path: Path) -> None:
    source = create("resnet20_cifar")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    overlay = {"file": str(tmp_path / "model.safetensors")}
    same = create("resnet20_cifar", pretrained=True, pretrained_cfg_overlay=overlay).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(same(x), source.eval()(x))
    other = create("resnet20_cifar", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7, in_chans=1)
    assert other(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    loaded, stored = other.state_dict(), source.state_dict()
    assert torch.equal(loaded["layer3.0.conv1.weight"], stored["layer3.0.conv1.weight"])
    torch.testing.assert_close(loaded["conv1.weight"], stored["conv1.weight"].sum(dim=1, keepdim=True))


def test_head_is_timms() -> None:
    model = small(num_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    features = model.forward_features(x)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    torch.testing.assert_close(pooled, features.mean(dim=(2, 3)))
    assert model.get_classifier() is model.fc
    assert model.get_classifier(name_only=True) == "fc"
    assert torch.equal(model.get_classifier()(pooled), model(x))


def test_no_classifier() -> None:
    model = small(num_classes=0).eval()
    assert isinstance(model.get_classifier(), nn.Identity)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    assert small(num_classes=0, global_pool="")(x).shape == (2, 16, 8, 8)


def test_reset_classifier() -> None:
    model = small(num_classes=10).eval()
    x = torch.randn(2, 3, 32, 32)
    model.reset_classifier(4)
    assert (model.num_classes, model(x).shape) == (4, (2, 4))
    assert not model.fc.bias.any()
    assert not model.fc.training
    model.reset_classifier(4, "catavgmax")
    assert (model.num_features, model.head_hidden_size, model.fc.in_features) == (16, 32, 32)
    model.reset_classifier(0)
    assert model(x).shape == (2, 32)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 16, 8, 8)


def test_reset_classifier_keeps_the_dtype() -> None:
    model = small(dtype=torch.float64)
    model.reset_classifier(3)
    assert model(torch.randn(2, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64


def test_other_input_channels() -> None:
    assert create("resnet20_cifar", in_chans=1)(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_drop_rate_acts_in_training_only() -> None:
    model = small(drop_rate=0.5)
    x = torch.ones(4, 16, 8, 8)
    dropped = model.train().forward_head(x, pre_logits=True)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(model.eval().forward_head(x, pre_logits=True), torch.ones(4, 16))


def test_grad_checkpointing_gives_the_same_gradients() -> None:
    x = torch.randn(4, 3, 16, 16)
    target = torch.tensor([0, 1, 2, 3])
    grads = []
    for checkpointing, intermediates in ((False, False), (True, False), (True, True)):
        model = small()
        model.set_grad_checkpointing(checkpointing)
        features = model.forward_intermediates(x)[0] if intermediates else model.forward_features(x)
        F.cross_entropy(model.forward_head(features), target).backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert all(grad is not None and grad.any() for grad in grads[0].values())
    for others in grads[1:]:
        for name, grad in grads[0].items():
            torch.testing.assert_close(others[name], grad, msg=name)


def test_group_matcher() -> None:
    model = small()
    names = {name for name, _ in model.named_parameters()}
    for coarse, groups in ((True, 1 + 3 + 1), (False, 1 + 3 * 2 + 1)):
        grouped = group_parameters(model, model.group_matcher(coarse=coarse))
        ordered = [grouped[key] for key in sorted(grouped)]
        assert len(ordered) == groups
        assert set(ordered[0]) == {"conv1.weight", "bn1.weight", "bn1.bias"}
        assert set(ordered[-1]) == {"fc.weight", "fc.bias"}
        assert {name for group in ordered for name in group} == names


def test_initial_weights() -> None:
    torch.manual_seed(2)
    model = create("resnet32x4_cifar", num_classes=100)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            wanted = math.sqrt(2 / (module.in_channels * 9))
        elif isinstance(module, nn.Linear):
            wanted = math.sqrt(2 / module.in_features)
            assert not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
            continue
        else:
            continue
        draws = module.weight.numel()
        assert module.weight.std().item() == pytest.approx(wanted, rel=5 / math.sqrt(2 * draws)), name
        assert abs(module.weight.mean().item()) < 5 * wanted / math.sqrt(draws), name
        beyond_three_sigma = (module.weight.abs() > 3 * wanted).float().mean().item()
        assert 0 < beyond_three_sigma < 0.01, f"{name} is not drawn from a normal distribution"


def test_init_head_redraws_linear_layers_only() -> None:
    torch.manual_seed(4)
    norm = nn.LayerNorm(128)
    nn.init.constant_(norm.weight, 3.0)
    head: Any = nn.Sequential(nn.Linear(256, 128), norm, nn.Linear(128, 128, bias=False))
    small().init_head(head)
    for layer in (head[0], head[2]):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / layer.in_features), rel=0.03)
    assert not head[0].bias.any()
    assert (norm.weight == 3).all()
    single = nn.Linear(512, 64)
    small().init_head(single)
    assert single.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.03)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript() -> None:
    model = small().eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))


def test_other_layers() -> None:
    model = small(act_layer="gelu", norm_layer="groupnorm1")
    assert {type(m).__name__ for m in model.modules()} >= {"GELU", "GroupNorm1"}
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("depth", [2, 7, 33, 34])
def test_bad_depth(depth: int) -> None:
    with pytest.raises(UserError, match=rf"^depth={depth} .* 6n \+ 2"):
        CifarResNet(depth=depth)


def test_bad_width() -> None:
    with pytest.raises(UserError, match=r"^width=0 .* 1 or more"):
        create("resnet20_cifar", width=0)
