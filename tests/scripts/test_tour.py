"""The notebook runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[2] / "scripts" / "tour.ipynb"


@pytest.mark.filterwarnings("ignore")  # of Jupyter's parts about themselves
def test_every_cell_of_the_tour_runs(tmp_path: Path) -> None:
    tour = nbformat.read(TOUR, as_version=4)
    assert len(tour.cells) == 15
    assert not any(cell.get("outputs") for cell in tour.cells), "outputs are not kept in the repository"
    NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {
        cell.source: {kind for output in cell.outputs for kind in output.get("data", {})}
        for cell in tour.cells
        if cell.cell_type == "code"
    }
    for source in (
        "run.sample(16, seed=0)",
        *(text for text in shown if text.startswith(("run =", "import matplotlib", "from pathlib"))),
    ):
        assert "image/png" in shown[source], source
    assert (tmp_path / "runs" / "tour_export" / "model.safetensors").is_file()
