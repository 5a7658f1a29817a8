"""A hook of mkdocs that adds files outside docs/ to the site, if a page links to them.

In the repository a page links to `../benchmarks/results/x.json` or `../SECURITY.md`. mkdocs reads only docs/, so the
hook adds each such file below `project/` and rewrites the link. A link to a folder becomes plain text.
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
PROJECT_FOLDER = "project"
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
"""Pages outside docs/ that are in the menu."""
LINK = re.compile(r"(!?)\[((?:[^\]`]|`[^`]*`)*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def site_path(path: Path) -> str:
    """Path of a file of the repository among the source files of the site."""
    relative = path.relative_to(DOCS) if path.is_relative_to(DOCS) else PROJECT_FOLDER / path.relative_to(ROOT)
    return relative.as_posix()


def linked_files(page: Path) -> set[Path]:
    """Files outside docs/ that a page links to."""
    links = (match[3] for match in LINK.finditer(page.read_text(encoding="utf-8")))
    paths = {Path(os.path.normpath(page.parent / link)) for link in links if "://" not in link}
    return {path for path in paths if path.is_file() and not path.is_relative_to(DOCS)}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `PAGES` to the site, and every other file that a page links to."""
    open_pages = [*DOCS.rglob("*.md"), *(ROOT / name for name in PAGES)]
    added: set[Path] = {ROOT / name for name in PAGES}
    while open_pages:
        page = open_pages.pop()
        new = linked_files(page) - added
        added |= new
        open_pages += [path for path in new if path.suffix == ".md"]
    for path in sorted(added):
        files.append(File.generated(config, site_path(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page to the files that `on_files` added."""
    source = page.file.src_uri
    prefix = f"{PROJECT_FOLDER}/"
    origin = ROOT / source.removeprefix(prefix) if source.startswith(prefix) else DOCS / source
    return LINK.sub(lambda match: _rewritten(match, origin, source), markdown)


def _rewritten(match: re.Match[str], origin: Path, source: str) -> str:
    image, text, link, anchor = match.groups()
    if "://" in link:
        return match[0]
    path = Path(os.path.normpath(origin.parent / link))
    if path.is_dir():
        return text
    return f"{image}[{text}]({posixpath.relpath(site_path(path), posixpath.dirname(source) or '.')}{anchor or ''})"
