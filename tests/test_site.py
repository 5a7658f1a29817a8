"""The site is built from the pages without a warning, and has the files that they link to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.processes
@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr
    pages = {page.relative_to(tmp_path / "site").as_posix(): page for page in (tmp_path / "site").rglob("*.html")}
    html = pages["results.html"].read_text(encoding="utf-8")
    files = set(re.findall(r'href="(project/benchmarks/results/[^"]+\.json)"', html))
    assert len(files) > 100
    assert all((tmp_path / "site" / file).is_file() for file in files)
    api = pages["api.html"].read_text(encoding="utf-8")
    for name in ("api.train", "data.load_data", "method.GLMCTask", "method.register_loss", "results.RunResults"):
        assert f'id="glmc_zoo.{name}"' in api, name
    # No page loads anything from another host.
    for name, page in pages.items():
        loaded = re.findall(r'<(?:script|img)[^>]* src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        loaded += re.findall(
            r'<link[^>]* rel="stylesheet"[^>]* href="(https?:[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert not loaded, name
