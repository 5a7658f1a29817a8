"""Each operation of timm's policies on a batch, against timm's own on PIL images."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_policies

from glmc_zoo.data.feeding.operations import apply_operation, blend, has_step, make_step

FILL = (124, 116, 104)
MOVING = ("shear_x", "shear_y", "translate_x_rel", "translate_y_rel", "translate_x_abs", "translate_y_abs", "rotate")
VALUES: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("auto_contrast", "equalize", "invert"), (0.0,)),
    **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), (0.1, 0.73, 1.0, 1.9)),
    "solarize": (0, 100, 256),
    "solarize_add": (0, 60, 110),
    "posterize": (1, 4, 8),
    "desaturate": (0.5, 0.9, 1.0),
    "gaussian_blur": (0.1, 0.5, 1.0, 1.4, 2.0),
    **dict.fromkeys(("shear_x", "shear_y"), (0.3, 0.0, -0.17)),
    **dict.fromkeys(("translate_x_rel", "translate_y_rel"), (0.2, -0.33)),
    **dict.fromkeys(("translate_x_abs", "translate_y_abs"), (5.0, -3.5)),
    "rotate": (13.7, -30.0, 0.0),
}


@cache
def images(side: int) -> list[Image.Image]:
    """Crops of the two images that scikit-learn brings, one of few values, and a flat one."""
    samples = pytest.importorskip("sklearn.datasets").load_sample_images().images
    sources = [Image.fromarray(pixels) for pixels in samples]
    boxes = [(x, y, x + 240, y + 240) for x, y in ((0, 0), (200, 100), (380, 180))]
    crops = [source.crop(box).resize((side, side), Image.Resampling.BICUBIC) for source in sources for box in boxes]
    dull = Image.fromarray((np.asarray(crops[0]) // 8 + 90).astype(np.uint8))
    return [*crops, dull, Image.new("RGB", (side, side), (10, 200, 77))]


def as_batch(batch: list[Image.Image]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in batch])


def both(function: str, value: float, side: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """The batch by this package and image by image by timm, as whole numbers."""
    step = make_step(function, value, side)
    arguments = torch.tensor([step.arguments] * len(images(side)))
    fill = torch.tensor(FILL, dtype=torch.float32).view(1, 3, 1, 1)
    ours = apply_operation(as_batch(images(side)).contiguous(), step.operation, arguments, fill, interpolation)
    assert ours.dtype == torch.uint8
    given: tuple[Any, ...] = () if function in ("auto_contrast", "equalize", "invert") else (value,)
    how: dict[str, Any] = {"fillcolor": FILL, "resample": Image.Resampling[interpolation.upper()]}
    theirs = [getattr(timm_policies, function)(image, *given, **how) for image in images(side)]
    return ours.numpy().astype(int), as_batch(theirs).numpy().astype(int)


@pytest.mark.parametrize("side", [32, 75])
@pytest.mark.parametrize("function", sorted(VALUES.keys() - set(MOVING)))
def test_values_are_those_of_timm(function: str, side: int) -> None:
    most = {"auto_contrast": 1, "gaussian_blur": 3}.get(function, 0)
    for value in VALUES[function]:
        ours, theirs = both(function, value, side, "bilinear")
        assert np.abs(ours - theirs).max() <= most


@pytest.mark.parametrize("function", MOVING)
@pytest.mark.parametrize(("interpolation", "most", "mean"), [("bilinear", 1, 0.05), ("bicubic", 20, 0.8)])
def test_pixels_move_as_with_timm(function: str, interpolation: str, most: int, mean: float) -> None:
    # The two cubics differ by up to 13 at sharp edges; a shift by half a pixel would differ by more than 3 on average.
    for side in (32, 75):
        for value in VALUES[function]:
            ours, theirs = both(function, value, side, interpolation)
            apart = np.abs(ours - theirs)
            assert apart.max() <= most and apart.mean() <= mean
            outside = (theirs[-1] == np.array(FILL)[:, None, None]).all(0)
            assert ((ours[-1] == np.array(FILL)[:, None, None]).all(0) == outside).all()
            assert outside.any() == (value != 0)


@pytest.mark.parametrize("function", MOVING)
def test_nearest_pixels_are_timms_but_for_a_few_ties(function: str) -> None:
    for value in VALUES[function]:
        ours, theirs = both(function, float(int(value)) if "abs" in function else value, 75, "nearest")
        assert (ours != theirs).mean() < 5e-3


def test_posterize_to_no_bits_is_black() -> None:  # newer versions of Pillow refuse it, older ones gave this
    batch = as_batch(images(32))
    done = apply_operation(batch, "posterize", torch.zeros(len(batch), 6), torch.zeros(1, 3, 1, 1), "bilinear")
    assert not done.any()


def test_images_of_a_batch_have_their_own_arguments() -> None:
    batch, fill = as_batch(images(32)), torch.zeros(1, 3, 1, 1)
    for function, values in VALUES.items():
        steps = [make_step(function, value, 32) for value in values]
        arguments = torch.tensor([steps[row % len(steps)].arguments for row in range(len(batch))])
        before = batch.clone()
        together = apply_operation(batch, steps[0].operation, arguments, fill, "bicubic")
        alone = [
            apply_operation(batch[row : row + 1], steps[0].operation, arguments[row : row + 1], fill, "bicubic")
            for row in range(len(batch))
        ]
        assert torch.equal(together, torch.cat(alone))
        assert torch.equal(batch, before)


def test_every_operation_of_timm_is_known() -> None:
    functions = {function.__name__ for function in timm_policies.NAME_TO_OP.values()} - {"gaussian_blur_rand"}
    assert functions == VALUES.keys()
    assert all(has_step(function) for function in functions) and not has_step("pixelate")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.77, 1.0, 1.9])
def test_blend_is_pillows(share: float) -> None:
    first, second = images(32)[:2]
    expected = as_batch([Image.blend(first, second, share)])
    found = blend(as_batch([first]), as_batch([second]), torch.full((1, 1, 1, 1), share))
    assert torch.equal(found, expected)
