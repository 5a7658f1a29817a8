"""Reads ``metrics.jsonl``, which has one line for each epoch, and reports damaged lines."""

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
    """Line number, counted from 1, and content of each readable line; the content has the key ``epoch``."""
    damaged: dict[int, str] = field(default_factory=dict)
    """The reason why a line cannot be read, by line number."""
    incomplete: int | None = None
    """Line number of an incomplete last line, as a killed run may leave it; it is one of ``damaged``."""
    lines: list[bytes] = field(default_factory=list)
    """Every line as it is, without the line end."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines that can be read."""
        return [row for _, row in self.numbered]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each damaged line."""
        return [
            f"Line {number} of metrics.jsonl cannot be read ({reason}), so its epoch is missing in the plots."
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
    epochs = EpochLines(lines=content.splitlines())
    for number, line in enumerate(epochs.lines, start=1):
        if not line.strip():
            continue
        try:
            epochs.numbered.append((number, _row(line)))
        except (ValueError, RecursionError) as error:
            epochs.damaged[number] = one_line(error)
    last = len(epochs.lines)
    epochs.incomplete = last if last in epochs.damaged and not content.endswith(b"\n") else None
    return epochs


def _row(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    if not isinstance(row.get("epoch"), int) or isinstance(row["epoch"], bool):
        raise ValueError("it has no epoch number")
    return row
