"""Image files of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise_file(path: Path, mode: str = "RGB", *, size: tuple[int, int] = (50, 40), seed: int = 0) -> Path:
    """A file of noise in a mode of PIL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path
