"""The presets: the same switches in each, with the values that the paper and the published numbers have."""

from __future__ import annotations

import inspect

import pytest

from glmc_zoo.method import GLMCModel, GLMCTask
from glmc_zoo.method.presets import METHOD_SWITCHES, PRESETS

# Drawing the partners is the loader's part.
LOADER_SWITCHES = {"sampler_power"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sets_every_switch(name: str) -> None:
    assert PRESETS[name].keys() == METHOD_SWITCHES


def test_values() -> None:
    official = {"beta": 1.0, "correct_lam": False, "reduction": "sum", "rebalanced_loss": "reweighted"}
    paper = {"beta": 0.5, "correct_lam": True, "reduction": "mean", "rebalanced_loss": "reweighted", "sampler_power": 2}
    assert PRESETS["official"] | official == PRESETS["official"]
    assert PRESETS["official"]["sampler_power"] in (0.0, 0.2)
    assert PRESETS["paper"] | paper == PRESETS["paper"]
    for name in ("official", "paper"):
        assert PRESETS[name]["consistency_weight"] == 10


def test_switches_are_arguments_of_the_task() -> None:
    arguments = set(inspect.signature(GLMCTask).parameters)
    assert arguments | LOADER_SWITCHES >= METHOD_SWITCHES


@pytest.mark.parametrize("name", PRESETS)
def test_presets_reach_the_task(name: str) -> None:
    switches = {key: value for key, value in PRESETS[name].items() if key not in LOADER_SWITCHES}
    model = GLMCModel("resnet20_cifar", 3)
    task = GLMCTask(model, class_counts=[9, 3, 1], epochs=4, verbose=False, **switches)
    for key in ("beta", "correct_lam", "reduction", "rebalanced_loss", "consistency_weight"):
        assert getattr(task, key) == PRESETS[name][key]
    task.set_epoch(2)
    assert task.alpha.item() == pytest.approx(1 - 0.5 ** PRESETS[name]["cumulative_power"])
