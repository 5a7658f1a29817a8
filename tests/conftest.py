"""Shared fixtures. The Hub is never asked by the tests that do not need it."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny networks gain nothing from threads, and sums in another order would move the last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden numbers and real test images; tests that need it are skipped without it."""
    folder = Path(os.environ.get("GLMC_ZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the reference data, which is not at {folder} (set GLMC_ZOO_SHARED)")
    return folder
