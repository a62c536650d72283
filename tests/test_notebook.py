"""The notebook runs from top to bottom, and holds nothing but text and code."""

import os
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

PATH = REPOSITORY / "notebooks" / "unet_skin_lesion.ipynb"
LIMIT_S = 120


def run(monkeypatch: pytest.MonkeyPatch, work: Path, **settings: str) -> str:
    """Everything that the notebook prints."""
    for name in [name for name in os.environ if name.startswith("LESION_NOTEBOOK_")]:
        monkeypatch.delenv(name)
    for name, value in {"WORK": str(work), **settings}.items():
        monkeypatch.setenv(f"LESION_NOTEBOOK_{name}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    # Streamlit sets it, once a test has imported that; the kernel would then show no pictures.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(PATH, as_version=4)
    where = {"metadata": {"path": str(REPOSITORY)}}
    NotebookClient(notebook, timeout=600, resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def test_no_output_is_stored() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 8
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not any("attachments" in cell for cell in notebook.cells)


@pytest.mark.slow
def test_it_learns_drawn_lesions_within_two_minutes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began = time.monotonic()
    said = run(monkeypatch, tmp_path)
    assert time.monotonic() - began < LIMIT_S
    assert "31,031,745 parameters" in said
    (row,) = [line for line in said.splitlines() if line.startswith("drawn test ")]
    assert float(row.split()[3]) > 0.9, row


@pytest.mark.slow
def test_it_runs_on_photographs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, real_data: Path
) -> None:
    said = run(monkeypatch, tmp_path, DATA=str(real_data), LIMIT="16")
    assert "means over batches of 4: Dice" in said
