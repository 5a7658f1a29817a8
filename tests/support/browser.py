"""Pages in headless Chromium: what is on the page once its script has run, and what the console said."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: on Debian, apt-get install chromium"
)
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=200000")


@dataclass(frozen=True)
class Opened:
    """A page after its scripts have run."""

    dom: str
    console: list[str]
    """Lines of the console, errors and refusals of the content security policy among them."""

    @property
    def result(self) -> Any:
        """What the script of `opened` gave."""
        match = re.search(r'<html[^>]* data-result="([^"]*)"', self.dom)
        assert match is not None, self.console
        return json.loads(html.unescape(match[1]))


def opened(page: Path, folder: Path, script: str = "") -> Opened:
    """The page in Chromium; ``script`` is the body of an async function that runs after the page's own script.

    The policy of the page lets only its own script run: a copy of it in ``folder`` names the other one as well.
    """
    assert CHROMIUM is not None
    if script:
        added = f"""(async () => {{ {script} }})().then(
            (value) => {{ document.documentElement.dataset.result = JSON.stringify(value); }},
            (error) => {{ console.error(String(error)); }});"""
        digest = base64.b64encode(hashlib.sha256(added.encode()).digest()).decode()
        text = page.read_text(encoding="utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
        page = folder / f"with-script-{page.name}"
        page.write_text(text.replace("</body>", f"<script>{added}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])
