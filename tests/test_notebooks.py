"""The notebooks run from top to bottom on phantoms, and are stored without what they printed."""

import nbformat
import pytest
from nbclient import NotebookClient

from .conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def test_both_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["eda", "training_and_results"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_phantoms(path, synthetic_root, monkeypatch):
    monkeypatch.setenv("MEDVIT_DATA", str(synthetic_root))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("MEDVIT_EPOCHS", "2")
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    kinds = {
        kind
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        for kind in output.get("data", {output.get("name"): ""})
    }
    assert {"application/json", "stdout", "text/html"} <= kinds
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "breastmnist" in text.lower()
