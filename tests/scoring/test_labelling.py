"""What to label next: the formulas by hand, the spread over clusters, and a ranked prediction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from csv_files import csv_rows
from evaluated import CLASSES, timm_logits
from PIL import Image

import glmc_zoo
from glmc_zoo.results import DataFacts, ModelFacts, RunResults
from glmc_zoo.scoring.labelling import (
    FeatureRecorder,
    labelling_order,
    rarity_weights,
    similar_images,
    uncertainty_and_rarity,
)

Recipe = Callable[..., Any]
COUNTS = [40, 10, 5]


def test_uncertainty_and_rarity_by_hand() -> None:
    weights = rarity_weights(COUNTS)
    assert weights == pytest.approx([0.125, 0.5, 1.0])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    uncertainty, rarity = uncertainty_and_rarity(probabilities, weights)
    assert uncertainty == pytest.approx([0.5, 1.0, 0.0])
    assert rarity == pytest.approx([0.0875 + 0.1 + 0.1, 0.75, 1.0])
    # A class without a training image is as rare as one with one image; a single class leaves no doubt.
    assert rarity_weights([4, 0, 1]) == pytest.approx([0.25, 1.0, 1.0])
    assert uncertainty_and_rarity(np.ones((2, 1)), np.ones(1))[0].tolist() == [0.0, 0.0]


def test_an_image_counts_less_the_more_of_its_cluster_come_before_it() -> None:
    scores = np.array([0.9, 0.84, 0.7, 0.35, 0.2, 0.2])
    clusters = np.array([0, 0, 0, 1, 2, 2])
    # In cluster 0 they count 0.9, 0.21 and 0.078; in cluster 2 0.2 and 0.05.
    assert labelling_order(scores, clusters).tolist() == [0, 3, 1, 4, 2, 5]
    assert labelling_order(scores[::-1], clusters[::-1]).tolist() == [5, 2, 4, 0, 3, 1]
    assert labelling_order(np.zeros(3), np.array([1, 0, 0])).tolist() == [0, 1, 2]


def test_similar_images_share_a_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(5, 8)
    member = np.repeat(np.arange(5), 5)
    # Only the direction counts, not the length.
    features = (centres[member] + rng.normal(scale=0.01, size=(25, 8))) * rng.uniform(1, 9, size=(25, 1))
    clusters = similar_images(features.astype(np.float32))
    assert len(set(clusters)) == 5
    assert all(len(set(clusters[member == one])) == 1 for one in range(5))
    assert np.array_equal(clusters, similar_images(features.astype(np.float32)))
    assert len(similar_images(np.zeros((9, 4), np.float32))) == 9
    assert similar_images(np.ones((1, 4), np.float32)).tolist() == [0]


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "resnet20_cifar"])
def test_features_beside_the_same_logits(architecture: str) -> None:
    model: Any = timm.create_model(architecture, num_classes=3).eval()
    size = model.default_cfg["input_size"]
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    tap = FeatureRecorder(model)
    with torch.inference_mode():
        assert torch.equal(tap(images), model(images))
        (features,) = tap.features
        torch.testing.assert_close(model.get_classifier()(features), model(images))


@pytest.fixture
def trained(model: Path, tmp_path: Path) -> Path:
    """The model with the results of a training on 40, 10 and 5 images."""
    facts = ModelFacts(
        name="test_efficientnet.t", tag="t", backbone="test_efficientnet", parameters=1, input_size=[3, 32, 32],
        mean=[0.5] * 3, std=[0.5] * 3,
    )  # fmt: skip
    results = RunResults(
        model=facts, data=DataFacts(name="animals"), method="ce", class_names=CLASSES, class_counts=COUNTS
    )
    folder = tmp_path / "trained"
    folder.mkdir()
    for file in model.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    results.save(folder / "results.json")
    return folder


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of noise, and one that exists five times."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(9):
        pixels = np.random.default_rng(min(i, 4)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels // (1 + min(i, 4))).save(folder / f"{i}.png")
    return folder


def test_a_ranked_prediction(predict: Recipe, trained: Path, images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_text("no image")
    options = ["--model", trained, "--images", images, "--batch-size", 2]
    assert predict(*options, "--output", "plain.csv").status == 0
    outcome = predict(*options, "--rank-for-labelling", "--top", 2, "--output", "ranked.csv")
    assert outcome.status == 0, outcome.err
    rows = csv_rows(tmp_path / "ranked.csv")
    columns = ["file", "label", "probability", "label_2", "probability_2", "rank", "uncertainty", "rarity", "cluster"]
    assert list(rows[0]) == columns and [row["rank"] for row in rows] == [str(i) for i in range(1, 10)]
    plain = {row["file"]: row for row in csv_rows(tmp_path / "plain.csv")}
    assert list(next(iter(plain.values()))) == ["file", "label", "probability"] + [
        f"{what}_{i}" for i in (2, 3) for what in ("label", "probability")
    ]
    assert {row["file"]: (row["label"], row["probability"]) for row in rows} == {
        file: (row["label"], row["probability"]) for file, row in plain.items()
    }
    files = sorted(images.glob("?.png"))
    probabilities = timm_logits(trained, [Image.open(file) for file in files]).double().softmax(dim=1).numpy()
    two = np.sort(probabilities, axis=1)[:, -2:]
    by_file = {row["file"]: row for row in rows}
    for file, p, (second, first) in zip(files, probabilities, two, strict=True):
        row = by_file[str(file)]
        assert float(row["uncertainty"]) == pytest.approx(1 - first + second, abs=1e-5)
        assert float(row["rarity"]) == pytest.approx(p @ [0.125, 0.5, 1.0], abs=1e-5)
    # The ranking is by the score, divided by the square of the place in the cluster.
    places, left = dict.fromkeys("123", 0), []
    for row in rows:
        places[row["cluster"]] += 1
        left.append(float(row["uncertainty"]) * float(row["rarity"]) / places[row["cluster"]] ** 2)
    assert left == sorted(left, reverse=True)
    # The equal images share a cluster; clusters are numbered by rank.
    same = [row for row in rows if Path(row["file"]).stem in "45678"]
    assert len({row["cluster"] for row in same}) == 1
    assert list(dict.fromkeys(row["cluster"] for row in rows)) == ["1", "2", "3"]
    assert "3 clusters of similar images\n9 images in ranked.csv, 1 could not be read" in outcome.out
    assert csv_rows(tmp_path / "ranked.csv.problems.csv")[0]["problem"] == "not an image"


def test_from_python(trained: Path, images: Path) -> None:
    (images / "bad.png").write_text("no image")
    given: dict[str, Any] = {"model": trained, "images": images, "output": None, "classes": ["ant", "cat"]}
    found = glmc_zoo.predict(rank_for_labelling=True, **given)
    assert [one.rank for one in found] == [*range(1, 10), None] and found[-1].problem == "not an image"
    for one in found[:-1]:  # of the two classes that can occur
        assert one.uncertainty == pytest.approx(1 - one.probabilities[0] + one.probabilities[1])
        by_label = dict(zip(one.labels, one.probabilities, strict=True))
        assert one.rarity == pytest.approx(0.125 * by_label["ant"] + by_label["cat"])
    empty = {"rank": None, "uncertainty": None, "rarity": None, "cluster": None}
    plain = glmc_zoo.predict(**given)
    assert sorted((replace(one, **empty) for one in found), key=lambda one: one.file) == plain


def test_a_model_without_class_counts(predict: Recipe, trained: Path, images: Path) -> None:
    values = json.loads((trained / "results.json").read_text())
    (trained / "results.json").write_text(json.dumps(values | {"class_counts": None}))
    sentence = predict("--model", trained, "--images", images, "--rank-for-labelling").sentence
    assert sentence.startswith("--rank-for-labelling needs the training images of each class")
    assert not Path("predictions.csv").exists()


@pytest.mark.processes
def test_two_processes_rank_alike(predict: Recipe, lab: Any, trained: Path, images: Path, tmp_path: Path) -> None:
    """With 9 images in batches of 2, the second process has one batch less."""
    options = ["--model", trained, "--images", images, "--batch-size", 2, "--rank-for-labelling", "--output"]
    assert predict(*options, "one.csv").status == 0
    outcome = lab.torchrun(lab.root / "recipes" / "predict.py", *options, "two.csv", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    one, two = csv_rows(tmp_path / "one.csv"), csv_rows(tmp_path / "two.csv")
    assert [row["rank"] for row in two] == [row["rank"] for row in one]
    assert {row["file"]: row["cluster"] for row in two} == {row["file"]: row["cluster"] for row in one}
