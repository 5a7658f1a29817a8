"""Resolved options: by name, saved and read back, and compared with those of the run that is resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from glmc_zoo.fields import OptionGroup, values_of
from glmc_zoo.options.model import HEAD_OPTIONS
from glmc_zoo.options.resolve import evaluation_options, finetuning_options, training_options
from glmc_zoo.options.run import RunOptions, flatten_options, option_groups, saved_options
from glmc_zoo.options.sections import EVALUATE, FINETUNE, TRAIN
from glmc_zoo.options.user_options import UserOptions, parse_options, read_config
from glmc_zoo.training.folder import FREE_ON_RESUME, option_differences


def train(**explicit: Any) -> RunOptions:
    return training_options(UserOptions(explicit))


def save(options: RunOptions, path: Path) -> None:
    path.write_text(yaml.safe_dump(saved_options(options), sort_keys=False))


def test_flat_has_every_option_of_the_command_once() -> None:
    fine_tuned = finetuning_options(UserOptions({"model": "resnet18"}))
    evaluated = evaluation_options(UserOptions({"model": ["resnet18"]}))
    for options, command in ((train(), TRAIN), (fine_tuned, FINETUNE), (evaluated, EVALUATE)):
        assert flatten_options(options).keys() == command.types.keys()
        assert sum(len(values_of(group)) for group in option_groups(options)) == len(command.types)
        assert all(isinstance(group, OptionGroup) for group in option_groups(options))


def test_saving_and_reading_back_repeats_it(tmp_path: Path) -> None:
    options = train(data="cifar10_lt", lr=1e-5, ema_decay=0.999, compile=True, output_dir="a", resume="auto")
    save(options, tmp_path / "config.yaml")
    again = training_options(parse_options(TRAIN, {"config": str(tmp_path / "config.yaml")}, ""))
    assert saved_options(again) == saved_options(options) and again.schedule.lr == 1e-5
    assert (again.output.output_dir, again.output.resume) == (None, None)


def test_where_a_run_was_pushed_to_is_not_saved(tmp_path: Path) -> None:
    options = train(push_to_hub="org/name", push_tag="v1", push_private=True)
    save(options, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "push" not in text and "org/name" not in text
    assert option_differences(yaml.safe_load(text), saved_options(options)) == []
    absent = {"output_dir", "resume", "accept_new_data", "dry_run", *values_of(options.push)}
    assert saved_options(options).keys() == flatten_options(options).keys() - absent


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"lr": 0.5}, ["lr: 0.05 -> 0.5"]),
        ({"seed": 4}, ["seed: 0 -> 4"]),
        ({"prior_tau": 1.5}, ["prior_tau: 1.0 -> 1.5"]),
        ({"imbalance_type": "step", "lr_base_size": 8}, ["imbalance_type: None -> step", "lr_base_size: None -> 8"]),
        ({"mixed_precision": "bf16", "select": "last"}, ["mixed_precision: None -> bf16"]),
        ({"workers": 2, "keep_checkpoints": 5, "profile": True, "threads": 3, "output_dir": "x", "license": "mit"}, []),
    ],
)
def test_what_changes_the_result_of_a_resumed_run_is_named(
    tmp_path: Path, change: dict[str, Any], shown: list[str]
) -> None:
    save(train(lr=0.05), tmp_path / "config.yaml")
    before = read_config(tmp_path / "config.yaml", TRAIN)
    assert sorted(option_differences(before, saved_options(train(**{"lr": 0.05, **change})))) == sorted(shown)


def test_what_may_change_is_an_option() -> None:
    assert {*flatten_options(train()), *HEAD_OPTIONS} >= FREE_ON_RESUME


def test_values_that_data_and_machine_decide_are_filled_in() -> None:
    options = train()
    filled = options.with_values(image_size=64, augment="large", many_threshold=50, mixed_precision="no")
    assert (filled.images.image_size, filled.images.augment) == (64, "large")
    assert (filled.shots.many_threshold, filled.machine.mixed_precision) == (50, "no")
    others = ("data", "stage", "schedule", "output", "push", "command")
    assert all(getattr(filled, name) is getattr(options, name) for name in others)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.command = "x"  # type: ignore[misc]
