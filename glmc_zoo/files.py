"""Files and folders that are whole or absent, and tables of text."""

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from glmc_zoo.errors import UserError
from glmc_zoo.text import printable, quoted_formula

LOCK_FILE, HOLDER_FILE = ".lock", ".holder.json"
"""Files in a folder that a process has locked; see `glmc_zoo.machine.lock`."""
_WIDE = 0.02


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; a path that does not exist is ignored.

    A link is removed, and its target stays. A pipe is not opened, since opening one can wait for ever.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """The temporary name of ``path`` while it is written; a file that a killed process left under it is removed.

    Removing it also keeps us from writing through a link that somebody else put there.
    """
    partial = path.with_name(f".writing-{path.name}")
    remove(partial)
    return partial


def replace_file(path: Path, write: Callable[[TextIO], Any], *, errors: str = "strict") -> None:
    """Write a text file so that ``path`` holds the old text or the new one, never half of it.

    ``errors`` is that of `open`, for text that UTF-8 cannot hold.
    """
    partial = partial_name(path)
    try:
        with partial.open("x", newline="", encoding="utf-8", errors=errors) as file:
            write(file)
        partial.replace(path)
    except OSError:  # a full disk must not keep half a file
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    replace_file(path, lambda file: file.write(json.dumps(value, indent=2) + "\n"))


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, quote_formulas: bool = False
) -> None:
    """Write a CSV file with a header, whole or not at all; see `csv_text`."""
    replace_file(path, lambda file: file.write(csv_text([columns, *rows], quote_formulas=quote_formulas)))


def csv_text(rows: Iterable[Sequence[Any]], *, quote_formulas: bool = False) -> str:
    r"""Rows as CSV, a newline after each.

    A cell with a line break of any kind is quoted. What UTF-8 cannot hold, a lone surrogate, becomes ``\udce9``. With
    ``quote_formulas`` no spreadsheet takes a cell of text for a formula; see `quoted_formula`.
    """
    lines = []
    for row in rows:
        if quote_formulas:
            row = [quoted_formula(cell) if isinstance(cell, str) else cell for cell in row]
        line = io.StringIO()
        # With a line end of "\n", the writer would leave a cell with "\r" unquoted, and no reader could read it.
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode("utf-8", "backslashreplace").decode()


def fresh_folder(base: Path) -> Path:
    """``base``, or ``base-2``, ``base-3``, ...: the first that does not exist."""
    candidates = (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 10_000)))
    return next(path for path in candidates if not path.exists())


def claim_folder(folder: Path, advice: str) -> None:
    """Make a folder for results; one that holds files already is refused with the ``advice``."""
    check_folder(folder, advice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir={str(folder)!r} cannot be written: {error.strerror or error}.") from error


def check_folder(folder: Path, advice: str, *, option: str = "output_dir") -> None:
    """Refuse a folder that `claim_folder` would refuse, without creating it. Messages name the ``option``.

    A path that is not UTF-8 is refused, since the library that writes the weights cannot use it.
    """
    try:
        os.fspath(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{option}={str(folder)!r} is not UTF-8: give a folder with a path in UTF-8.") from error
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        names = {path.name for path in existing.iterdir()} if existing == folder else set()
    except OSError as error:
        raise UserError(f"{option}={str(folder)!r} cannot be written: {error.strerror or error}.") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "Permission denied" if existing.is_dir() else "Not a directory"
        raise UserError(f"{option}={str(folder)!r} cannot be written: {reason}.")
    if other_names := sorted(names - {LOCK_FILE, HOLDER_FILE}):
        listed = ", ".join(other_names[:3]) + (", ..." if other_names[3:] else "")
        raise UserError(f"{option}={str(folder)!r} already holds files ({listed}); {advice}.")


def percent(score: float | None, interval: Sequence[float] | None = None) -> str:
    """A fraction as percent with one decimal, such as ``91.2 [88.9, 93.1]``; a dash where there is none.

    Its ``interval`` follows where `is_wide` says so.
    """
    text = "-" if score is None else f"{100 * score:.1f}"
    return f"{text} [{percent(interval[0])}, {percent(interval[1])}]" if interval and is_wide(interval) else text


def is_wide(interval: Sequence[float]) -> bool:
    """Whether an interval of a score is wider than 2 points, so that tables and cards show it."""
    return interval[1] - interval[0] > _WIDE


def align_columns(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> list[list[str]]:
    """The cells of a table padded to the width of their column; the columns ``left`` flush left, the others right.

    Control characters in a cell are shown escaped.
    """
    columns, left_columns = list(zip(*(map(printable, row) for row in rows), strict=True)), set(left)
    pad_functions = [str.ljust if i in left_columns else str.rjust for i in range(len(columns))]
    padded = [
        [pad(cell, max(map(len, column))) for cell in column]
        for pad, column in zip(pad_functions, columns, strict=True)
    ]
    return [list(row) for row in zip(*padded, strict=True)]


def text_table(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """A table for the screen, whose first row is the header; see `align_columns`."""
    return "\n".join("  ".join(row).rstrip() for row in align_columns(rows, left))


def cards_folder() -> Path:
    """Folder of the published models and the card template: in the installed package, else in the checkout."""
    package = Path(__file__).parent
    installed = package / "hub" / "cards"
    return installed if installed.is_dir() else package.parent / "hub_cards"
