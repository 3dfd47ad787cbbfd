"""Notebooks of the examples: they run as they stand, and what they show is what a run shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import NOTEBOOKS, code_cells, read, run


def _said(outputs: list[dict[str, Any]]) -> list[list[str]]:
    """Return what a cell shows as words: figures are another run's, and rules between columns are theirs."""
    texts = ["".join(o["text"] if o["output_type"] == "stream" else o["data"]["text/plain"]) for o in outputs]
    return [re.sub(r"[\d.e+-]*\d[\d.e+-]*", "#", text).split() for text in texts]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_shows_what_its_cells_say(notebook: Path) -> None:
    cells = code_cells(read(notebook))
    assert cells
    for cell, outputs in zip(cells, run(cells), strict=True):
        assert _said(cell["outputs"]) == _said(outputs), "".join(cell["source"])


def test_a_notebook_is_one_and_is_small() -> None:
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        document = read(notebook)
        assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
        assert notebook.stat().st_size < 50_000
        assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
        for number, cell in enumerate(code_cells(document), 1):
            assert cell["execution_count"] == number
            assert not re.search(r"/(home|tmp|root|work)/", str(cell["outputs"]))
