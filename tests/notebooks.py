"""Notebooks of the examples, run without Jupyter: cell by cell, and what each shows kept as a notebook keeps it.

``python -m tests.notebooks`` runs them and writes what they show into them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def read(notebook: Path) -> dict[str, Any]:
    """Return a notebook's document."""
    document: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return document


def code_cells(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells that run."""
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def run(cells: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Run cells in a module of their own and a folder that is gone afterwards; yields what each shows."""
    module = types.ModuleType("__notebook__")
    sys.modules["__notebook__"] = module  # what a cell defines can be found again by name
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for number, cell in enumerate(cells, 1):
                yield _shown("".join(cell["source"]), vars(module), number)
        finally:
            os.chdir(before)
            del sys.modules["__notebook__"]


def _shown(source: str, scope: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run one cell; its last expression is shown, as in a notebook."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    outputs: list[dict[str, Any]] = []
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {number}>", "exec"), scope)
        value = None if last is None else eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), scope)
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": value._repr_html_().splitlines(True), "text/plain": str(value).splitlines(True)}
        outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return outputs


def main() -> None:
    """Write what every notebook shows into it."""
    for notebook in NOTEBOOKS:
        document = read(notebook)
        cells = code_cells(document)
        for number, (cell, outputs) in enumerate(zip(cells, run(cells), strict=True), 1):
            cell["outputs"], cell["execution_count"] = outputs, number
        notebook.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
