"""The lines of a run on the screen, and what its end writes: scores first, then the exported folders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml

import glmc_zoo  # registers the CIFAR networks
from glmc_zoo.errors import UserError
from glmc_zoo.hub import render_card
from glmc_zoo.metrics import ScoreCounts
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import RunOptions
from glmc_zoo.options.sections import TRAIN
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.results import DataFacts, ModelFacts, RunResults, Scores, Seeds, Selection, Thresholds
from glmc_zoo.training.metrics_file import read_epochs
from glmc_zoo.training.report import epoch_line, result_table, step_text, write_outputs

COUNTS = [120, 50, 5]


def options(**values: object) -> RunOptions:
    return training_options(parse_options(TRAIN, values, ""))


def test_an_epoch_is_one_line_with_its_scores() -> None:
    row: dict[str, Any] = {"epoch": 3, "loss": 1.23456, "lr": 0.05, "images_per_second": 99.6}
    assert epoch_line(row, 40) == "epoch 3/40  loss 1.235  lr 0.0500  (100 images/s)"
    row["validation"] = {"top1": 0.5, "balanced_accuracy": 0.25, "many": None, "medium": 1.0, "few": 0.0}
    assert "lr 0.0500  top1 50.0  balanced_accuracy 25.0  many -  medium 100.0  few 0.0  (" in epoch_line(row, 40)


@pytest.mark.parametrize(
    ("given", "processes", "text"),
    [
        ({}, 1, "batch 64, lr 0.1"),
        ({"sam_rho": 0.05}, 1, "batch 64, lr 0.1, SAM within 0.05"),
        ({"grad_accum_steps": 2}, 8, "batch 64 x 8 processes x 2 accumulated = 1024 images a step, lr 0.1"),
        ({"lr_base_size": 256}, 8, "batch 64 x 8 processes = 512 images a step, lr 0.2 (0.1 x 512 / 256)"),
    ],
)
def test_batch_and_learning_rate_in_words(given: dict[str, Any], processes: int, text: str) -> None:
    assert step_text(options(batch_size=64, lr=0.1, **given).schedule, processes) == text


@pytest.fixture
def run(tmp_path: Path) -> tuple[Any, RunResults, Any, dict[str, torch.Tensor]]:
    """The first arguments of `write_outputs`, for a run whose data are in a folder of this machine."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = {"data": "cifar10_lt", "data_dir": "/home/me/cifar10", "epochs": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    counts = ScoreCounts.empty(COUNTS, many=100, few=20)
    counts.update([0, 0, 1, 2], logits=np.eye(3)[[0, 1, 1, 2]])
    model = ModelFacts(
        name="resnet20_cifar.ce_cifar10_lt", backbone="resnet20_cifar", tag="ce_cifar10_lt", parameters=1,
        input_size=[3, 32, 32], mean=[0.5] * 3, std=[0.2] * 3,
    )  # fmt: skip
    results = RunResults(
        model=model,
        data=DataFacts(name="cifar10_lt"),
        method="ce",
        class_names=["one", "two", "three"],
        class_counts=COUNTS,
        thresholds=Thresholds(many=100, few=20),
        groups={"many": 1, "medium": 1, "few": 1},
        test=Scores.from_dict(counts.scores()),
        class_recalls=[0.5, 1.0, 1.0],
        group_confusion=counts.group_confusion.tolist(),
        seeds=Seeds(seed=0, data_seed=0),
        config={"lr": 0.1},
    )
    rows = [{"epoch": epoch, "loss": 1.0, "lr": 0.1, "test": counts.scores()} for epoch in range(2)]
    torch.manual_seed(0)
    network = timm.create_model("resnet20_cifar", num_classes=3)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run_folder = SimpleNamespace(path=folder, epoch_lines=lambda: read_epochs(folder / "metrics.jsonl"))
    return run_folder, results, network, {"projector.weight": torch.ones(2, 64)}


def test_model_and_encoder_are_exported_with_the_scores(run: Any) -> None:
    folder, model = run[0].path, run[2]
    results = write_outputs(*run, options(export_half=True, export_encoder=True, push_to_hub="org/name"))
    assert results.test is not None and results.test.top1 == 0.75
    assert json.loads((folder / "results.json").read_text()) == results.to_dict()
    assert json.loads((folder / "model/results.json").read_text()) == results.to_dict()
    assert results.weights is not None and results.weights.dtype == "float16"
    assert (folder / "model/README.md").read_text() == render_card(results, repo_id="org/name")
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        *("README.md", "config.json", "config.yaml", "glmc_heads.safetensors", "model.safetensors", "plots"),
        "results.json",
    ]
    assert results.plots == sorted(path.name for path in (folder / "plots").iterdir())
    assert len(results.plots) == 3
    for name in results.plots:
        assert (folder / "model/plots" / name).read_bytes() == (folder / "plots" / name).read_bytes()
    assert yaml.safe_load((folder / "model/config.yaml").read_text())["data_dir"] == "path/to/cifar10"
    assert yaml.safe_load((folder / "config.yaml").read_text())["data_dir"] == "/home/me/cifar10"

    assert not (folder / "encoder/glmc_heads.safetensors").exists()
    assert "hf-hub:" not in (folder / "encoder/README.md").read_text()
    encoder: Any = timm.create_model(f"local-dir:{folder / 'encoder'}", pretrained=True)
    assert encoder.num_classes == 0
    assert torch.equal(encoder.conv1.weight, model.conv1.weight.half().float())


def test_scores_survive_an_export_that_fails(run: Any, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.leave_plots_empty(monkeypatch)
    folder, model = run[0].path, run[2]
    with torch.no_grad():
        model.fc.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="beyond the 65504"):
        write_outputs(*run, options(export_half=True))
    assert json.loads((folder / "results.json").read_text())["test"]["top1"] == 0.75
    assert not (folder / "model").exists()


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("the disk of the\nplots \x1b[31mburns")


@pytest.mark.parametrize("fault", ["plot_training", "plot_class_accuracy", "plot_group_confusion", "render_card"])
def test_a_decoration_that_fails_is_a_warning_and_report_mends_it(
    run: Any, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run[0].path
    with monkeypatch.context() as patch:
        module = "hub.export.decoration" if fault == "render_card" else "metrics.plots"
        patch.setattr(f"glmc_zoo.{module}.{fault}", broken)
        results = write_outputs(*run, options(export_encoder=True))
    count = 2 if fault == "render_card" else 1  # of the model and of the encoder
    assert len(results.warnings) == count and "RuntimeError: the disk of the plots" in results.warnings[0]
    assert results.warnings[0].endswith("glmc-zoo report makes it again.")
    for name in ("", "model", "encoder"):
        assert json.loads((folder / name / "results.json").read_text())["warnings"] == results.warnings
    assert timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True)
    shown = result_table(dataclasses.replace(results, selection=Selection(epoch=1, how="last")), folder)
    assert f"\nwarning: {results.warnings[0]}" in shown.replace("\\x1b", "\x1b")

    mended = glmc_zoo.report(run=folder)
    assert isinstance(mended, RunResults) and mended.warnings == [] and len(mended.plots) == 3
    capsys.readouterr()
    exported = RunResults.load(folder / "model/results.json")
    assert exported == mended == RunResults.load(folder / "results.json")
    assert (folder / "model/README.md").read_text() == render_card(exported)
    assert (folder / "encoder/README.md").read_text() == render_card(RunResults.load(folder / "encoder/results.json"))
    for name in mended.plots:
        assert (folder / "model/plots" / name).read_bytes() == (folder / "plots" / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (None, "The plot training.png was not made: metrics.jsonl is missing or empty."),
        (b"\xff\n", "Line 1 of metrics.jsonl cannot be read ('utf-8' codec can't decode byte 0xff"),
        (
            b'{"epoch": 0, "loss": 1.0}\n[1]\n',
            "Line 2 of metrics.jsonl cannot be read (it is not a JSON object), so its",
        ),
        (b'{"epoch": 0, "loss": "x"}\n', "The plot training.png was not made ("),
        (b"[" * 100_000, "Line 1 of metrics.jsonl cannot be read ("),
    ],
)
def test_lost_or_damaged_lines_of_epochs_lose_no_model(run: Any, content: bytes | None, warning: str) -> None:
    folder, results = run[0].path, dataclasses.replace(run[1], selection=Selection(epoch=1, how="last"))
    (folder / "metrics.jsonl").unlink()
    if content is not None:
        (folder / "metrics.jsonl").write_bytes(content)
    results = write_outputs(run[0], results, *run[2:], options())
    assert results.warnings[0].startswith(warning)
    assert {"class_accuracy.png", "group_confusion.png"} <= set(results.plots)
    assert (folder / "model/model.safetensors").is_file() and (folder / "model/README.md").is_file()


def test_other_files_among_the_plots_are_not_published(run: Any, tmp_path: Path) -> None:
    folder = run[0].path
    (tmp_path / "secret.png").write_bytes(b"key")
    (folder / "plots").mkdir()
    (folder / "plots/mine.png").symlink_to(tmp_path / "secret.png")
    write_outputs(*run, options())
    assert not (folder / "model/plots/mine.png").exists() and (folder / "plots/mine.png").is_symlink()


def test_a_page_that_fails_is_a_warning_and_report_mends_it(
    run: Any, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.leave_plots_empty(monkeypatch)
    folder = run[0].path
    with monkeypatch.context() as patch:
        patch.setattr("glmc_zoo.scoring.decoration.write_report", broken)
        results = write_outputs(*run, options())
    assert results.warnings == [
        "The page report.html was not made (RuntimeError: the disk of the plots \x1b[31mburns): "
        "glmc-zoo report makes it again."
    ]
    assert not (folder / "report.html").exists() and (folder / "model/model.safetensors").is_file()
    mended = glmc_zoo.report(run=folder)
    assert isinstance(mended, RunResults) and mended.warnings == []
    page = (folder / "report.html").read_text()
    assert "Loss of the training" in page and "No answers for single images are kept here" in page


def test_no_page_where_none_is_wanted(run: Any, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.leave_plots_empty(monkeypatch)
    results = write_outputs(*run, options(report=False))
    assert results.warnings == [] and not (run[0].path / "report.html").exists()


def test_further_runs_are_compared_and_stay_as_they_are(
    run: Any, tmp_path: Path, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.leave_plots_empty(monkeypatch)
    folder, other = run[0].path, tmp_path / "other"
    write_outputs(*run, options())
    other.mkdir()
    assert run[1].test is not None
    dataclasses.replace(run[1], test=dataclasses.replace(run[1].test, top1=0.5)).save(other / "results.json")
    before = (other / "results.json").read_bytes()
    glmc_zoo.report(run=[folder, other])
    page = (folder / "report.html").read_text()
    assert "here +25.0 points" in page and "against other" in page
    assert {path.name for path in other.iterdir()} == {"results.json"}
    assert (other / "results.json").read_bytes() == before
    dataclasses.replace(run[1], class_names=["one", "two", "four"]).save(other / "results.json")
    with pytest.raises(
        UserError, match=r"^run='.*other' has 3 classes that are not the 3 of '.*run': give runs on the"
    ):
        glmc_zoo.report(run=[folder, other])
    dataclasses.replace(run[1], test=None).save(other / "results.json")
    with pytest.raises(UserError, match=r"^run='.*other' has no scores to compare: give a run that was scored\.$"):
        glmc_zoo.report(run=[folder, other])
    assert (folder / "report.html").read_text() == page


def test_what_report_refuses(run: Any, tmp_path: Path) -> None:
    write_outputs(*run, options())
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/results.json").write_text("{")
    for name, sentence in (
        ("run/model", "is an exported model: give the folder of its run"),
        ("none", "is not a folder: give the folder of a finished run"),
        ("empty", "has no results.json: give the folder of a finished run or evaluation"),
        ("bad", "cannot be read: Expecting property name"),
    ):
        with pytest.raises(UserError, match=sentence):
            glmc_zoo.report(run=str(tmp_path / name))
