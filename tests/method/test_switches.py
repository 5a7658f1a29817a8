"""The switches of GLMC: their ranges, and presets with the values of the paper and of the published numbers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from waiting import PATIENCE

from glmc_zoo.errors import UserError, as_command_line
from glmc_zoo.fields import field_names, values_of
from glmc_zoo.method import PRESETS, GLMCModel, GLMCSwitches, GLMCTask, preset_switches


def test_is_light() -> None:
    code = (
        "import sys, glmc_zoo, glmc_zoo.method.registry as r, glmc_zoo.method.switches as s\n"
        "s.preset_switches('tuned'), r.method_names(), glmc_zoo.register_loss, glmc_zoo.method.load_plugin\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert {"torch", "timm", "numpy"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_decides_what_has_no_default(name: Any) -> None:
    required = {f.name for f in dataclasses.fields(GLMCSwitches) if f.default is dataclasses.MISSING}
    assert PRESETS[name].keys() == required
    assert all(f.metadata["help"] for f in dataclasses.fields(GLMCSwitches))


def test_values() -> None:
    official = {"beta": 1.0, "correct_lam": False, "reduction": "sum", "rebalanced_loss": "reweighted"}
    paper = {"beta": 0.5, "correct_lam": True, "reduction": "mean", "rebalanced_loss": "reweighted", "sampler_power": 2}
    assert PRESETS["official"] | official == PRESETS["official"]
    assert PRESETS["official"]["sampler_power"] in (0.0, 0.2)
    assert PRESETS["paper"] | paper == PRESETS["paper"]
    for name in ("official", "paper"):
        assert PRESETS[name]["consistency_weight"] == 10


def test_preset_with_changes() -> None:
    switches = preset_switches("tuned", beta="0.3", views="cutmix", mix_off_epochs=5)
    assert values_of(switches).items() >= {**PRESETS["tuned"], "beta": 0.3, "views": "cutmix"}.items()
    assert (switches.sampler, switches.mix_off_epochs, switches.constant_alpha) == ("power", 5, None)
    with pytest.raises(UserError, match="preset='best' is not accepted: it must be one of official, paper, tuned"):
        preset_switches("best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"beta": 0}, "--beta 0.0 must be above 0."),
        ({"cumulative_power": -1}, "--cumulative-power -1.0 must be above 0."),
        ({"constant_alpha": 1.5}, "--constant-alpha 1.5 must be below 1."),
        # The re-balanced classifier, which is exported, would have a loss with weight 0.
        ({"constant_alpha": 1}, "--constant-alpha 1.0 must be below 1."),
        ({"unmixed_share": 1.5}, "--unmixed-share 1.5 must be between 0 and 1."),
        ({"consistency_weight": -1}, "--consistency-weight -1.0 is too small: it must be at least 0."),
        ({"class_weight_power": -0.1}, "--class-weight-power -0.1 is too small: it must be at least 0."),
        ({"sampler_power": -2}, "--sampler-power -2.0 is too small: it must be at least 0."),
        ({"prior_tau": -2}, "--prior-tau -2.0 is too small: it must be at least 0."),
        ({"prior_tau": float("nan")}, "--prior-tau nan is not accepted: it must be a number."),
        ({"projection_dim": 0}, "--projection-dim 0 is too small: it must be at least 1."),
        ({"mix_off_epochs": -1}, "--mix-off-epochs -1 is too small: it must be at least 0."),
        ({"reduction": "max"}, "--reduction max is not accepted: it must be one of sum, mean."),
        (
            {"views": "blur"},
            "--views blur is not accepted: it must be one of auto, none, alternate, mixup, cutmix, mixup_cutmix.",
        ),
        (
            {"rebalanced_loss": "hinge"},
            "--rebalanced-loss hinge is not accepted: it must be one of reweighted, ce, balanced_softmax",
        ),
        ({"sampler": "even"}, "--sampler even is not accepted: it must be one of power"),
    ],
)
def test_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        preset_switches("official", **change)
    assert as_command_line(str(caught.value), field_names(GLMCSwitches)).startswith(sentence)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_reach_the_task(name: Any) -> None:
    switches = preset_switches(name, views="mixup_cutmix")
    task = GLMCTask(GLMCModel("resnet20_cifar", 3), class_counts=[9, 3, 1], epochs=4, switches=switches, verbose=False)
    assert task.switches is switches
    task.set_epoch(2)
    assert task.alpha.item() == pytest.approx(1 - 0.5 ** PRESETS[name]["cumulative_power"])
