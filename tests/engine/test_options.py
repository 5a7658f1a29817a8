"""Options of the data as arguments of what loads it, and names that options had before."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from glmc_zoo.data import load_data
from glmc_zoo.engine.build import load_run_data
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.evaluate_stream import load_run_stream
from glmc_zoo.engine.options import DataOptions, with_present_names

STEP: dict[str, Any] = {"imbalance_factor": 5.0, "max_count": 40, "imbalance_type": "step"}


def test_every_argument_of_load_data_has_its_option() -> None:
    taken = set(inspect.signature(load_data).parameters) - {"name_or_path", "cache_bytes"}
    options = DataOptions(**STEP, data_seed=3, image_column="picture").load_options()
    assert taken <= options.keys() and (options["profile"], options["max_count"]) == ("step", 40)
    assert (options["data_seed"], options["image_column"], options["label_column"]) == (3, "picture", None)
    # The switch of training is another thing.
    assert TrainConfig(profile=True).load_options()["profile"] is None


@pytest.mark.parametrize("config", [TrainConfig(**STEP), EvaluateConfig(model=["m"], **STEP)])
def test_the_shape_reaches_the_data(config: DataOptions) -> None:
    data = load_run_data(config, Accelerator(cpu=True))
    assert data.class_counts == [40] * 5 + [8] * 5 and data.info["profile"] == "step"


def test_the_shape_reaches_a_stream(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = lab.images(tmp_path / "animals", {"ant": 12, "bee": 12, "cat": 12}, test=2)
    shape: dict[str, Any] = {"imbalance_factor": 3.0, "imbalance_type": "step"}
    config = EvaluateConfig(model=["m"], streaming=True, data=str(images), **shape)
    assert load_run_stream(config, Accelerator(cpu=True)).class_counts == [12, 12, 4]


@pytest.mark.parametrize(
    ("saved", "present"),
    [
        ({"lr": 1.0, "profile": "pareto"}, {"lr": 1.0, "imbalance_type": "pareto"}),
        ({"lr": 1.0, "profile": None}, {"lr": 1.0}),
        ({"profile": True, "imbalance_type": "exp"}, {"profile": True, "imbalance_type": "exp"}),
        ({"profile": False, "imbalance_type": None}, {"profile": False, "imbalance_type": None}),
        ({"lr": 1.0}, {"lr": 1.0}),
    ],
)
def test_names_of_before(saved: dict[str, Any], present: dict[str, Any]) -> None:
    before = dict(saved)
    assert with_present_names(saved) == present and saved == before
