"""Shared fixtures. The Hub is never asked by the tests that do not need it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny networks gain nothing from threads, and sums in another order would move the last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))  # helpers that tests of several rooms import

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # whose scripts import one another

from hub_server import HubServer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden numbers and real test images; tests that need it are skipped without it."""
    folder = Path(os.environ.get("GLMC_ZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the reference data, which is not at {folder} (set GLMC_ZOO_SHARED)")
    return folder


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub on loopback, empty; clients find it in the environment that ``hub_env`` gives."""
    with HubServer() as server:
        yield server


@pytest.fixture
def hub_env(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """``hub_env(token=None, **more)``: environment of a child process that uses ``hub``, with an empty cache."""

    def make(token: str | None = None, **more: str) -> dict[str, str]:
        return hub.environment(tmp_path_factory.mktemp("hf_home"), token, **more)

    return make


@pytest.fixture
def hub_python(
    hub_env: Callable[..., dict[str, str]], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``hub_python(*args, token=None, **env)``: ``python ARGS`` with the clients as they are, talking to ``hub``.

    A fresh cache each time, unless ``HF_HOME`` is given. Give code as ``"-c", code`` and a recipe by its path below
    the checkout. Output is captured.
    """

    def run(*args: Any, token: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        words = [str(arg) for arg in args]
        if words[0].startswith("recipes/"):
            words[0] = str(ROOT / words[0])
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=hub_env(token, **env), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    return run
