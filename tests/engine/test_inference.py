"""Preprocessing against timm's own, and which logits belong to which class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from glmc_zoo.data.transforms import EvalTransform
from glmc_zoo.engine.inference import TimmTransform, match_classes
from glmc_zoo.errors import UserError

CLASSES = ["ant", "bee", "cat"]


@pytest.mark.parametrize("size", [(200, 150), (32, 32), (70, 90)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_pixels_are_those_of_timm(size: tuple[int, int], interpolation: str, crop_mode: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    config: dict[str, Any] = {
        "input_size": (3, 64, 64),
        "interpolation": interpolation,
        "crop_pct": 0.875,
        "crop_mode": crop_mode,
        "mean": (0.2, 0.4, 0.6),
        "std": (1.0,) * 3,
    }
    plain = timm.data.create_transform(**config, is_training=False)
    expected = ((plain(Image.fromarray(picture)) + torch.tensor(config["mean"]).view(3, 1, 1)) * 255).round()
    exact = TimmTransform(config)([Image.fromarray(picture)])
    assert exact.dtype == torch.uint8
    torch.testing.assert_close(exact[0].float(), expected, rtol=0, atol=0)
    torch.testing.assert_close(TimmTransform(config)(torch.from_numpy(picture).permute(2, 0, 1)[None]), exact)
    if crop_mode == "center":  # what a run's own evaluation does instead
        own = EvalTransform(64, 73, interpolation)([Image.fromarray(picture)])
        difference = (own[0].float() - expected).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02


@pytest.mark.parametrize(
    ("names", "number", "says"),
    [
        (["ant", "bee", "dog"], 3, ["m has no 'cat'", "'ant', 'bee', 'dog'", "recipes/finetune.py"]),
        (["ant", "bee"], 2, ["has no 'cat'"]),
        (["cat", "bee", "ant", "ant"], 4, ["gives several classes one name"]),
        (None, 7, ["has 7 classes without names and the data 3 ('ant', 'bee', 'cat')"]),
    ],
)
def test_classes_that_do_not_match(names: list[str] | None, number: int, says: list[str]) -> None:
    with pytest.raises(UserError, match="Classes that do not match") as caught:
        match_classes("m", names, number, CLASSES)
    assert all(part in caught.value.sentence for part in says) and caught.value.sentence.count(". ") == 0


def test_columns_follow_the_data() -> None:
    match = match_classes("m", ["dog", "cat", "bee", "ant"], 4, CLASSES)
    assert match.columns == [3, 2, 1]
    torch.testing.assert_close(match.select(torch.tensor([[0.0, 1.0, 2.0, 3.0]])), torch.tensor([[3.0, 2.0, 1.0]]))
    assert match_classes("m", CLASSES, 3, CLASSES).columns is match_classes("m", None, 3, CLASSES).columns is None
