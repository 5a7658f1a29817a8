"""timm's configuration of a backbone: of registered names, of folders, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm

import glmc_zoo  # noqa: F401  # registers the CIFAR networks
from glmc_zoo.errors import UserError
from glmc_zoo.method import GLMCModel, backbone_config, check_backbone

CLASSES = 5


def test_unknown_name() -> None:
    with pytest.raises(UserError, match=r"Unknown backbone 'resnet81': .* Did you mean .*resnet18"):
        GLMCModel("resnet81", CLASSES)
    with pytest.raises(UserError, match=r"Unknown backbone 'resnet20_cfar': .* Did you mean resnet20_cifar"):
        backbone_config("resnet20_cfar")
    with pytest.raises(UserError, match=r"unknown pretrained tag 'nosuch'.*list_pretrained\('test_resnet\*'\)"):
        GLMCModel("test_resnet.nosuch", CLASSES)


def test_a_backbone_that_is_registered_without_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    # As `register_model` leaves it in a file without `default_cfgs`.
    entrypoints = timm.models._registry._model_entrypoints
    monkeypatch.setitem(entrypoints, "net_without_configuration", lambda pretrained=False, **kwargs: None)
    with pytest.raises(UserError, match=r"^Backbone 'net_without_configuration' has no configuration in timm: define "):
        backbone_config("net_without_configuration")


def test_backbone_config_of_registered_names() -> None:
    sizes = [backbone_config(name)["input_size"][-1] for name in ("resnet20_cifar", "vit_tiny_patch16_224", "test_vit")]
    assert sizes == [32, 224, 160]


def test_backbone_config_of_a_folder_is_what_lies_in_it(tmp_path) -> None:
    config = {
        "architecture": "test_vit",
        "num_classes": 3,
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 2]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert backbone_config(f"local-dir:{tmp_path}")["mean"] == [0.1, 0.2, 0.3]
    with pytest.raises(UserError, match=r"'local-dir:.*absent' cannot be read"):
        backbone_config(f"local-dir:{tmp_path / 'absent'}")
    with pytest.raises(UserError, match=r"'org/name' is not a model name"):
        backbone_config("org/name")
    for wrong in ([1], config | {"pretrained_cfg": {"input_size": None}, "model_args": {"in_chans": 3}}):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=r"'local-dir:.*' cannot be read"):
            backbone_config(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("null", [True, False])
def test_what_a_configuration_leaves_out_is_what_timm_takes(tmp_path: Path, null: bool) -> None:
    made = timm.create_model("test_resnet", num_classes=CLASSES)
    timm.models.save_for_hf(made, tmp_path, safe_serialization=True)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    names = ("mean", "std", "interpolation", "crop_pct", "crop_mode", "fixed_input_size", "input_size")
    for name in names:
        del config["pretrained_cfg"][name]
    if null:
        config["pretrained_cfg"] |= dict.fromkeys(names)
        config.pop("model_args")  # with a number of channels there, timm refuses an image size of null
    file.write_text(json.dumps(config))
    built = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    expected = timm.data.resolve_model_data_config(built)
    values = backbone_config(f"local-dir:{tmp_path}")
    assert {name: values[name] for name in expected} == expected and expected["input_size"] == (3, 224, 224)
    assert GLMCModel(built, CLASSES).projector.out_features == 256
    with pytest.raises(UserError, match=r"refuses images of 0 x 0 pixels .* such as its native 224\.$"):
        check_backbone(built, 0)
