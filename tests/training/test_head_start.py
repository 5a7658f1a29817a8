"""What the classifier of a training in the loop starts from: its logits, the loss's own prior, and resumption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from run_files import files_of
from timm.task import ClassificationTask
from torch import nn

import glmc_zoo
from glmc_zoo.method.switches import preset_switches
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.results import RunResults
from glmc_zoo.training import features, head_start
from glmc_zoo.training.head_start import ClassifierStart, StartFacts, prior_shares, start_clip
from glmc_zoo.training.run import TrainingRun

pytestmark = [pytest.mark.usefixtures("own_cache")]
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8, "warmup_epochs": 0, "feature_views": 1, "mixed_precision": "no"}
COUNTS = {"ant": 12, "bee": 8, "cat": 4}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A run as it is when its first epoch begins, with the classifiers in ``layers``."""

    class Stopped(Exception):
        pass

    def call(**options: Any) -> Any:
        runs: list[Any] = []

        def stop(self: TrainingRun) -> Any:
            runs.append(self)
            raise Stopped

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(TrainingRun, "train_epoch", stop)
            glmc_zoo.finetune(**SHORT | options)
        return runs[0]

    return call


def logits_on(run: Any, layer: nn.Linear) -> Any:
    """Logits of the training images through the network as it is, by timm's own transform."""
    model, split = run.timm_model.eval(), run.data.train
    transform = timm.data.create_transform(**run.spec.data_config, is_training=False)
    with torch.no_grad():
        x = torch.stack([transform(image) for image in split.images(range(len(split)))])
        return layer(model.forward_head(model.forward_features(x), pre_logits=True)).numpy(), split.labels


def test_class_means_by_an_independent_computation(begun: Any, source: Path, animals: Path, tmp_path: Path) -> None:
    run = begun(model=source, data=animals, method="balanced_softmax", head_init="mean", output_dir=tmp_path / "run")
    model, split = run.timm_model.eval(), run.data.train
    transform = timm.data.create_transform(**run.spec.data_config, is_training=False)
    with torch.no_grad():
        x = torch.stack([transform(image) for image in split.images(range(len(split)))])
        z = model.forward_head(model.forward_features(x), pre_logits=True).double().numpy()
    centred = z - z.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).sum(axis=1).mean())
    means = np.stack([scaled[split.labels == label].mean(axis=0) for label in range(3)])
    directions = means - means.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    logits, _ = logits_on(run, model.get_classifier())
    # The images are reread by timm: their features agree to some digits.
    np.testing.assert_allclose(logits, 10 * scaled @ directions.T, atol=0.02)
    facts = run.stage.start_facts
    assert facts == StartFacts(init="mean", views=1, relative_length=facts.relative_length)


@pytest.mark.parametrize("architecture", ["test_convnext", "test_vit"])
def test_the_loss_of_any_method_sees_the_same_logits(
    lab: Any, begun: Any, tmp_path: Path, animals: Path, architecture: str
) -> None:
    """Balanced softmax and the re-weighted loss start without the frequencies, cross-entropy with them."""
    start = lab.source(tmp_path / architecture, architecture)
    prior = np.log(np.asarray([*COUNTS.values()]) / sum(COUNTS.values()))
    seen = []
    for number, (options, shift) in enumerate(
        [
            ({"method": "balanced_softmax"}, 1.0),
            ({"method": "ce"}, 0.0),
            ({"method": "balanced_softmax", "prior_tau": 1.5}, 1.5),
            ({"method": "glmc", "preset": "official", "class_weight_power": 1.2, "epochs": 2}, 1.2),
            ({"method": "glmc", "views": "alternate", "epochs": 2}, 1.0),
        ]
    ):
        run = begun(
            model=start, data=animals, head_init="head", output_dir=tmp_path / f"{architecture}{number}", **options
        )
        logits, labels = logits_on(run, run.timm_model.get_classifier())
        seen.append(logits + shift * prior)
        if options["method"] == "glmc":
            conventional, _ = logits_on(run, run.task.trainable_module.conventional_classifier)
            seen.append(conventional)
    for other in seen[1:]:
        np.testing.assert_allclose(seen[0], other, atol=1e-4)
    # They are log probabilities of a classifier that learnt the images: better than the frequencies alone.
    probabilities = torch.from_numpy(seen[0]).log_softmax(dim=1).numpy()
    assert -probabilities[np.arange(len(labels)), labels].mean() < -prior[labels].mean()


def test_shares_of_the_prior() -> None:
    official, tuned = preset_switches("official", class_weight_power=1.2), preset_switches("tuned", prior_tau=2.0)
    assert prior_shares("glmc", official) == (1.2, 0.0)
    assert prior_shares("glmc", tuned) == prior_shares("balanced_softmax", tuned) == (2.0, 0.0)
    assert prior_shares("ce", tuned) == prior_shares("a plugged-in method", tuned) == (0.0, 0.0)


def test_the_choice_is_in_results_card_and_log(finetune: Any, source: Path, animals: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--model", source, "--data", animals, "--epochs", 1, "--batch-size", 8, "--ema-decay", 0.9]
    outcome = finetune(*options, "--feature-views", 2, "--output-dir", run)
    assert outcome.status == 0, outcome.err
    results = RunResults.load(run / "results.json")
    assert results.method == "balanced_softmax" and results.config["head_init"] == "head"
    assert results.finetune is not None and results.finetune.start is not None and results.head is None
    start = results.finetune.start
    assert (start.init, start.views, start.reason) == ("head", 2, None)
    assert start.head is not None and start.head.held_out_images == 24 and start.head.chosen in start.head.trials
    for text in ("the classifier starts from the best one on frozen features", "* chosen, with logit adjustment"):
        assert text in outcome.out
    card = (run / "model" / "README.md").read_text()
    assert "**Start of the classifier:** the best of 12 linear classifiers" in card
    assert {path.name for path in run.iterdir()} == files_of("training in epochs", "fine-tuning that finds it first")
    # The moving average goes on from it as well.
    plain = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(plain(x), outcome.run.timm_model.eval()(x))


def test_what_is_fresh_stays_fresh(begun: Any, source: Path, animals: Path, tmp_path: Path) -> None:
    """Without a start, a run computes no features and has the classifier that its seed gives."""
    for number, options in enumerate([{"method": "ce"}, {"method": "balanced_softmax", "head_init": "fresh"}]):
        given = {name: value for name, value in SHORT.items() if name != "feature_views"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(features.FeatureParts, "write", lambda *given: pytest.fail("features were computed"))
            patch.setitem(SHORT, "feature_views", None)
            run = begun(**given | {"model": source, "data": animals, "output_dir": tmp_path / str(number)} | options)
        assert run.stage.start_facts is None
        torch.manual_seed(0)
        expected = timm.create_model(f"local-dir:{source}", pretrained=True, num_classes=3)
        expected.reset_classifier(3)
        assert torch.equal(run.timm_model.get_classifier().weight, expected.get_classifier().weight)


def test_the_source_goes_on_where_the_classes_are_the_same(lab: Any, begun: Any, animals: Path, tmp_path: Path) -> None:
    source = lab.source(tmp_path / "same", "test_resnet", "ant bee cat")
    weight = timm.create_model(f"local-dir:{source}", pretrained=True).get_classifier().weight
    options = {"model": source, "data": animals, "method": "balanced_softmax"}
    kept = begun(**options | {"feature_views": None}, output_dir=tmp_path / "kept")
    assert torch.equal(kept.timm_model.get_classifier().weight, weight) and kept.stage.kept == ["classifier"]
    assert kept.stage.tune.head_init == "fresh"
    asked = begun(**options, head_init="head", output_dir=tmp_path / "asked")
    assert not torch.allclose(asked.timm_model.get_classifier().weight, weight) and asked.stage.kept == []


def test_class_means_where_nothing_can_be_held_out(begun: Any, lab: Any, source: Path, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "single", {"ant": 1, "bee": 1, "cat": 1}, test=1)
    run = begun(model=source, data=images, method="balanced_softmax", batch_size=2, output_dir=tmp_path / "run")
    assert run.stage.start_facts.init == "mean" and "no training image can be held out" in run.stage.start_facts.reason
    logits, labels = logits_on(run, run.timm_model.get_classifier())
    assert (logits.argmax(axis=1) == labels).all()


def test_a_killed_run_finds_features_and_start(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: Any
) -> None:
    lab.leave_plots_empty(monkeypatch)
    options: dict[str, Any] = {"model": source, "data": animals, **SHORT, "epochs": 2, "method": "balanced_softmax"}
    whole = glmc_zoo.finetune(**options, output_dir=tmp_path / "whole")
    with interrupted_at(2):  # in the first epoch: no checkpoint yet
        glmc_zoo.finetune(**options, output_dir=tmp_path / "cut")
    monkeypatch.setattr(features.FeatureParts, "write", lambda *given: pytest.fail("computed again"))
    with interrupted_at(4):  # in the second, after a checkpoint
        glmc_zoo.finetune(**options, output_dir=tmp_path / "cut", resume="auto")
    monkeypatch.setattr(head_start, "find_start", lambda *given, **more: pytest.fail("chosen again"))
    results = glmc_zoo.finetune(**options, output_dir=tmp_path / "cut", resume="auto")
    assert lab.same_weights(lab.weights(tmp_path / "whole"), lab.weights(tmp_path / "cut"))
    assert results.finetune is not None and whole.finetune is not None
    one, other = whole.finetune.start, results.finetune.start
    assert one is not None and other is not None and one.head is not None and other.head is not None
    assert one.head.chosen == other.head.chosen and not (tmp_path / "cut" / "features").exists()


def test_a_run_from_before_the_option_goes_on_fresh(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: Any
) -> None:
    lab.leave_plots_empty(monkeypatch)
    options: dict[str, Any] = {"model": source, "data": animals, **SHORT, "epochs": 2, "method": "balanced_softmax"}
    del options["feature_views"]
    with interrupted_at(4):
        glmc_zoo.finetune(**options, head_init="fresh", output_dir=tmp_path / "old")
    config = tmp_path / "old" / "config.yaml"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if "head_" not in line))
    results = glmc_zoo.finetune(**options, output_dir=tmp_path / "old", resume="auto")
    assert results.config["head_init"] == "fresh" and results.finetune is not None and results.finetune.start is None


@pytest.mark.parametrize(
    ("length", "asked", "opt", "limit"),
    [(8.0, None, "sgd", 2.0), (2.0, None, "sgd", None), (8.0, 7.0, "sgd", 7.0), (8.0, None, "adamw", None)],
)
def test_long_weights_limit_the_gradient(length: float, asked: float | None, opt: str, limit: float | None) -> None:
    schedule = ScheduleOptions(epochs=1, batch_size=8, lr=0.1, weight_decay=0.0, warmup_epochs=0, clip_grad=asked)
    facts = StartFacts(init="head", views=1, relative_length=length)
    assert start_clip(facts, schedule, opt) == limit and start_clip(None, schedule, opt) == asked


def test_the_relative_length_is_that_of_the_rows() -> None:
    model: Any = timm.create_model("test_efficientnet", num_classes=3)
    task, classifier = ClassificationTask(model), model.get_classifier()
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(3, classifier.in_features) * torch.tensor([[1.0], [2.0], [3.0]]))
    weight = 4 * torch.eye(3, classifier.in_features)
    start = ClassifierStart(weight, torch.zeros(3), StartFacts(init="mean", views=1)).with_relative_length(task)
    assert start.facts.relative_length == pytest.approx(2.0)


def test_a_run_with_long_weights_has_the_limit_and_keeps_it(
    finetune: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_at: Any
) -> None:
    """The first step moves the layers before the classifier by the limit times the learning rate, at most."""
    monkeypatch.setattr(head_start, "LONG", 0.0)
    monkeypatch.setattr(head_start, "LONG_CLIP", 1e-3)
    options = ["--model", source, "--data", animals, "--batch-size", 24, "--warmup-epochs", 0, "--lr", 0.1]
    options += ["--method", "balanced_softmax", "--weight-decay", 0, "--epochs", 2]
    with interrupted_at(1):
        finetune(*options, "--output-dir", tmp_path / "run", "--checkpoint-steps", 1)
    start = timm.create_model(f"local-dir:{source}", pretrained=True).state_dict()
    outcome = finetune(*options, "--output-dir", tmp_path / "run", "--resume", "auto")
    assert outcome.status == 0 and outcome.run.trainer.step.clip_grad == 1e-3, outcome.err
    end = outcome.run.timm_model.state_dict()
    names = [key for key, _ in outcome.run.timm_model.named_parameters() if end[key].shape == start[key].shape]
    moved = sum(float((end[key] - start[key]).square().sum()) for key in names) ** 0.5
    assert 0 < moved <= 2 * 0.1 * 1e-3 * 1.9 * 1.01  # two steps with momentum 0.9
    facts = RunResults.load(tmp_path / "run" / "results.json").finetune
    assert facts is not None and facts.start is not None and facts.start.relative_length is not None


def test_logits_of_a_start_differ_by_the_prior_alone() -> None:
    task: Any = nn.Module()
    task.layer = nn.Linear(2, 3)
    start = ClassifierStart(torch.ones(3, 2), torch.zeros(3), StartFacts(init="mean", views=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_start, "classifiers_in", lambda task: [task.layer])
        start.load_into(task, (0.25, 0.0), [6, 3, 1])
    expected = 0.75 * np.log([0.6, 0.3, 0.1])
    np.testing.assert_allclose(task.layer.bias.detach().numpy(), expected, rtol=1e-6)


def test_batch_norm_keeps_its_statistics_where_that_is_asked_for(
    lab: Any, finetune: Any, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.leave_plots_empty(monkeypatch)
    source = lab.source(tmp_path / "norm", "test_resnet")
    before = timm.create_model(f"local-dir:{source}", pretrained=True).state_dict()
    for name, frozen in {"frozen": True, "free": False}.items():
        given = SHORT | {"freeze_bn": frozen, "output_dir": tmp_path / name}
        glmc_zoo.finetune(model=source, data=animals, method="balanced_softmax", **given)
        after = timm.create_model(f"local-dir:{tmp_path / name / 'model'}", pretrained=True).state_dict()
        for key in before:
            if key.endswith(("running_mean", "running_var")):
                assert torch.equal(after[key], before[key]) == frozen, (name, key)
        assert not torch.equal(after["conv1.0.weight"], before["conv1.0.weight"])
    vit = lab.source(tmp_path / "vit", "test_vit")
    options = ["--model", vit, "--data", animals, "--freeze-bn", "--output-dir", tmp_path / "none"]
    assert "which has no batch-norm: leave it out" in finetune(*options).sentence
    assert not (tmp_path / "none").exists()
