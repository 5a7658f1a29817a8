"""Photographs through the engine: half of the augmentation in the loader, half in the step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from glmc_zoo.data.photo_draws import PhotoDraw, draw_views
from glmc_zoo.engine.loop import step_generator

Train = Callable[..., Any]

OPTIONS = ["--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--warmup-epochs", 0]
# Of the seed of a pair's augmentation, by exclusive or: the numbers of its second image.
SECOND = 0x2545F4914F6CDD1D


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photographs") / "data"


def photographs(lab: Any, folder: Path) -> Path:
    """12 + 8 + 4 training photographs as JPEG, too large to be decoded ahead."""
    if not folder.exists():
        lab.images(folder, size=72)
        for path in folder.rglob("*.png"):
            with Image.open(path) as image:
                image.resize((96, 72)).save(path.with_suffix(".jpg"), quality=95)
            path.unlink()
    return folder


def augmented(image: Image.Image, draw: PhotoDraw, run: Any) -> torch.Tensor:
    """One view as torchvision makes it on float images, normalised."""
    top, left, height, width = draw.box
    pixels = image.crop((left, top, left + width, top + height)).resize((32, 32), Image.Resampling.BICUBIC)
    out = functional.to_dtype(functional.pil_to_tensor(pixels), torch.float32, scale=True)
    for place in draw.order:
        adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)[place]
        out = adjust(out, draw[2 + place])
    out = functional.rgb_to_grayscale(out, 3) if draw.grey else out
    out = functional.gaussian_blur(out, [3, 3], [draw.sigma] * 2) if draw.sigma else out
    out = functional.horizontal_flip(out) if draw.flip else out
    return functional.normalize(out, run.spec.mean, run.spec.std)


def test_a_glmc_step_is_that_of_images_augmented_one_by_one(
    train: Train, lab: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmc_zoo.engine.run import TrainingRun

    start: dict[str, torch.Tensor] = {}
    original = TrainingRun.train_epoch

    def train_epoch(self: TrainingRun) -> dict[str, float]:
        start.update({key: value.clone() for key, value in self.task.state_dict().items()})
        return original(self)

    monkeypatch.setattr(TrainingRun, "train_epoch", train_epoch)
    data = photographs(lab, folder)
    options = ["--data", data, *OPTIONS, "--epochs", 1, "--batch-size", 24, "--lr", 0.1]
    outcome = train(*options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    run = outcome.run
    assert run.data.train.pixels is None  # nothing was decoded ahead
    run.loader.set_epoch(0)
    (pairs,) = list(run.loader.batch_sampler)
    views = []
    for positions, streams in (
        ([pair.first for pair in pairs], [pair.stream for pair in pairs]),
        ([pair.second for pair in pairs], [pair.stream ^ SECOND for pair in pairs]),
    ):
        images = run.data.train.images(positions)
        draws = [draw_views(stream, 2, 72, 96) for stream in streams]
        views.append(
            tuple(
                torch.stack([augmented(image, draw[view], run) for image, draw in zip(images, draws, strict=True)])
                for view in range(2)
            )
        )
    labels = [torch.from_numpy(run.data.train.labels[[pair[part] for pair in pairs]]) for part in range(2)]
    run.task.load_state_dict(start)
    run.task.train()
    mixed = run.task.mix(*views, *labels, step_generator(run.config.seed, 0, 0, 0))
    row = lab.rows(tmp_path / "run")[0]
    for name, value in run.task(mixed).items():
        if name != "output":
            # The crops differ by a rounding here and there.
            assert row[name] == pytest.approx(value.item(), abs=2e-3), name
    unlike = [(pair[0], pair[0]) for pair in views]
    mixed = run.task.mix(*unlike, *labels, step_generator(run.config.seed, 0, 0, 0))
    assert abs(run.task(mixed)["loss"].item() - row["loss"]) > 0.01  # what the views hold does matter


def test_neither_workers_nor_an_interruption_change_a_bit(train: Train, lab: Any, folder: Path, tmp_path: Path) -> None:
    options = ["--data", photographs(lab, folder), *OPTIONS, "--epochs", 2, "--batch-size", 8]
    options += ["--checkpoint-steps", 2, "--keep-checkpoints", 9]
    assert train(*options, "--output-dir", tmp_path / "whole").status == 0
    whole = lab.weights(tmp_path / "whole")

    assert train(*options, "--output-dir", tmp_path / "workers", "--workers", 2).status == 0
    assert lab.same_weights(whole, lab.weights(tmp_path / "workers"))

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    middle = tmp_path / "resumed" / "checkpoints" / "step-000000004"  # of 3 steps an epoch
    outcome = train(*options, "--output-dir", tmp_path / "resumed", "--resume", middle)
    assert outcome.status == 0, outcome.err
    assert "epoch 1, batch 1." in outcome.out
    assert lab.same_weights(whole, lab.weights(tmp_path / "resumed"))
