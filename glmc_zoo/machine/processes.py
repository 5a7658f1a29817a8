"""Work that one process does for all, errors that all must see, and batches that each has to itself."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from glmc_zoo.errors import UserError

_T = TypeVar("_T")


def on_main_process(accelerator: Accelerator, function: Callable[[], _T]) -> _T:
    """Result of ``function()`` run by the main process alone, given to all; a `UserError` is raised in all."""
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = function()
        except UserError as error:
            answer[1] = str(error)
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise UserError(answer[1])
    result: _T = answer[0]
    return result


def main_process_first(accelerator: Accelerator, function: Callable[[], _T]) -> _T:
    """Result of ``function()``, run by all processes, the main one first; its `UserError` is raised in all.

    With Accelerate's context manager of this name the others would wait for ever for a main process that failed.
    """
    results: list[_T] = []
    on_main_process(accelerator, lambda: results.append(function()))
    return results[0] if results else function()


def own_share(loader: Iterable[_T], accelerator: Accelerator) -> Iterator[_T]:
    """The batches of this process; an image that cannot be read is reported here, for no other process meets it.

    So is the death of a process that loads images.
    """
    try:
        yield from loader
    except UserError as error:
        error.in_one_process = not accelerator.is_main_process
        raise
    except RuntimeError as error:
        if (lost := lost_worker(error)) is None:
            raise
        lost.in_one_process = not accelerator.is_main_process
        raise lost from error


def lost_worker(error: RuntimeError) -> UserError | None:
    """What to tell the user if ``error`` says that a process that loads images died; else ``None``.

    torch raises it in whatever the main process does at that moment, not only where it waits for a batch. So is one
    that gave no batch within the time-out of the loader.
    """
    if waited := re.match(r"DataLoader timed out after (\d+) seconds", str(error)):
        return UserError(
            f"The processes that load images gave no batch for {waited[1]} seconds: give workers=0 to see what they "
            "wait for, or copy the images to a faster disk."
        )
    match = re.match(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is )?([^.]+)", str(error))
    if match is None:
        return None
    return UserError(
        f"A process that loads images died ({match[1].strip()}), most often because memory ran out: give a smaller "
        "batch_size=, workers=0 to load the images in the main process, or more shared memory (--shm-size in Docker)."
    )


def local_processes() -> int:
    """Processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
