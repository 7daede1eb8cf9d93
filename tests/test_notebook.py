"""The notebook of the docs runs from its first cell to its last, on the embedded experts."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from engine.settings import Settings

NOTEBOOK = Path(__file__).parent.parent / "docs" / "two_styles.ipynb"


LENGTH = 70  # of its two stories, as it lies there; every day with shorter ones


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", [16, pytest.param(LENGTH, marks=pytest.mark.long)])
def test_the_notebook_shows_two_voices_and_the_routers_reason(
    settings: Settings, models: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    settings.home.mkdir()
    (settings.home / "models").symlink_to(models)
    monkeypatch.setenv("PASTICHE_BACKEND", "model")
    monkeypatch.setenv("PASTICHE_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stories = [cell for cell in notebook.cells if f"length={LENGTH}" in cell.source]
    stories[0].source = stories[0].source.replace(f"length={LENGTH}", f"length={length}")
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "'lovecraft' -> lovecraft, by the rule 'style'" in said
    assert "'agatha': ['mystery']" in said
    assert "[H. P. Lovecraft" in said and "[Agatha Christie" in said
