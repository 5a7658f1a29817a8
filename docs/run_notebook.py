"""Run notebook.ipynb in a temporary folder, and save it with the outputs of its cells.

    python docs/run_notebook.py

It needs `pip install -e '.[dev,photos]'`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def execute(folder: Path) -> nbformat.NotebookNode:
    """Run the cells of the notebook in ``folder``, and return it with their outputs.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, startup_timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove from a notebook its progress bars, which a page cannot show, and the times of the run."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            widget = "application/vnd.jupyter.widget-view+json"
            cell.outputs = [output for output in cell.outputs if widget not in output.get("data", {})]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)  # the output has the same image as PNG
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(without_widgets(execute(Path(folder))), NOTEBOOK)
