"""Switches without effect: refused where they are given, left out and named where they are in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from published import PLAIN
from timm.task import ClassificationTask, TrainingTask
from torch import Tensor, nn

from glmc_zoo import register_loss, register_method, register_sampler
from glmc_zoo.errors import UserError
from glmc_zoo.method import MethodSetup
from glmc_zoo.options.length import resolve_method
from glmc_zoo.options.resolve import finetuning_options, second_stage_options, training_options
from glmc_zoo.options.run import RunOptions, flatten_options, saved_options
from glmc_zoo.options.sections import TRAIN
from glmc_zoo.options.user_options import UserOptions, parse_options

GLMC: dict[str, Any] = {"method": "glmc", "views": "mixup_cutmix"}


def train(explicit: dict[str, Any] | None = None, file: dict[str, Any] | None = None) -> RunOptions:
    return training_options(UserOptions(explicit or {}, file or {}))


def values(options: RunOptions, *names: str) -> list[Any]:
    return [flatten_options(options)[name] for name in names]


def left_out(*switches: str) -> tuple[str]:
    return (f"Options of the file that have no effect on this training are left out: {', '.join(switches)}.",)


@pytest.fixture
def plugins(own_registry: None) -> None:
    """Losses, samplers and methods of a user, of which some read a switch and others none."""

    @register_loss("plain_loss")
    def plain_loss(class_counts: list[int]) -> nn.Module:
        return nn.CrossEntropyLoss()

    @register_loss("power_loss")
    def power_loss(class_counts: list[int], class_weight_power: float, sampler_power: float) -> nn.Module:
        return nn.CrossEntropyLoss()

    @register_sampler("plain_sampler")
    def plain_sampler(labels: Tensor, class_counts: list[int]) -> Tensor:
        return torch.ones(len(labels))

    @register_sampler("power_sampler")
    def power_sampler(labels: Tensor, class_counts: list[int], sampler_power: float) -> Tensor:
        return torch.ones(len(labels))

    def build(setup: MethodSetup) -> TrainingTask:
        return ClassificationTask(setup.make_backbone(), criterion=nn.CrossEntropyLoss(), verbose=False)

    register_method("plain")(build)
    register_method("reader", switches=["prior_tau", "views", "beta"])(build)
    register_method("paired", partners=True, switches=["beta"])(build)
    register_method("anything", views=2)(build)


# ------------------------------------------------------------------------------------------------ given
@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("explicit", "sentence"),
    [
        # The loss of the re-balanced branch decides which of its switches are used.
        ({"class_weight_power": 1.2}, r"class_weight_power=1\.2 has no effect with rebalanced_loss='balanced_softmax'"),
        (
            {"data": "cifar100_lt", "rebalanced_loss": "balanced_softmax", "class_weight_power": 2},
            "class_weight_power=2 has no effect .*: give rebalanced_loss='reweighted', or leave class_weight_power=",
        ),
        ({**GLMC, "rebalanced_loss": "ce", "class_weight_power": 2}, "class_weight_power=2 .* rebalanced_loss='ce'"),
        (
            {**GLMC, "rebalanced_loss": "ce", "prior_tau": 2},
            "prior_tau=2 has no effect with rebalanced_loss='ce', which does not take it: give "
            "rebalanced_loss='balanced_softmax', or leave prior_tau= out",
        ),
        ({"rebalanced_loss": "plain_loss", "prior_tau": 2}, "prior_tau=2 .* rebalanced_loss='plain_loss'"),
        ({"rebalanced_loss": "power_loss", "prior_tau": 2}, "prior_tau=2 .* rebalanced_loss='power_loss'"),
        ({"method": "plain_loss", "prior_tau": 2}, "prior_tau= belongs to .* method='plain_loss'"),
        # A sampler may not take its power.
        (
            {"sampler": "plain_sampler", "sampler_power": 3.0},
            r"sampler_power=3\.0 has no effect with sampler='plain_sampler', which does not take it: leave one",
        ),
        # A method of a plug-in reads what it declares.
        (
            {"method": "plain", "views": "alternate"},
            "views= belongs to method='glmc' .* method='plain', which does",
        ),
        ({"method": "plain", "sampler": "plain_sampler"}, "sampler= belongs .* name it in switches= where the method"),
        ({"method": "plain", "constant_alpha": 0.2}, "constant_alpha= belongs to method='glmc' .* method='plain'"),
        ({"method": "plain", "beta": 0.3}, "beta= belongs to method='glmc' .* method='plain'"),
        ({"method": "plain", "preset": "paper"}, "preset= belongs to method='glmc' .* method='plain'"),
        ({"method": "reader", "sampler_power": 1.0}, "sampler_power= belongs to method='glmc' .* method='reader'"),
        ({"method": "paired", "prior_tau": 2}, "prior_tau= belongs to method='glmc' .* method='paired'"),
        # The sentence names what the user gave.
        (
            {"method": "ce", "prior_tau": 2},
            "prior_tau= belongs to method='glmc' or 'balanced_softmax' and has no",
        ),
        (
            {"views": "none", "constant_alpha": 0.3},
            "constant_alpha= belongs to method='glmc' and has no effect with views='none', which chooses "
            "method='balanced_softmax': leave one of them out",
        ),
        ({"views": "none", "rebalanced_loss": "reweighted"}, "rebalanced_loss= .* no effect with views='none', which"),
        ({"views": "none", "beta": 0.3}, "beta= is for mixed images, and views='none' leaves them as they are: leave"),
    ],
)
def test_a_switch_without_effect_is_refused(explicit: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        train(explicit)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    "explicit",
    [
        {"rebalanced_loss": "reweighted", "class_weight_power": 1.2},
        {"rebalanced_loss": "power_loss", "class_weight_power": 1.2},
        {"rebalanced_loss": "balanced_softmax", "prior_tau": 2.0},
        {"sampler": "power_sampler", "sampler_power": 3.0},
        {"sampler": "plain_sampler", "rebalanced_loss": "power_loss", "sampler_power": 3.0},
        {"method": "power_loss", "class_weight_power": 1.2},
        {"method": "plain", "preset": "tuned"},
        {"method": "plain", "views": "none"},
        {"method": "reader", "views": "alternate", "beta": 0.3, "prior_tau": 2.0},
        {"method": "paired", "beta": 0.3, "sampler": "plain_sampler", "sampler_power": 1.0},
        {"method": "anything", "constant_alpha": 0.3, "preset": "paper", "beta": 0.3, "views": "alternate"},
        {"constant_alpha": 0.0},
    ],
)
def test_a_switch_with_an_effect_is_taken(explicit: dict[str, Any]) -> None:
    options = train(explicit)
    assert values(options, *explicit) == list(explicit.values()) and options.notes == ()


@pytest.mark.usefixtures("plugins")
def test_what_a_method_of_a_plugin_mixes() -> None:
    assert values(train({"method": "plain"}), "views") == ["none"]
    assert values(train({"method": "reader"}), "views") == ["none"]
    assert values(train({"method": "paired"}), "views") == ["none"]  # it does not read `views`
    assert values(train({"method": "anything"}), "views") == ["mixup_cutmix"]


def test_the_advice_on_unmixed_images_works() -> None:
    for preset, place in (({"preset": "official"}, "in place of preset="), ({"method": "glmc"}, "with it")):
        with pytest.raises(UserError, match=f"^views='none' is not .* give method='balanced_softmax' {place}, or in"):
            train({**preset, "views": "none"})
    assert values(train({"method": "balanced_softmax", "views": "none"}), "views") == ["none"]
    assert values(train({"preset": "official", "unmixed_share": 0.3}), "method", "unmixed_share") == ["glmc", 0.3]


# ------------------------------------------------------------------------------------------------ in a file
@pytest.mark.parametrize(
    ("file", "dropped", "recorded"),
    [
        ({"method": "ce", "views": "mixup_cutmix"}, ["views='mixup_cutmix'"], {"views": "none"}),
        (
            {"method": "ce", "prior_tau": 2.0, "beta": 0.3, "reduction": "mean"},
            ["prior_tau=2.0", "beta=0.3", "reduction='mean'"],
            {"prior_tau": 1.0, "beta": 1.0, "reduction": "sum"},
        ),
        ({"rebalanced_loss": "reweighted", "prior_tau": 2.0}, ["prior_tau=2.0"], {"method": "glmc", "prior_tau": 1.0}),
        ({"method": "balanced_softmax", "constant_alpha": 0.2}, ["constant_alpha=0.2"], {"constant_alpha": None}),
        ({"class_weight_power": 1.2}, ["class_weight_power=1.2"], {"method": "auto", "class_weight_power": 1.0}),
        ({"views": "alternate", "joint_views": True}, ["joint_views=True"], {"method": "glmc", "joint_views": False}),
        (
            {"method": "glmc", "constant_alpha": 0.3, "cumulative_power": 3.0},
            ["cumulative_power=3.0"],
            {"constant_alpha": 0.3, "cumulative_power": 0.5},
        ),
        ({"method": "ce", "views": "alternate", "beta": 0.3}, [], {"views": "alternate", "beta": 0.3}),
    ],
)
def test_a_file_does_not_keep_a_switch_without_effect(
    file: dict[str, Any], dropped: list[str], recorded: dict[str, Any]
) -> None:
    options = train({}, file)
    assert options.notes == (left_out(*dropped) if dropped else ())
    assert values(options, *recorded) == list(recorded.values())
    saved = saved_options(resolve_method(options, 10_000).options)  # as config.yaml has it
    again = train({}, saved)
    assert saved_options(again) == saved and again.notes == ()


def test_another_method_keeps_what_it_uses_of_the_file() -> None:
    file = {"method": "glmc", "views": "alternate", "constant_alpha": 0.3, "prior_tau": 2.0}
    options = train({"method": "balanced_softmax"}, file)
    assert values(options, "prior_tau", "constant_alpha", "views") == [2.0, None, "none"]
    assert options.notes == left_out("views='alternate'", "constant_alpha=0.3")
    # A preset that is asked for replaces the switches of the file: nothing to say.
    assert train({"preset": "official"}, file).notes == ()


def test_one_weighting_of_the_losses_replaces_the_other_one_of_the_file() -> None:
    names = ("constant_alpha", "cumulative_power")
    options = train({"cumulative_power": 2.0}, {"constant_alpha": 0.3})
    assert values(options, *names) == [None, 2.0] and options.notes == left_out("constant_alpha=0.3")
    options = train({"constant_alpha": 0.3}, {"cumulative_power": 2.0})
    assert values(options, *names) == [0.3, 0.5] and options.notes == left_out("cumulative_power=2.0")


def test_a_file_of_unmixed_images_does_not_decide_how_a_baseline_mixes() -> None:
    unmixed = saved_options(train({"method": "ce"}))
    options = train({"views": "alternate"}, unmixed)
    assert values(options, "views", "correct_lam") == ["alternate", True] and options.notes == ()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("explicit", [{}, {"method": "ce"}, {"method": "balanced_softmax"}])
def test_a_recipe_file_has_nothing_to_leave_out(name: str, explicit: dict[str, Any]) -> None:
    assert training_options(parse_options(TRAIN, {"config": name, **explicit}, "")).notes == ()


def test_passes_and_epochs_of_a_file_agree() -> None:
    file = {"method": "ce", "passes": 4, "epochs": 100}
    sentence = "^passes=4 comes to epochs=4, and the file also has epochs=100: remove the passes= or the epochs= from"
    with pytest.raises(UserError, match=sentence):
        train({"seed": 1}, file)
    with pytest.raises(UserError, match=sentence):
        finetuning_options(UserOptions({"model": "resnet18"}, file))
    with pytest.raises(UserError, match=sentence):
        second_stage_options(UserOptions({"model": "m"}, {"passes": 4, "epochs": 100}), {})
    assert values(train({"epochs": 7}, file), "epochs", "passes") == [7, None]
    assert values(train({"passes": 7}, file), "epochs", "passes") == [7, 7]
    # The file of a run has both. Another method takes another number of epochs for the same passes.
    saved = saved_options(train({**GLMC, "passes": 60}))
    assert [values(train(more, saved), "epochs") for more in ({}, {"method": "ce"}, {"sam_rho": 0.1})] == [
        [30], [60], [15],
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ notes
def test_the_notes_are_shown_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import glmc_zoo

    config = tmp_path / "config.yaml"
    config.write_text("method: ce\nprior_tau: 2\nmax_count: 5\nimbalance_factor: 2\nepochs: 1\nbackbone: test_resnet\n")
    glmc_zoo.train(config=str(config), dry_run=True, threads=1, batch_size=8, output_dir=str(tmp_path / "run"))
    assert f"note: {left_out('prior_tau=2.0')[0]}" in " ".join(capsys.readouterr().out.split())
