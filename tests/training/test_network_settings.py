"""What a fine-tuning takes for optimiser, learning rate and decays where nobody gives them, by kind of network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from timm.optim import get_optimizer_class, list_optimizers

import glmc_zoo
from glmc_zoo.options.defaults import FINETUNE_TEXTS
from glmc_zoo.results import RunResults
from glmc_zoo.training.network_settings import (
    LARGE_NETWORK,
    Network,
    describe_network,
    settings_for,
    settings_notes,
    uses_sgd,
)

SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8, "feature_views": 1, "mixed_precision": "no"}
SMALL_BATCH_NORM, SMALL_LAYER_NORM = Network(False, 10**6), Network(True, 10**6)


@pytest.mark.parametrize(
    ("name", "layer_norm"),
    [
        *(("test_vit", True), ("test_convnext", True), ("test_resnet", False), ("test_efficientnet", False)),
        *(("mobilevit_xxs", False), ("vgg11", False), ("swin_tiny_patch4_window7_224", True)),
    ],
)
def test_the_kind_of_a_network(name: str, layer_norm: bool) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert describe_network(model) == Network(layer_norm, expected)


@pytest.mark.parametrize(
    ("network", "tune", "opt", "values"),
    [
        (SMALL_BATCH_NORM, "full", None, ("sgd", 0.01, 5e-4, None)),
        (SMALL_BATCH_NORM, "full", "adamw", ("adamw", 3e-4, 5e-4, None)),
        (SMALL_BATCH_NORM, "lora", "adamw", ("adamw", 1e-3, 5e-4, None)),
        (Network(False, 10**8), "full", None, ("sgd", 0.01, 5e-4, None)),
        (SMALL_LAYER_NORM, "full", None, ("adamw", 5e-5, 0.05, 0.7)),
        (SMALL_LAYER_NORM, "blocks", "nadamw", ("nadamw", 5e-5, 0.05, 0.7)),
        (Network(True, 10**8), "full", None, ("adamw", 5e-5, 0.05, 0.7)),
        (SMALL_LAYER_NORM, "full", "sgd", ("sgd", 0.01, 5e-4, None)),
        (SMALL_LAYER_NORM, "lora", None, ("sgd", 0.01, 5e-4, None)),
        (SMALL_LAYER_NORM, "head", None, ("sgd", 0.01, 5e-4, None)),
    ],
)
def test_settings(network: Network, tune: str, opt: str | None, values: tuple[Any, ...]) -> None:
    settings = settings_for(network, tune, opt)
    assert (settings.opt, settings.lr, settings.weight_decay, settings.layer_decay) == values
    assert ("published" in settings.source) == network.layer_norm or opt == "adamw"


def test_every_kind_of_sgd_has_rates_like_sgd() -> None:
    """By the classes that timm builds: SGD, LARS and their variants take one rate for all, Adam's a rate of its own."""
    for name in map(str, list_optimizers(exclude_filters=["*_*", "bnb*", "fused*"])):
        module = get_optimizer_class(name, bind_defaults=False).__module__
        assert uses_sgd(name) == (module.rpartition(".")[2] in ("sgd", "sgdp", "sgdw", "lars")), name
    for name in ("fusedsgd", "bnbsgd8bit", "lookahead_sgdw"):
        assert settings_for(SMALL_BATCH_NORM, "full", name).lr == 0.01
    assert settings_for(SMALL_BATCH_NORM, "full", "lookahead_fusedadamw").lr == 3e-4


def test_the_help_says_what_adapters_train_with() -> None:
    """A network with layer norm has AdamW only where its own layers are trained."""
    chosen = {
        tune: settings_for(Network(True, 5_000_000), tune, None) for tune in ("full", "blocks", "lora", "adapter")
    }
    assert {tune: settings.opt for tune, settings in chosen.items()} == {
        "full": "adamw", "blocks": "adamw", "lora": "sgd", "adapter": "sgd",
    }  # fmt: skip
    assert "adamw for all layers or the last blocks of a network with layer norm" in FINETUNE_TEXTS["opt"]
    assert [settings_for(Network(True, 5_000_000), tune, "adamw").weight_decay for tune in chosen] == [
        0.05, 0.05, 0.0005, 0.0005,
    ]  # fmt: skip
    assert FINETUNE_TEXTS["weight_decay"] == "0.0005; 0.05 for adamw and layer norm, without adapters"


def test_a_large_transformer_is_advised_to_train_adapters() -> None:
    large = Network(True, LARGE_NETWORK)
    assert "tune='lora'" in settings_notes(large, "full", {"lr": 5e-5}, "published")[-1]
    assert len(settings_notes(large, "lora", {"lr": 0.01}, "published")) == 1
    assert len(settings_notes(SMALL_LAYER_NORM, "full", {"lr": 5e-5}, "published")) == 1


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext"])
def test_a_network_with_layer_norm_takes_the_published_settings(
    finetune: Any, lab: Any, animals: Path, tmp_path: Path, architecture: str
) -> None:
    source, run = lab.source(tmp_path / "start", architecture), tmp_path / "run"
    options = ["--model", source, "--data", animals, "--epochs", 1, "--batch-size", 8, "--head-init", "fresh"]
    outcome = finetune(*options, "--output-dir", run)
    assert outcome.status == 0, outcome.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert [config[name] for name in ("opt", "lr", "weight_decay", "layer_decay")] == ["adamw", 5e-5, 0.05, 0.7]
    groups = outcome.run.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.05}
    layers = sorted({group["lr_scale"] for group in groups}, reverse=True)
    assert layers[:3] == pytest.approx([1.0, 0.7, 0.49]) and type(outcome.run.optimizer.optimizer).__name__ == "AdamW"
    note = "a network with layer norm, published, not measured here (Liu et al., 2022; He et al., 2022)"
    assert f"{note}: --opt adamw, --lr 5e-05, --weight-decay 0.05, --layer-decay 0.7." in outcome.out
    assert "defaults: --lr 5e-05 --weight-decay 0.05" in outcome.out
    results = RunResults.load(run / "results.json")
    assert any(note in text for text in results.data.notes) and results.schedule is not None
    assert results.schedule.lr == 5e-5
    # Its file repeats the run.
    again = finetune("--config", run / "config.yaml", "--output-dir", tmp_path / "again")
    assert again.status == 0 and lab.same_weights(lab.weights(run), lab.weights(tmp_path / "again"))


@pytest.mark.usefixtures("own_cache")
def test_batch_norm_takes_a_rate_by_its_optimiser(finetune: Any, lab: Any, animals: Path, tmp_path: Path) -> None:
    source = lab.source(tmp_path / "start", "test_efficientnet")
    options = ["--model", source, "--data", animals, "--epochs", 1, "--batch-size", 8, "--dry-run"]
    plain, adamw = finetune(*options), finetune(*options, "--opt", "adamw")
    for outcome, text in ((plain, "lr: 0.01\n"), (adamw, "lr: 0.0003\n")):
        assert outcome.status == 0 and text in outcome.out and "weight_decay: 0.0005\n" in outcome.out, outcome.err
    assert "note: Settings of fine-tuning" not in plain.out and "--lr 0.01" in plain.out
    assert "measured with AdamW and EfficientNet-Lite0 at 96 pixels: --lr 0.0003, --weight-decay 0.0005." in adamw.out


@pytest.mark.usefixtures("own_cache")
def test_a_rate_that_is_given_is_for_sgd_unless_another_optimiser_is_given(source: Path, animals: Path) -> None:
    for given, opt in (({}, "sgd"), ({"opt": "adamw"}, "adamw")):
        options = glmc_zoo.finetune(model=source, data=animals, lr=0.001, dry_run=True, **given, **SHORT).options
        assert (options["opt"], options["lr"], options["weight_decay"]) == (opt, 0.001, 5e-4)
        assert options["layer_decay"] is None


@pytest.mark.usefixtures("own_cache")
def test_a_run_that_began_before_goes_on_as_it_was(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: Any
) -> None:
    lab.leave_plots_empty(monkeypatch)
    options: dict[str, Any] = {"model": source, "data": animals, "output_dir": tmp_path / "run", **SHORT}
    with interrupted_at(2):
        glmc_zoo.finetune(**options, opt="sgd", lr=0.01, weight_decay=5e-4)
    results = glmc_zoo.finetune(**options, resume="auto")
    assert (results.config["opt"], results.config["lr"], results.config["layer_decay"]) == ("sgd", 0.01, None)


@pytest.mark.usefixtures("own_cache")
def test_few_images_make_a_smaller_batch(
    lab: Any, finetune: Any, source: Path, tmp_path: Path, interrupted_at: Any
) -> None:
    few = lab.images(tmp_path / "few", {"ant": 3, "bee": 3, "cat": 3})
    options = ["--model", source, "--data", few, "--epochs", 3, "--feature-views", 1, "--output-dir", tmp_path / "run"]
    with interrupted_at(2):
        finetune(*options)
    outcome = finetune(*options, "--resume", "auto")
    assert outcome.status == 0, outcome.err
    assert "note: There are few training images, so a batch has 9 images instead of 32." in outcome.out
    results = RunResults.load(tmp_path / "run" / "results.json")
    assert results.config["batch_size"] == 9 and results.schedule is not None
    assert results.schedule.images_per_step == 9
    assert any("a batch has 9 images" in note for note in results.data.notes)
    assert (
        "note: There are 9 training images of 3 classes. With so few, training only the classifier was better"
        in outcome.out
    )
    assert ": give --tune head." in outcome.out
    sentence = finetune(*options[:4], "--batch-size", 10, "--output-dir", tmp_path / "asked").sentence
    assert "--batch-size 10 is larger than the training split of 9 images: give at most 9" in sentence


@pytest.mark.usefixtures("own_cache")
def test_a_search_tries_the_rates_of_the_optimiser(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.leave_plots_empty(monkeypatch)
    more = {name: value for name, value in SHORT.items() if name != "epochs"}
    results = glmc_zoo.finetune(
        model=source, data=animals, search_minutes=0.01, output_dir=tmp_path / "run", **more
    )  # fmt: skip
    assert results.search is not None and results.search.chosen.layer_decay == 0.7
    assert results.search.trials[0].lr == 1e-4 and results.config["opt"] == "adamw"
    assert results.config["weight_decay"] == results.search.trials[0].weight_decay == 0.05
