"""How a run is resolved, saved, and compared with the one that it resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from glmc_zoo.engine.cli import parse_config
from glmc_zoo.engine.config import TrainConfig, differing_fields, resolve, save_config
from glmc_zoo.engine.options import load_config_file
from glmc_zoo.errors import UserError


def test_published_rows() -> None:
    cifar100 = resolve({"data": "cifar100_lt", "imbalance_factor": 50.0})
    assert cifar100.backbone == "resnet32x4_cifar" and cifar100.preset == "official"
    assert (cifar100.lr, cifar100.batch_size, cifar100.epochs, cifar100.weight_decay) == (0.01, 64, 200, 5e-3)
    assert (cifar100.sampler_power, cifar100.class_weight_power, cifar100.consistency_weight) == (0.2, 1.2, 6)
    inat = resolve({"data": "inat18"})
    assert (inat.lr, inat.batch_size, inat.epochs, inat.weight_decay, inat.warmup_epochs) == (0.1, 128, 120, 1e-4, 10)


def test_explicit_beats_recipe_beats_preset() -> None:
    paper = resolve({"data": "cifar10_lt", "preset": "paper", "lr": 0.5})
    # A published row's method switches belong to the official preset; its schedule stays.
    assert (paper.sampler_power, paper.beta, paper.consistency_weight) == (2.0, 0.5, 10.0)
    assert (paper.lr, paper.epochs) == (0.5, 200)
    assert resolve({"data": "cifar10_lt", "preset": "paper", "beta": 0.7}).beta == 0.7


def test_saving_and_reading_back_repeats_it(tmp_path: Path) -> None:
    config = resolve({"data": "cifar10_lt", "lr": 1e-5, "ema_decay": 0.999, "compile": True})
    save_config(config, tmp_path / "config.yaml")
    assert parse_config(["--config", str(tmp_path / "config.yaml")], description="") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("earlier", [None, "step"])
def test_a_file_of_before_the_shape_had_its_name(tmp_path: Path, earlier: str | None) -> None:
    now = resolve({"data": "cifar10_lt", "imbalance_type": earlier, "profile": True})
    options = dataclasses.asdict(dataclasses.replace(now, profile=False))
    del options["imbalance_type"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**options, "profile": earlier}))
    assert parse_config(["--config", str(path), "--profile"], description="") == now
    assert differing_fields(load_config_file(path, TrainConfig), now) == []
    other = f"imbalance_type: {earlier} -> pareto"
    assert differing_fields(load_config_file(path, TrainConfig), dataclasses.replace(now, imbalance_type="pareto")) == [
        other
    ]


@pytest.mark.parametrize(("change", "shown"), [({"lr": 0.5}, "lr: 0.05 -> 0.5"), ({"seed": 4}, "seed: 0 -> 4")])
def test_what_changes_the_result_is_named(tmp_path: Path, change: dict[str, float], shown: str) -> None:
    config = dataclasses.replace(resolve({}), lr=0.05)
    save_config(config, tmp_path / "config.yaml")
    before = load_config_file(tmp_path / "config.yaml", TrainConfig)
    assert differing_fields(before, config) == []
    assert differing_fields(before, dataclasses.replace(config, workers=2, keep_checkpoints=5, profile=True)) == []
    assert differing_fields(before, dataclasses.replace(config, **change)) == [shown]


def test_every_option_has_help() -> None:
    for field in dataclasses.fields(TrainConfig):
        assert field.metadata["help"] and "\n" not in field.metadata["help"], field.name


def test_a_preset_on_the_command_line_replaces_the_switches_of_the_file() -> None:
    filed = dataclasses.asdict(resolve({"data": "cifar10_lt", "lr": 0.5}))
    paper = resolve({"preset": "paper"}, filed)
    assert (paper.preset, paper.beta, paper.reduction, paper.sampler_power) == ("paper", 0.5, "mean", 2.0)
    assert (paper.data, paper.lr) == ("cifar10_lt", 0.5)
    assert resolve({"beta": 0.7}, filed).beta == 0.7


def test_a_warm_up_that_nobody_asked_for_is_a_tenth_at_most() -> None:
    assert [resolve({"data": "folder", "epochs": n}).warmup_epochs for n in (3, 20, 100)] == [0, 2, 5]
    assert resolve({"data": "folder", "epochs": 3, "warmup_epochs": 3}).warmup_epochs == 3


def test_switches_of_glmc_in_a_file_do_not_stop_a_baseline() -> None:
    filed = dataclasses.asdict(resolve({}))
    assert resolve({"method": "ce"}, filed).method == "ce"
    with pytest.raises(UserError, match=r"--preset belongs to --method glmc .* --method ce"):
        resolve({"method": "ce", "preset": "paper"}, filed)


def test_ablations_take_the_place_of_what_they_ablate() -> None:
    ablated = resolve({"constant_alpha": 0.5, "views": "mixup"})
    assert (ablated.constant_alpha, ablated.views, ablated.preset) == (0.5, "mixup", "tuned")
    filed = dataclasses.asdict(ablated)
    assert resolve({"seed": 1}, filed).constant_alpha == 0.5
    assert resolve({"preset": "official"}, filed).constant_alpha is None
    assert resolve({"preset": "official"}, filed).views == "mixup_cutmix"
    with pytest.raises(UserError, match=r"--cumulative-power 1 has no effect where --constant-alpha 0\.5 "):
        resolve({"cumulative_power": 1}, filed)
    with pytest.raises(UserError, match=r"--correct-lam is about CutMix .* --views mixup"):
        resolve({"correct_lam": True}, filed)
    with pytest.raises(UserError, match=r"--constant-alpha 1\.5 must lie in 0 to 1"):
        resolve({"constant_alpha": 1.5})
    with pytest.raises(UserError, match="--views belongs to --method glmc"):
        resolve({"method": "ce", "views": "cutmix"})


def test_the_margin_is_of_balanced_softmax_wherever_that_is() -> None:
    assert resolve({"prior_tau": 1.5}).prior_tau == 1.5
    assert resolve({"preset": "official"}).prior_tau == 1.0
    baseline = resolve({"method": "balanced_softmax"})
    assert baseline.prior_tau == 1.0  # whatever the preset of GLMC has
    margin = resolve({"method": "balanced_softmax", "prior_tau": 1.3})
    assert margin.prior_tau == 1.3
    assert resolve({"method": "balanced_softmax", "prior_tau": 0}).prior_tau == 0
    assert resolve({"seed": 1}, dataclasses.asdict(margin)).prior_tau == 1.3
    assert resolve({"method": "balanced_softmax"}, dataclasses.asdict(resolve({"prior_tau": 1.5}))).prior_tau == 1.0
    with pytest.raises(UserError, match=r"--prior-tau 1\.5 is of balanced softmax and has no effect"):
        resolve({"preset": "official", "prior_tau": 1.5})
    with pytest.raises(UserError, match="--prior-tau belongs to --method glmc and has no effect on --method ce"):
        resolve({"method": "ce", "prior_tau": 1.5})
    with pytest.raises(UserError, match=r"--prior-tau -1 is too small"):
        resolve({"prior_tau": -1})


def test_a_run_of_before_the_margin_was_an_option_had_none(tmp_path: Path) -> None:
    config = dataclasses.replace(resolve({}), prior_tau=1.0)
    before = {key: value for key, value in dataclasses.asdict(config).items() if key != "prior_tau"}
    assert differing_fields(before, config) == []
    assert differing_fields(before, dataclasses.replace(config, prior_tau=1.5)) == ["prior_tau: 1.0 -> 1.5"]


def test_where_a_run_was_pushed_to_is_not_saved(tmp_path: Path) -> None:
    config = resolve({"push_to_hub": "org/name", "push_tag": "v1"})
    save_config(config, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "push" not in text and "org/name" not in text
    assert differing_fields(load_config_file(tmp_path / "config.yaml", TrainConfig), config) == []
