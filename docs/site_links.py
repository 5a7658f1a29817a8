"""A hook of mkdocs: pages and files outside docs/ that its pages link to become part of the site.

In the repository a page links to `../benchmarks/results/x.json` or `../SECURITY.md`. The site is built from docs/
alone, so each such file is taken into it below `project/`, and the link is rewritten. A folder is linked on as its
name alone.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
INTO = "project"
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
"""Pages outside docs/ that stand in the menu."""
LINK = re.compile(r"(!?)\[((?:[^\]`]|`[^`]*`)*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def place(path: Path) -> str:
    """Where a file of the repository lies within the site's sources."""
    inside = path.relative_to(DOCS) if path.is_relative_to(DOCS) else INTO / path.relative_to(ROOT)
    return inside.as_posix()


def targets(page: Path) -> set[Path]:
    """Files of the repository, outside docs/, that a page links to."""
    links = (match[3] for match in LINK.finditer(page.read_text(encoding="utf-8")))
    paths = {Path(os.path.normpath(page.parent / link)) for link in links if "://" not in link}
    return {path for path in paths if path.is_file() and not path.is_relative_to(DOCS)}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `PAGES`, and every other file that a page links to."""
    open_pages = [*DOCS.rglob("*.md"), *(ROOT / name for name in PAGES)]
    added: set[Path] = {ROOT / name for name in PAGES}
    while open_pages:
        page = open_pages.pop()
        new = targets(page) - added
        added |= new
        open_pages += [path for path in new if path.suffix == ".md"]
    for path in sorted(added):
        files.append(File.generated(config, place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page to what `on_files` added."""
    source = page.file.src_uri
    origin = ROOT / source.removeprefix(f"{INTO}/") if source.startswith(f"{INTO}/") else DOCS / source
    return LINK.sub(lambda match: _rewritten(match, origin, source), markdown)


def _rewritten(match: re.Match[str], origin: Path, source: str) -> str:
    image, text, link, anchor = match.groups()
    if "://" in link:
        return match[0]
    path = Path(os.path.normpath(origin.parent / link))
    if path.is_dir():
        return text
    return f"{image}[{text}]({posixpath.relpath(place(path), posixpath.dirname(source) or '.')}{anchor or ''})"
