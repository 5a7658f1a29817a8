"""Threads, precision and workers that suit the device."""

from __future__ import annotations

import os

import pytest
import torch

from glmc_zoo.machine import hardware
from glmc_zoo.machine.hardware import (
    available_cores,
    best_precision,
    configure_device,
    cpu_threads,
    default_workers,
    loading_workers,
    reserve_worker_cores,
)

CPU = torch.device("cpu")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the number of threads is set to, on a machine of 8 cores without a launcher."""
    monkeypatch.setattr(hardware, "available_cores", lambda: 8)
    monkeypatch.setattr(hardware, "keep_freed_memory", lambda: True)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    numbers: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    return numbers


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (3, {"OMP_NUM_THREADS": "1"}, 3),
        (None, {}, 8),
        (None, {"OMP_NUM_THREADS": "1"}, None),  # the user's own
        (None, {"OMP_NUM_THREADS": "4", "ACCELERATE_MIXED_PRECISION": "no"}, None),
        (None, {"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}, 8),  # accelerate launch sets it
        (None, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}, 4),  # torchrun
        (None, {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "16"}, 1),
    ],
)
def test_threads(asked: int | None, environment: dict[str, str], expected: int | None) -> None:
    assert cpu_threads(asked, environment, cores=8) == expected


def test_threads_are_set_once_for_the_device(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    configure_device(CPU, None)
    configure_device(CPU, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    configure_device(CPU, None)  # the user's own
    assert threads == [8, 3]


@pytest.mark.parametrize(("asked", "workers", "expected"), [(None, 0, []), (None, 3, [5]), (None, 9, [1]), (6, 3, [])])
def test_workers_are_left_cores(threads: list[int], asked: int | None, workers: int, expected: list[int]) -> None:
    reserve_worker_cores(workers, CPU, asked)
    reserve_worker_cores(workers, torch.device("cuda"), asked)
    assert threads == expected


def test_cores_are_some_of_the_machine() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("on_cpu", ["true", "1", "yes"])
def test_the_best_precision_is_what_the_processor_multiplies(on_cpu: str) -> None:
    with open("/proc/cpuinfo", encoding="ascii") as file:
        flags = next(line for line in file if line.startswith(("flags", "Features"))).split()
    in_hardware = bool({"avx512_bf16", "amx_bf16"} & set(flags))
    assert best_precision({"ACCELERATE_USE_CPU": on_cpu}) == ("bf16" if in_hardware else "no")


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_decoded_images_need_no_workers(device: str) -> None:
    assert default_workers(True, device, cores=16, processes=1) == 0


@pytest.mark.parametrize(
    ("device", "cores", "processes", "expected"),
    [
        ("cuda", 8, 1, 7),
        ("mps", 8, 1, 7),
        ("cuda", 96, 8, 11),
        ("cuda", 64, 1, 16),
        ("cuda", 9, 2, 3),
        ("cuda", 1, 1, 1),
        ("cuda", 4, 8, 1),
        ("cpu", 2, 1, 0),
        ("cpu", 4, 1, 1),
        ("cpu", 32, 1, 8),
        ("cpu", 128, 1, 16),
        ("cpu", 16, 2, 2),
        ("cpu", 2, 2, 0),
        ("cpu", 1, 1, 0),
    ],
)
def test_files_are_decoded_beside_the_step(device: str, cores: int, processes: int, expected: int) -> None:
    assert default_workers(False, device, cores, processes) == expected


def test_workers_are_those_asked_for_or_those_of_the_machine(
    threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [loading_workers(asked, False, CPU) for asked in (None, 0, 5)] == [2, 0, 5]
    assert loading_workers(None, True, CPU) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loading_workers(None, False, CPU) == 1
