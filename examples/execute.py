"""The notebook beside this file, executed in place: ``python examples/execute.py`` (the docs extra has what it needs).

What libraries print to stderr stays out of it, and so do times.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("first_quarter_of_an_hour.ipynb")


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run every cell in ``folder``; an exception in one of them is raised here."""
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


if __name__ == "__main__":
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    execute(notebook, NOTEBOOK.parent)
    nbformat.write(notebook, NOTEBOOK)
