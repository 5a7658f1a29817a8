"""Work that the main process does for all, errors shared by all processes, and errors of single loaders."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

_T = TypeVar("_T")


def on_main_process(accelerator: Accelerator, function: Callable[[], _T]) -> _T:
    """Run ``function()`` in the main process and return its result in all. A `UserError` is raised in all, too."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise UserError(outcome[1])
    result: _T = outcome[0]
    return result


def main_process_first(accelerator: Accelerator, function: Callable[[], _T]) -> _T:
    """Run ``function()`` in all processes, first in the main one. A `UserError` of the main one is raised in all.

    With Accelerate's context manager of this name, the other processes would wait forever if the main one failed.
    """
    results: list[_T] = []
    on_main_process(accelerator, lambda: results.append(function()))
    return results[0] if results else function()


def local_batches(loader: Iterable[_T], accelerator: Accelerator) -> Iterator[_T]:
    """Yield the batches of this process, and mark its errors as those of one process.

    No other process sees an image that cannot be read here, or a loader worker that died. This process must therefore
    report the error itself.

    Raises:
        UserError: An image cannot be read, or a loader worker died or gave no batch in time.
    """
    try:
        yield from loader
    except UserError as error:
        error.in_one_process = not accelerator.is_main_process
        raise
    except RuntimeError as error:
        if (worker_failure := worker_error(error)) is None:
            raise
        worker_failure.in_one_process = not accelerator.is_main_process
        raise worker_failure from error


def worker_error(error: RuntimeError) -> UserError | None:
    """Return a clear error if ``error`` reports a loader worker that died or gave no batch in time; else ``None``.

    torch raises the error of a dead worker wherever the main process is, not only where it waits for a batch.
    """
    if timeout := re.match(r"DataLoader timed out after (\d+) seconds", str(error)):
        return UserError(
            f"The processes that load images gave no batch for {counted(int(timeout[1]), 'second')}: copy the images "
            "to a faster disk, "
            "or see what they wait for with workers=0 (in commands that have it)."
        )
    match = re.match(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is )?([^.]+)", str(error))
    if match is None:
        return None
    return UserError(
        f"A process that loads images died ({match[1].strip()}), most often because memory ran out: free memory or "
        "shared memory (--shm-size in Docker), or give workers=0 or a smaller batch_size= in commands that have them."
    )


def local_processes() -> int:
    """Return the number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
