"""The lines of the epochs in ``metrics.jsonl``: which can be read, and which are damaged."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.errors import UserError


@dataclass
class EpochLines:
    """The content of ``metrics.jsonl``."""

    numbered: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Number, counted from 1, and content of each that can be read; it has an ``epoch``."""
    damaged: dict[int, str] = field(default_factory=dict)
    """Why another line cannot be read, by its number."""
    half: int | None = None
    """Number of a last line that ends in the middle, as a run that was killed may leave it; among the damaged ones."""
    lines: list[bytes] = field(default_factory=list)
    """Every line as it is, without its end."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines that can be read."""
        return [row for _, row in self.numbered]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each damaged line."""
        return [
            f"Line {number} of metrics.jsonl cannot be read ({reason}), so that its epoch is missing in the plots."
            for number, reason in self.damaged.items()
        ]


def read_epochs(path: Path) -> EpochLines:
    """The lines of a ``metrics.jsonl``; none where it does not exist.

    Raises:
        UserError: The file cannot be opened, or is not a regular file.
    """
    if not path.exists():
        return EpochLines()
    if not path.is_file():
        raise UserError(f"{path} is not a regular file: move it away.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    found = EpochLines(lines=content.splitlines())
    for number, line in enumerate(found.lines, start=1):
        if not line.strip():
            continue
        try:
            found.numbered.append((number, _row(line)))
        except (ValueError, RecursionError) as error:
            found.damaged[number] = one_line(error)
    last = len(found.lines)
    found.half = last if last in found.damaged and not content.endswith(b"\n") else None
    return found


def _row(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError("it is not an object")
    if not isinstance(row.get("epoch"), int) or isinstance(row["epoch"], bool):
        raise ValueError("it has no number of an epoch")
    return row
