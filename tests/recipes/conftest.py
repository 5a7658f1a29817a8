"""The data sets of the recipe files in miniature, each in its true layout, and a throw-away cache."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def own_accelerate() -> Iterator[None]:
    """A run in this process leaves Accelerate as it found it."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def _png(number: int, colour: float) -> bytes:
    pixels = np.random.default_rng(number).normal(colour, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _write_cifar(folder: Path, *, config: str, label: str, classes: int) -> Path:
    """The Hub's repository with as many images as a tail from 100 to 1 needs, and one test image of each class."""
    import datasets

    names = [f"thing {index:03d}" for index in range(classes)]
    features = datasets.Features({"img": datasets.Image(), label: datasets.ClassLabel(names=names)})
    counts = [int(100 * 100 ** (-index / (classes - 1))) for index in range(classes)]
    (folder / config).mkdir(parents=True)
    for split, each in (("train", counts), ("test", [1] * classes)):
        labels = np.random.default_rng(1).permutation(np.repeat(np.arange(classes), each))
        images = [{"bytes": _png(i, 40 + 160 * c / classes), "path": None} for i, c in enumerate(labels)]
        table = datasets.Dataset.from_dict({"img": images, label: labels.tolist()}, features=features)
        table.to_parquet(str(folder / config / f"{split}-00000-of-00001.parquet"))
    files = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in ("train", "test"))
    card = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


_CIFAR: dict[str, dict[str, Any]] = {
    "cifar10_lt": {"config": "plain_text", "label": "label", "classes": 10},
    "cifar100_lt": {"config": "cifar100", "label": "fine_label", "classes": 100},
}
_LARGE = {"imagenet_lt": miniature.imagenet, "inat18": miniature.inat18}


@pytest.fixture(scope="session")
def data_words(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """``data_words("inat18")``: the options that say where a set in miniature lies; it is made when first asked for."""

    @functools.cache
    def make(name: str) -> list[str]:
        folder = tmp_path_factory.mktemp(name)
        if name in _CIFAR:
            return ["--data-dir", str(_write_cifar(folder / "set", **_CIFAR[name]))]
        mini = _LARGE[name](folder / "set", lists=folder / "lists")
        return ["--data-dir", str(mini.folder), "--split-file", str(folder / "lists")]

    return make
