"""Run the notebook of this folder in a temporary folder, and store it with what its cells show.

    python docs/run_notebook.py

Needs `pip install 'glmc_zoo[dev,photos]'`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook, its cells run in ``folder`` one after the other.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same without progress bars, of which a page shows only a name, and without the moments of the run."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            widget = "application/vnd.jupyter.widget-view+json"
            cell.outputs = [output for output in cell.outputs if widget not in output.get("data", {})]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)  # beside the same as PNG
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(without_widgets(execute(Path(folder))), NOTEBOOK)
