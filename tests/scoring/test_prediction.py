"""Predictions through the recipe: files in, a table and a CSV out; the same numbers as the evaluation's."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from evaluated import CLASSES, timm_logits
from PIL import Image
from pyarrow import parquet

import glmc_zoo
from glmc_zoo.hub import ExportInfo, export_model, open_model
from glmc_zoo.scoring.prediction import Prediction, class_labels, prediction_table

Recipe = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The recipe writes predictions.csv where it is called."""
    monkeypatch.chdir(tmp_path)


def image_file(path: Path, mode: str = "RGB", *, size: tuple[int, int] = (50, 40), seed: int = 0) -> Path:
    """A file of noise in a mode of PIL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_numbers_are_those_of_the_evaluation(
    predict: Recipe, recipe: Recipe, lab: Any, model: Path, tmp_path: Path
) -> None:
    data = lab.images(tmp_path / "animals", size=70)
    assert recipe("evaluate", "--model", model, "--data", data, "--output-dir", tmp_path / "out").status == 0
    expected = parquet.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    outcome = predict("--model", model, "--images", data / "test", "--batch-size", 4)
    assert outcome.status == 0, outcome.err
    rows = lines(tmp_path / "predictions.csv")
    assert [row["file"] for row in rows] == [str(data / one["path"]) for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert [row["label"], row["label_2"], row["label_3"]] == [CLASSES[i] for i in one["top5"]]
        probabilities = [float(row[key]) for key in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(probabilities, one["top5_probabilities"], atol=1e-5)
    assert "15 images in predictions.csv, 0 skipped" in outcome.out


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.processes)])
def test_images_of_every_kind(predict: Recipe, model: Path, tmp_path: Path, workers: int) -> None:
    modes = {"RGB": "png", "RGBA": "png", "L": "jpg", "LA": "png", "P": "gif", "CMYK": "jpg", "I;16": "png", "1": "png"}
    for mode, suffix in modes.items():
        path = tmp_path / "in" / f"{mode.replace(';', '_')}.{suffix}"
        if mode == "I;16":
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((40, 50), 30000, np.uint16)).save(path)
        else:
            image_file(path, mode)
    outcome = predict("--model", model, "--images", tmp_path / "in", "--top", 2, "--workers", workers)
    assert outcome.status == 0, outcome.err
    rows = lines(tmp_path / "predictions.csv")
    assert len(rows) == len(modes) and list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2"]
    by_name = {Path(row["file"]).stem: row for row in rows}
    assert {key: by_name["RGB"][key] for key in ("label", "probability")} == {
        key: by_name["RGBA"][key] for key in ("label", "probability")
    }
    with Image.open(tmp_path / "in" / "RGB.png") as image:
        expected = timm_logits(model, [image]).softmax(dim=1)[0]
    assert by_name["RGB"]["label"] == CLASSES[int(expected.argmax())]
    assert float(by_name["RGB"]["probability"]) == pytest.approx(float(expected.max()), abs=1e-5)


def test_an_image_that_cannot_be_read_is_named_or_skipped(predict: Recipe, model: Path, tmp_path: Path) -> None:
    for i in range(5):
        image_file(tmp_path / "in" / f"{i}.png", seed=i)
    (tmp_path / "in" / "3.png").write_bytes((tmp_path / "in" / "3.png").read_bytes()[:200])
    (tmp_path / "in" / "2.png").write_text("no image")
    options = ["--model", model, "--images", "in", "--batch-size", 1]
    sentence = predict(*options).sentence
    assert sentence == "Image in/2.png cannot be read: not an image; remove it or pass --skip-bad-images."
    assert not (tmp_path / "predictions.csv").exists()
    outcome = predict(*options, "--skip-bad-images")  # each in a batch of its own, so that batches are empty
    assert [row["file"] for row in lines(tmp_path / "predictions.csv")] == ["in/0.png", "in/1.png", "in/4.png"]
    assert "skipped  in/2.png (not an image)" in outcome.out and "skipped  in/3.png (" in outcome.out
    assert "3 images in predictions.csv, 2 skipped" in outcome.out


def test_images_none_of_which_can_be_read(predict: Recipe, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    sentence = predict("--model", model, "--images", "a.png", "--skip-bad-images").sentence
    assert sentence.startswith("No image can be read, such as a.png (not an image)")


def test_an_output_file_is_kept(predict: Recipe, model: Path, tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    (tmp_path / "out.csv").write_text("mine")
    options = ["--model", model, "--images", "a.png", "--output", "out.csv"]
    assert "--output out.csv exists already" in predict(*options).sentence
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert predict(*options, "--overwrite").status == 0
    assert [row["file"] for row in lines(tmp_path / "out.csv")] == ["a.png"]
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
    image_file(tmp_path / "a.png")
    given = args if "--model" in args or "is missing" in part else ["--model", model, *args]
    assert part in predict(*given).sentence
    assert not (tmp_path / "predictions.csv").exists()


def test_another_image_size(predict: Recipe, tmp_path: Path) -> None:
    half: Any = (0.5,) * 3
    about: dict[str, Any] = {"class_names": CLASSES, "mean": half, "std": half, "input_size": (3, 32, 32), "tag": "t"}
    folder = export_model(
        timm.create_model("test_vit", num_classes=3, img_size=32), tmp_path / "m", ExportInfo(**about)
    )
    options = ["--model", folder, "--images", image_file(tmp_path / "a.png"), "--overwrite"]
    assert "32 x 32 pixels" in predict(*options).out
    native = lines(tmp_path / "predictions.csv")[0]
    assert "48 x 48 pixels" in predict(*options, "--image-size", 48).out
    assert lines(tmp_path / "predictions.csv")[0]["probability"] != native["probability"]
    assert "33" in predict(*options, "--image-size", 33).sentence


@pytest.mark.processes
def test_two_processes_write_one_line_an_image(predict: Recipe, lab: Any, model: Path, tmp_path: Path) -> None:
    for i in range(7):
        image_file(tmp_path / "in" / f"{i}.png", seed=i)
    assert predict("--model", model, "--images", "in", "--output", "one.csv").status == 0
    script = lab.root / "recipes" / "predict.py"
    outcome = lab.torchrun(script, "--model", model, "--images", "in", "--output", "two.csv", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = lines(tmp_path / "one.csv"), lines(tmp_path / "two.csv")
    assert [(row["file"], row["label"]) for row in two] == [(row["file"], row["label"]) for row in one]
    assert outcome.out.count("7 images in two.csv") == 1


def test_the_table_on_the_screen_ends(tmp_path: Path) -> None:
    one = Prediction("a.png", ["ant", "bee"], [0.75, 0.25])
    assert prediction_table([one]).splitlines() == [
        "file   label  probability  runners-up",
        "a.png  ant         75.0 %  bee 25.0 %",
    ]
    shown = prediction_table([one] * 60).splitlines()
    assert len(shown) == 52 and shown[-1] == "... 10 more in the CSV"


@pytest.mark.parametrize(("classes", "first"), [(1000, "tench, Tinca tinca"), (7, "class 0")])
def test_class_names_that_a_model_of_timm_does_not_hold(classes: int, first: str) -> None:
    network = timm.create_model("resnet18", num_classes=classes)
    labels = class_labels(open_model("resnet18"), network, classes)
    assert labels[0] == first and len(labels) == classes


def test_from_python(model: Path, tmp_path: Path) -> None:
    """The predictions that the CSV holds."""
    files = [image_file(tmp_path / f"{i}.png", seed=i) for i in range(3)]
    predictions = glmc_zoo.predict(model=model, images=[str(path) for path in files], top=2)
    assert [one.file for one in predictions] == [str(path) for path in files]
    for one, row in zip(predictions, lines(tmp_path / "predictions.csv"), strict=True):
        assert one.labels == [row["label"], row["label_2"]]
        assert one.probabilities == pytest.approx([float(row["probability"]), float(row["probability_2"])], abs=1e-6)
