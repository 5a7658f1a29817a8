"""The exported folder: what may lie in it, and how a new one takes the place of an old one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glmc_zoo.errors import UserError

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "HEADS_FILE",
    "OPTIONS_FILE",
    "PLOTS_FOLDER",
    "RESULTS_FILE",
    "WEIGHTS_FILE",
    "check_replaceable",
    "one_line",
    "replacing",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
HEADS_FILE = "glmc_heads.safetensors"
CARD_FILE = "README.md"
RESULTS_FILE = "results.json"
OPTIONS_FILE = "config.yaml"
PLOTS_FOLDER = "plots"

# An export may take the place of these and of nothing else: the folder is replaced whole.
_REPLACEABLE = {CONFIG_FILE, WEIGHTS_FILE, HEADS_FILE, CARD_FILE, RESULTS_FILE, OPTIONS_FILE, PLOTS_FOLDER}
_REPLACEABLE |= {".cache", ".gitattributes"}


def check_replaceable(folder: Path) -> None:
    """Refuse a target whose replacement would delete what no export wrote.

    Raises:
        UserError: it is a link or a file, or holds something else than an export.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is a link or a file, not a folder: export into another place.")
    if folder.is_dir():
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in _REPLACEABLE)
        if foreign:
            raise UserError(
                f"Folder {folder} holds {foreign[0]!r}, which an export would delete: give a folder of its own."
            )


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside ``folder``: it takes its place when the block ends well, and is removed otherwise."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex
    staging = folder.with_name(f".{folder.name}.{unique}.new")
    retired = folder.with_name(f".{folder.name}.{unique}.old")
    staging.mkdir()
    try:
        yield staging
        try:
            if folder.exists():
                folder.rename(retired)
            staging.rename(folder)
        except BaseException:  # an interruption between the two must not leave nothing in place
            if retired.exists() and not folder.exists():
                retired.rename(folder)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)


def one_line(error: BaseException, limit: int = 300) -> str:
    """What an error says, as the end of a sentence of ours: one line, cut at ``limit`` characters, with a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return text if text.endswith((".", "!", "?")) else f"{text}."
