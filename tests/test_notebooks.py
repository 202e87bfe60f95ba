"""The notebooks run from top to bottom on synthetic images, and are stored without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient

from .conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_both_notebooks_exist():
    assert [path.stem for path in NOTEBOOKS] == ["eda", "training_and_results"]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@each_notebook
def test_a_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert all((cell.outputs, cell.execution_count) == ([], None) for cell in code_cells(notebook))


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_on_synthetic_images(path, synthetic_root, monkeypatch):
    monkeypatch.setenv("MEDVIT_DATA", str(synthetic_root))
    monkeypatch.setenv("MEDVIT_EPOCHS", "2")
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {output.get("name"): ""})}
    assert {"application/json", "stdout", "text/html"} <= kinds
    assert "breastmnist" in "".join(output.get("text", "") for output in outputs).lower()
