"""Precedence: preset, recipe, file, explicit; and every resolved value against the first implementation's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from glmc_zoo.errors import UserError
from glmc_zoo.fields import values_of
from glmc_zoo.options.resolve import finetuning_options, second_stage_options, training_options
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, SecondStage, flatten_options, saved_options
from glmc_zoo.options.user_options import UserOptions
from glmc_zoo.training import first_stage

GOLDEN = yaml.safe_load(Path(__file__).with_name("resolved.yaml").read_text(encoding="utf-8"))
# The first implementation did not have these.
NEW: dict[str, Any] = {"plugin": [], "sampler": "power"}
NEW |= {"split_column": None, "split_by": None, "class_level": None, "follow_links": False, "no_test": False}
NEW |= {"auto_augment": None, "random_erasing": None, "cutout": None}
NEW |= {"intensity_range": None, "duplicates": "auto", "allow_duplicates": False}
NEW |= {"passes": None, "sam_every": 1, "unmixed_share": 0.0, "calibrate": "auto"}
NEW |= {"head_init": "auto", "head_kind": "linear", "head_loss": "auto", "feature_views": 4, "feature_cache": None}
NEW |= {"adapter": None, "search_minutes": None, "head_lr_scale": 1.0, "freeze_bn": False}
NEW |= {"checkpoint_minutes": 10.0, "preempt_signal": None, "report": True, "sample_image": None}


@pytest.fixture
def first_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models whose second stage is resolved: ``m`` and ``folder``."""
    monkeypatch.setattr(first_stage, "open_model", lambda model, weights: model)
    monkeypatch.setattr(first_stage, "inherited_options", GOLDEN["first_stages"].__getitem__)


def resolved(command: str, explicit: dict[str, Any], file: dict[str, Any]) -> RunOptions:
    given = UserOptions(explicit, file)
    if command == "train":
        return training_options(given)
    if command == "finetune":
        return finetuning_options(given)
    return second_stage_options(given, first_stage.first_stage_options(given))


@pytest.mark.usefixtures("first_stages")
@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_values_are_those_of_the_first_implementation(name: str) -> None:
    case = GOLDEN["cases"][name]
    options = resolved(case["command"], case.get("explicit", {}), case.get("file", {}))
    values: dict[str, Any] = flatten_options(options)
    for option, default in NEW.items():
        assert values.pop(option, default) == default
    golden = GOLDEN["first"][case["command"]] | case["differs"]
    if "views" in values:  # what the length decides today, and what a baseline mixes
        baseline = golden["method"] != "glmc"
        auto = golden["preset"] == "tuned" and not baseline
        asked = {**case.get("file", {}), **case.get("explicit", {})}
        views = "none" if baseline else "auto" if auto and "views" not in asked else golden["views"]
        assert values.pop("views") == views
        assert values.pop("mix_off_epochs") == (None if views == "auto" else 0)
        assert values.pop("method") in ({"auto", "glmc"} if auto else {golden["method"]})
        golden = {name: value for name, value in golden.items() if name not in ("views", "method")}
    if isinstance(options.stage, FinetuneStage):
        values["defaults"] = sorted(options.stage.defaults)
    if isinstance(options.stage, SecondStage):
        values["inherited"] = sorted(options.stage.inherited)
        if not values["maxnorm"]:  # a number even where it has no effect; it was None
            assert values["maxnorm_threshold"] == 0.1
            values["maxnorm_threshold"] = None
    assert values == golden


@pytest.mark.usefixtures("first_stages")
def test_a_calibration_holds_a_tenth_out_where_nothing_else_does() -> None:
    for given, share in (({}, 0.1), ({"val_fraction": 0.3}, 0.3)):
        assert training_options(UserOptions({"calibrate": "always", **given})).data.val_fraction == share
    assert training_options(UserOptions({"calibrate": "auto"})).data.val_fraction == 0
    with pytest.raises(UserError, match=r"^calibrate='always' would hold out images that the first stage was trained"):
        resolved("second_stage", {"model": "m", "val_fraction": 0.0, "calibrate": "always"}, {})


def trained(explicit: dict[str, Any] | None = None, file: dict[str, Any] | None = None) -> dict[str, Any]:
    """The options of a training by name."""
    return flatten_options(training_options(UserOptions(explicit or {}, file or {})))


def test_the_head_is_trained_on_features_unless_a_method_is_asked_for() -> None:
    options = resolved("finetune", {"model": "resnet18", "tune": "head", "image_size": 160}, {})
    assert isinstance(options.stage, HeadStage) and options.schedule.batch_size == 128
    assert not {"lr", "epochs", "method", "views", "augment", "select"} & saved_options(options).keys()
    assert saved_options(options)["head_init"] == "mean" and saved_options(options)["image_size"] == 160
    for asked in ({"method": "ce"}, {"views": "alternate"}, {"preset": "official"}, {"sampler_power": 1.0}):
        options = resolved("finetune", {"model": "resnet18", "tune": "head", **asked}, {})
        assert isinstance(options.stage, FinetuneStage) and "head_init" not in saved_options(options)


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_each_source_overrides_the_one_before(command: str) -> None:
    """One option of each kind, with a value in preset, recipe, file and explicit, by and by."""
    model = {} if command == "train" else {"model": "resnet18"}
    recipe = {"train": (0.025, 1.0), "finetune": (0.01, 1.0)}[command]
    seen = []
    for explicit, file in (
        ({}, {}),
        ({}, {"lr": 0.2, "consistency_weight": 3}),
        ({"lr": 0.3}, {"lr": 0.2, "consistency_weight": 3}),
        ({"lr": 0.3, "consistency_weight": 4}, {"lr": 0.2, "consistency_weight": 3}),
    ):
        values = flatten_options(resolved(command, {**explicit, **model}, file))
        seen.append((values["lr"], values["consistency_weight"]))
    assert seen == [recipe, (0.2, 3.0), (0.3, 3.0), (0.3, 4.0)]


@pytest.mark.usefixtures("first_stages")
def test_a_second_stage_takes_recipe_then_first_stage_then_file_then_explicit() -> None:
    seen = []
    for explicit, file in (({}, {}), ({}, {"batch_size": 16, "lr": 0.2}), ({"batch_size": 8}, {"batch_size": 16})):
        options = resolved("second_stage", {"model": "m", **explicit}, file)
        assert isinstance(options.stage, SecondStage)
        seen.append((options.schedule.batch_size, options.schedule.lr, "batch_size" in options.stage.inherited))
    assert seen == [(32, 0.01, True), (16, 0.2, False), (8, 0.01, False)]


@pytest.mark.usefixtures("first_stages")
def test_a_radius_without_the_ball_has_no_effect() -> None:
    for explicit, file in (
        ({"maxnorm": False, "maxnorm_threshold": 0.2}, {}),
        ({"maxnorm_threshold": 0.2}, {"maxnorm": False}),
    ):
        with pytest.raises(UserError, match=r"^maxnorm_threshold= has no effect with maxnorm=False"):
            resolved("second_stage", {"model": "m", **explicit}, file)
    # A saved file names both, and is repeated as it is.
    filed = {"model": "m", "maxnorm": False, "maxnorm_threshold": 0.2}
    assert values_of(resolved("second_stage", {}, filed).stage.model)["maxnorm_threshold"] == 0.2
    again = resolved("second_stage", {"maxnorm": True, "maxnorm_threshold": 0.3}, filed)
    assert values_of(again.stage.model)["maxnorm_threshold"] == 0.3


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("second_stage", "model= is missing: give the first stage's model, such as runs/NAME/model, hf-hub:ORG/NAME"),
    ],
)
def test_a_missing_model_is_named(command: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(command, {}, {})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("explicit", "file", "sentence"),
    [
        ({"method": "ce", "preset": "paper"}, {"beta": 0.5}, "preset= belongs to method='glmc' .* method='ce'"),
        ({"method": "ce", "beta": 0.5}, {}, "^beta= is for mixed images, and method='ce' does not mix them"),
        (
            {"method": "ce", "views": "mixup_cutmix"},
            {},
            "^views='mixup_cutmix' makes the two views of GLMC",
        ),
        ({"method": "glmc", "views": "none"}, {}, "^views='none' is not possible with method='glmc'"),
        ({"views": "alternate", "joint_views": True}, {}, "^joint_views= needs two views of each image"),
        ({"views": "alternate", "consistency_weight": 2.0}, {}, "^consistency_weight= needs two views"),
        ({"unmixed_share": 1.5}, {}, r"^unmixed_share=1\.5 must be between 0 and 1"),
        ({"sam_every": 5}, {}, "^sam_every=5 has no effect without SAM: give sam_rho="),
        ({"passes": 8, "epochs": 8}, {}, "^passes=8 and epochs=8 both set the length"),
        ({"method": "ce", "prior_tau": 1.5}, {}, "^prior_tau= belongs to method='glmc' .* method='ce'"),
        ({"method": "balanced_softmax", "sampler_power": 1.0}, {}, "^sampler_power= belongs to method='glmc'"),
        ({"method": "ce", "sampler": "power"}, {}, "^sampler= belongs to method='glmc'"),
        ({"method": "ce", "mix_off_epochs": 1}, {}, "^mix_off_epochs= is for mixed images, and method='ce'"),
        ({"beta": 0.5}, {"method": "ce"}, "^beta= is for mixed images, and method='ce' does not mix them"),
        ({"preset": "official", "prior_tau": 1.5}, {}, r"^prior_tau=1\.5 has no effect with rebalanced_loss='rew"),
        ({"prior_tau": -1}, {}, r"^prior_tau=-1\.0 is too small"),
        ({"cumulative_power": 1, "constant_alpha": 0.5}, {}, r"^cumulative_power=1 has .* constant_alpha=0\.5 fixes"),
        ({"correct_lam": True}, {"views": "mixup"}, "^correct_lam=True is about CutMix .* views='mixup'"),
        ({"constant_alpha": 1.5}, {}, r"^constant_alpha=1\.5 must be below 1"),
        ({"mix_off_epochs": 41}, {}, "^mix_off_epochs=41 must not exceed epochs=40"),
        ({"select": "best"}, {}, "^select='best' chooses an epoch on held-out images, .* val_fraction="),
        ({"warmup_epochs": 50, "epochs": 5}, {}, "^warmup_epochs=50 must not exceed epochs=5"),
        ({"official_val": True, "val_fraction": 0.1}, {}, "^official_val=True and val_fraction=0.1 both hold images"),
        ({"compile_mode": "max-autotune"}, {}, "^compile_mode='max-autotune' has no effect without compile=True"),
        ({"push_tag": "v1"}, {}, "^push_tag= has no effect without push_to_hub="),
        ({"few_threshold": 200}, {}, r"^few_threshold=200 must not exceed many_threshold=100 \(the default\): lower"),
        ({"many_threshold": 10}, {}, r"^few_threshold=20 \(the default\) must not exceed many_threshold=10: lower"),
        ({"many_threshold": -1}, {}, "^many_threshold=-1 is too small: it must be at least 0"),
        (
            {"groups": "terciles", "many_threshold": 50},
            {},
            "^many_threshold=50 has no .* groups='terciles', which makes",
        ),
        ({"few_threshold": 5}, {"groups": "terciles"}, "^few_threshold=5 has no effect with groups='terciles'"),
        ({}, {"groups": "terciles", "few_threshold": 5}, "^few_threshold=5 has no effect with groups='terciles'"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused(
    explicit: dict[str, Any], file: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        trained(explicit, file)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tune": "head", "last_blocks": 2}, "^last_blocks= belongs to tune='blocks' and .* tune='head'"),
        ({"lora_rank": 4}, "^lora_rank= is for tune='lora' or 'adapter' and has no effect with tune='full'"),
        ({"tune": "lora", "lora_alpha": 0}, r"^lora_alpha=0\.0 must be above 0"),
        ({"layer_decay": 1.5}, r"^layer_decay=1\.5 must be above 0 and at most 1"),
        ({"layer_decay": 0.5, "tune": "lora"}, "^layer_decay= is for tune='full' or .* tune='lora'"),
    ],
)
def test_what_a_fine_tuning_refuses(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolved("finetune", {"model": "resnet18", **values}, {})


def test_a_fine_tuning_and_a_second_stage_refuse_thresholds_with_terciles_too(first_stages: None) -> None:
    terciles = {"groups": "terciles", "many_threshold": 50}
    for command, given in (
        ("finetune", {"model": "resnet18", **terciles}),
        ("finetune", {"model": "resnet18", "tune": "head", **terciles}),
        ("second_stage", {"model": "folder", **terciles}),
    ):
        with pytest.raises(UserError, match=r"^many_threshold=50 has no effect with groups='terciles'.*: leave one of"):
            resolved(command, given, {})
    with pytest.raises(
        UserError, match=r"is that of the first stage: give groups='thresholds' as well, or leave many_"
    ):
        resolved("second_stage", {"model": "m", "many_threshold": 50}, {})
    options = resolved("second_stage", {"model": "m", "many_threshold": 95, "groups": "thresholds"}, {})
    assert (options.shots.many_threshold, options.shots.few_threshold) == (95, 90)


def test_the_file_of_a_run_with_terciles_loads_again() -> None:
    """It holds the thresholds that the terciles made; and a file is overridden by what is given beside it."""
    filed = {"groups": "terciles", "many_threshold": 37, "few_threshold": 12}
    assert {name: trained({"seed": 1}, filed)[name] for name in filed} == filed
    assert trained({"groups": "terciles"}, filed)["groups"] == "terciles"
    assert trained({"groups": "terciles"}, {"many_threshold": 50})["groups"] == "terciles"
    assert trained({"groups": "thresholds", "many_threshold": 50}, filed)["many_threshold"] == 50


def test_switches_in_a_saved_file_do_not_stop_another_method() -> None:
    """The file of a run names every switch; only what is asked for now must have an effect."""
    filed = trained()
    assert trained({"method": "ce"}, filed)["method"] == "ce"
    assert trained({"preset": "official"}, filed)["beta"] == 1.0
    margin = trained({"method": "balanced_softmax", "prior_tau": 1.3})
    assert trained({"seed": 1}, margin)["prior_tau"] == 1.3
    assert trained({"method": "balanced_softmax"}, trained({"prior_tau": 1.5}))["prior_tau"] == 1.5
    assert trained({"method": "ce"}, margin)["prior_tau"] == 1.0


def test_a_preset_that_is_asked_for_replaces_the_switches_of_the_file_and_not_the_structure() -> None:
    filed = trained({"data": "cifar10_lt", "lr": 0.5, "projection_dim": 64, "joint_views": True, "mix_off_epochs": 3})
    paper = trained({"preset": "paper"}, filed)
    assert [paper[name] for name in ("preset", "beta", "reduction", "sampler_power")] == ["paper", 0.5, "mean", 2.0]
    assert (paper["data"], paper["lr"], paper["projection_dim"], paper["joint_views"]) == ("cifar10_lt", 0.5, 64, True)
    assert paper["mix_off_epochs"] == 0
    assert trained({"beta": 0.7}, filed)["beta"] == 0.7
    ablated = trained({"constant_alpha": 0.5, "views": "mixup"})
    assert trained({"seed": 1}, ablated)["constant_alpha"] == 0.5
    plain = trained({"preset": "official"}, ablated)
    assert (plain["constant_alpha"], plain["views"]) == (None, "mixup_cutmix")
