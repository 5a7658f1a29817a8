from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from glmc_zoo.data import ImageSplit, build_transforms
from glmc_zoo.data.images import ArrayImages
from glmc_zoo.data.loaders import PairedBatch
from glmc_zoo.engine import hardware
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.hardware import Transfer, best_precision, cpu_threads, own_cores, place_images, resident_device
from glmc_zoo.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (3, {"OMP_NUM_THREADS": "1"}, 3),
        (None, {}, 8),
        (None, {"OMP_NUM_THREADS": "1"}, None),  # the user's own
        (None, {"OMP_NUM_THREADS": "4", "ACCELERATE_MIXED_PRECISION": "no"}, None),
        (None, {"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, 8),  # accelerate launch, nothing said
        (None, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}, 4),  # torchrun
        (None, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "16"}, 1),
    ],
)
def test_threads(asked: int | None, environment: dict[str, str], expected: int | None) -> None:
    assert cpu_threads(asked, environment, cores=8) == expected


@pytest.mark.parametrize(("asked", "workers", "expected"), [(None, 0, 8), (None, 3, 5), (None, 9, 1), (6, 3, 6)])
def test_workers_are_left_cores(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, workers: int, expected: int
) -> None:
    monkeypatch.setattr(hardware, "own_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    before = torch.get_num_threads()
    config = TrainConfig(image_size=16, augment="shift", threads=asked, workers=workers)
    try:
        torch.set_num_threads(asked or 8)
        place = place_images(config, split_of(), build_transforms("shift", 16)[0], Accelerator(cpu=True))
        assert torch.get_num_threads() == expected
        assert place == (CPU, workers)
    finally:
        torch.set_num_threads(before)


def test_cores_are_some_of_the_machine() -> None:
    import os

    assert 1 <= own_cores() <= (os.cpu_count() or 1)


def test_the_best_precision_is_what_the_processor_multiplies() -> None:
    with open("/proc/cpuinfo", encoding="ascii") as file:
        flags = next(line for line in file if line.startswith(("flags", "Features"))).split()
    in_hardware = bool({"avx512_bf16", "amx_bf16"} & set(flags))
    assert best_precision({"ACCELERATE_USE_CPU": "true"}) == ("bf16" if in_hardware else "no")


def test_a_batch_stays_what_it_is() -> None:
    view = (torch.zeros(2, 3, 4, 4, dtype=torch.uint8),) * 2
    batch = PairedBatch(view, torch.tensor([0, 1]), None, None)
    moved: Any = Transfer(CPU)(batch)
    assert isinstance(moved, PairedBatch) and moved.second is None
    assert moved.first[0].data_ptr() == view[0].data_ptr()
    meta: Any = Transfer(torch.device("meta"))(batch)
    assert meta.first[1].device.type == meta.first_targets.device.type == "meta"


def split_of(side: int = 16) -> ImageSplit:
    pixels = np.zeros((40, side, side, 3), dtype=np.uint8)
    return ImageSplit(ArrayImages(pixels, "training"), np.arange(40), np.arange(40) % 5)


def placed(augment: str = "shift", size: int = 16, **options: Any) -> torch.device | None:
    config = TrainConfig(image_size=size, augment=augment, **options)  # type: ignore[arg-type]
    return resident_device(config, split_of(), build_transforms(augment, size)[0], CPU)


def test_small_sets_stay_on_the_device_unless_told_otherwise() -> None:
    assert placed() == placed(resident=True) == CPU
    assert placed(resident=False) is None
    assert placed(augment="large", size=32) is None
    assert placed(size=96) is None  # enlarged: only when asked
    assert placed(size=96, resident=True) == CPU


def test_a_share_of_the_free_memory_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 40 * 20 * 20 * 3
    monkeypatch.setattr(hardware, "free_memory", lambda device: 4 * needed)
    assert placed() == CPU
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two processes keep a copy each
    assert placed() is None and placed(resident=True) == CPU
    monkeypatch.setattr(hardware, "free_memory", lambda device: needed)
    with pytest.raises(UserError, match=r"--resident needs 0 MiB .* are free on cpu: leave it out"):
        placed(resident=True)


def test_asking_for_the_impossible() -> None:
    with pytest.raises(UserError, match=r"--resident keeps decoded pictures .* \(large\) .*: leave it out"):
        placed(augment="large", size=32, resident=True)
