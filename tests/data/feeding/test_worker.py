"""A process that loads images outlives the signals that stop a run, and ends when its parent ends it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from glmc_zoo.data.feeding.loaders import batch_loader

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="signals tell their sender on Linux alone"),
]


class Numbers(torch.utils.data.Dataset[Any]):
    """A batch of 8 process numbers for every list of positions."""

    def __getitems__(self, positions: list[int]) -> torch.Tensor:
        return torch.full((len(positions),), os.getpid())

    def __len__(self) -> int:
        return 80


@pytest.fixture
def batches() -> Iterator[Iterator[torch.Tensor]]:
    loader = batch_loader(Numbers(), range(80), 8, 2)
    iterator = iter(loader)
    yield iterator
    iterator._shutdown_workers()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_signals_of_others_do_not_end_it(batches: Any, name: str) -> None:
    begun = {int(next(batches)[0]) for _ in range(2)}  # one of each: a process that only starts would end
    sender = os.fork()  # signals of the parent are another matter
    if sender == 0:
        for worker in batches._workers:
            os.kill(worker.pid, getattr(signal, name))
        os._exit(0)
    os.waitpid(sender, 0)
    seen = [int(batch[0]) for batch in batches]
    assert len(seen) == 8 and set(seen) == {worker.pid for worker in batches._workers} == begun


def test_its_parent_ends_it(batches: Any) -> None:
    next(batches)
    worker = batches._workers[0]
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises an error for a lost process
    try:
        worker.terminate()
        worker.join(20)
        assert worker.exitcode == 0
    finally:
        signal.signal(signal.SIGCHLD, handler)
