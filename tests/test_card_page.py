"""docs/card_page.py: the page of a model card, for its screenshot."""

from __future__ import annotations

import html
import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("markdown_it", reason="it comes with the extra docs")


@pytest.mark.parametrize("folder", sorted((ROOT / "hub_cards").glob("*/")), ids=lambda path: path.name)
def test_it_shows_the_front_matter_and_the_images_of_the_card(folder: Path) -> None:
    page = runpy.run_path(str(ROOT / "docs" / "card_page.py"))["card_page"](folder)
    front = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    metrics = front["model-index"][0]["results"][0]["metrics"]
    cells = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td></tr>", page.partition("<aside>")[2])
    assert cells == [(metric["name"], str(metric["value"])) for metric in metrics] and len(metrics) >= 4
    for tag in front["tags"]:
        assert f'<span class="tag">{html.escape(tag)}</span>' in page
    images = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', page)
    assert len(images) >= 4 and all((folder / source).is_file() and text for source, text in images)
