"""recipes/evaluate.py --streaming: the scores of the same evaluation without it, from parquet, folders and a Hub."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated import CLASSES, COUNTS, results_of, table
from hub_server import HubServer

from glmc_zoo.data import load_data
from glmc_zoo.scoring.page.answer_file import AnswerFile

Recipe = Callable[..., Any]
THRESHOLDS = ["--many-threshold", 20, "--few-threshold", 10]


@pytest.fixture
def tables(animals: Path, tmp_path: Path) -> Path:
    """The same images in the layout of the Hub, the test split in two files."""
    folder = tmp_path / "tables"
    for name, content in hub_files(animals).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def hub_files(animals: Path) -> dict[str, bytes]:
    """The files of a Hub data set with these images."""
    import datasets

    data = load_data(animals)
    features = datasets.Features({"image": datasets.Image(), "kind": datasets.ClassLabel(names=CLASSES)})
    files = {}
    for name, part, pieces in (("train", data.train, 1), ("test", data.test, 2)):
        for number, rows in enumerate(np.array_split(np.arange(len(part)), pieces)):
            columns = {"image": part.images(rows), "kind": part.labels[rows].tolist()}
            buffer = io.BytesIO()
            datasets.Dataset.from_dict(columns, features=features).to_parquet(buffer)
            files[f"data/{name}-{number:05d}-of-{pieces:05d}.parquet"] = buffer.getvalue()
    return files


def assert_same(streamed: Path, plain: Path) -> None:
    """Equal scores, counts, groups and predictions."""
    one, other = results_of(streamed), results_of(plain)
    assert one["data"]["streamed"] is True and other["data"]["streamed"] is False
    for key in ("test", "class_names", "class_counts", "groups", "thresholds", "class_recalls", "posthoc"):
        assert one[key] == other[key], key
    assert (streamed / "per_class.csv").read_text() == (plain / "per_class.csv").read_text()
    rows, expected = table(streamed), table(plain)
    expected.pop("path", None)  # a stream does not keep the files' names
    assert rows == expected
    shown, others = (AnswerFile.load(folder / "answers.json", len(CLASSES)) for folder in (streamed, plain))
    assert shown.pairs == others.pairs and len(shown.images) == len(others.images) > 0
    for image, other in zip(shown.images, others.images, strict=True):
        assert (image.label, image.prediction, image.probability) == (other.label, other.prediction, other.probability)
        assert image.source is not None and image.source.startswith("data:image/jpeg;base64,")
        assert image.name == f"image {image.position}" and other.name != image.name


@pytest.mark.parametrize("kind", ["tables", "animals"])
def test_the_same_scores_as_without(
    recipe: Recipe, model: Path, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(kind)
    words = ["--model", model, "--data", data, "--batch-size", 4, "--logit-adjustment", 0.5, *THRESHOLDS]
    streamed = recipe("evaluate", *words, "--streaming", "--output-dir", tmp_path / "streamed")
    assert streamed.status == 0, streamed.err
    if kind == "tables":
        assert not list((tmp_path / "cache").rglob("*.arrow"))  # nothing was converted to be held
        assert "streamed test images in 3 classes; 30 to 5 training images each" in streamed.out
    plain = recipe("evaluate", *words, "--output-dir", tmp_path / "plain")
    assert plain.status == 0, plain.err
    assert_same(tmp_path / "streamed", tmp_path / "plain")


@pytest.mark.processes
def test_two_processes_score_every_image_once(
    recipe: Recipe, lab: Any, model: Path, tables: Path, tmp_path: Path
) -> None:
    words = ["--model", model, "--data", tables, "--streaming", "--batch-size", 4, *THRESHOLDS]
    script = lab.root / "recipes" / "evaluate.py"
    both = lab.torchrun(script, *words, "--output-dir", tmp_path / "two", cwd=tmp_path)
    assert both.status == 0, both.err
    alone = recipe("evaluate", *words, "--output-dir", tmp_path / "one")
    assert alone.status == 0, alone.err
    two, one = table(tmp_path / "two"), table(tmp_path / "one")
    assert results_of(tmp_path / "two")["processes"] == 2
    for column in ("index", "label", "prediction"):
        assert two[column] == one[column], column


def test_counts_of_the_model_where_the_stream_has_none(
    recipe: Recipe, model: Path, animals: Path, tables: Path, tmp_path: Path
) -> None:
    (tables / "data" / "train-00000-of-00001.parquet").unlink()
    words = ["--data", tables, "--streaming", *THRESHOLDS]
    unknown = recipe("evaluate", "--model", model, *words, "--output-dir", tmp_path / "no")
    assert unknown.status == 0 and "There are no shot groups" in unknown.out
    results = results_of(tmp_path / "no")
    assert results["class_counts"] is results["groups"] is results["thresholds"] is results["test"]["few"] is None
    adjusted = recipe("evaluate", "--model", model, *words, "--logit-adjustment", 1, "--output-dir", tmp_path / "not")
    assert "--logit-adjustment needs the training images of each class" in adjusted.sentence
    assert not (tmp_path / "not").exists()
    options = ["--backbone", "test_efficientnet", "--method", "ce", "--image-size", 32, "--epochs", 1]
    run = recipe("train", "--data", animals, *options, "--batch-size", 8, "--output-dir", tmp_path / "run")
    assert run.status == 0, run.err
    outcome = recipe("evaluate", "--model", tmp_path / "run" / "model", *words, "--output-dir", tmp_path / "yes")
    assert outcome.status == 0, outcome.err
    results = results_of(tmp_path / "yes")
    assert results["class_counts"] == list(COUNTS.values()) and results["class_counts_from"] == "run"
    assert "The class counts are those that" in outcome.out


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["tables", "files"])
def test_scores_from_a_hub(
    hub: HubServer, hub_python: Callable[..., Any], model: Path, animals: Path, tmp_path: Path, kind: str
) -> None:
    """Unmodified ``datasets`` reads tables, and images that are files; neither is kept."""
    files = {path.relative_to(animals).as_posix(): path.read_bytes() for path in animals.rglob("*.png")}
    hub.repo("org/animals", repo_type="dataset", files=hub_files(animals) if kind == "tables" else files)
    words = ["--model", model, "--data", "org/animals", "--output-dir", tmp_path / "out", *THRESHOLDS]
    done = hub_python("recipes/evaluate.py", *words, "--streaming", HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path / "out")
    assert results["class_counts"] == list(COUNTS.values()) and results["data"]["hub_id"] == "org/animals"
    rows = table(tmp_path / "out")
    assert rows["label"] == load_data(animals).test.labels.tolist()
    kept = {path.suffix for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert not kept & {".arrow", ".parquet", ".png"}
    opened = [request.path for request in hub.requests if "/resolve/" in request.path and ".png" in request.path]
    assert not [path for path in opened if "train" in path]  # counted without being opened
    assert kind == "tables" or {path for path in files if path.startswith("test")} == {
        path for path in files if any(path in address for address in opened)
    }


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--split", "validation"], "--split validation needs images of the training split"),
        (["--val-fraction", 0.1], "--val-fraction needs images of the training split"),
        (["--official-val"], "--official-val needs images of the training split"),
        (["--logit-adjustment", "search"], "--logit-adjustment search needs images of the training split"),
        (["--tau-norm", "search"], "--tau-norm search needs images of the training split"),
        (["--split-file", "list.txt"], "--split-file list.txt has no effect with --streaming"),
        (["--skip-bad-images"], "--skip-bad-images has no effect with --streaming"),
        (["--data-seed", 3], "--data-seed 3 has no effect with --streaming"),
        (["--selection", "first"], "--selection first has no effect with --streaming"),
        (
            ["--data", "digits_lt"],
            "digits_lt is not on the Hub: leave it out.",
        ),
    ],
)
def test_what_does_not_go_with_it(recipe: Recipe, model: Path, words: list[Any], part: str) -> None:
    assert part in recipe("evaluate", "--model", model, "--streaming", *words).sentence


@pytest.mark.parametrize("name", ["train", "finetune", "second_stage"])
def test_training_says_why_it_cannot(recipe: Recipe, model: Path, name: str) -> None:
    words = [] if name == "train" else ["--model", model]
    sentence = recipe(name, *words, "--streaming").sentence
    assert sentence.startswith("--streaming is for an evaluation. Training shuffles the whole set")
    assert "streaming" not in recipe(name, "--help").out


def test_a_class_without_test_images_has_no_recall(recipe: Recipe, model: Path, lab: Any, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "animals", COUNTS)
    shutil.rmtree(images / "test" / "cat")
    outputs = {}
    for name, more in (("plain", []), ("streamed", ["--streaming"])):
        command = ["--model", model, "--data", images, "--output-dir", tmp_path / name, *THRESHOLDS]
        outcome = recipe("evaluate", *command, *more)
        assert outcome.status == 0, outcome.err
        assert outcome.out.count("note: 1 class has no test image (cat)") == 1
        outputs[name] = results_of(tmp_path / name)
    for results in outputs.values():
        assert results["class_recalls"][2] is None and results["test"]["few"] is None
        assert results["group_support"]["few"] == {"classes": 0, "images": 0}
        assert sum("no test image (cat)" in note for note in results["notes"]) == 1
    assert outputs["plain"]["test"] == pytest.approx(outputs["streamed"]["test"])
    assert outputs["plain"]["intervals"]["test"].keys() == outputs["streamed"]["intervals"]["test"].keys()
