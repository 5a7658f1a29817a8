"""Predictions through the recipe: files in, a table and a CSV out; the same numbers as the evaluation's."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pyarrow import parquet

from glmc_zoo.engine.predict_run import Prediction, class_labels, find_images, prediction_table
from glmc_zoo.errors import UserError
from glmc_zoo.hub import export_model, open_model

Recipe = Callable[..., Any]
CLASSES = ["ant", "bee", "cat"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def predict(recipe: Recipe) -> Recipe:
    """``predict("--model", folder, ...)`` runs recipes/predict.py."""

    def call(*args: Any) -> Any:
        return recipe("predict", *args)

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with fresh weights for images of 32 pixels."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=3)
    folder, half = tmp_path_factory.mktemp("model") / "m", (0.5,) * 3
    return export_model(network, folder, class_names=CLASSES, mean=half, std=half, input_size=(3, 32, 32), tag="t")


def picture(path: Path, mode: str = "RGB", *, size: tuple[int, int] = (50, 40), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def lines(path: Path) -> list[dict[str, str]]:
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
        found = [float(row[key]) for key in ("probability", "probability_2", "probability_3")]
        np.testing.assert_allclose(found, one["top5_probabilities"], atol=1e-5)
    assert "15 images in predictions.csv, 0 skipped" in outcome.out


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_every_kind(predict: Recipe, model: Path, tmp_path: Path, workers: int) -> None:
    modes = {"RGB": "png", "RGBA": "png", "L": "jpg", "LA": "png", "P": "gif", "CMYK": "jpg", "I;16": "png", "1": "png"}
    for mode, suffix in modes.items():
        path = tmp_path / "in" / f"{mode.replace(';', '_')}.{suffix}"
        if mode == "I;16":
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((40, 50), 30000, np.uint16)).save(path)
        else:
            picture(path, mode)
    outcome = predict("--model", model, "--images", tmp_path / "in", "--top", 2, "--workers", workers)
    assert outcome.status == 0, outcome.err
    rows = lines(tmp_path / "predictions.csv")
    assert len(rows) == len(modes) and list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2"]
    by_name = {Path(row["file"]).stem: row for row in rows}
    assert {key: by_name["RGB"][key] for key in ("label", "probability")} == {
        key: by_name["RGBA"][key] for key in ("label", "probability")
    }
    network: Any = timm.create_model(f"local-dir:{model}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with Image.open(tmp_path / "in" / "RGB.png") as image, torch.inference_mode():
        expected = network(transform(image)[None]).softmax(dim=1)[0]
    assert by_name["RGB"]["label"] == CLASSES[int(expected.argmax())]
    assert float(by_name["RGB"]["probability"]) == pytest.approx(float(expected.max()), abs=1e-5)


def test_an_image_that_cannot_be_read_is_named_or_skipped(predict: Recipe, model: Path, tmp_path: Path) -> None:
    for i in range(5):
        picture(tmp_path / "in" / f"{i}.png", seed=i)
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
    picture(tmp_path / "a.png")
    (tmp_path / "out.csv").write_text("mine")
    options = ["--model", model, "--images", "a.png", "--output", "out.csv"]
    assert "--output out.csv exists already" in predict(*options).sentence
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert predict(*options, "--overwrite").status == 0
    assert [row["file"] for row in lines(tmp_path / "out.csv")] == ["a.png"]
    assert "is a folder" in predict("--model", model, "--images", "a.png", "--output", ".").sentence


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--images", "a.png"], "--model is missing"),
        (["--model", "m"], "--images is missing"),
        (["--images", "nowhere"], "--images nowhere does not exist"),
        (["--images", "empty"], "There is no image in empty: expected files that end in .bmp, "),
        (["--images", "a.png", "--top", 0], "--top 0 is too small"),
        (["--images", "a.png", "--model", "resnet5O"], "Unknown model 'resnet5O'"),
    ],
)
def test_one_sentence(predict: Recipe, model: Path, tmp_path: Path, args: list[Any], says: str) -> None:
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "a.png")
    given = args if "--model" in args or "is missing" in says else ["--model", model, *args]
    assert says in predict(*given).sentence
    assert not (tmp_path / "predictions.csv").exists()


def test_another_image_size(predict: Recipe, tmp_path: Path) -> None:
    half: Any = (0.5,) * 3
    about: dict[str, Any] = {"class_names": CLASSES, "mean": half, "std": half, "input_size": (3, 32, 32), "tag": "t"}
    folder = export_model(timm.create_model("test_vit", num_classes=3, img_size=32), tmp_path / "m", **about)
    options = ["--model", folder, "--images", picture(tmp_path / "a.png"), "--overwrite"]
    assert "32 x 32 pixels" in predict(*options).out
    native = lines(tmp_path / "predictions.csv")[0]
    assert "48 x 48 pixels" in predict(*options, "--image-size", 48).out
    assert lines(tmp_path / "predictions.csv")[0]["probability"] != native["probability"]
    assert "33" in predict(*options, "--image-size", 33).sentence


def test_two_processes_write_one_line_an_image(predict: Recipe, lab: Any, model: Path, tmp_path: Path) -> None:
    for i in range(7):
        picture(tmp_path / "in" / f"{i}.png", seed=i)
    assert predict("--model", model, "--images", "in", "--output", "one.csv").status == 0
    script = lab.root / "recipes" / "predict.py"
    outcome = lab.torchrun(script, "--model", model, "--images", "in", "--output", "two.csv", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = lines(tmp_path / "one.csv"), lines(tmp_path / "two.csv")
    assert [(row["file"], row["label"]) for row in two] == [(row["file"], row["label"]) for row in one]
    assert outcome.out.count("7 images in two.csv") == 1


def test_files_and_folders_are_found(tmp_path: Path) -> None:
    for name in ("b.JPG", "sub/deep/a.tiff", "sub/c.webp", "sub/notes.txt", ".hidden/d.png", "sub/._e.png", "f.weird"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.symlink(tmp_path / "in" / "sub", tmp_path / "in" / "zlink")
    given = [str(tmp_path / "in" / "f.weird"), str(tmp_path / "in"), str(tmp_path / "in" / "b.JPG")]
    found = [path.relative_to(tmp_path / "in").as_posix() for path in find_images(given)]
    assert found == ["f.weird", "b.JPG", "sub/c.webp", "sub/deep/a.tiff", "zlink/c.webp", "zlink/deep/a.tiff"]
    with pytest.raises(UserError, match="does not exist"):
        find_images([str(tmp_path / "in" / "*.png")])


def test_the_table_on_the_screen_ends(tmp_path: Path) -> None:
    one = Prediction("a.png", ["ant", "bee"], [0.75, 0.25])
    assert prediction_table([one]).splitlines() == [
        "file   label  probability  runners-up",
        "a.png  ant         75.0 %  bee 25.0 %",
    ]
    shown = prediction_table([one] * 60).splitlines()
    assert len(shown) == 52 and shown[-1] == "... 10 more in the CSV"


@pytest.mark.parametrize(
    ("source", "classes", "first"),
    [("resnet18", 1000, "tench, Tinca tinca"), ("resnet18", 7, "class 0")],
)
def test_names_of_classes_that_a_model_of_timm_does_not_say(source: str, classes: int, first: str) -> None:
    from glmc_zoo.data import Normalize
    from glmc_zoo.engine.inference import InferenceModel

    network = timm.create_model(source, num_classes=classes)
    half = (0.5,) * 3
    opened = InferenceModel(open_model(source), network, lambda images: images, Normalize(half, half), {})
    labels = class_labels(opened)
    assert labels[0] == first and len(labels) == classes
