from __future__ import annotations

import pytest

from glmc_zoo.data.workers import default_workers


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_pictures_that_are_decoded_need_none(device: str) -> None:
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
