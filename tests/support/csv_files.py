"""The CSV files that commands write, read back."""

from __future__ import annotations

import csv
from pathlib import Path


def csv_rows(path: Path | str) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8, as dictionaries by the names of its columns."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
