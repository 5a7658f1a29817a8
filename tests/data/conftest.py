"""Builders of small data sets on disk, and a throw-away cache for those that ``datasets`` converts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Draw = Callable[[int], Image.Image]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def read(path: Path, config: str | None = None, **options: Any) -> Any:
    """What reading a folder or a CSV file gives, before any split is made."""
    from glmc_zoo.data.options import DataOptions
    from glmc_zoo.data.sources import open_source

    return open_source(DataOptions(data=str(path), data_config=config, **options), None)


@pytest.fixture(name="read")
def read_fixture() -> Callable[..., Any]:
    return read


def noise(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    """An RGB image that differs from seed to seed."""
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def make_table() -> Callable[..., Any]:
    """A ``datasets.Dataset`` with one image for each label; no image is in two of them."""
    numbers = itertools.count(1000)

    def make(labels: Sequence[int], names: Sequence[str] = ("a", "b"), *, image: str = "image") -> Any:
        import datasets

        columns = {image: [noise(next(numbers)) for _ in labels], "label": list(labels)}
        features = {image: datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return make


@pytest.fixture
def write_images() -> Callable[..., Path]:
    """Write ``counts[c]`` images of each class as ``FOLDER/CLASS/NUMBER.png``; each call draws other images."""
    numbers = itertools.count()

    def write(folder: Path, counts: Sequence[int], *, draw: Draw = noise, names: Sequence[str] | None = None) -> Path:
        for name, count in zip(names or [f"class_{index}" for index in range(len(counts))], counts, strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                draw(next(numbers)).save(folder / name / f"{index:03d}.png")
        return folder

    return write
