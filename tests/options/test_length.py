"""What the length decides: epochs from passes, method and mixing of the preset tuned."""

from __future__ import annotations

from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.options.length import (
    MIXING_IMAGES,
    MIXING_PASSES,
    epochs_of,
    mixing_pays,
    passes_of_epoch,
    resolve_method,
)
from glmc_zoo.options.resolve import finetuning_options, second_stage_options, training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.user_options import UserOptions

FOLDER = {"data": "my_images"}


def settled(images: int, explicit: dict[str, Any], file: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    decision = resolve_method(training_options(UserOptions(explicit, file or {})), images)
    return flatten_options(decision.options), decision.sentence or ""


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({"method": "ce"}, 60),
        ({"method": "balanced_softmax", "views": "alternate"}, 60),
        ({"views": "alternate"}, 60),
        ({}, 60),
        ({"views": "mixup_cutmix"}, 30),
        ({"preset": "official"}, 30),
        ({"method": "ce", "sam_rho": 0.05}, 30),
        ({"method": "ce", "sam_rho": 0.05, "sam_every": 5}, 50),
        ({"views": "mixup_cutmix", "sam_rho": 0.05, "sam_every": 5}, 25),
    ],
)
def test_passes_are_equal_time(given: dict[str, Any], epochs: int) -> None:
    """One pass an epoch for each view; SAM takes another for each view, in the steps that use it."""
    options = flatten_options(training_options(UserOptions({**FOLDER, "passes": 60, **given})))
    assert (options["epochs"], options["passes"]) == (epochs, 60)


def test_passes_and_epochs() -> None:
    with pytest.raises(UserError, match=r"^passes=1 is less than one epoch, which takes 2: give passes=2 or more"):
        training_options(UserOptions({**FOLDER, "passes": 1, "views": "cutmix"}))
    some_sam = {**FOLDER, "views": "cutmix", "sam_rho": 0.05, "sam_every": 10}
    with pytest.raises(UserError, match=r"^passes=1 is less than one epoch, which takes 2\.2: give passes=3 or more"):
        training_options(UserOptions({**some_sam, "passes": 1}))
    assert flatten_options(training_options(UserOptions({**some_sam, "passes": 3})))["epochs"] == 1
    file = {**FOLDER, "passes": 60, "epochs": 30, "views": "mixup_cutmix"}  # as config.yaml has it
    assert flatten_options(training_options(UserOptions({}, file)))["epochs"] == 30
    again = flatten_options(training_options(UserOptions({"epochs": 7}, file)))
    assert (again["epochs"], again["passes"]) == (7, None)
    assert (
        flatten_options(training_options(UserOptions({**FOLDER, "passes": 30})))["warmup_epochs"] == 3
    )  # a tenth at most
    assert (
        flatten_options(finetuning_options(UserOptions({"model": "resnet18", "passes": 9, "views": "mixup"})))["epochs"]
        == 4
    )
    assert flatten_options(second_stage_options(UserOptions({"model": "m", "passes": 9}), {}))["epochs"] == 9


def test_passes_of_an_epoch() -> None:
    assert [epochs_of(passes, 1, 10) for passes in (32, 33, 55, 110, 220)] == [29, 30, 50, 100, 200]
    assert [epochs_of(passes, 2, 1) for passes in (4, 7, 8)] == [1, 1, 2]
    assert [passes_of_epoch(1, None), passes_of_epoch(2, None), passes_of_epoch(2, 1)] == [1, 2, 4]
    assert passes_of_epoch(1, 4) == 1.25


def test_short_trainings_are_not_mixed() -> None:
    options, sentence = settled(10_000, {**FOLDER, "epochs": 5})
    assert (options["method"], options["views"], options["mix_off_epochs"]) == ("balanced_softmax", "none", 0)
    assert sentence == (
        "The preset tuned trains balanced softmax on unmixed images, because a training of 5 epochs of 10,000 images "
        "is too short for mixing to pay. method= and views= override this."
    )


def test_long_trainings_mix_one_view_and_end_unmixed() -> None:
    options, sentence = settled(10_000, {**FOLDER, "epochs": 200})
    assert (options["method"], options["views"], options["mix_off_epochs"]) == ("glmc", "alternate", 50)
    assert sentence.startswith(
        "The preset tuned trains GLMC with one mixed view a step, the last 50 of 200 epochs unmixed, because a "
        "training of 200 epochs of 10,000 images is long enough for mixing to pay."
    )


def test_the_rule_needs_passes_and_images() -> None:
    images = round(MIXING_IMAGES / MIXING_PASSES)
    assert mixing_pays(MIXING_PASSES, images + 1)
    assert not mixing_pays(MIXING_PASSES - 1, 100 * images)
    assert not mixing_pays(MIXING_PASSES, images - 1)
    assert not mixing_pays(80, 740)  # MNIST, thinned: mixing lost 2.4 points


def test_what_is_asked_for_is_not_decided() -> None:
    long = {**FOLDER, "epochs": 200}
    assert settled(10_000, {**long, "method": "ce"})[1] == ""
    assert settled(10_000, {**long, "preset": "official"})[0]["views"] == "mixup_cutmix"
    options, sentence = settled(10_000, {**long, "views": "mixup_cutmix"})
    assert (options["method"], options["views"], sentence) == ("glmc", "mixup_cutmix", "")
    # A switch of GLMC asks for GLMC, and GLMC mixes.
    for switch in ({"sampler_power": 1.0}, {"beta": 0.2}, {"mix_off_epochs": 2}, {"method": "glmc"}):
        options, _ = settled(10_000, {**FOLDER, "epochs": 5, **switch})
        assert (options["method"], options["views"]) == ("glmc", "alternate")
    assert settled(10_000, {**FOLDER, "epochs": 5, "method": "glmc"})[1] == (
        "The preset tuned trains GLMC with one mixed view a step, the last 1 of 5 epochs unmixed, because GLMC or a "
        "switch of it was asked for (else balanced softmax on unmixed images: a training of 5 epochs of 10,000 "
        "images is too short for mixing to pay). method= and views= override this."
    )
    assert "a step, because GLMC" in settled(10_000, {**FOLDER, "epochs": 1, "method": "glmc"})[1]
    for off in (0, 7):
        assert settled(10_000, {**long, "mix_off_epochs": off})[0]["mix_off_epochs"] == off
    # What shapes two views asks for them; what turns something off asks for nothing.
    for switch, views in (
        ({"consistency_weight": 4}, "mixup_cutmix"),
        ({"joint_views": True}, "mixup_cutmix"),
        ({"consistency_weight": 0}, "alternate"),
        ({"joint_views": False}, "alternate"),
    ):
        assert settled(10_000, {**long, **switch})[0]["views"] == views
    assert settled(10_000, {**FOLDER, "epochs": 5, "joint_views": False})[0]["method"] == "balanced_softmax"
    assert settled(10_000, {**long, "views": "alternate", "consistency_weight": 0})[0]["views"] == "alternate"
    assert settled(10_000, {**FOLDER, "epochs": 5, "views": "none"})[0]["method"] == "balanced_softmax"
    # The margin of balanced softmax is for either.
    assert settled(10_000, {**FOLDER, "epochs": 5, "prior_tau": 1.5})[0]["prior_tau"] == 1.5


def test_a_decided_run_is_decided_anew_where_that_is_asked_for() -> None:
    """The file of a run holds every switch, of which nobody asked for most."""
    short, _ = settled(10_000, {**FOLDER, "epochs": 5})
    for again in ({"method": "auto"}, {"views": "auto"}, {"preset": "tuned"}):
        options, sentence = settled(10_000, {"epochs": 200, **again}, short)
        assert (options["method"], options["views"], options["mix_off_epochs"]) == ("glmc", "alternate", 50)
        assert "a training of 200 epochs of 10,000 images is long enough" in sentence
    official, _ = settled(10_000, {"preset": "official"}, short)
    assert (official["method"], official["views"], official["rebalanced_loss"]) == (
        *("glmc", "mixup_cutmix"),
        "reweighted",
    )
    mixed, _ = settled(10_000, {"views": "alternate"}, short)
    assert (mixed["method"], mixed["correct_lam"]) == ("balanced_softmax", True)


def test_a_decided_run_is_repeated_by_its_file() -> None:
    for epochs in (5, 200):
        options, _ = settled(10_000, {**FOLDER, "epochs": epochs})
        again, sentence = settled(10_000, {}, options)
        assert again == options and sentence == ""


def test_the_preset_tuned_goes_with_a_baseline_and_the_others_do_not() -> None:
    """On CIFAR it has a learning rate of its own, for every method."""
    cifar = {"data": "cifar10_lt", "method": "balanced_softmax"}
    rates = [
        flatten_options(training_options(UserOptions({**cifar, **more})))["lr"] for more in ({}, {"preset": "tuned"})
    ]
    assert rates == [0.01, 0.1]
    assert settled(10_000, {**FOLDER, "preset": "tuned", "views": "none"})[0]["method"] == "balanced_softmax"
    for preset in ("official", "paper"):
        with pytest.raises(UserError, match=r"^preset= belongs to method='glmc'"):
            training_options(UserOptions({**cifar, "preset": preset}))
        with pytest.raises(UserError, match=r"^views='none' is not possible with method='glmc'"):
            training_options(UserOptions({"data": "cifar10_lt", "preset": preset, "views": "none"}))
        with pytest.raises(
            UserError, match=f"^views='auto' is decided by preset='tuned', and this is preset='{preset}'"
        ):
            training_options(UserOptions({"data": "cifar10_lt", "preset": preset, "views": "auto"}))


def test_what_was_decided_when_a_run_began_stays() -> None:
    """Images that were added since do not turn a baseline into GLMC within a training."""
    options = training_options(UserOptions({**FOLDER, "epochs": 60}))
    few, many = 1_000, 100_000
    before = flatten_options(resolve_method(options, few).options)
    assert (before["method"], flatten_options(resolve_method(options, many).options)["method"]) == (
        "balanced_softmax",
        "glmc",
    )
    resumed = resolve_method(options, many, before)
    assert flatten_options(resumed.options) == before
    assert "balanced_softmax with views none, as decided when the run began" in str(resumed.sentence)
    before = flatten_options(resolve_method(options, many).options)
    assert flatten_options(resolve_method(options, few, before).options) == before


def test_a_pretrained_network_is_not_mixed() -> None:
    options, sentence = settled(10_000, {**FOLDER, "epochs": 200, "pretrained": True})
    assert options["method"] == "balanced_softmax" and "because the network is pretrained" in sentence
    decision = resolve_method(finetuning_options(UserOptions({"model": "resnet18", "epochs": 200})), 10_000)
    assert flatten_options(decision.options)["method"] == "balanced_softmax"
