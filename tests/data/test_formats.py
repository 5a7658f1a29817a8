"""The file format of a set's pictures, of each kind that PIL tells apart and of the two kinds of WebP."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.data.formats import image_format
from glmc_zoo.data.images import ArrayImages, ArrowImages, ImageSplit

KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("PNG", {}, "PNG"),
    ("JPEG", {}, "JPEG"),
    ("WEBP", {"lossless": True}, "WebP lossless"),
    ("WEBP", {"quality": 80}, "WebP lossy"),
]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize(("kind", "options", "said"), KINDS, ids=[said for *_, said in KINDS])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_format(kind: str, options: dict[str, Any], said: str, in_a_file: bool, tmp_path: Path) -> None:
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    path = tmp_path / "picture"
    path.write_bytes(file.getvalue())
    cell = {"bytes": None, "path": str(path)} if in_a_file else {"bytes": file.getvalue(), "path": None}
    table = datasets.Dataset.from_dict({"image": [cell]}, features=datasets.Features({"image": datasets.Image()}))
    split = ImageSplit(ArrowImages(table, "image", "training"), np.array([0]), np.array([0]))
    assert image_format(split) == said


def test_arrays_and_damaged_files_have_none() -> None:
    arrays = ImageSplit(ArrayImages(np.zeros((1, 8, 8, 3), np.uint8), "training"), np.array([0]), np.array([0]))
    assert image_format(arrays) is None
    table = datasets.Dataset.from_dict({"image": [b"no picture"]})
    assert image_format(ImageSplit(ArrowImages(table, "image", "training"), np.array([0]), np.array([0]))) is None


def test_a_loaded_set_says_it(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            PICTURE.save(tmp_path / part / name / "0.png")
    assert load_data(tmp_path).info["image_format"] == "PNG"
    assert load_data("digits_lt").info["image_format"] is None
