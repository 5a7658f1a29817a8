"""Render a model card as an HTML page that looks like the page of a model on the Hub."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import yaml

__all__ = ["card_page"]

_STYLE = """
body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: #1f2937; background: #fff; }
header { padding: 20px 32px; border-bottom: 1px solid #e5e7eb; background: #f9fafb; }
h1.name { margin: 0 0 10px; font: 600 20px ui-monospace, monospace; }
.tag { display: inline-block; margin: 0 6px 6px 0; padding: 1px 10px; border: 1px solid #d1d5db; border-radius: 8px;
  background: #fff; font-size: 13px; }
main { display: grid; grid-template-columns: minmax(0, 1fr) 320px; gap: 40px; padding: 12px 32px 40px; }
article h1, article h2 { border-bottom: 1px solid #e5e7eb; padding-bottom: 4px; line-height: 1.3; }
article img { max-width: 100%; }
pre { padding: 12px 16px; background: #f3f4f6; border-radius: 8px; overflow-x: auto; line-height: 1.5; }
code { font: 13px ui-monospace, monospace; } p code, li code { padding: 1px 4px; background: #f3f4f6; }
table { border-collapse: collapse; font-size: 14px; } th, td { padding: 4px 12px; border: 1px solid #e5e7eb; }
aside h2 { font-size: 15px; } aside table { width: 100%; } aside td:last-child { text-align: right; }
aside p { margin: 4px 0; font-size: 13px; color: #4b5563; }
"""


def card_page(folder: Path) -> str:
    """The model card of an exported folder as an HTML page, whose images are loaded from the folder.

    The page has no widget, downloads, files and discussions, because they exist only on the Hub.
    """
    from markdown_it import MarkdownIt

    _, front_matter, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    data = yaml.safe_load(front_matter)
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    tags = [data["pipeline_tag"], data["library_name"], *data["tags"], *data.get("datasets", [])]
    tags = [*dict.fromkeys(tags), f"License: {data['license']}"]
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(folder.name)}</title>
<base href="{folder.resolve().as_uri()}/"><style>{_STYLE}</style></head><body>
<header><h1 class="name">ORG / {escape(folder.name)}</h1>{"".join(map(_tag, tags))}</header>
<main><article>{renderer.render(text)}</article>
<aside><h2>Evaluation results</h2>{"".join(_scores(data))}</aside></main></body></html>"""


def _tag(text: str) -> str:
    return f'<span class="tag">{escape(text)}</span>'


def _scores(data: dict[str, Any]) -> list[str]:
    """The scores in ``model-index`` as HTML, a table for each data set."""
    tables = []
    for model in data.get("model-index", []):
        for result in model["results"]:
            rows = "".join(
                f"<tr><td>{escape(metric['name'])}</td><td>{metric['value']}</td></tr>" for metric in result["metrics"]
            )
            what = f"{result['task']['name']} on {result['dataset']['name']}, {result['dataset'].get('split', '')} set"
            tables.append(f"<p>{escape(what)}</p><table>{rows}</table>")
    return tables
