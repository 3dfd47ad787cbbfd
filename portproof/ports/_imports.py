"""Which folder a module is imported from: one that a port names from its own, others from where they are installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

#: Modules that the engine itself imports.
_BROUGHT = {"portproof", "numpy", "safetensors", "torch", "paddle", "onnx", "onnxruntime", "openvino", "PIL", "jinja2"}


def reach(folder: Path, modules: Iterable[str] = ()) -> None:
    """Make a folder's modules importable: those that are named before all others, the rest after what is installed.

    A folder that came from elsewhere may hold a ``numpy.py``, and nobody asked for that one.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    finder = next((one for one in sys.meta_path if isinstance(one, _Named) and one.folder == folder), None)
    if finder is None:
        finder = _Named(folder)
        sys.meta_path.insert(0, finder)
    finder.add(modules)


def name_modules(modules: Iterable[str]) -> None:
    """Name modules of the folders that are within reach."""
    for finder in sys.meta_path:
        if isinstance(finder, _Named):
            finder.add(modules)


def imported_by(path: Path) -> list[str]:
    """Return the modules that a file imports; none of one that is no Python, which importing it will say."""
    try:
        return modules_in(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError):
        return []


def modules_in(tree: ast.AST) -> list[str]:
    """Return the modules that code imports by their whole names."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return found


class _Named(MetaPathFinder):
    """Finds the top modules of one folder that were named, and no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def add(self, modules: Iterable[str]) -> None:
        """Name some more; what the language and the engine bring cannot be named."""
        self.names |= {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - _BROUGHT

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return where a module is; None: elsewhere."""
        return PathFinder.find_spec(name, [str(self.folder)]) if path is None and name in self.names else None
