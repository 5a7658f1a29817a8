"""Work that one process does for all, and errors that all must see; two real processes are in tests/training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from accelerate import Accelerator

from glmc_zoo.errors import UserError
from glmc_zoo.machine import processes
from glmc_zoo.machine.processes import local_batches, local_processes, main_process_first, on_main_process, worker_error


class Process:
    """One of several processes: the main one, or another, which the main one sends ``answer``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, main: bool, answer: Any = None) -> None:
        self.is_main_process = main
        self.sent: list[Any] = []

        def broadcast(values: list[Any]) -> None:
            if main:
                self.sent.append(list(values))
            else:
                values[:] = answer

        monkeypatch.setattr(processes, "broadcast_object_list", broadcast)


def fail() -> None:
    raise UserError("data='x' is missing")


def test_one_process_alone() -> None:
    accelerator = Accelerator(cpu=True)
    assert on_main_process(accelerator, lambda: 3) == main_process_first(accelerator, lambda: 3) == 3
    for function in (on_main_process, main_process_first):
        with pytest.raises(UserError, match=r"^data='x' is missing$"):
            function(accelerator, fail)


def test_the_main_process_works_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    main: Any = Process(monkeypatch, main=True)
    assert on_main_process(main, lambda: 3) == 3
    with pytest.raises(UserError):
        on_main_process(main, fail)
    assert main.sent == [[3, None], [None, "data='x' is missing"]]


def test_another_process_takes_what_the_main_one_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    other: Any = Process(monkeypatch, main=False, answer=[5, None])
    assert on_main_process(other, lambda: calls.append(1)) == 5 and not calls
    main_process_first(other, lambda: calls.append(1))  # its own work, after the main one's
    assert calls == [1]
    other = Process(monkeypatch, main=False, answer=[None, "data='x' is missing"])
    for function in (on_main_process, main_process_first):
        with pytest.raises(UserError, match=r"^data='x' is missing$"):
            function(other, lambda: calls.append(1))
    assert calls == [1]  # the main one failed: nothing to do


@pytest.mark.parametrize("main", [True, False])
def test_an_image_that_only_one_process_meets_is_reported_by_it(monkeypatch: pytest.MonkeyPatch, main: bool) -> None:
    def loader() -> Iterator[int]:
        yield 1
        raise UserError("Image 3 is broken")

    process: Any = Process(monkeypatch, main=main)
    batches = local_batches(loader(), process)
    assert next(batches) == 1
    with pytest.raises(UserError) as caught:
        next(batches)
    assert caught.value.in_one_process is not main


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that",
            "killed by signal: Bus error",
        ),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "exited unexpectedly"),
        (
            "DataLoader worker (pid 5) exited unexpectedly with exit code 1. Details",
            "exited unexpectedly with exit code 1",
        ),
        ("Caught RuntimeError in DataLoader worker process 0.", None),
        ("CUDA out of memory.", None),
    ],
)
def test_a_process_that_loads_images_and_dies(monkeypatch: pytest.MonkeyPatch, text: str, reason: str | None) -> None:
    def loader() -> Iterator[int]:
        yield 1
        raise RuntimeError(text)

    lost = worker_error(RuntimeError(text))
    assert (lost is None) == (reason is None)
    batches = local_batches(loader(), Process(monkeypatch, main=False))  # type: ignore[arg-type]
    assert next(batches) == 1
    with pytest.raises(RuntimeError if reason is None else UserError) as caught:
        next(batches)
    if isinstance(caught.value, UserError):
        assert caught.value.in_one_process and f"died ({reason}), most often" in str(caught.value)


def test_processes_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert local_processes() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert local_processes() == 4
