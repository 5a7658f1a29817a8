"""Predictions through the recipe: files in, a table and a CSV out; the same numbers as the evaluation's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from csv_files import csv_rows
from evaluated import CLASSES, timm_logits
from noise import noise_file
from PIL import Image
from pyarrow import parquet

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, export_model

Recipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The recipe writes predictions.csv where it is called."""
    monkeypatch.chdir(tmp_path)


def test_the_numbers_are_those_of_the_evaluation(
    predict: Recipe, recipe: Recipe, lab: Any, model: Path, tmp_path: Path
) -> None:
    data = lab.images(tmp_path / "animals", size=70)
    assert recipe("evaluate", "--model", model, "--data", data, "--output-dir", tmp_path / "out").status == 0
    expected = parquet.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    outcome = predict("--model", model, "--images", data / "test", "--batch-size", 4)
    assert outcome.status == 0, outcome.err
    rows = csv_rows(tmp_path / "predictions.csv")
    assert [row["file"] for row in rows] == [str(data / one["path"]) for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert [row["label"], row["label_2"], row["label_3"]] == [CLASSES[i] for i in one["top5"]]
        probabilities = [float(row[key]) for key in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(probabilities, one["top5_probabilities"], atol=1e-5)
    assert outcome.out.endswith("15 images in predictions.csv, 0 could not be read\n")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.processes)])
def test_images_of_every_kind(predict: Recipe, model: Path, tmp_path: Path, workers: int) -> None:
    modes = {"RGB": "png", "RGBA": "png", "L": "jpg", "LA": "png", "P": "gif", "CMYK": "jpg", "I;16": "png", "1": "png"}
    for mode, suffix in modes.items():
        path = tmp_path / "in" / f"{mode.replace(';', '_')}.{suffix}"
        if mode == "I;16":
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((40, 50), 30000, np.uint16)).save(path)
        else:
            noise_file(path, mode)
    outcome = predict("--model", model, "--images", tmp_path / "in", "--top", 2, "--workers", workers)
    assert outcome.status == 0, outcome.err
    rows = csv_rows(tmp_path / "predictions.csv")
    assert len(rows) == len(modes) and list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2"]
    by_name = {Path(row["file"]).stem: row for row in rows}
    assert {key: by_name["RGB"][key] for key in ("label", "probability")} == {
        key: by_name["RGBA"][key] for key in ("label", "probability")
    }
    with Image.open(tmp_path / "in" / "RGB.png") as image:
        expected = timm_logits(model, [image]).softmax(dim=1)[0]
    assert by_name["RGB"]["label"] == CLASSES[int(expected.argmax())]
    assert float(by_name["RGB"]["probability"]) == pytest.approx(float(expected.max()), abs=1e-5)


def test_a_list_of_problems_is_a_list_of_images(predict: Recipe, model: Path, tmp_path: Path) -> None:
    noise_file(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "1.png").write_text("no image")
    assert predict("--model", model, "--images", "in").status == 0
    noise_file(tmp_path / "in" / "1.png")
    outcome = predict("--model", model, "--images", "predictions.csv.problems.csv", "--output", "more.csv")
    assert outcome.out.endswith("1 image in more.csv, 0 could not be read\n"), outcome.err


def test_images_none_of_which_can_be_read(predict: Recipe, model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    outcome = predict("--model", model, "--images", "a.png", "b.png")
    assert outcome.sentence == (
        "None of the images can be read; the first is a.png (not an image); the reasons are in "
        "predictions.csv.problems.csv: check that the files are images."
    )
    assert [row["file"] for row in csv_rows(tmp_path / "predictions.csv.problems.csv")] == ["a.png", "b.png"]
    assert [path.name for path in tmp_path.glob("*.csv*")] == ["predictions.csv.problems.csv"]


def test_odd_names_of_files_and_classes(lab: Any, model: Path, tmp_path: Path) -> None:
    """On a terminal that knows ASCII alone, where the test's own stream would take everything."""
    shutil.copytree(model, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["label_names"] = ["fée", "two\nlines", "=1+1"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    names = [os.fsdecode(b"caf\xe9.png"), "ä\n.png", "plain.png"]
    for name in names:
        noise_file(tmp_path / "in" / name)
    (tmp_path / "in" / os.fsdecode(b"bad\xff.png")).write_text("no image")
    command = [lab.root / "recipes" / "predict.py", "--model", "m", "--images", "in"]
    outcome = lab.run_python(*command, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert outcome.status == 0, outcome.err
    rows = csv_rows(tmp_path / "predictions.csv")
    assert sorted(row["file"] for row in rows) == ["in/caf\\xe9.png", "in/plain.png", "in/ä\n.png"]
    assert {rows[0]["label"], rows[0]["label_2"], rows[0]["label_3"]} == {"fée", "two\nlines", "'=1+1"}
    assert csv_rows(tmp_path / "predictions.csv.problems.csv") == [
        {"file": "in/bad\\xff.png", "problem": "not an image"}
    ]
    assert "not read  in/bad\\xff.png (not an image)" in outcome.out
    assert "in/\\xe4\\n.png " in outcome.out and "f\\xe9e" in outcome.out and "two\\nlines" in outcome.out
    assert outcome.out.count("\n") == 7


def test_an_output_file_is_kept(predict: Recipe, model: Path, tmp_path: Path) -> None:
    noise_file(tmp_path / "a.png")
    (tmp_path / "out.csv").write_text("mine")
    options = ["--model", model, "--images", "a.png", "--output", "out.csv"]
    assert "--output out.csv exists already" in predict(*options).sentence
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert predict(*options, "--overwrite").status == 0
    assert [row["file"] for row in csv_rows(tmp_path / "out.csv")] == ["a.png"]
    assert not list(tmp_path.glob("*.partial"))
    assert "is a folder" in predict("--model", model, "--images", "a.png", "--output", ".").sentence


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--images", "a.png"], "--model is missing"),
        (["--model", "m"], "--images is missing"),
        (["--images", "nowhere"], "--images nowhere does not exist"),
        (["--images", "empty"], "No image was found in empty: give image files, such as .jpg"),
        (["--images", "a.png", "--top", 0], "--top 0 is too small"),
        (["--images", "a.png", "--model", "resnet5O"], "Unknown model 'resnet5O'"),
    ],
)
def test_one_sentence(predict: Recipe, model: Path, tmp_path: Path, args: list[Any], part: str) -> None:
    (tmp_path / "empty").mkdir()
    noise_file(tmp_path / "a.png")
    given = args if "--model" in args or "is missing" in part else ["--model", model, *args]
    assert part in predict(*given).sentence
    assert not (tmp_path / "predictions.csv").exists()


def test_another_image_size(predict: Recipe, tmp_path: Path) -> None:
    half: Any = (0.5,) * 3
    about: dict[str, Any] = {"class_names": CLASSES, "mean": half, "std": half, "input_size": (3, 32, 32), "tag": "t"}
    folder = export_model(
        timm.create_model("test_vit", num_classes=3, img_size=32), tmp_path / "m", ExportInfo(**about)
    )
    options = ["--model", folder, "--images", noise_file(tmp_path / "a.png"), "--overwrite"]
    assert "32 x 32 pixels" in predict(*options).out
    native = csv_rows(tmp_path / "predictions.csv")[0]
    assert "48 x 48 pixels" in predict(*options, "--image-size", 48).out
    assert csv_rows(tmp_path / "predictions.csv")[0]["probability"] != native["probability"]
    assert "33" in predict(*options, "--image-size", 33).sentence


@pytest.mark.processes
@pytest.mark.parametrize("bad", ["0.png", "3.png", "8.png"])
def test_two_processes_write_one_row_an_image(predict: Recipe, lab: Any, model: Path, tmp_path: Path, bad: str) -> None:
    """With 9 images in batches of 2, the second process has one batch less."""
    for i in range(9):
        noise_file(tmp_path / "in" / f"{i}.png", seed=i)
    (tmp_path / "in" / bad).write_text("no image")
    options = ["--model", model, "--images", "in", "--batch-size", 2]
    assert predict(*options, "--output", "one.csv").status == 0
    outcome = lab.torchrun(lab.root / "recipes" / "predict.py", *options, "--output", "two.csv", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = csv_rows(tmp_path / "one.csv"), csv_rows(tmp_path / "two.csv")
    assert [(row["file"], row["label"]) for row in two] == [(row["file"], row["label"]) for row in one]
    assert len(two) == 8 and csv_rows(tmp_path / "two.csv.problems.csv") == csv_rows(tmp_path / "one.csv.problems.csv")
    assert outcome.out.count("8 images in two.csv, 1 could not be read") == 1


def test_from_python(model: Path, tmp_path: Path) -> None:
    """The predictions are returned. A CSV file with the same rows is written where ``output=`` asks for it."""
    files = [noise_file(tmp_path / f"{i}.png", seed=i) for i in range(3)]
    options: dict[str, Any] = {"model": model, "images": [str(path) for path in files], "top": 2}
    before = sorted(tmp_path.iterdir())
    predictions = glmc_zoo.predict(**options)
    assert glmc_zoo.predict(**options, output=None) == predictions and sorted(tmp_path.iterdir()) == before
    assert [one.file for one in predictions] == options["images"]
    assert glmc_zoo.predict(**options, output="some.csv") == predictions
    for one, row in zip(predictions, csv_rows(tmp_path / "some.csv"), strict=True):
        assert one.labels == [row["label"], row["label_2"]] and one.label == row["label"]
        assert one.probabilities == pytest.approx([float(row["probability"]), float(row["probability_2"])], abs=1e-6)
    with pytest.raises(UserError, match=r"output='some\.csv' exists already: give another output=, or overwrite=True"):
        glmc_zoo.predict(**options, output="some.csv")
    # A file of options can name the output too.
    (tmp_path / "options.yaml").write_text("output: named.csv\n")
    glmc_zoo.predict(**options, config="options.yaml")
    assert csv_rows(tmp_path / "named.csv") == csv_rows(tmp_path / "some.csv")
    (tmp_path / "named.csv").unlink()
    glmc_zoo.predict(**options, config="options.yaml", output=None)  # as if it was not given
    assert (tmp_path / "named.csv").is_file()


@pytest.mark.parametrize("option", [{"overwrite": True}, {"quote_formulas": False}])
def test_options_of_a_file_need_its_name_from_python(option: dict[str, Any], tmp_path: Path) -> None:
    (name,) = option
    with pytest.raises(UserError, match=rf"^{name}= has no effect without output=: give output= as well, or leave"):
        glmc_zoo.predict(model="resnet18", images=str(tmp_path), **option)


def test_a_file_that_cannot_be_read_has_no_label(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    noise_file(tmp_path / "b.png", seed=0)
    unreadable, readable = glmc_zoo.predict(model=model, images=[str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    assert unreadable.label is None and unreadable.problem and readable.label == readable.labels[0]
