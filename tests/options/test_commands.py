"""Options of evaluation, prediction, push and conversion: their defaults, and what they refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names, values_of
from glmc_zoo.hub import PushTarget
from glmc_zoo.options.machine import PushOptions
from glmc_zoo.options.push import PushSource
from glmc_zoo.options.resolve import (
    conversion_options,
    demo_options,
    evaluation_options,
    export_options,
    prediction_options,
    push_options,
)
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import CONVERT, DEMO, EVALUATE, EXPORT, PREDICT, PUSH
from glmc_zoo.options.user_options import UserOptions, parse_options
from glmc_zoo.training.assemble import push_target

IDLE_IN_A_STREAM = {"split_file": "x", "skip_bad_images": True, "selection": "first", "data_seed": 1}
IDLE_IN_A_STREAM |= {"split_by": "camera", "duplicates": "off", "allow_duplicates": True}


def evaluated(**values: Any) -> dict[str, Any]:
    """The options of an evaluation by name."""
    options = evaluation_options(parse_options(EVALUATE, {"model": "m", **values}, "call"))
    return flatten_options(options) | {"implied_holdout": options.implied_holdout, "command": options.command}


def test_the_defaults_of_an_evaluation() -> None:
    options = evaluated()
    expected = {"model": ["m"], "split": "test", "batch_size": 128, "data": "digits_lt", "streaming": False}
    expected |= dict.fromkeys(
        ("logit_adjustment", "tau_norm", "workers", "image_size", "mixed_precision", "output_dir")
    )
    expected |= {"val_fraction": 0.0, "implied_holdout": False, "command": "call"}
    expected |= {"many_threshold": None, "few_threshold": None, "groups": "thresholds"}  # the model decides
    assert {name: options[name] for name in expected} == expected
    assert evaluated(model=["a", "b"])["model"] == ["a", "b"]


def test_a_search_holds_images_out() -> None:
    """A tenth of each class, unless another share or an official list was asked for."""
    seen = [
        (options["val_fraction"], options["implied_holdout"])
        for options in (
            evaluated(logit_adjustment="search"),
            evaluated(tau_norm="search", val_fraction="0.2"),
            evaluated(tau_norm="search", official_val=True),
            evaluated(logit_adjustment="1.5", tau_norm=0),
        )
    ]
    assert seen == [(0.1, True), (0.2, False), (0.0, False), (0.0, False)]
    assert evaluated(logit_adjustment="1.5")["logit_adjustment"] == 1.5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model": None}, "model= is missing: give what to evaluate, such as an exported folder, hf-hub:ORG/NAME or"),
        ({"model": []}, "model= is missing: give what to evaluate"),
        ({"logit_adjustment": -1}, "logit_adjustment=-1.0 must be a number of 0 or more, or search."),
        ({"tau_norm": "nan"}, "tau_norm='nan' is not accepted: it must be a number or search."),
        ({"tau_norm": "much"}, "tau_norm='much' is not accepted: it must be a number or search."),
        ({"split": "train"}, "split='train' is not accepted: it must be one of test, validation."),
        ({"split": "validation"}, "split='validation' needs held-out images: give val_fraction=, e.g. 0.1, or"),
        ({"split": "validation", "val_fraction": 0.1, "tau_norm": "search"}, "split='validation' cannot be scored"),
        ({"batch_size": 0}, "batch_size=0 is too small: it must be at least 1."),
        ({"workers": -1}, "workers=-1 is too small: it must be at least 0."),
        ({"epochs": 3}, "The option epochs= is unknown."),
        ({"many_threshold": -1}, "many_threshold=-1 is too small: it must be at least 0."),
        ({"many_threshold": 5, "few_threshold": 6}, "few_threshold=6 must not exceed many_threshold=5: lower one, or"),
        ({"groups": "terciles", "few_threshold": 6}, "few_threshold=6 has no effect with groups='terciles'"),
        *(
            ({"streaming": True, **more}, f"{name} needs images of the training split, and streaming=True")
            for name, more in {
                "split='validation'": {"split": "validation"},
                "val_fraction=": {"val_fraction": 0.1},
                "official_val=True": {"official_val": True},
                "logit_adjustment='search'": {"logit_adjustment": "search"},
                "tau_norm='search'": {"tau_norm": "search"},
            }.items()
        ),
        *(
            ({"streaming": True, name: value}, f"{name}={value!r} has no effect with streaming=True")
            for name, value in IDLE_IN_A_STREAM.items()
        ),
    ],
)  # fmt: skip
def test_what_an_evaluation_refuses(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        evaluated(**values)
    assert str(caught.value).startswith(sentence)


def test_a_prediction() -> None:
    options = prediction_options(parse_options(PREDICT, {"model": "m", "images": "a.png"}, ""))
    assert values_of(options) == {
        "model": "m", "images": ["a.png"], "top": 5, "batch_size": 64, "workers": None, "image_size": None,
        "output": "predictions.csv", "overwrite": False, "skip_bad_images": False,
        "follow_links": False, "prior": None, "model_prior": "auto", "classes": [], "min_probability": None,
        "precision": None, "quote_formulas": True, "rank_for_labelling": False, "plugin": [],
    }  # fmt: skip
    for values, sentence in (
        ({"images": ["a"]}, "^model= is missing: give for instance model=runs/NAME/model"),
        ({"model": "m"}, "^images= is missing: give for instance images=path/to/images"),
        ({"model": "m", "images": []}, "^images= is missing"),
        ({"model": "m", "images": ["a"], "top": 0}, "^top=0 is too small"),
        ({"model": "m", "images": ["a"], "data": "x"}, "^The option data= is unknown"),
    ):
        with pytest.raises(UserError, match=sentence):
            prediction_options(parse_options(PREDICT, values, ""))


def test_a_conversion() -> None:
    needed = {"checkpoint": "a.pth", "output_dir": "out"}
    options = conversion_options(parse_options(CONVERT, {**needed, "data": "cifar10_lt", "data_dir": "c"}, ""))
    assert (options.data, options.data_dir, options.license, options.image_size) == ("cifar10_lt", "c", "unknown", None)
    for values, sentence in (
        ({}, r"^checkpoint= is missing: give one, such as path/to/model\.pth\.tar"),
        ({"checkpoint": "a"}, "^output_dir= is missing: give one, such as path/to/folder"),
        (needed, "^The class names are missing: give class_names=FILE, or data=NAME"),
        ({**needed, "class_names": "n", "data_dir": "d"}, "^data_dir= is a local copy of data=, which is missing"),
        ({**needed, "class_names": "n", "data": "x", "data_dir": "d"}, "^data_dir= and class_names= both give"),
        ({**needed, "class_names": "n", "image_size": 0}, "^image_size=0 is too small"),
    ):
        with pytest.raises(UserError, match=sentence):
            conversion_options(parse_options(CONVERT, values, ""))


def test_an_export() -> None:
    options = export_options(parse_options(EXPORT, {"model": "m"}, ""))
    assert values_of(options) == {
        "model": "m", "format": "onnx", "output": ".", "check_data": None, "data_dir": None, "int8": False,
        "image_size": None, "overwrite": False, "plugin": [],
    }  # fmt: skip
    for values, sentence in (
        ({}, "^model= is missing: give for instance model=runs/NAME/model"),
        ({"model": "m", "format": "tflite"}, "^format='tflite' is not accepted: it must be one of onnx, torch_export"),
        ({"model": "m", "output": "a.pt2"}, "^output='a.pt2' is a file name of format='torch_export', .* in .onnx"),
        (
            {"model": "m", "format": "torch_export", "output": "b/a.onnx"},
            "^output='b/a.onnx' is a file name of format='onnx', .* in .pt2",
        ),
        (
            {"model": "m", "format": "torch_export", "int8": True},
            "^int8=True writes an ONNX file and has no effect",
        ),
        (
            {"model": "m", "data_dir": "d"},
            "^data_dir= is the folder of check_data=, which is missing: give both, or",
        ),
        ({"model": "m", "image_size": 0}, "^image_size=0 is too small"),
    ):
        with pytest.raises(UserError, match=sentence):
            export_options(parse_options(EXPORT, values, ""))


def test_a_demo() -> None:
    options = demo_options(parse_options(DEMO, {"model": "m", "classes": ["a"]}, ""))
    assert values_of(options) == {
        "model": "m", "data": None, "data_dir": None, "prior": None, "model_prior": "auto", "classes": ["a"],
        "min_probability": 0.5, "image_size": None, "host": "127.0.0.1", "port": None, "share": False, "plugin": [],
    }  # fmt: skip
    for values, sentence in (
        ({}, "^model= is missing: give for instance model=runs/NAME/model"),
        ({"model": "m", "prior": "estimate"}, "^prior='estimate' needs many images, and a demo sees one at a time"),
        ({"model": "m", "model_prior": "uniform"}, "^model_prior='uniform' has no effect without prior=: leave it out"),
        ({"model": "m", "data_dir": "d"}, "^data_dir= is the folder of data=, which is missing: give both, or "),
        ({"model": "m", "min_probability": 1}, "^min_probability=1"),
        ({"model": "m", "port": 65536}, "^port=65536"),
    ):
        with pytest.raises(UserError, match=sentence):
            demo_options(parse_options(DEMO, values, ""))


def test_a_push() -> None:
    request = push_options(parse_options(PUSH, {"model": "m", "repo": "a/b", "tag": "v1"}, ""))
    assert request.source == PushSource(model="m") and request.target == PushTarget(repo="a/b", tag="v1")
    assert request.target.message == "Upload model" and not request.space.is_requested and request.space_target is None
    for values, sentence in (
        ({}, "^model= is missing: give runs/NAME/model"),
        ({"model": "x"}, "^repo= is missing: give ORG/NAME"),
        ({"model": "x", "repo": "a/b", "privat": True}, "^The option privat= is unknown. Did you mean private"),
    ):
        with pytest.raises(UserError, match=sentence):
            push_options(parse_options(PUSH, values, ""))


def test_a_push_of_a_space() -> None:
    alone = push_options(parse_options(PUSH, {"model": "m", "space": "a/demo", "private": True}, ""))
    assert alone.target is None and alone.space_target == PushTarget(repo="a/demo", private=True, message="Upload demo")
    both = push_options(parse_options(PUSH, {"model": "m", "repo": "a/b", "space": "a/demo", "tag": "v1"}, ""))
    assert both.target == PushTarget(repo="a/b", tag="v1")
    assert both.space_target == PushTarget(repo="a/demo", message="Upload demo")
    written = push_options(parse_options(PUSH, {"model": "m", "space_folder": "demo"}, ""))
    assert written.target is None and written.space_target is None and written.space.is_requested
    for values, sentence in (
        ({"model": "m", "space": "a/demo", "tag": "v1"}, "^tag= has no effect without repo=: give repo=ORG/NAME as"),
        ({"model": "m", "space_folder": "d", "private": True}, "^private= has no effect without repo="),
        ({"model": "m", "repo": "a/b", "space_images": 3}, "^space_images= has no effect without space="),
        ({"model": "m", "space": "a/demo", "space_images": 101}, "^space_images=101"),
    ):
        with pytest.raises(UserError, match=sentence):
            push_options(parse_options(PUSH, values, ""))


def test_every_option_of_a_push_is_one_of_a_run_and_reaches_its_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    ours = {name.removeprefix("push_") for name in field_names(PushOptions)} - {"to_hub"}
    assert ours == set(field_names(PushTarget)) - {"repo", "message"}
    assert field_names(PushSource) == ["model", "dry_run"]
    assert push_target(PushOptions()) is None
    values = {"push_private": True, "push_revision": "dev", "push_tag": "v1", "push_collection": "c"}
    target = push_target(PushOptions(push_to_hub="org/name", push_overwrite=True, **values))
    expected = {name.removeprefix("push_"): value for name, value in values.items()}
    assert target == PushTarget(repo="org/name", overwrite=True, **expected)
    assert target is not None and dataclasses.replace(target, revision=None, tag=None, pull_request=True).pull_request


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"push_to_hub": "no name"}, "^push_to_hub='no name' is not a repository: "),
        ({"push_to_hub": "org/name", "push_tag": "a b"}, "^push_tag='a b' is not a valid name"),
        ({"push_to_hub": "org/name", "push_pull_request": True, "push_revision": "dev"},
         "^push_pull_request=True .* takes no revision: leave push_revision= out"),
    ],
)  # fmt: skip
def test_a_run_refuses_what_its_push_would_and_names_its_own_options(
    values: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    with pytest.raises(UserError, match=sentence):
        push_target(PushOptions(**values))


def test_a_file_counts_for_every_command() -> None:
    given = UserOptions({"top": 2}, {"model": "m", "images": ["a"], "top": 9})
    assert prediction_options(given).top == 2
