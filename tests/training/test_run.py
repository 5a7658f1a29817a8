"""What a run leaves, and the options of its loop."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from run_files import files_of, listed_files

import glmc_zoo
from glmc_zoo.files import HOLDER_FILE, LOCK_FILE
from glmc_zoo.training import folder as run_folder

Train = Callable[..., Any]

SCORES = {
    *("top1", "top5", "balanced_accuracy", "many", "medium", "few", "hmean", "gmean", "worst", "macro_f1", "ece", "nll")
}


def test_a_run_leaves_everything(train: Train, lab: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = train("--epochs", 3, *lab.tiny, "--preset", "official", "--output-dir", out, plots=True)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in out.iterdir()} == {
        *("config.yaml", "metrics.jsonl", "results.json", "checkpoints", "model", "plots"),
        *("answers.json", "report.html", "sample.jpg"),
    }
    catalogue = "`--sample-image`, or a catalogue set whose images may be published"
    assert {path.name for path in out.iterdir()} == files_of("training in epochs", catalogue)
    assert {path.name for path in (out / "model").iterdir()} >= {"config.json", "model.safetensors", "README.md"}
    assert {path.name for path in (out / "plots").iterdir()} == {
        *("training.png", "class_accuracy.png", "class_confusion.png", "group_confusion.png")
    }
    assert all(path.stat().st_size > 5000 for path in (out / "plots").iterdir())
    # Only the newest two, 5 batches of 16 in each epoch (68 images, the last batch smaller).
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-000000010", "step-000000015"]
    assert "local-dir:" in outcome.out and "top-1" in outcome.out
    _check_metrics(lab.rows(out))
    _check_results(lab.results(out), lab.rows(out)[-1])
    assert f"{100 * lab.results(out)['test']['top1']:.2f} %" in (out / "model" / "README.md").read_text()


def test_the_page_lists_every_file_of_a_run_folder() -> None:
    assert {*listed_files()} == {*run_folder._FILES, *run_folder._FOLDERS} - {HOLDER_FILE, LOCK_FILE}


def test_an_image_of_the_user_is_exported_on_request_alone(animals: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "resnet20_cifar", "data": animals, "image_size": 32, "epochs": 1}
    options |= {"batch_size": 8, "warmup_epochs": 0, "workers": 0}
    for name, given in {"quiet": {}, "shown": {"sample_image": True}}.items():
        results = glmc_zoo.train(**options, **given, output_dir=tmp_path / name)
        model = tmp_path / name / "model"
        exported, card = (model / "sample.jpg").is_file(), (model / "README.md").read_text()
        assert exported == ("sample.jpg" in card) == (results.sample_image is not None) == bool(given)
    assert results.sample_image in ("ant", "bee", "cat")


def _check_metrics(lines: list[dict[str, Any]]) -> None:
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for epoch, line in enumerate(lines):
        assert {"loss", "conventional", "rebalanced", "consistency", "lr", "images_per_second", "test"} <= line.keys()
        assert line["test"].keys() >= SCORES
        alpha = 1 - (epoch / 3) ** 2
        total = alpha * line["conventional"] + (1 - alpha) * line["rebalanced"] + 10 * line["consistency"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert line["lr"] == pytest.approx(0.025 / 2 * (1 + math.cos(math.pi * epoch / 3)))
        assert line["images_per_second"] > 0


def _check_results(results: dict[str, Any], last: dict[str, Any]) -> None:
    assert results["test"].keys() >= SCORES
    assert results["class_counts"] == [int(10 * 2 ** (-c / 9) + 1e-9) for c in range(10)]
    # The final scores are taken in the layout of the export, which moves the last bits, and with them an image or two.
    assert results["test"].keys() == last["test"].keys()
    for name, score in last["test"].items():
        assert results["test"][name] == (None if score is None else pytest.approx(score, rel=1e-3, abs=0.005)), name
    assert np.mean(results["class_recalls"]) == pytest.approx(results["test"]["balanced_accuracy"])
    assert np.sum(results["group_confusion"]) == 600
    assert results["test"]["many"] is None and results["groups"] == {"many": 0, "medium": 0, "few": 10}
    assert results["thresholds"]["many"] == 100 and results["thresholds"]["few"] == 20
    assert results["seeds"] == {"seed": 0, "data_seed": 0}
    assert results["data"]["selection"] == "ldam" and results["data"]["name"] == "digits_lt"
    assert results["selection"]["epoch"] == 3 and "last" in results["selection"]["how"]
    assert results["wall_time_s"] > 0
    assert results["versions"]["torch"] == importlib.metadata.version("torch")
    assert results["command"].startswith("python recipes/train.py --epochs 3")
    assert results["model"]["input_size"] == [3, 16, 16] and results["model"]["needs_glmc_zoo"] is True


def test_config_yaml_repeats_the_run(train: Train, lab: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["--epochs", 2, *lab.tiny, "--seed", 3, "--ema-decay", 0.9, "--lr", "1e-3", "--min-lr", "1e-5"]
    assert train(*options, "--output-dir", first).status == 0
    saved = yaml.safe_load((first / "config.yaml").read_text())
    assert saved["image_size"] == 16 and saved["augment"] == "shift" and "output_dir" not in saved
    assert train("--config", first / "config.yaml", "--output-dir", second).status == 0
    assert (second / "config.yaml").read_bytes() == (first / "config.yaml").read_bytes()
    assert lab.same_weights(lab.weights(first), lab.weights(second))
    assert lab.results(first)["test"] == lab.results(second)["test"]
    assert [row["loss"] for row in lab.rows(first)] == [row["loss"] for row in lab.rows(second)]


def test_the_seed_matters(train: Train, lab: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        assert train("--epochs", 1, *lab.tiny, "--seed", seed, "--output-dir", tmp_path / str(seed)).status == 0
    assert not lab.same_weights(lab.weights(tmp_path / "0"), lab.weights(tmp_path / "1"))
    assert lab.results(tmp_path / "0")["class_counts"] == lab.results(tmp_path / "1")["class_counts"]


def test_best_is_chosen_on_the_validation_split_alone(train: Train, lab: Any, tmp_path: Path) -> None:
    options = ["--max-count", 40, "--imbalance-factor", 2, "--epochs", 5, "--lr", 0.2, "--val-fraction", 0.2]
    outcome = train(*options, "--select", "best", "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    lines = lab.rows(tmp_path / "run")
    assert all("validation" in line and "test" not in line for line in lines)
    scores = [line["validation"]["balanced_accuracy"] for line in lines]
    results = lab.results(tmp_path / "run")
    assert results["selection"]["epoch"] == 1 + int(np.argmax(scores)), scores
    assert "validation" in results["selection"]["how"]
    assert results["data"]["val_images"] > 0
    # The weights are those of that epoch: scored again, they give its validation score.
    assert results["validation"]["balanced_accuracy"] == pytest.approx(max(scores))


def test_best_takes_an_earlier_epoch_when_training_falls_apart(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmc_zoo.training.run import TrainingRun

    scripted = iter([0.3, 0.9, 0.9, 0.1])
    epochs = []
    original = TrainingRun.finish_epoch

    def finish_epoch(self: TrainingRun, losses: dict[str, float]) -> None:
        original(self, losses)
        epochs.append({key: value.clone() for key, value in self.model.state_dict().items()})

    def offer(self: object, epoch: int, score: float, model: torch.nn.Module) -> None:
        return real_offer(self, epoch, next(scripted), model)

    from glmc_zoo.training.progress import Best

    real_offer = Best.update
    monkeypatch.setattr(Best, "update", offer)
    monkeypatch.setattr(TrainingRun, "finish_epoch", finish_epoch)
    options = ["--epochs", 4, *lab.tiny, "--val-fraction", 0.2, "--select", "best", "--output-dir", tmp_path / "run"]
    assert train(*options).status == 0
    assert lab.results(tmp_path / "run")["selection"]["epoch"] == 2  # of equal ones the first
    exported = lab.weights(tmp_path / "run")
    for key, value in exported.items():
        assert np.array_equal(value, epochs[1][f"timm_model.{key}"].numpy())
    assert any(not np.array_equal(exported[key], epochs[3][f"timm_model.{key}"].numpy()) for key in exported)


def test_the_moving_average_is_what_is_exported(train: Train, lab: Any, tmp_path: Path) -> None:
    outcome = train("--epochs", 2, *lab.tiny, "--ema-decay", 0.9, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    run, exported = outcome.run, lab.weights(tmp_path / "run")
    averaged = run.ema.module.timm_model.state_dict()
    trained = run.task.trainable_module.timm_model.state_dict()
    assert all(np.array_equal(exported[key], averaged[key].numpy()) for key in exported)
    assert not np.array_equal(exported["conv1.weight"], trained["conv1.weight"].numpy())
    assert lab.results(tmp_path / "run")["model"]["ema"] == 0.9


@pytest.mark.parametrize("method", ["ce", "balanced_softmax"])
def test_baselines_run_through_the_same_loop(train: Train, lab: Any, tmp_path: Path, method: str) -> None:
    outcome = train("--method", method, "--epochs", 1, *lab.few, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert lab.rows(tmp_path / "run")[0].keys() == {"epoch", "loss", "images_per_second", "lr", "test"}
    results = lab.results(tmp_path / "run")
    assert results["method"] == method and results["preset"] is None
    assert results["model"]["name"] == f"resnet20_cifar.{method}_digits_lt"
    assert not (tmp_path / "run" / "model" / "glmc_heads.safetensors").exists()


def test_paper_preset_and_its_switches(train: Train, lab: Any, tmp_path: Path) -> None:
    outcome = train("--preset", "paper", "--epochs", 1, *lab.tiny, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (saved["beta"], saved["sampler_power"], saved["correct_lam"], saved["reduction"]) == (0.5, 2.0, True, "mean")


def test_bf16_on_the_cpu(train: Train, lab: Any, tmp_path: Path) -> None:
    outcome = train("--mixed-precision", "bf16", "--epochs", 1, *lab.tiny, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert outcome.run.accelerator.mixed_precision == "bf16"
    assert all(value.dtype in (np.float32, np.int64) for value in lab.weights(tmp_path / "run").values())


@pytest.mark.processes
@pytest.mark.parametrize("method", ["glmc", "ce"])
def test_compiled_run_gives_the_same_export(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    compiled = torch.compile
    # Tracing without code generation: names, averages and export must not see the wrapper.
    monkeypatch.setattr(torch, "compile", lambda model, **kwargs: compiled(model, backend="eager"))
    options = [*lab.few, "--backbone", "test_resnet", "--method", method, "--epochs", 1, "--batch-size", 64]
    options += ["--ema-decay", 0.5]
    outcome = train(*options, "--compile", "--output-dir", tmp_path / "compiled")
    assert outcome.status == 0, outcome.err
    monkeypatch.undo()
    assert train(*options, "--output-dir", tmp_path / "plain").status == 0
    one, other = lab.weights(tmp_path / "compiled"), lab.weights(tmp_path / "plain")
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=1e-4)
    assert lab.results(tmp_path / "compiled")["model"] == lab.results(tmp_path / "plain")["model"]


def test_tensorboard_writes_below_the_run(train: Train, lab: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = train("--tracker", "tensorboard", "--epochs", 2, *lab.tiny, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    events = [path for path in (tmp_path / "run" / "logs").rglob("events.*") if path.parent.name == "glmc_zoo"]
    read = EventAccumulator(str(events[0].parent))
    read.Reload()
    assert {"loss", "lr", "score/top1"} <= set(read.Tags()["scalars"])
    assert [event.step for event in read.Scalars("loss")] == [1, 2]
    assert read.Scalars("loss")[1].value == pytest.approx(lab.rows(tmp_path / "run")[1]["loss"], rel=1e-5)


def test_without_output_dir_each_run_gets_a_fresh_folder(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert train("--epochs", 1, *lab.tiny).status == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["resnet20_cifar.glmc_digits_lt.seed0", "resnet20_cifar.glmc_digits_lt.seed0-2"]
    again = train("--epochs", 1, *lab.tiny, "--resume", "auto")  # the newest of them, which is finished
    assert again.status == 0 and "seed0-2" in again.out
    assert json.loads((tmp_path / "runs" / names[1] / "metrics.jsonl").read_text())["epoch"] == 1
