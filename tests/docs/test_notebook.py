"""The notebook in examples/: it runs from top to bottom, and is committed with what that printed."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/first_quarter_of_an_hour.ipynb"
SHORT = "gradient_steps, num_episodes = 200, 1"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (position,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    notebook.cells.insert(position + 1, nbformat.v4.new_code_cell(SHORT))  # as papermill does
    runpy.run_path(str(ROOT / "examples/execute.py"))["execute"](notebook, tmp_path)


def test_the_notebook_is_committed_as_one_run_left_it() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
