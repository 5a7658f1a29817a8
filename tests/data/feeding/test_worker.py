"""A process that loads images outlives the signals that stop a run, and ends when its parent ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from glmc_zoo.data.feeding.loaders import batch_loader
from glmc_zoo.data.feeding.worker import STOPS
from tests.support.family import wait_for_end
from tests.support.waiting import PATIENCE

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


def signalled_by_another(workers: list[Any], name: str) -> None:
    """Send a signal from a process that is not their parent, whose signals are another matter."""
    sender = os.fork()
    if sender == 0:
        for worker in workers:
            os.kill(worker.pid, getattr(signal, name))
        os._exit(0)
    os.waitpid(sender, 0)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize("begun", [False, True])
def test_signals_of_others_do_not_end_it(batches: Any, name: str, begun: bool) -> None:
    seen = [int(next(batches)[0]) for _ in range(2)] if begun else []
    signalled_by_another(batches._workers, name)
    seen += [int(batch[0]) for batch in batches]
    assert len(seen) == 10 and set(seen) == {worker.pid for worker in batches._workers}


def test_every_thread_of_it_blocks_the_signals(batches: Any) -> None:
    """One that does not would be given the signal by the kernel, and the process would end at times."""
    seen = {int(next(batches)[0]) for _ in range(2)}
    wanted = sum(1 << (number - 1) for number in STOPS)
    for process in seen:
        for thread in Path(f"/proc/{process}/task").iterdir():
            status = (thread / "status").read_text(encoding="utf-8")
            blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
            assert blocked & wanted == wanted, status
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & STOPS


@pytest.mark.parametrize("signalled", [False, True])
def test_its_parent_ends_it(batches: Any, signalled: bool) -> None:
    """Also when a signal of another is pending: of two SIGTERM at the same time, the kernel keeps the first."""
    next(batches)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises an error for a lost process
    try:
        for worker in batches._workers:
            if signalled:
                signalled_by_another([worker], "SIGTERM")
            worker.terminate()
        for worker in batches._workers:
            worker.join(PATIENCE)
            assert worker.exitcode == 0
            worker.terminate()
    finally:
        signal.signal(signal.SIGCHLD, handler)


SIGNALS_WITH_A_FORK_SERVER = """
import multiprocessing, subprocess
from glmc_zoo.data.feeding.loaders import batch_loader
from tests.data.feeding.test_worker import Numbers

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    other = multiprocessing.Process(target=print)
    other.start()
    other.join()
    batches = iter(batch_loader(Numbers(), range(80), 8, 2))
    seen = [next(batches), next(batches)]
    subprocess.run(["kill", "-TERM", *(str(worker.pid) for worker in batches._workers)], check=True)
    print(len([*seen, *batches]))
"""


def test_signals_do_not_end_the_child_of_a_fork_server_that_ran_already(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SIGNALS_WITH_A_FORK_SERVER, encoding="utf-8")
    outcome = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout.split()) == (0, ["10"]), outcome.stderr


END_OF_A_RUN = """
import multiprocessing, os, signal, subprocess, sys
from glmc_zoo.data.feeding.loaders import batch_loader
from tests.data.feeding.test_worker import Numbers

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    batches = iter(batch_loader(Numbers(), range(80), 8, 2))
    next(batches), next(batches)  # both processes have started
    workers = [str(worker.pid) for worker in batches._workers]
    print(*workers, flush=True)
    keep = [batches]
    keep.append(keep)  # what refers to itself is not deleted before the exit
    if sys.argv[1] == "signals":
        subprocess.run(["kill", "-TERM", *workers], check=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("end", "method"), [("exit", "fork"), ("signals", "fork"), ("killed", "fork"), ("signals", "spawn")]
)
def test_it_ends_with_its_parent(tmp_path: Path, end: str, method: str) -> None:
    script = tmp_path / "run.py"
    script.write_text(END_OF_A_RUN, encoding="utf-8")
    outcome = subprocess.run(
        [sys.executable, str(script), end, method], capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert outcome.returncode == (-signal.SIGKILL if end == "killed" else 0), outcome.stderr
    assert "Traceback" not in outcome.stderr
    workers = [int(word) for word in outcome.stdout.split()]
    assert len(workers) == 2
    wait_for_end(workers)
