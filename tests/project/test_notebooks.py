"""Every notebook runs from top to bottom and carries no outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from chat import write_language_model
from conftest import ROOT, patience

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SAID = {  # by each, and the images it shows
    "quickstart": (r"test accuracy 0\.\d+", 4),
    "texts": (r"test accuracy 0\.\d+", 0),
    "instruct": (r"test perplexity \d+", 0),
    "label_errors": (r"1[5-8] of 18 planted errors are among", 2),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook machinery, not of the notebook
def test_a_notebook_runs_and_is_stored_without_outputs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where a notebook puts images
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    if path.stem == "instruct":  # SmolLM2 takes minutes
        train = next(cell for cell in notebook.cells if '"model=smollm2"' in cell.source)
        tiny = write_language_model(tmp_path / "tiny")
        train.source = train.source.replace('"model=smollm2"', f'"model=causal", "model.name={tiny}"')
    NotebookClient(notebook, timeout=patience(300), resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code")
    said, pictures = SAID[path.stem]
    assert re.search(said, text)
    assert text.count("image/png") == pictures


def test_none_is_missing() -> None:
    assert {path.stem for path in NOTEBOOKS} == SAID.keys()
