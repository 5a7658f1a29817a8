"""The published score of a run is what timm, PyTorch and PIL give for the exported model, image by image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import results_of, timm_logits
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from glmc_zoo.data import load_data

Recipe = Callable[..., Any]
Reference = tuple[list[Image.Image], NDArray[np.int64]]

_TAIL = {"max_count": 40, "imbalance_factor": 4}


def crops(folder: Path, smallest: int, largest: int, suffix: str) -> Path:
    """Crops of real images, of several sizes: three classes with 24, 12 and 6 to train on and 15 to test on."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    temple, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    views = {"flower": (flower, 24), "left": (temple[:, :320], 12), "right": (temple[:, 320:], 6)}
    for name, (image, training) in views.items():
        for split, number in (("train", training), ("test", 15)):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                height, width = rng.integers(smallest, largest, 2)
                top, left = rng.integers(0, image.shape[0] - height), rng.integers(0, image.shape[1] - width)
                crop = Image.fromarray(image[top : top + height, left : left + width])
                crop.save(folder / split / name / f"{i:02d}.{suffix}")
    return folder


def from_files(folder: Path) -> Reference:
    """The test images of a folder, read with PIL, and the index of each one's class."""
    files = sorted((folder / "test").glob("*/*"))
    names = sorted({path.parent.name for path in files})
    images = [Image.open(path).convert("RGB") for path in files]
    return images, np.array([names.index(path.parent.name) for path in files])


def digits(folder: Path) -> tuple[dict[str, Any], Reference]:
    """Images of 8 pixels that lie decoded in memory, for a network of 16 pixels."""
    test = load_data("digits_lt", **_TAIL).test
    images = [image for image, _ in test]
    options = {"backbone": "test_resnet", "epochs": 3, "eval_every": 3, "batch_size": 16, "lr": 0.05}
    return {"data": "digits_lt", **options, **_TAIL}, (images, test.labels)


def small(folder: Path) -> tuple[dict[str, Any], Reference]:
    """PNG files of 36 to 119 pixels, resized to 32."""
    data = crops(folder, 36, 120, "png")
    options = {"image_size": 32, "augment": "crop_flip", "epochs": 3, "eval_every": 3, "batch_size": 8, "lr": 0.02}
    return {"data": data, "backbone": "test_vit", "views": "mixup_cutmix", **options}, from_files(data)


def large(folder: Path) -> tuple[dict[str, Any], Reference]:
    """JPEG files of 70 to 199 pixels, resized to 73 and cropped to 64."""
    data = crops(folder, 70, 200, "jpg")
    options = {"image_size": 64, "augment": "large", "epochs": 4, "eval_every": 4, "batch_size": 8, "lr": 0.01}
    return {"data": data, "backbone": "test_resnet", **options}, from_files(data)


def as_words(options: dict[str, Any]) -> list[Any]:
    """The options as on the command line."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]


@pytest.mark.slow
@pytest.mark.parametrize("case", [digits, small, large])
def test_timm_alone_gets_the_published_score(
    case: Callable[[Path], tuple[dict[str, Any], Reference]], train: Recipe, evaluate: Recipe, tmp_path: Path
) -> None:
    options, (images, labels) = case(tmp_path / "images")
    outcome = train(*as_words(options), "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    results = results_of(tmp_path / "run")

    logits = timm_logits(tmp_path / "run" / "model", images)
    guesses = logits.argmax(dim=1).numpy()
    correct, support = np.bincount(labels[guesses == labels], minlength=labels.max() + 1), np.bincount(labels)
    recalls = correct / support
    assert 1.3 / len(support) < recalls.mean() < 1  # it learnt something, so that its logits say something
    assert results["test"]["top1"] == correct.sum() / len(labels)
    assert results["class_recalls"] == recalls.tolist()
    assert results["test"]["balanced_accuracy"] == recalls.mean()
    # Counts seldom show a pixel that differs by 1; the likelihood does.
    nll = F.cross_entropy(logits.double(), torch.from_numpy(labels)).item()
    assert results["test"]["nll"] == pytest.approx(nll, rel=1e-6)

    # With the same batches and precision, the recipe for evaluation agrees to the last digit, in every score.
    data = as_words({name: value for name, value in options.items() if name in ("data", *_TAIL)})
    outcome = evaluate("--model", tmp_path / "run" / "model", *data, "--output-dir", tmp_path / "again")
    assert outcome.status == 0, outcome.err
    again = results_of(tmp_path / "again")
    assert again["batch_size"] == 128 and again["precision"] == results["precision"]
    for key in ("test", "class_recalls", "group_confusion"):
        assert again[key] == results[key], key
