"""Images of three classes, a model trained on them, and a throw-away cache of ``datasets``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from evaluated import CLASSES, COUNTS, exported


@pytest.fixture(autouse=True)
def cache(own_cache: None) -> None:
    """Every test has its own cache."""


@pytest.fixture(scope="session")
def animals(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """47 training images and 21 test images of 70 pixels, which are resized to 32."""
    folder: Path = lab.images(tmp_path_factory.mktemp("images") / "animals", COUNTS, test=7, size=70)
    return folder


@pytest.fixture(scope="session")
def run(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on ``animals``, a fifth of whose training images were held out."""
    import datasets
    from matplotlib.figure import Figure

    import glmc_zoo

    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())
        glmc_zoo.train(
            data=animals,
            val_fraction=0.2,
            backbone="test_efficientnet",
            method="ce",
            image_size=32,
            batch_size=8,
            lr=0.004,
            epochs=3,
            output_dir=folder,
        )
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of the three classes with fresh weights, for images of 32 pixels."""
    return exported(tmp_path_factory.mktemp("model") / "m", CLASSES)


@pytest.fixture
def predict(recipe: Callable[..., Any]) -> Callable[..., Any]:
    """``predict("--model", folder, ...)`` runs recipes/predict.py."""
    return partial(recipe, "predict")
