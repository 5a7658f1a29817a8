"""The reference numbers of one step, whole or as the small copy that travels with the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


def _load(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(scope="session")
def step(shared: Path) -> Arrays:
    """Every array of the official code's step on small fixed cases."""
    return _load(shared / "reference" / "glmc_step.npz")


@pytest.fixture(scope="session")
def maxnorm(shared: Path) -> Arrays:
    """A classifier before and after MaxNorm, and its rows after tau-normalisation."""
    return _load(shared / "reference" / "maxnorm.npz")


@pytest.fixture(scope="session")
def golden() -> Arrays:
    """The small copy; ``test_golden.py`` says how it was cut."""
    return _load(Path(__file__).with_name("golden.npz"))
