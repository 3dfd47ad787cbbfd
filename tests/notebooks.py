"""Notebooks of the examples, run by a kernel as Jupyter runs them.

``python -m tests.notebooks`` runs them and writes what they show into them.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def code_cells(document: Any) -> list[Any]:
    """Return the cells that run."""
    return [cell for cell in document.cells if cell.cell_type == "code"]


def executed(notebook: Path) -> Any:
    """Return a notebook as a fresh kernel leaves it, in a folder that is gone afterwards."""
    document = nbformat.read(notebook, as_version=4)
    with TemporaryDirectory() as folder:
        # What Paddle warns of as it is imported is no part of what a cell shows.
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
        client = NotebookClient(document, kernel_name="python3", timeout=600, record_timing=False,
                                resources={"metadata": {"path": folder}})  # fmt: skip
        client.execute(env=environment)
    document.metadata.pop("language_info", None)  # this machine's Python
    for cell in code_cells(document):  # nor what showed only while it ran
        cell.outputs = [one for one in cell.outputs if one.output_type != "display_data"]
    return document


def main() -> None:
    """Write what every notebook shows into it."""
    for notebook in NOTEBOOKS:
        nbformat.write(executed(notebook), notebook)


if __name__ == "__main__":
    main()
