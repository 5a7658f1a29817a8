"""Pages in headless Chromium: their elements after the scripts have run, and the lines of the console."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="it needs playwright (in the extra dev) and chromium (on Debian, apt-get install chromium)",
)


@dataclass(frozen=True)
class OpenedPage:
    """A page after its scripts have run."""

    dom: str
    console: list[str]
    """Lines of the console, with errors and with refusals by the content security policy."""
    result: Any
    """What the script of `open_page` returned."""


@contextmanager
def browser_page() -> Iterator[tuple[Page, list[str]]]:
    """Open an empty page. The second value is a list that gets the lines of its console."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * PATIENCE)
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        console: list[str] = []
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        yield page, console
        browser.close()


def open_page(path: Path, script: str = "") -> OpenedPage:
    """Open a page in Chromium. ``script`` is the body of an async function that runs after the scripts of the page."""
    with browser_page() as (page, console):
        page.goto(path.as_uri())
        result = page.evaluate(f"async () => {{ {script} }}")
        return OpenedPage(page.content(), list(console), result)
