"""Training images of rare classes, and which of them are nearest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from glmc_zoo.data import load_data
from glmc_zoo.errors import UserError
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.scoring.demo.answering import DemoModel
from glmc_zoo.scoring.demo.rare_images import rare_positions


def test_images_of_many_shot_classes_are_left_out() -> None:
    labels, groups = np.array([0, 1, 2, 1, 0, 3, 2, 2]), np.array([0, 1, 2, 2])
    assert rare_positions(labels, groups).tolist() == [1, 2, 3, 5, 6, 7]
    assert rare_positions(labels, np.zeros(4, np.int64)).tolist() == []


def test_of_many_images_each_class_gives_an_equal_share() -> None:
    labels = np.repeat([0, 1, 2, 3], [500, 90, 90, 3])
    groups = np.array([0, 1, 1, 2])
    chosen = rare_positions(labels, groups, limit=30)
    assert Counter(labels[chosen].tolist()) == {1: 10, 2: 10, 3: 3}
    assert chosen.tolist() == sorted(set(chosen.tolist())) and chosen[0] == 500
    assert len(rare_positions(labels, groups, limit=2)) == 3  # one of each at least


def features(folder: Path, images: list[Image.Image]) -> np.ndarray:
    """Directions of the features before the classifier, (N, D), by timm alone."""
    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform: Any = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        values = network(torch.stack([transform(image) for image in images])).double().numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_the_nearest_are_those_of_the_largest_cosine(shown_run: Path, animals: Path) -> None:
    model = DemoModel(DemoOptions(model=str(shown_run / "model")))
    path = animals / "test" / "bee" / "000.png"
    data = load_data(animals, val_fraction=0.2)
    assert model.rare_images is not None and len(model.rare_images) == len(
        data.train
    )  # no class has more than 100 images
    rows = features(shown_run / "model", data.train.images(range(len(data.train))))
    cosines = rows @ features(shown_run / "model", [Image.open(path).convert("RGB")])[0]
    expected, of_class = [], Counter[int]()
    for row in np.argsort(-cosines, kind="stable"):
        label = int(data.train.labels[row])
        of_class[label] += 1
        if of_class[label] <= 2:
            expected.append((data.class_names[label], data.class_counts[label], cosines[row]))
    answer = model.answer(path)
    assert len(answer.similar) == 6
    for one, (label, count, cosine) in zip(answer.similar, expected, strict=True):
        assert (one.label, one.count) == (label, count) and one.cosine == pytest.approx(cosine, abs=1e-5)
        assert one.group == ("medium" if count >= 20 else "few") and one.thumbnail.encoded


def test_without_training_images_the_page_says_what_to_give(model: Path, shown_run: Path, tmp_path: Path) -> None:
    unknown = DemoModel(DemoOptions(model=str(model)))
    assert unknown.rare_images is None and unknown.rare_images_hint.startswith(
        "Start the demo with data='path/to/images'"
    )
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in (shown_run / "model").iterdir():
        if file.is_file():
            (copied / file.name).write_bytes(file.read_bytes())
    moved = DemoModel(DemoOptions(model=str(copied)))
    assert moved.rare_images is None and "data='path/to/images'" in moved.rare_images_hint


def test_images_that_are_named_are_used_or_refused(model: Path, lab: Any, tmp_path: Path) -> None:
    other = lab.images(tmp_path / "other", {"ant": 6, "dog": 4})
    shown = DemoModel(DemoOptions(model=str(model), data=str(other)))
    assert shown.rare_images is not None and len(shown.rare_images) == 10  # both classes: the test part is not compared
    with pytest.raises(UserError, match="nowhere"):
        DemoModel(DemoOptions(model=str(model), data=str(tmp_path / "nowhere")))
