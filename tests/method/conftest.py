"""The reference numbers of one step, whole or as the small copy that travels with the tests; a private registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    from glmc_zoo.method.registry import _ENTRIES as ENTRIES

    before, modules = dict(ENTRIES), set(sys.modules)
    yield
    # A built-in one stays: its module registers it only once.
    built_in = {key: entry for key, entry in ENTRIES.items() if str(entry.function.__module__).startswith("glmc_zoo.")}
    ENTRIES.clear()
    ENTRIES.update(before | built_in)
    for name in set(sys.modules) - modules:
        if name.startswith("glmc_zoo_plugin_"):
            del sys.modules[name]
