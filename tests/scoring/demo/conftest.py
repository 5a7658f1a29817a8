"""A page of the demo, started once, of a model that is not sure of its answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import glmc_zoo


@pytest.fixture(scope="session")
def shown_run(animals: Path, lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on ``animals`` that learned next to nothing; its model has a sample image."""
    import datasets

    folder = tmp_path_factory.mktemp("shown") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        lab.leave_plots_empty(patch)
        glmc_zoo.train(
            data=animals,
            val_fraction=0.2,
            backbone="test_efficientnet",
            method="ce",
            image_size=32,
            batch_size=8,
            lr=1e-5,
            epochs=1,
            output_dir=folder,
        )
    shutil.copy(animals / "test" / "cat" / "000.png", folder / "model" / "sample.jpg")
    return folder


@pytest.fixture(scope="session")
def page_of_run(shown_run: Path) -> Iterator[Any]:
    """Its demo, which finds the training images by itself."""
    with glmc_zoo.demo(model=shown_run / "model") as demo:
        yield demo
