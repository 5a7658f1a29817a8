"""Output of a command while it works: lines, notes and progress bars, by the chosen verbosity."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TextIO

from glmc_zoo.errors import UserError
from glmc_zoo.text import counted, printable_lines

if TYPE_CHECKING:
    from tqdm import tqdm

PIPE_STATUS = 141
"""Exit status of a command whose reader has ended: 128 and the number of SIGPIPE, as shells report it."""
_DELAY = 0.5  # seconds before a bar is shown: that of shorter work would only flicker
_LINE_SECONDS = 60.0  # between lines of progress where no bar is shown


class Verbosity(IntEnum):
    """How much is shown."""

    QUIET = 0
    """Results, warnings and errors."""
    NORMAL = 1
    """Also what is about to be done, notes, a line an epoch, and progress bars on a terminal."""
    VERBOSE = 2
    """Also versions, and the traceback of an error."""


_verbosity = Verbosity.NORMAL


def set_verbosity(level: Literal["quiet", "normal", "verbose"]) -> None:
    """Decide how much this process shows from now on.

    - ``quiet``: results, warnings and errors.
    - ``normal``: also what is about to be done, notes, a line an epoch, and progress bars on a terminal.
    - ``verbose``: also the versions of the packages, and the whole traceback of an error.

    >>> import glmc_zoo
    >>> glmc_zoo.set_verbosity("quiet")
    >>> glmc_zoo.set_verbosity("normal")

    Raises:
        UserError: The level is unknown.
    """
    global _verbosity
    levels = {member.name.lower(): member for member in Verbosity}
    if level not in levels:
        raise UserError(f"level={level!r} is unknown: give one of {', '.join(levels)}.")
    _verbosity = levels[level]


def verbosity() -> Verbosity:
    """How much this process shows."""
    return _verbosity


def say(text: str, *, main_process: bool = True) -> None:
    """Print lines that tell how the work goes, above the progress bars; nothing where ``quiet`` was asked for.

    Args:
        text: Control characters in it, which could command a terminal, are escaped.
        main_process: Whether this process prints; one process of each machine does.
    """
    if not main_process or _verbosity is Verbosity.QUIET:
        return
    text = printable_lines(text)
    if "tqdm" not in sys.modules:
        print(text)
        return
    from tqdm.auto import tqdm

    tqdm.write(text, file=sys.stdout)


def complain(text: str) -> None:
    """Print a warning or an error on standard error, above the progress bars; in colour on a terminal."""
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        text = f"\x1b[31m{text}\x1b[0m"
    if "tqdm" not in sys.modules:
        print(text, file=sys.stderr)
        return
    from tqdm.auto import tqdm

    tqdm.write(text, file=sys.stderr)


class ReaderGone(Exception):
    """The program that reads our output has ended."""


@contextmanager
def end_with_reader() -> Iterator[None]:
    """End the block without a message when the reader of standard output or error has ended, as in ``| head``.

    Python turns SIGPIPE into a `BrokenPipeError`, in the middle of the work or only as the interpreter ends. Both
    streams are flushed here, and what could not be written is dropped. Source: "Note on SIGPIPE" in the documentation
    of Python's module ``signal``.

    Raises:
        ReaderGone: The reader has ended. Another exception of the block is raised as it is, so that none gets lost.
    """
    try:
        yield
        for stream in _open_streams():
            stream.flush()
    except BrokenPipeError as error:
        if not _drop_unread_output():  # another pipe or a connection
            raise
        raise ReaderGone from error
    except BaseException:
        _drop_unread_output()
        raise


def _drop_unread_output() -> bool:
    """Send the output that has no reader to nowhere; returns whether there is such output."""
    broken = [stream for stream in _open_streams() if _has_no_reader(stream)]
    for stream in broken:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), stream.fileno())
    return bool(broken)


def _open_streams() -> list[TextIO]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None and not stream.closed]


def _has_no_reader(stream: TextIO) -> bool:
    try:
        stream.flush()
    except BrokenPipeError:
        return True
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # a stream without a file, such as that of a notebook
        return False
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()  # an unbuffered stream holds nothing that could be flushed again
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def progress_bar(
    *,
    total: float | None,
    desc: str,
    initial: int = 0,
    unit: str = "it",
    main_process: bool = True,
    smoothing: float = 0.3,
) -> tqdm[Any]:
    """A progress bar on standard error with the time left; nothing where no terminal would show it.

    Args:
        total: Units of the whole work; ``None`` where it is not known.
        desc: What is being done.
        initial: Units that were done before.
        unit: What the speed counts.
        main_process: Whether this process is the one that shows it.
        smoothing: From 0, the mean speed since the beginning, to 1, the speed of this moment.
    """
    from tqdm.auto import tqdm

    hidden = not main_process or _verbosity is Verbosity.QUIET
    # ``disable=None``: hidden unless standard error is a terminal.
    return tqdm(
        total=total, initial=initial, desc=desc, unit=unit, smoothing=smoothing, delay=_DELAY, leave=False,
        disable=True if hidden else None, **_bar_size(),
    )  # fmt: skip


def _bar_size() -> dict[str, Any]:
    """The size of a bar, as keywords of tqdm: that of the terminal at any time, else a usual one."""
    try:
        known = min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError):  # not a terminal
        known = True
    if known:
        return {"dynamic_ncols": True}
    # A terminal of a container or of `script` may give its size as 0 x 0, with which tqdm draws nothing.
    columns, rows = shutil.get_terminal_size()
    return {"ncols": columns, "nrows": rows}


@contextmanager
def show_progress(
    *, total: int, desc: str, initial: int = 0, main_process: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show the progress of long work on images: a bar on a terminal; in a log or a notebook, a line each minute.

    Args:
        total: Images of the whole work.
        desc: What is being done.
        initial: Images that were done before.
        main_process: Whether this process is the one that shows it.

    Yields:
        A function that counts further images as done; those above the total are left out.
    """
    bar = progress_bar(total=total, desc=desc, initial=initial, unit="image", main_process=main_process)
    done, start = initial, time.monotonic()
    next_line = start + _LINE_SECONDS

    def update(images: int) -> None:
        nonlocal done, next_line
        images, now = min(images, total - done), time.monotonic()
        done += images
        bar.update(images)
        if bar.disable and now >= next_line:
            seconds = (now - start) * (total - done) / max(done - initial, 1)
            left = f"about {round(seconds / 60)} min" if seconds > 90 else f"about {round(seconds)} s"
            say(f"{desc}: {done:,} of {counted(total, 'image')}, {left} left", main_process=main_process)
            next_line = now + _LINE_SECONDS

    with bar:
        yield update
