"""benchmarks/publish.py: a run in half precision with a baseline, loaded by timm alone; publish_clothing.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import publish
import publish_clothing
import pytest
import timm
import torch

import glmc_zoo
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.resolve import finetuning_options
from glmc_zoo.options.run import FinetuneStage, flatten_options
from glmc_zoo.options.sections import FINETUNE
from glmc_zoo.results import RunResults

NAME = "test_resnet.glmc_animals"


@pytest.fixture
def runs(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A classifier on features and a baseline, on the same images."""
    source = lab.source(tmp_path / "source", "test_resnet")
    images = lab.images(tmp_path / "animals")
    lab.leave_plots_empty(monkeypatch)
    for name, options in {"way": {}, "ce": {"head_loss": "ce"}}.items():
        glmc_zoo.finetune(model=source, data=images, tune="head", **options, output_dir=tmp_path / name)
    return {name: tmp_path / name for name in ("way", "ce", "animals")}


@pytest.mark.processes
@pytest.mark.usefixtures("own_cache")
def test_half_precision_with_a_baseline(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    folder = publish.publish(
        runs["way"], data=str(runs["animals"]), name=NAME, description="Three animals.", data_license="cc0-1.0",
        half=True,
        baselines={"cross-entropy": runs["ce"]}, cards=tmp_path / "cards", stored=tmp_path / "stored",
    )  # fmt: skip
    assert folder == tmp_path / "cards" / NAME
    results, other = RunResults.load(folder / "results.json"), RunResults.load(runs["ce"] / "results.json")
    assert RunResults.load(tmp_path / "stored" / f"{NAME}.json") == results
    assert results.weights is not None and results.weights.dtype == "float16"
    assert (results.model.name, results.model.tag) == (NAME, "glmc_animals")
    (row,) = results.baselines
    assert (row.label, row.test, row.wall_time_s) == ("cross-entropy", other.test, other.wall_time_s)

    # The scores are those of the weights in half precision, computed by timm alone.
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    test = glmc_zoo.load_data(runs["animals"]).test
    with torch.no_grad():
        logits = model(torch.stack([transform(image) for image in test.images(range(len(test)))]))
    assert results.test is not None
    assert results.test.top1 == pytest.approx((logits.argmax(dim=1).numpy() == test.labels).mean())

    card = (folder / "README.md").read_text(encoding="utf-8")
    top1 = f"{100 * results.test.top1:.2f} %"
    assert results.data.license == "cc0-1.0"
    assert f"| **{NAME}** | {top1}" in card and "| cross-entropy | " in card and "half precision (float16)" in card
    assert "Three animals." in card and str(tmp_path) not in card


@pytest.mark.processes
@pytest.mark.usefixtures("own_cache")
def test_a_folder_that_is_too_large_is_not_published(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MAX_BYTES", 300_000)
    (tmp_path / "cards").mkdir()
    sentence = rf"{NAME} has [\d.]+ MB, and the limit is 0\.3 MB: give --half, or train a smaller network\.$"
    with pytest.raises(SystemExit, match=sentence):
        publish.publish(
            runs["way"], data=str(runs["animals"]), name=NAME, cards=tmp_path / "cards", stored=tmp_path / "stored"
        )
    assert not [*(tmp_path / "cards").iterdir()] and not (tmp_path / "stored").exists()


def test_a_baseline_of_other_classes_is_refused(runs: dict[str, Path]) -> None:
    results = RunResults.load(runs["way"] / "results.json")
    other = RunResults.from_dict({**results.to_dict(), "class_names": ["x", "y", "z"]}, "results")
    sentence = r"=.*ce has no test scores on the classes of animals: give a run on the same data\.$"
    with pytest.raises(SystemExit, match=sentence):
        publish.baseline("ce", runs["ce"], other)


@pytest.mark.parametrize("options", ["", "--tune head --calibrate auto", "--method ce --epochs 3 --image-size 96"])
def test_the_commands_of_the_clothing_model(options: str, tmp_path: Path) -> None:
    words = publish_clothing.command(tmp_path / "clothing", tmp_path / "run", options)
    resolved = finetuning_options(read_command_line(FINETUNE, "", "", words[2:]))
    values = flatten_options(resolved)
    assert (values["split_by"], values["resume"]) == ("sender", "auto")
    assert values["image_size"] == (96 if "96" in options else 160)
    assert isinstance(resolved.stage, FinetuneStage) == ("head" not in options)
