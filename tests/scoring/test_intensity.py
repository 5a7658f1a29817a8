"""Images of more than 8 bits are scaled in evaluation and prediction as they were in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluated import results_of, table, timm_logits
from PIL import Image

import glmc_zoo


def twelve_bits(seed: int, top: int) -> np.ndarray:
    values = np.random.RandomState(seed).randint(0, top + 1, (40, 40)).astype(np.uint16)
    values[0, 0] = top
    return values


def folder(path: Path, top: int) -> Path:
    """Classes a and b, in training and test, of grey PNG of 16 bits whose largest value is ``top``."""
    for split, images in (("train", 8), ("test", 4)):
        for name in ("a", "b"):
            (path / split / name).mkdir(parents=True)
            for i in range(images):
                Image.fromarray(twelve_bits(i, top)).save(path / split / name / f"{i}.png")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images of 12 bits."""
    path = tmp_path_factory.mktemp("deep")
    glmc_zoo.train(
        data=folder(path / "data", 4095),
        backbone="test_efficientnet",
        method="ce",
        image_size=32,
        batch_size=8,
        epochs=1,
        warmup_epochs=0,
        workers=0,
        output_dir=path / "run",
    )
    return path / "run"


def with_trained_intensity(top: int, high: float) -> list[Image.Image]:
    grey = [np.rint(twelve_bits(i, top) * 255.0 / high).clip(0, 255).astype(np.uint8) for i in range(4)]
    return [Image.fromarray(one).convert("RGB") for one in grey]


def test_the_range_is_stored(trained: Path) -> None:
    data = results_of(trained)["data"]
    assert (data["intensity_range"], data["intensity_given"]) == ([0, 4095], False)


def test_prediction(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = folder(tmp_path / "dark", 900)  # by themselves they would be scaled from 0..1023
    rows = glmc_zoo.predict(model=trained / "model", images=[images / "test" / "a"], workers=0)
    expected = timm_logits(trained / "model", with_trained_intensity(900, 4095)).softmax(dim=1).amax(dim=1)
    np.testing.assert_allclose([row.probabilities[0] for row in rows], expected, atol=1e-5)


@pytest.mark.parametrize(("options", "high"), [({}, 4095), ({"intensity_range": "0,1200"}, 1200)])
def test_evaluation(trained: Path, tmp_path: Path, options: dict[str, str], high: float) -> None:
    data = folder(tmp_path / "dark", 900)
    glmc_zoo.evaluate(model=trained / "model", data=data, workers=0, output_dir=tmp_path / "out", **options)
    expected = timm_logits(trained / "model", with_trained_intensity(900, high)).softmax(dim=1).amax(dim=1)
    top = np.asarray(table(tmp_path / "out")["top5_probabilities"])[:4, 0]
    np.testing.assert_allclose(top, expected, atol=1e-5)
    note = "Images of more than 8 bits are scaled from 0..4095 to 0..255. The model was trained with this range."
    assert (note in results_of(tmp_path / "out")["notes"]) == (not options)
