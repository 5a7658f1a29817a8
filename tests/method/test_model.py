"""`GLMCModel` over timm's families: what training reads is what the exported model says, or the model is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import glmc_zoo  # noqa: F401  # registers the CIFAR networks
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, export_model
from glmc_zoo.method import GLMCModel, GLMCTask, check_backbone, create_backbone, preset_switches

CLASSES = 5
# One small member of each family; 64 pixels but for the networks made for 32.
FAMILIES = [
    "convnext_atto",
    "deit_tiny_patch16_224",
    "densenet121",
    "edgenext_xx_small",
    "ghostnet_050",
    "gmlp_ti16_224",
    "lcnet_050",
    "mixer_s32_224",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "pit_ti_224",
    "poolformer_s12",
    "regnetx_002",
    "resmlp_12_224",
    "resnet18",
    "resnet20_cifar",
    "resnext26ts",
    "swin_tiny_patch4_window7_224",
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "vit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
]


def side(name: str) -> int:
    return 32 if name.endswith("_cifar") else 64


def pictures(size: int, number: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(0))


def numpy_state() -> list[int]:
    state: Any = np.random.get_state()
    return state[1].tolist()


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.fixture(scope="module")
def small() -> GLMCModel:
    """A network with batch-norm, in evaluation mode; not to be changed."""
    torch.manual_seed(0)
    return GLMCModel("test_resnet", CLASSES, image_size=64).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = side(name)
    model = GLMCModel(name, CLASSES, image_size=size)
    timm_model = model.timm_model
    assert model.training and timm_model.training  # as built, the check notwithstanding

    # Evaluation: the wrapper, the timm model and the classifier on the pre-logits are one.
    model.eval()
    x = pictures(size)
    with torch.no_grad():
        logits = model(x)
        pre_logits = timm_model.forward_head(timm_model.forward_features(x), pre_logits=True)
        heads, _ = model.forward_views(x, x.flip(3))
    assert logits.shape == (2, CLASSES)
    assert torch.equal(logits, timm_model(x))
    torch.testing.assert_close(timm_model.get_classifier()(pre_logits), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(heads.balanced_logits, logits, rtol=1e-4, atol=1e-5)

    # One training step: a parameter without a gradient would stop DDP at the next one.
    switches = preset_switches("official", consistency_weight=1.0)
    task = GLMCTask(model, class_counts=[50, 20, 10, 5, 2], epochs=10, switches=switches, verbose=False).train()
    task.set_epoch(5)
    generator = torch.Generator().manual_seed(0)
    pair = (pictures(size), pictures(size).flip(2))
    losses = task(task.mix(pair, pair[::-1], torch.tensor([0, 1]), torch.tensor([3, 4]), generator))
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []

    # Exported after the step, timm gives the same logits bit for bit, and the encoder without them.
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    model.eval()
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, size, size)}
    info = ExportInfo(class_names=list("abcde"), tag="glmc_test", **statistics)
    folder = export_model(timm_model, tmp_path / "model", info)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    encoder = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        logits = model(x)
        assert torch.equal(loaded(x), logits)
        torch.testing.assert_close(timm_model.get_classifier()(encoder(x)), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s", "efficientformer_l1"])
def test_refuses_two_classifiers(name: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' cannot carry .* gives 2 classifiers where .* without distillation"):
        GLMCModel(name, CLASSES)


@pytest.mark.parametrize(("name", "kind"), [("dla46_c", "Conv2d"), ("crossvit_9_240", "ModuleList")])
def test_refuses_other_classifiers(name: str, kind: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' cannot carry .* gives {kind} where one linear layer"):
        GLMCModel(name, CLASSES)


def test_refuses_pre_logits_that_the_classifier_does_not_read() -> None:
    with pytest.raises(UserError, match=r"'volo_d1_224' cannot carry .* does not give the output of the model"):
        GLMCModel("volo_d1_224", CLASSES)


def test_refuses_a_wrong_identity() -> None:
    """Right shapes are not enough: the numbers must agree."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.default_cfg = {"input_size": (3, 4, 4), "architecture": "doubled"}
            self.fc = nn.Linear(48, CLASSES)

        def get_classifier(self) -> nn.Linear:
            return self.fc

        def forward_features(self, x: Tensor) -> Tensor:
            return x.flatten(1)

        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return x if pre_logits else self.fc(2 * x)

        def forward(self, x: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(x))

    with pytest.raises(UserError, match="'doubled' cannot carry the heads"):
        check_backbone(Doubled(), 4)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # a mixer of no patches
@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("test_vit", 65, "divisible by patch size"),
        ("vit_tiny_patch16_224", 8, "greater than actual input size"),
        ("mixer_s32_224", 16, "greater than actual input size"),
        ("densenet121", 16, "too small"),
    ],
)
def test_refused_size(name: str, size: int, reason: str) -> None:
    message = rf"'{name}' refuses images of {size} x {size} pixels \(.*{reason}.*\): give an image_size="
    with pytest.raises(UserError, match=message):
        GLMCModel(name, CLASSES, image_size=size)


def test_a_refused_size_is_not_its_own_advice() -> None:
    with pytest.raises(UserError, match=r"give an image_size= that it accepts, such as its native 224\.$"):
        GLMCModel("vit_tiny_patch16_224", 3, image_size=8)
    assert GLMCModel("vit_tiny_patch16_224", 3, image_size=224).num_classes == 3


def test_refused_options() -> None:
    with pytest.raises(UserError, match=r"'vgg11' .*drop_path_rate'\): leave it out"):
        create_backbone("vgg11", CLASSES, drop_path_rate=0.1)
    with pytest.raises(UserError, match=r"'resnet20_cifar' cannot be built: No pretrained weights"):
        GLMCModel("resnet20_cifar", CLASSES, pretrained=True)
    with pytest.raises(UserError, match="'local-dir:nowhere' cannot be read"):
        GLMCModel("local-dir:nowhere", CLASSES)


def test_refuses_other_models() -> None:
    with pytest.raises(UserError, match=r"'Linear' is not a timm model"):
        GLMCModel(nn.Linear(4, CLASSES), CLASSES)


@pytest.mark.parametrize("classes", [0, 7])
def test_number_of_classes_must_fit(classes: int) -> None:
    model = timm.create_model("test_resnet", num_classes=classes)
    with pytest.raises(UserError, match=rf"has {classes} classes, not num_classes=5; call reset_classifier\(5\)"):
        GLMCModel(model, CLASSES)


def test_takes_a_built_model() -> None:
    """At the size and with the channels it was built for; arguments that come too late are said so."""
    backbone = timm.create_model("test_vit", num_classes=CLASSES, img_size=32, in_chans=1)
    with pytest.warns(UserWarning, match="already built"):
        model = GLMCModel(backbone, CLASSES, drop_rate=0.1)
    assert model.timm_model is backbone
    assert model(pictures(32, channels=1)).shape == (2, CLASSES)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "resnet20_cifar"])
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(name: str, channels: int) -> None:
    model = GLMCModel(name, CLASSES, image_size=32, in_chans=channels)
    assert model(pictures(32, channels=channels)).shape == (2, CLASSES)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "ghostnet_050", "test_vit", "resnet20_cifar"])
@pytest.mark.parametrize("training", [True, False])
def test_check_leaves_no_trace(name: str, training: bool) -> None:
    model = create_backbone(name, CLASSES, image_size=side(name)).train(training)
    kept = buffers(model), {key: value.clone() for key, value in model.state_dict().items()}
    states = torch.get_rng_state(), numpy_state(), random.getstate()
    check_backbone(model, side(name))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (numpy_state(), random.getstate()) == states[1:]
    for before, after in zip(kept, (buffers(model), model.state_dict()), strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert model.training == training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_check_leaves_each_module_in_its_mode() -> None:
    """Batch-norm that a user froze by ``eval()`` stays frozen, also where the size is refused."""
    model = timm.create_model("test_vit", num_classes=CLASSES, img_size=64)
    model.blocks[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    check_backbone(model, 64)
    GLMCModel(model, CLASSES)
    with pytest.raises(UserError, match="refuses images"):
        check_backbone(model, 65)
    assert {name: module.training for name, module in model.named_modules()} == modes
    model.eval().blocks[0].train()
    check_backbone(model, 64)
    assert [name for name, module in model.named_children() if module.training] == []
    assert model.blocks[0].training and not model.training and not model.blocks[1].training


def test_backbone_is_initialised_as_by_timm() -> None:
    torch.manual_seed(1)
    expected = timm.create_model("test_resnet", num_classes=CLASSES).state_dict()
    torch.manual_seed(1)
    ours = GLMCModel("test_resnet", CLASSES).timm_model.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("name", "given", "dim"),
    [("resnet20_cifar", None, 128), ("test_resnet", None, 256), ("test_vit", None, 256), ("test_resnet", 24, 24)],
)
def test_projection_dim(name: str, given: int | None, dim: int) -> None:
    model = GLMCModel(name, CLASSES, projection_dim=given, image_size=32)
    width = model.timm_model.get_classifier().in_features
    assert (model.projector.in_features, model.projector.out_features) == (width, dim)
    assert (model.predictor.in_features, model.predictor.out_features) == (dim, dim)
    assert (model.conventional_classifier.in_features, model.conventional_classifier.out_features) == (width, CLASSES)
    out, _ = model.forward_views(pictures(32), pictures(32))
    assert [tuple(head.shape) for head in out] == [(2, CLASSES), (2, CLASSES), (2, dim), (2, dim)]


def test_heads_are_linear_layers_on_the_pre_logits(small: GLMCModel) -> None:
    x = pictures(64)
    with torch.no_grad():
        out, _ = small.forward_views(x, x)
        features = small.timm_model.forward_head(small.timm_model.forward_features(x), pre_logits=True)
    state = {key: value.double().numpy() for key, value in small.training_heads().items()}

    def linear(name: str, value: Any) -> Any:
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    features = features.double().numpy()
    projection = linear("projector", features)
    np.testing.assert_allclose(out.logits, linear("conventional_classifier", features), atol=1e-5)
    np.testing.assert_allclose(out.projection, projection, atol=1e-5)
    np.testing.assert_allclose(out.prediction, linear("predictor", projection), atol=1e-5)


def test_training_heads(small: GLMCModel) -> None:
    names = ("conventional_classifier", "projector", "predictor")
    heads = small.training_heads()
    assert list(heads) == [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    exported = {f"timm_model.{key}" for key in small.timm_model.state_dict()}
    assert small.state_dict().keys() == exported | heads.keys()


def test_cifar_heads_follow_their_backbone() -> None:
    """Kaiming-normal linear layers, as the backbone's own: normal, with variance 2 / width."""
    torch.manual_seed(0)
    weight = GLMCModel("resnet20_cifar", 100).projector.weight
    assert weight.std().item() == pytest.approx((2 / weight.shape[1]) ** 0.5, rel=0.05)
    assert weight.abs().max() > 3 * weight.std()  # a uniform draw stays within sqrt(3)


def test_joint_views_are_separate_views_in_eval_mode(small: GLMCModel) -> None:
    one, two = pictures(64), pictures(64).flip(2)
    with torch.no_grad():
        separate, joint = (small.forward_views(one, two, joint=joint) for joint in (False, True))
    for ours, expected in zip(joint, separate, strict=True):
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_batch_norm_sees_each_view_by_itself() -> None:
    torch.manual_seed(0)
    model = GLMCModel("test_resnet", CLASSES, image_size=64)
    one, two = pictures(64), 3 * pictures(64).flip(2) + 1
    alone = model.forward_views(one, one)[0]
    beside = model.forward_views(one, two)[0]
    torch.testing.assert_close(alone.logits, beside.logits)
    assert not torch.allclose(model.forward_views(one, two, joint=True)[0].logits, beside.logits, atol=1e-3)
