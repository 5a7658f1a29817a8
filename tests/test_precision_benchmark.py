"""benchmarks/precision.py: the runs that it compares, and its rule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import precision
import pytest
from commands import resolved

from glmc_zoo.options.run import flatten_options


@pytest.mark.parametrize("data", ["digits_lt", "cifar10_lt"])
def test_both_precisions_train_glmc_whatever_the_preset_decides(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss terms that are compared are those of GLMC with two views."""
    commands: list[list[str]] = []
    monkeypatch.setattr(precision.subprocess, "run", lambda command, check: commands.append(command))
    options: dict[str, Any] = {"epochs": 3, "max_count": None, "threads": 1, "data_dir": tmp_path, "work": tmp_path}
    for name in ("no", "bf16"):
        precision.train(argparse.Namespace(**options), data, name, seed=2)
    for command, name in zip(commands, ("no", "bf16"), strict=True):
        config = flatten_options(resolved("train.py", command[2:]))
        assert (config["method"], config["views"]) == ("glmc", "mixup_cutmix")
        assert (config["data"], config["seed"], config["mixed_precision"]) == (data, 2, name)


def test_an_epoch_is_within_the_spread_of_single_precision() -> None:
    single = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0]])  # the spread is 1 in each epoch
    near = precision.compare(single, single + 0.9)
    assert near["within_the_spread"] and near["share_of_epochs_within"] == 1
    assert near["largest_difference_of_means_over_spread"] == pytest.approx(0.9)
    assert near["share_of_losses_in_band"] == 0.5  # of the lower seed, which is still below the upper one
    far = precision.compare(single, single + np.array([0, 0, 0, 1.1, 1.1]))
    assert not far["within_the_spread"] and far["share_of_epochs_within"] == pytest.approx(0.6)
    scores = precision.compare_scores([0.5, 0.6], [0.5, 0.8])
    assert scores["within"] and scores["difference"] == pytest.approx(0.1)
    assert not precision.compare_scores([0.5, 0.6], [0.7, 0.8])["within"]
