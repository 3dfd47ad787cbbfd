"""Notebooks of the examples: a kernel runs them as they stand, and what they show is what a run shows."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks import NOTEBOOKS, code_cells, executed


def _said(outputs: list[Any]) -> list[list[str]]:
    """Return what a cell shows as words: figures are another run's, and rules between columns are theirs."""
    texts = [one.text if one.output_type == "stream" else one.data["text/plain"] for one in outputs]
    return [re.sub(r"[\d.e+-]*\d[\d.e+-]*", "#", text).split() for text in texts]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_shows_what_its_cells_say(notebook: Path) -> None:
    cells = code_cells(nbformat.read(notebook, as_version=4))
    assert cells
    for cell, run in zip(cells, code_cells(executed(notebook)), strict=True):
        assert _said(cell.outputs) == _said(run.outputs), cell.source


def test_a_notebook_is_one_and_is_small() -> None:
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        document = nbformat.read(notebook, as_version=4)
        nbformat.validate(document)
        assert notebook.stat().st_size < 50_000
        for number, cell in enumerate(code_cells(document), 1):
            assert cell.execution_count == number
            assert not re.search(r"/(home|tmp|root|work)/| at 0x|\x1b", str(cell.outputs))
