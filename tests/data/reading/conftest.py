"""Image files in a folder of the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """``put("a.png", ...)`` writes images into a folder ``set``, and returns it."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path, "PNG")
        return tmp_path / "set"

    return write
