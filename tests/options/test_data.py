"""Options of the data reach what loads it."""

from __future__ import annotations

from typing import Any

import pytest

from glmc_zoo.data import load_data, load_split_data, load_stream_data
from glmc_zoo.options.resolve import evaluation_options, finetuning_options, training_options
from glmc_zoo.options.user_options import UserOptions

STEP: dict[str, Any] = {"imbalance_factor": 5.0, "max_count": 40, "imbalance_type": "step", "data_seed": 3}


@pytest.mark.parametrize(
    ("resolve", "more"),
    [
        (training_options, {"profile": True}),  # the switch of training is another thing
        (finetuning_options, {"model": "m"}),
        (evaluation_options, {"model": ["m"]}),
    ],
)
def test_the_shape_of_the_long_tail(resolve: Any, more: dict[str, Any]) -> None:
    data = load_split_data(resolve(UserOptions({**STEP, **more})).data)
    assert data.class_counts == [40] * 5 + [8] * 5
    assert (data.facts.imbalance_type, data.facts.data_seed) == ("step", 3)
    assert (data.train.labels == load_data("digits_lt", **STEP).train.labels).all()


@pytest.mark.usefixtures("own_cache")
def test_the_shape_of_a_stream(lab: Any, tmp_path: Any) -> None:
    images = lab.images(tmp_path / "animals", {"ant": 12, "bee": 12, "cat": 12}, test=2)
    values = {"model": ["m"], "streaming": True, "data": str(images), "imbalance_factor": 3.0, "imbalance_type": "step"}
    assert load_stream_data(evaluation_options(UserOptions(values)).data).class_counts == [12, 12, 4]
