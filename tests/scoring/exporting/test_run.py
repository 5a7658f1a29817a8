"""Whole exports: corrected models, real images, int8, refusals, and nothing left where something fails."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from card_results import minimal_results
from evaluated import COUNTS, logits_of

import glmc_zoo
from glmc_zoo.data import load_data
from glmc_zoo.errors import UserError
from glmc_zoo.hub import open_model
from glmc_zoo.options.commands import ExportOptions
from glmc_zoo.scoring.exporting import formats
from glmc_zoo.scoring.exporting import run as export_run
from glmc_zoo.scoring.exporting.graph import metadata
from glmc_zoo.scoring.exporting.images import open_check_images
from glmc_zoo.scoring.model import load_classifier

from .conftest import make_model

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


# ------------------------------------------------------------------------------------------------ answers
def test_probabilities_are_those_of_the_corrected_classifier(run: Path, animals: Path, tmp_path: Path) -> None:
    glmc_zoo.evaluate(
        model=run / "model", data=animals, logit_adjustment=1.5, temperature=2, save=tmp_path / "corrected",
        output_dir=tmp_path / "scores",
    )  # fmt: skip
    (row,) = glmc_zoo.export(model=tmp_path / "corrected", output=tmp_path / "out", check_data=animals)
    assert row.file == str(tmp_path / "out" / "model.onnx") and (row.random_images, row.test_images) == (20, 21)
    assert row.top1_agreement == 1 and row.max_difference < 1e-4

    logits, _ = logits_of(run / "model", animals, "test")
    logits = (logits - 1.5 * np.log(np.array(list(COUNTS.values())) / 47)) / 2
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    test = load_data(animals).test
    source = open_model(str(run / "model"))
    images = load_classifier(source, torch.device("cpu")).preprocessing(test.images(range(len(test))))
    session = onnxruntime.InferenceSession(row.file, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"image": images.float().numpy() / 255})
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_images_are_those_of_the_training(run: Path, animals: Path) -> None:
    """And the ones for the ranges of int8 are half of them at most."""
    source = open_model(str(run / "model"))
    classifier = load_classifier(source, torch.device("cpu"))
    images = open_check_images(str(animals), None, source, classifier)
    assert len(images) == 21 and str(images) == "animals, test split"
    assert images.calibration() == list(range(0, 21, 2))
    batches = list(images)
    assert [position for _, positions in batches for position in positions] == list(range(21))
    assert torch.equal(
        torch.cat(list(images.single_images([3, 20]))), torch.cat([b for b, _ in batches])[[3, 20]].float() / 255
    )


@pytest.mark.parametrize("images", [True, False], ids=["static", "dynamic"])
def test_int8(images: bool, run: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"check_data": animals} if images else {}
    single, int8 = glmc_zoo.export(model=run / "model", output=tmp_path / "ants.onnx", int8=True, **more)
    assert files(tmp_path) == {"ants.onnx", "ants-int8.onnx"}
    assert int8.file == str(tmp_path / "ants-int8.onnx") and single.format == "onnx"
    shown = capsys.readouterr().out
    if images:
        assert (int8.format, int8.random_images, int8.test_images) == ("onnx int8 static", 0, 10)
        assert int8.bytes < 0.6 * single.bytes and int8.max_difference > 1e-4 and "note" not in shown
        assert int8.top1_agreement > 0.7
    else:
        assert (int8.format, int8.random_images, int8.test_images) == ("onnx int8 dynamic", 20, 0)
        assert "note: Without --check-data, int8 quantises only matrix products" in shown
    session = onnxruntime.InferenceSession(int8.file, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(COUNTS)
    assert session.run(None, {"image": np.zeros((5, 3, 32, 32), np.float32)})[0].shape == (5, 3)


def test_the_range_of_deep_images_is_metadata(model: Path) -> None:
    source = open_model(str(model))
    classifier = load_classifier(source, torch.device("cpu"))
    results = minimal_results()
    results = dataclasses.replace(results, data=dataclasses.replace(results.data, intensity_range=[0, 4095]))
    described = metadata(SimpleNamespace(kind="folder", results=results), classifier, ["a"])  # type: ignore[arg-type]
    assert described["preprocessing"]["intensity_range"] == [0, 4095] and described["model"] == results.model.name


@pytest.mark.usefixtures("quick")
def test_the_recipe_prints_what_python_prints(
    recipe: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = recipe("export", "--model", model)
    assert outcome.status == 0, outcome.err
    assert files(tmp_path) == {"model.onnx"}
    lines = outcome.out.splitlines()
    assert lines[0] == f"{model}: 3 classes, 32 x 32 pixels; compared on random images"
    assert lines[1].split("  ")[0] == "file" and lines[2].startswith("model.onnx  onnx ") and len(lines) == 4
    assert "20 random" in lines[2] and "100.00 %" in lines[2] and "relative to torch" in lines[3]
    rows = glmc_zoo.export(model=model, overwrite=True)
    assert rows[0].file == "model.onnx" and len(capsys.readouterr().out.splitlines()) == 4


# ------------------------------------------------------------------------------------------------ refusals
@pytest.mark.usefixtures("quick")
def test_a_missing_package_is_named_with_its_extra(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_is_installed", lambda package: package != "onnxscript")
    with pytest.raises(UserError, match=r"^format='onnx' needs onnxscript, which is not installed: pip install 'glmc_"):
        glmc_zoo.export(model=model, output=tmp_path)
    monkeypatch.setattr(formats, "_is_installed", lambda package: False)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime, which are not installed: pip install '"):
        glmc_zoo.export(model=model, output=tmp_path)
    formats.FORMATS["torch_export"].check("torch_export")
    assert files(tmp_path) == set()


@pytest.mark.usefixtures("quick")
def test_a_file_is_not_replaced_unless_asked(model: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "a-int8.onnx"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=r"a\.onnx' exists already: give another output=, or overwrite=True to replace"):
        glmc_zoo.export(model=model, output=tmp_path / "a.onnx")
    (tmp_path / "a.onnx").unlink()
    with pytest.raises(UserError, match=r"a-int8\.onnx' exists already"):
        glmc_zoo.export(model=model, output=tmp_path / "a.onnx", int8=True)
    assert (tmp_path / "a-int8.onnx").read_text() == "mine"
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(UserError, match=r"model\.onnx' is a folder"):
        glmc_zoo.export(model=model, output=tmp_path, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        UserError, match=r"a\.onnx' cannot be written, because .*/file is a file: give another output=\.$"
    ):
        glmc_zoo.export(model=model, output=tmp_path / "file" / "a.onnx")
    assert files(tmp_path) == {"a-int8.onnx", "model.onnx", "file"}
    (tmp_path / "file.onnx").write_text("mine")
    (row,) = glmc_zoo.export(model=model, output=tmp_path / "file.onnx", overwrite=True)
    assert (tmp_path / "file.onnx").stat().st_size == row.bytes > 1000


def test_a_file_with_other_answers_is_not_left(model: Path, quick: SimpleNamespace, tmp_path: Path) -> None:
    quick.shift = 1
    with pytest.raises(UserError, match=r"^The exported file differs from .*; nothing was written"):
        glmc_zoo.export(model=model, output=tmp_path / "new" / "deeper" / "a.onnx")
    assert files(tmp_path) == set()
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(UserError, match=r"in the class of \d+ of 20 images"):
        glmc_zoo.export(model=model, output=tmp_path / "a.onnx", overwrite=True)
    assert files(tmp_path) == {"a.onnx"} and (tmp_path / "a.onnx").read_text() == "mine"


@pytest.mark.usefixtures("quick")
def test_an_interruption_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> float:
        assert len(files(tmp_path)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(export_run, "time_ratio", stop)
    with pytest.raises(KeyboardInterrupt):
        glmc_zoo.export(model=model, output=tmp_path)
    assert files(tmp_path) == set()


def test_what_the_exporter_refuses_is_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> None:
        raise RuntimeError("unsupported\noperator")

    def fill_disk(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.onnx"))

    onnx = formats.FORMATS["onnx"]
    for changes, sentence in (
        ({"write": write}, "unsupported operator. Give format='torch_export' or another model.$"),
        ({"max_bytes": 1000}, r"whose file holds at most 0.0 GiB of weights, .*: give format='torch_export'.$"),
    ):
        monkeypatch.setitem(formats.FORMATS, "onnx", dataclasses.replace(onnx, **changes))  # type: ignore[arg-type]
        with pytest.raises(UserError, match=rf" cannot be exported with format='onnx'[:,] {sentence}"):
            glmc_zoo.export(model=model, output=tmp_path)
    monkeypatch.setitem(formats.FORMATS, "onnx", dataclasses.replace(onnx, write=fill_disk))
    with pytest.raises(UserError, match=rf"^The folder {tmp_path} cannot be written, the disk is full, "):
        glmc_zoo.export(model=model, output=tmp_path)
    assert files(tmp_path) == set()


def test_models_and_images_that_do_not_fit(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Folder .* does not exist"):
        glmc_zoo.export(model=str(tmp_path / "absent"), output=tmp_path)
    with pytest.raises(UserError, match=r"^data='absent' is neither"):
        glmc_zoo.export(model=model, output=tmp_path, check_data="absent")
    assert files(tmp_path) == set()


def test_another_image_size(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "test_convnext")
    options = ExportOptions(model=str(model), output=str(tmp_path / "a.onnx"), image_size=96)
    assert export_run.ExportRun(options).size == (3, 96, 96)
