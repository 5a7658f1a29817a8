"""Large images in a run: half of the augmentation in the loader, half in the step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from glmc_zoo.data.feeding.augmentation import AugmentationParams, sample_params
from glmc_zoo.data.feeding.samplers import SECOND_IMAGE
from glmc_zoo.training.loop import step_generator

Train = Callable[..., Any]

OPTIONS = ["--backbone", "test_vit", "--image-size", 32, "--augment", "large", "--warmup-epochs", 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images") / "data"


def large_images(lab: Any, folder: Path) -> Path:
    """12 + 8 + 4 training images as JPEG, too large to be decoded ahead."""
    if not folder.exists():
        lab.images(folder, size=72)
        for path in folder.rglob("*.png"):
            with Image.open(path) as image:
                image.resize((96, 72)).save(path.with_suffix(".jpg"), quality=95)
            path.unlink()
    return folder


def augmented(image: Image.Image, params: AugmentationParams, run: Any) -> torch.Tensor:
    """One view as torchvision makes it on float images, normalised."""
    top, left, height, width = params.box
    pixels = image.crop((left, top, left + width, top + height)).resize((32, 32), Image.Resampling.BICUBIC)
    out = functional.to_dtype(functional.pil_to_tensor(pixels), torch.float32, scale=True)
    operations = (
        (functional.adjust_brightness, params.brightness),
        (functional.adjust_contrast, params.contrast),
        (functional.adjust_saturation, params.saturation),
    )
    for number in params.order:
        adjust, factor = operations[number]
        out = adjust(out, factor)
    out = functional.rgb_to_grayscale(out, 3) if params.grey else out
    out = functional.gaussian_blur(out, [3, 3], [params.sigma] * 2) if params.sigma else out
    out = functional.horizontal_flip(out) if params.flip else out
    return functional.normalize(out, run.spec.mean, run.spec.std)


def test_a_glmc_step_is_that_of_images_augmented_one_by_one(
    train: Train, lab: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmc_zoo.training.run import TrainingRun

    start: dict[str, torch.Tensor] = {}
    original = TrainingRun.train_epoch

    def train_epoch(self: TrainingRun) -> dict[str, float]:
        start.update({key: value.clone() for key, value in self.task.state_dict().items()})
        return original(self)

    monkeypatch.setattr(TrainingRun, "train_epoch", train_epoch)
    data = large_images(lab, folder)
    options = ["--data", data, *OPTIONS, "--epochs", 1, "--batch-size", 24, "--lr", 0.1, "--views", "mixup_cutmix"]
    outcome = train(*options, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    run = outcome.run
    assert run.data.train.pixels is None  # nothing was decoded ahead
    run.loader.set_epoch(0)
    (pairs,) = list(run.loader.batch_sampler)
    views = []
    for positions, seeds in (
        ([pair.first for pair in pairs], [pair.sample_seed for pair in pairs]),
        ([pair.second for pair in pairs], [pair.sample_seed ^ SECOND_IMAGE for pair in pairs]),
    ):
        images = run.data.train.images(positions)
        chosen = [sample_params(seed, 2, 72, 96) for seed in seeds]
        views.append(
            tuple(
                torch.stack([augmented(image, params[view], run) for image, params in zip(images, chosen, strict=True)])
                for view in range(2)
            )
        )
    labels = [torch.from_numpy(run.data.train.labels[[pair[index] for pair in pairs]]) for index in range(2)]
    run.task.load_state_dict(start)
    run.task.train()
    mixed = run.task.mix(*views, *labels, step_generator(run.options.schedule.seed, 0, 0, 0))
    row = lab.rows(tmp_path / "run")[0]
    for name, value in run.task(mixed).items():
        if name != "output":
            # The crops differ by a rounding here and there.
            assert row[name] == pytest.approx(value.item(), abs=2e-3), name
    unlike = [(pair[0], pair[0]) for pair in views]
    mixed = run.task.mix(*unlike, *labels, step_generator(run.options.schedule.seed, 0, 0, 0))
    assert abs(run.task(mixed)["loss"].item() - row["loss"]) > 0.01  # the views do matter


@pytest.mark.processes
def test_neither_workers_nor_an_interruption_change_a_bit(train: Train, lab: Any, folder: Path, tmp_path: Path) -> None:
    options = ["--data", large_images(lab, folder), *OPTIONS, "--epochs", 2, "--batch-size", 8]
    options += ["--checkpoint-steps", 2, "--keep-checkpoints", 9]
    assert train(*options, "--output-dir", tmp_path / "whole").status == 0
    whole = lab.weights(tmp_path / "whole")

    assert train(*options, "--output-dir", tmp_path / "workers", "--workers", 2).status == 0
    assert lab.same_weights(whole, lab.weights(tmp_path / "workers"))

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    middle = tmp_path / "resumed" / "checkpoints" / "step-000000004"  # of 3 steps an epoch
    outcome = train(*options, "--output-dir", tmp_path / "resumed", "--resume", middle)
    assert outcome.status == 0, outcome.err
    assert "epoch 2, batch 2 is next." in outcome.out
    assert lab.same_weights(whole, lab.weights(tmp_path / "resumed"))
