"""How results look in a notebook: tables and figures as HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from glmc_zoo.files import percent
from glmc_zoo.text import printable

_MAX_BYTES = 1_000_000  # of a figure


def results_html(results: Any, groups: Mapping[str, str]) -> str:
    """The scores of a run or an evaluation in a table, in %, and the figures of its folder.

    Args:
        results: `RunResults` or `EvaluationResults`.
        groups: Headings of the shot groups.
    """
    columns = {"top1": "top-1", "balanced_accuracy": "balanced", **groups, "worst": "worst class", "ece": "ECE"}
    rows = []
    for split in ("test", "validation"):
        if (scores := getattr(results, split)) is not None:
            intervals = results.intervals.get(split, {})
            rows.append([split, *(percent(getattr(scores, name), intervals.get(name)) for name in columns)])
    caption = "Scores in %, in brackets the 95 % interval where it is wider than 2 points"
    table = table_html(["", *columns.values()], rows, caption=caption) if rows else "<p>No images were scored.</p>"
    lines = [f"<p><b>{_text(results.model.name)}</b> on {_text(results.data.name)}</p>", table]
    lines += [f"<p>warning: {_text(warning)}</p>" for warning in results.warnings]
    if results.folder is not None:
        lines += [f"<p><code>{_text(str(results.folder))}</code></p>", figures_html(results.folder)]
    return "\n".join(lines)


def figures_html(folder: Path) -> str:
    """The figures of a run or an evaluation, which lie in its ``plots/``."""
    return "\n".join(_figure(path) for path in sorted((folder / "plots").glob("*.png")) if _is_small(path))


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """A table; the first cell of a row is its heading, and all text is escaped."""
    titles = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{_text(row[0])}</th>' + "".join(f"<td>{_text(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return escape(printable(text))


def _is_small(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= _MAX_BYTES


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    name = _text(path.stem.replace("_", " "))
    return f'<img alt="Figure: {name}" style="max-width: 100%" src="data:image/png;base64,{data}">'
