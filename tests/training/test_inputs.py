"""The network's input against what options, data and backbone ask for, and which batches it takes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.training.inputs import image_size_notes, input_spec
from glmc_zoo.training.stage import check_batch


def data_set(interpolation: str | None) -> Any:
    return SimpleNamespace(
        mean=(0.3,) * 3, std=(0.1,) * 3, interpolation=interpolation, image_size=32, augment="crop_flip"
    )


def test_a_batch_of_one_is_too_small_for_batch_norm() -> None:
    check_batch(nn.BatchNorm1d(2), 2, "net")  # type: ignore[arg-type]  # any module
    check_batch(nn.Linear(2, 2), 1, "net")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="batch_size=1 is too small for the batch-norm of 'net'"):
        check_batch(nn.BatchNorm1d(2), 1, "net")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "pretrained", "use_model_size", "size", "mean", "crop_pct"),
    [
        ({}, False, False, 32, 0.3, 1.0),  # from scratch: the data set's
        ({}, True, False, 32, 0.5, 1.0),  # trained weights expect the statistics that they were trained with
        ({}, True, True, 160, 0.5, 1.0),  # a fine-tuned model: its own size
        ({"image_size": 48, "augment": "large"}, True, True, 48, 0.5, 0.875),
    ],
)
def test_input_is_that_of_the_options_the_data_or_the_backbone(
    options: dict[str, Any], pretrained: bool, use_model_size: bool, size: int, mean: float, crop_pct: float
) -> None:
    data = data_set(None)
    spec = input_spec(ImageOptions(**options), data, "test_vit", pretrained=pretrained, use_model_size=use_model_size)
    assert (spec.size, spec.mean, spec.crop_pct) == (size, (mean,) * 3, crop_pct)
    assert spec.data_config["input_size"] == (3, size, size)
    assert spec.augment == options.get("augment", "crop_flip")


@pytest.mark.parametrize(
    ("backbone", "asked", "pretrained", "interpolation"),
    [
        ("test_vit", "bilinear", False, "bilinear"),  # from scratch: the data set's
        ("test_vit", None, False, "bicubic"),  # a data set that has none: the backbone's
        ("mobilenetv2_100", None, False, "bicubic"),
        ("resnet18.tv_in1k", None, False, "bilinear"),
        ("resnet18.tv_in1k", "bicubic", True, "bilinear"),  # trained weights expect their own
        ("test_vit", "bilinear", True, "bicubic"),
    ],
)
def test_interpolation_is_that_of_trained_weights_the_data_or_the_backbone(
    backbone: str, asked: str | None, pretrained: bool, interpolation: str
) -> None:
    spec = input_spec(ImageOptions(), data_set(asked), backbone, pretrained=pretrained, use_model_size=False)
    assert spec.interpolation == spec.data_config["interpolation"] == interpolation


def test_a_model_that_was_trained_with_random_interpolation_is_evaluated_with_a_fixed_one(
    lab: Any, tmp_path: Path
) -> None:
    """As `scoring` evaluates it: timm has no transform for ``random`` outside of training."""
    source = lab.source(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"]["interpolation"] = "random"
    (source / "config.json").write_text(json.dumps(config))
    options: dict[str, Any] = {"pretrained": True, "use_model_size": True}
    spec = input_spec(ImageOptions(), data_set(None), f"local-dir:{source}", **options)
    assert spec.interpolation == "bicubic"
    timm.data.create_transform(**spec.data_config, is_training=False)


@pytest.mark.parametrize("missing", ["mean", "std", "interpolation", "input_size"])
def test_a_source_without_a_value_has_that_of_timm(lab: Any, tmp_path: Path, missing: str) -> None:
    source = lab.source(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    del config["pretrained_cfg"][missing]
    (source / "config.json").write_text(json.dumps(config))
    name, options = f"local-dir:{source}", {"pretrained": True, "use_model_size": True}
    spec = input_spec(ImageOptions(), data_set(None), name, **options)
    expected = timm.data.resolve_model_data_config(timm.create_model(name, pretrained=True))
    assert all(list(spec.data_config[key]) == list(expected[key]) for key in ("mean", "std", "input_size"))
    assert spec.interpolation == expected["interpolation"]
    assert image_size_notes(ImageOptions(image_size=2048), name)


def test_a_note_says_what_far_too_large_images_cost() -> None:
    (note,) = image_size_notes(ImageOptions(image_size=2048), "resnet50")
    assert "image_size=2048 is 9.1 times the 224 pixels that 'resnet50' is made for" in note
    assert "about 84 times the time and memory" in note
    assert not image_size_notes(ImageOptions(image_size=895), "resnet50")
    assert not image_size_notes(ImageOptions(), "resnet50")
