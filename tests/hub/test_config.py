"""A stranger's config.json: one sentence for each value that no model can use, and nothing is built for it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub.config import INTERPOLATIONS, check_config

GOOD: dict[str, Any] = {
    "architecture": "resnet20_cifar",
    "num_classes": 3,
    "num_features": 64,
    "global_pool": "avg",
    "label_names": ["ant", "bee", "cat"],
    "model_args": {"in_chans": 3, "global_pool": "avg", "layers": [1, 2, 3], "norm": None},
    "pretrained_cfg": {
        "classifier": "fc", "first_conv": "conv1", "fixed_input_size": False, "input_size": [3, 32, 32],
        "pool_size": [8, 8], "tag": "glmc_mine", "license": "mit", "paper_ids": "arXiv:2305.08661", "num_classes": 3,
        "crop_mode": "center", "interpolation": "bicubic", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3],
        "crop_pct": 1.0, "custom_load": False,
    },
}  # fmt: skip


def changed(**values: Any) -> dict[str, Any]:
    """The good configuration with other values, at the top or, for a name with ``__`` before it, below."""
    config = copy.deepcopy(GOOD)
    for name, value in values.items():
        (config["pretrained_cfg"] if name.startswith("__") else config)[name.removeprefix("__")] = value
    return config


def test_a_good_one() -> None:
    config = check_config(GOOD, "config.json of x")
    assert (config.architecture, config.num_classes) == ("resnet20_cifar", 3)
    assert config.class_names == ["ant", "bee", "cat"]
    assert config.pretrained == {**GOOD["pretrained_cfg"], "architecture": "resnet20_cifar"}


@pytest.mark.parametrize(
    ("values", "names", "count"),
    [
        ({"label_names": None}, None, 3),
        ({"label_names": [0, 1, 2]}, ["0", "1", "2"], 3),
        ({"label_names": {"1": "bee", "0": "ant", "2": "cat"}}, ["ant", "bee", "cat"], 3),
        ({"label_names": {"5": "bee", "0": "ant"}}, None, 3),  # timm's form with gaps
        ({"label_names": [], "num_classes": 0}, None, 0),
        ({"__test_input_size": [3, 64, 64], "__test_crop_pct": 1.15}, ["ant", "bee", "cat"], 3),
        ({"__first_conv": ["a", "b"], "__classifier": None, "__pool_size": None}, ["ant", "bee", "cat"], 3),
        ({"num_classes": None, "__num_classes": None}, ["ant", "bee", "cat"], None),
    ],
)
def test_what_timm_writes(values: dict[str, Any], names: list[str] | None, count: int | None) -> None:
    config = check_config(changed(**values), "config.json")
    assert (config.class_names, config.num_classes) == (names, count)


def test_the_old_layout_has_all_at_the_top() -> None:
    config = check_config(
        {"architecture": "resnet18", "labels": ["a", "b"], **GOOD["pretrained_cfg"], "num_classes": 2}, "x"
    )
    assert (config.class_names, config.num_classes, config.pretrained["mean"]) == (["a", "b"], 2, [0.4, 0.5, 0.6])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"architecture": 7}, "has architecture 7: it must be text"),
        ({"architecture": ""}, "has architecture '': it must be text"),
        ({"architecture": None}, "has architecture None"),
        ({"architecture": ["a"]}, r"has architecture \['a'\]"),
        ({"label_names": ["a", "b"]}, "names 2 classes and has num_classes 3"),
        ({"label_names": "abc"}, "has label_names 'abc': it must be a list of names"),
        ({"label_names": [["a"], "b", "c"]}, "has label_names"),
        ({"num_classes": -1}, "has num_classes -1: it must be a whole number from 0 to 1,000,000"),
        ({"num_classes": 10**9}, "has num_classes 1000000000"),
        ({"num_classes": True}, "has num_classes True"),
        ({"num_classes": "3"}, "has num_classes '3'"),
        ({"num_classes": 3.0}, "has num_classes 3.0"),
        ({"num_features": -1}, "has num_features -1"),
        ({"pretrained_cfg": None}, "has pretrained_cfg None: it must be an object"),
        ({"pretrained_cfg": [1]}, "has pretrained_cfg"),
        ({"model_args": [1]}, "has model_args"),
        ({"__mean": [0.5, 0.5]}, "has 2 values of mean for images of 3 channels"),
        ({"__mean": 0.5}, "has mean 0.5: it must be numbers"),
        ({"__mean": ["a", 0, 0]}, "has mean"),
        ({"__mean": [1e9, 0, 0]}, "has mean"),
        ({"__std": [0.2, 0.2]}, "has 2 values of std"),
        ({"__std": [0, 0.2, 0.2]}, r"has std \[0, 0.2, 0.2\]: it must be numbers from 0.000000001"),
        ({"__std": [-1, 1, 1]}, "has std"),
        ({"__std": [float("nan"), 1, 1]}, "has std"),
        ({"__std": [1e-320, 1, 1]}, "has std"),
        ({"__crop_pct": 1e-4}, r"has crop_pct 0.0001: it must be a number from 0.1 to 1.5"),
        ({"__crop_pct": 0.1, "__input_size": [3, 4096, 4096]}, "asks for images of 40,960 pixels a side"),
        ({"__test_crop_pct": 0.2, "__input_size": [3, 2048, 2048]}, "asks for images of 10,240 pixels"),
        ({"__crop_pct": -1}, "has crop_pct -1"),
        ({"__crop_pct": float("inf")}, "has crop_pct inf"),
        ({"__crop_pct": "1"}, "has crop_pct '1'"),
        ({"__crop_mode": "x"}, "has crop_mode 'x': it must be one of center"),
        ({"__input_size": [3, 32]}, r"has input_size \[3, 32\]: it must be three whole numbers"),
        ({"__input_size": [3, -32, 32]}, "has input_size"),
        ({"__input_size": [3, 10**6, 10**6]}, "has input_size"),
        ({"__input_size": [10**6, 32, 32]}, "has input_size"),
        ({"__input_size": [3.0, 32, 32]}, "has input_size"),
        ({"__input_size": 32}, "has input_size 32"),
        ({"__test_input_size": [3, 0, 1]}, "has test_input_size"),
        ({"__interpolation": "best"}, "has interpolation 'best': it must be one of bicubic"),
        ({"__interpolation": 3}, "has interpolation 3"),
        ({"__fixed_input_size": "yes"}, "has fixed_input_size 'yes': it must be true or false"),
        ({"__pool_size": [-1, 2]}, "has pool_size"),
        ({"__classifier": 3}, "has classifier 3"),
        ({"__license": {"a": 1}}, "has license"),
        ({"model_args": {"depth": 10**9}}, "has model_args depth 1000000000"),
        ({"model_args": {"x": "y" * 2000}}, "has model_args x str"),
        ({"model_args": {"layers": [[[[[1]]]]]}}, "has model_args layers"),
        ({"model_args": {"layers": [1] * 2000}}, "has model_args layers list"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "'checkpoint_path' among its model_args"),
        ({"model_args": {"pretrained_strict": False}}, "'pretrained_strict' among its model_args"),
        ({"model_args": {"not a name": 1}}, "'not a name' among its model_args"),
    ],
)  # fmt: skip
def test_one_sentence_each(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        check_config(changed(**values), "config.json of x")
    assert str(caught.value).startswith("config.json of x ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [None, [], "x", 3, {}, {"label_names": []}])
def test_what_describes_no_model(values: Any) -> None:
    with pytest.raises(UserError, match="does not describe a timm model, architecture is missing"):
        check_config(values, "config.json of x")


def test_the_published_models_and_timm_pass() -> None:
    timm = pytest.importorskip("timm")
    for path in Path(__file__).parents[2].glob("hub_cards/*/config.json"):
        check_config(json.loads(path.read_text()), str(path))
    interpolations = set()
    for name in timm.list_pretrained():
        config = timm.models.get_pretrained_cfg(name).to_dict()
        check_config({"architecture": name, "pretrained_cfg": config}, name)
        interpolations.add(config["interpolation"])
    assert interpolations <= set(INTERPOLATIONS)
