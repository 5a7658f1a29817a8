"""JSON and YAML files that somebody else may have written, read within limits.

The limits are far above what this package writes. They keep a wrong or hostile file from filling the memory, from
ending in a traceback, and from carrying values that fail later: NaN, infinity, integers beyond 64 bits, and text that
UTF-8 cannot hold.
"""

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from glmc_zoo.errors import UserError

MAX_BYTES = 16 << 20
"""Size of the largest JSON or YAML file that is read."""
_MAX_LEVELS = 100
_MAX_INTEGER = 2**63


def read_json(path: Path, label: str, *, fix: str = "Download or export it again.") -> Any:
    """Content of a JSON file; messages call the file ``label`` and end with the ``fix``.

    Raises:
        UserError: It is missing, not a regular file, too large, not JSON, or holds a value beyond the limits.
    """
    return parse_json(read_text(path, label, fix=fix), label, fix=fix)


def parse_json(text: str, label: str, *, fix: str = "Download or export it again.") -> Any:
    """Like `read_json`, for text that was read already."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{label} cannot be read: {_reason(error)} {fix}") from error
    _check(value, label, fix)
    return value


def read_yaml(path: Path, label: str, *, fix: str) -> Any:
    """Content of a YAML file with plain values; see `read_json`. Dates become what PyYAML makes of them."""
    return parse_yaml(read_text(path, label, fix=fix), label, fix=fix)


def parse_yaml(text: str, label: str, *, fix: str) -> Any:
    """Like `read_yaml`, for text that was read already."""
    import yaml

    try:
        value = yaml.safe_load(text)
    # PyYAML raises the others for what looks like a date, a number or a key and is none.
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise UserError(f"{label} is not YAML: {_reason(error)} {fix}") from error
    _check(value, label, fix, finite=False)
    return value


def read_text(path: Path, label: str, *, fix: str, max_bytes: int = MAX_BYTES) -> str:
    """Text of a UTF-8 file; see `read_content`.

    Raises:
        UserError: The file is missing, not a regular file, too large, or not UTF-8.
    """
    try:
        return read_content(path, label, fix=fix, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{label} cannot be read: {_reason(error)} {fix}") from error


def read_content(path: Path, label: str, *, fix: str, max_bytes: int = MAX_BYTES) -> bytes:
    """A file of at most ``max_bytes`` bytes; a pipe or device is refused at once instead of waited for.

    Raises:
        UserError: The file is missing, not a regular file, or too large.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError(f"{label} cannot be read: It is not a regular file. {fix}")
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise UserError(f"{label} cannot be read: It has more than {max_bytes >> 20} MiB. {fix}")
        return content
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{label} cannot be read: {_reason(error)} {fix}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not a JSON number")


def _reason(error: BaseException) -> str:
    """Text of an error as one short sentence."""
    if isinstance(error, RecursionError):
        return "It is nested too deeply."
    text = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:300]
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _check(value: Any, label: str, fix: str, *, finite: bool = True) -> None:
    """Refuse what no later step can use; without recursion, because the nesting is the file's choice."""
    pending, seen = [(value, 0)], set[int]()
    while pending:
        item, level = pending.pop()
        if isinstance(item, dict | list):
            if id(item) in seen:  # YAML may name one object in several places, or inside itself
                continue
            seen.add(id(item))
            if level >= _MAX_LEVELS:
                raise UserError(f"{label} cannot be read: It is nested too deeply. {fix}")
            items = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            pending += [(child, level + 1) for child in items]
        elif (fault := _fault(item, finite)) is not None:
            raise UserError(f"{label} cannot be read: It holds {fault}. {fix}")


def _fault(item: Any, finite: bool) -> str | None:
    if isinstance(item, float) and finite and not math.isfinite(item):
        return "a number that is not finite"
    if isinstance(item, int) and abs(item) >= _MAX_INTEGER:
        return "a whole number beyond 64 bits"
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            return "text that UTF-8 cannot hold"
    return None
