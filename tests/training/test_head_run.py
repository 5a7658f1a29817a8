"""A run of a classifier on features: what it leaves, what it refuses, and that it goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from run_files import files_of

import glmc_zoo
from glmc_zoo.method import load_plugin
from glmc_zoo.results import RunResults
from glmc_zoo.training import features, head_run
from glmc_zoo.training.head_run import HeadRun

Recipe = Callable[..., Any]

pytestmark = [pytest.mark.usefixtures("own_cache")]


def loaded(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_efficientnet"])
def test_what_is_exported_is_what_was_scored(
    lab: Any, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    runs: list[HeadRun] = []
    original = HeadRun.finish
    monkeypatch.setattr(HeadRun, "finish", lambda self: (runs.append(self), original(self))[1])
    lab.leave_plots_empty(monkeypatch)
    start = lab.source(tmp_path / "source", architecture)
    results = glmc_zoo.finetune(
        model=start, data=animals, tune="head", feature_views=2, output_dir=tmp_path / "run", mixed_precision="no"
    )
    model, before = loaded(tmp_path / "run" / "model"), loaded(start)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(x), runs[0].timm_model.eval()(x))
    head = {f"{model.default_cfg['classifier']}.{name}" for name in ("weight", "bias")}
    after = model.state_dict()
    assert {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, after[name])} == head
    assert model.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]

    # The scores are those of timm alone.
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    test = glmc_zoo.load_data(animals).test
    with torch.no_grad():
        logits = model(torch.stack([transform(image) for image in test.images(range(len(test)))]))
    right = logits.argmax(dim=1).numpy() == test.labels
    assert results.test.top1 == pytest.approx(right.mean())


def test_what_a_run_leaves(finetune: Recipe, source: Path, animals: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = finetune("--model", source, "--data", animals, "--tune", "head", "--output-dir", run)
    assert outcome.status == 0, outcome.err
    results = RunResults.load(run / "results.json")
    head = results.head
    assert head is not None and results.finetune is not None and results.finetune.tune == "head"
    assert (head.init, head.views, head.folds, head.held_out_images) == ("mean", 4, 5, 24)
    assert len(head.trials) == 12 and head.chosen in head.trials and head.grouped_by is None
    assert max(trial.balanced_accuracy for trial in head.trials) == head.chosen.balanced_accuracy
    assert results.method == "head" and results.model.name == "test_convnext.head_animals"
    assert results.selection is not None and results.selection.epoch is None and results.schedule is None
    assert "computing the features of 24 images, 4 views each\n" in outcome.out
    for text in ("balanced softmax", "cross-entropy", "24 training images held out in 5 folds", "* chosen"):
        assert text in outcome.out
    assert f"{head.chosen.loss} from the class means" in (run / "model" / "README.md").read_text()
    # What has no effect is not stated as if it had, and the file repeats the run.
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert not {"lr", "epochs", "views", "augment"} & config.keys() and config["head_init"] == "mean"
    again = finetune("--config", run / "config.yaml", "--output-dir", tmp_path / "again")
    assert again.status == 0, again.err
    assert RunResults.load(tmp_path / "again" / "results.json").test == results.test
    assert {path.name for path in run.iterdir()} == files_of("`--tune head`")


def test_probabilities_are_calibrated_by_the_images_that_were_held_out_in_turn(
    source: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):  # images without a class of their own, so that not all can be right
        for index in range(8):
            pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(animals / "train" / name / f"noise{index}.png")
    options: dict[str, Any] = {"model": source, "data": animals, "tune": "head", "mixed_precision": "no"}
    plain = glmc_zoo.finetune(**options, output_dir=tmp_path / "plain", calibrate="never")
    capsys.readouterr()
    results = glmc_zoo.finetune(**options, output_dir=tmp_path / "run")
    facts = results.calibration
    assert plain.calibration is None and facts is not None and facts.temperature is not None
    assert results.data.val_images == 0 and facts.images == results.head.held_out_images == 48
    before, after = (loaded(tmp_path / run / "model").get_classifier() for run in ("plain", "run"))
    torch.testing.assert_close(after.weight * facts.temperature, before.weight)
    torch.testing.assert_close(after.bias * facts.temperature, before.bias)
    assert facts.before["test"].nll == pytest.approx(plain.test.nll)
    assert facts.after["test"].nll == pytest.approx(results.test.nll)
    assert results.test.top1 == plain.test.top1
    # Errors before and after are in the results, on the screen and in the card.
    before, after = ({"ece": scores.ece, "nll": scores.nll} for scores in (facts.before["test"], facts.after["test"]))
    assert before["ece"] == pytest.approx(plain.test.ece) and after["ece"] == pytest.approx(results.test.ece)
    assert before["ece"] != after["ece"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    heads, row = (words for words in lines if words[:1] in (["images"], ["test"]))
    assert heads == ["images", "ECE", "in", "%", "before", "after", "by", "chance", "NLL", "before", "after"]
    assert row[:3] == ["test", f"{100 * before['ece']:.1f}", f"{100 * after['ece']:.1f}"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"| test | {100 * before['ece']:.2f} % | {100 * after['ece']:.2f} % | {before['nll']:.4f}" in card
    # Nothing more is held out where calibration is asked for.
    always = glmc_zoo.finetune(**options, output_dir=tmp_path / "always", calibrate="always")
    assert always.data.val_images == 0 and always.calibration == facts


def test_groups_stay_together(finetune: Recipe, source: Path, animals: Path, tmp_path: Path) -> None:
    options = ["--model", source, "--data", animals, "--split-by", r"path:(\d)\.png$", "--tune", "head"]
    outcome = finetune(*options, "--head-init", "fresh", "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    head = RunResults.load(tmp_path / "run" / "results.json").head
    assert head is not None and head.grouped_by == r"path:(\d)\.png$" and head.init == "fresh"
    assert r"kept together by path:(\d)\.png$" in outcome.out


def test_it_goes_on_after_a_kill(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lab.leave_plots_empty(monkeypatch)
    monkeypatch.setattr(features, "_PART_IMAGES", 5)
    options: dict[str, Any] = {"model": source, "data": animals, "tune": "head", "batch_size": 5, "feature_views": 3}
    glmc_zoo.finetune(**options, output_dir=tmp_path / "whole")
    original, written = features.FeatureParts.write, []

    def write(self: Any, positions: Any, values: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(positions))
        original(self, positions, values)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features.FeatureParts, "write", write)
        glmc_zoo.finetune(**options, output_dir=tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "results.json").exists()
    monkeypatch.setattr(
        features.FeatureParts, "write", lambda *given: (written.append(len(given[1])), original(*given))
    )
    capsys.readouterr()
    glmc_zoo.finetune(**options, output_dir=tmp_path / "resumed", resume="auto")
    assert "computing the features of 24 images (10 are stored), 3 views each\n" in capsys.readouterr().out
    assert sum(written) == 24
    assert lab.same_weights(lab.weights(tmp_path / "whole"), lab.weights(tmp_path / "resumed"))


def test_a_cache_serves_later_runs(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lab.leave_plots_empty(monkeypatch)
    options: dict[str, Any] = {"model": source, "data": animals, "tune": "head", "feature_cache": tmp_path / "cache"}
    glmc_zoo.finetune(**options, output_dir=tmp_path / "one")
    (folder,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(features.FeatureParts, "write", lambda *given: pytest.fail("computed again"))
    capsys.readouterr()
    glmc_zoo.finetune(**options, output_dir=tmp_path / "two", head_init="fresh")
    assert "computing the features" not in capsys.readouterr().out
    monkeypatch.undo()
    lab.leave_plots_empty(monkeypatch)
    glmc_zoo.finetune(**options, output_dir=tmp_path / "three", image_size=64)
    assert folder in (folders := list((tmp_path / "cache").iterdir())) and len(folders) == 2


def test_a_dry_run_writes_nothing(source: Path, animals: Path, tmp_path: Path) -> None:
    estimate = glmc_zoo.finetune(
        model=source, data=animals, tune="head", feature_views=2, output_dir=tmp_path / "run", dry_run=True
    )
    assert estimate.views == 2 and "features of 2 views" in estimate.text
    evaluation = estimate.evaluations * estimate.evaluation_seconds
    assert estimate.evaluations == 1 and estimate.view_seconds > 0
    assert estimate.seconds == pytest.approx(2 * estimate.view_seconds + evaluation)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--epochs", 2], ["--epochs belongs to the training loop", "--tune head", "--method"]),
        (["--auto-augment", "original"], ["--auto-augment belongs to the training loop"]),
        (["--prior-tau", 2], ["--prior-tau belongs to the training loop"]),
        (["--select", "best"], ["--select belongs to the training loop"]),
        (["--method", "ce", "--head-init", "fresh"], ["--head-init is for a classifier that is trained on features"]),
        (["--feature-views", 8], ["--feature-views 8", "at most 7"]),
        (["--resume", "checkpoints/step-1"], ["--resume checkpoints/step-1", "--resume auto"]),
    ],
)
def test_one_sentence(finetune: Recipe, source: Path, animals: Path, args: list[Any], parts: list[str]) -> None:
    sentence = finetune("--model", source, "--data", animals, "--tune", "head", *args).sentence
    for part in parts:
        assert part in sentence


NO_BIAS = """
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn
from glmc_zoo.backbones import CifarResNet

half = (0.5, 0.5, 0.5)
default_cfgs = generate_default_cfgs(
    {"no_bias_net": {"input_size": (3, 32, 32), "classifier": "fc", "mean": half, "std": half}}
)

class NoBiasNet(CifarResNet):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reset_classifier(self.num_classes)

    def reset_classifier(self, num_classes, global_pool=None):
        super().reset_classifier(num_classes, global_pool)
        if num_classes:
            self.fc = nn.Linear(self.num_features, num_classes, bias=False)

@register_model
def no_bias_net(pretrained=False, **kwargs):
    return build_model_with_cfg(NoBiasNet, "no_bias_net", pretrained, depth=8, width=4, **kwargs)
"""


@pytest.mark.usefixtures("own_registry")
def test_a_classifier_without_bias_is_refused_before_the_features_with_advice_that_works(
    finetune: Recipe, lab: Any, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, run = tmp_path / "no_bias.py", tmp_path / "run"
    plugin.write_text(NO_BIAS)
    load_plugin(str(plugin))
    monkeypatch.setattr(head_run, "compute_features", lambda *args, **options: pytest.fail("features were computed"))
    short = ["--epochs", 1, "--batch-size", 8, "--warmup-epochs", 0, "--mixed-precision", "no", "--no-report"]
    for names in ("ant bee cat", "w x y z"):
        source = lab.source(tmp_path / names, "no_bias_net", names)
        given = ["--model", source, "--data", animals, "--plugin", plugin]
        for start in (["--head-init", "mean"], ["--head-init", "fresh"], []):
            sentence = finetune(*given, "--tune", "head", *start, "--output-dir", run).sentence
            assert sentence.startswith("--tune head sets the bias of the classifier, and that of ")
            assert sentence.endswith(" has none: give --tune full with --head-init fresh.")
        sentence = finetune(*given, *short, "--head-init", "mean", "--output-dir", run).sentence
        assert sentence.endswith(" has none: give --head-init fresh.") and not run.exists()
    outcome = finetune(*given, *short, "--tune", "full", "--head-init", "fresh", "--output-dir", run)
    assert outcome.status == 0, outcome.err
    assert loaded(run / "model").get_classifier().bias is None


def test_options_of_features_need_a_classifier_on_them(finetune: Recipe) -> None:
    sentence = finetune("--model", "x", "--head-init", "fresh", "--feature-views", 2).sentence
    assert "--feature-views has no effect with --head-init fresh" in sentence


def test_nothing_can_be_held_out(finetune: Recipe, lab: Any, source: Path, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "single", {"ant": 1, "bee": 1, "cat": 1})
    sentence = finetune(
        "--model", source, "--data", images, "--tune", "head", "--output-dir", tmp_path / "run"
    ).sentence
    assert "no training image can be held out" in sentence
    assert json.loads((tmp_path / "source" / "config.json").read_text())["num_classes"] == 4
