"""The files of a run folder, as docs/training.md lists them."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def listed_files() -> dict[str, str]:
    """What writes each file or folder, by its name: the last column of the table "What a run leaves"."""
    section = _PAGE.read_text(encoding="utf-8").partition("## What a run leaves")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([\w.]+)/?` \| .* \| (.*) \|$", section, re.MULTILINE))


def files_of(*writers: str) -> set[str]:
    """Names of the files that every run writes, and those that the table gives to one of ``writers``."""
    listed = listed_files()
    assert {*writers} <= {*listed.values()}, "not a cell of the table"
    return {name for name, writer in listed.items() if writer.startswith("every run") or writer in writers}
