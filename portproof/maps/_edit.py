"""A map put into the file that declares its port."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from portproof._disk import write_text
from portproof._errors import BadInput
from portproof.ports._locate import Located

_NAMES = ("WeightMap", "Split", "Permute", "Reshape")


def port_file(located: Located) -> tuple[Path, str]:
    """Return the file that declares a port, and the variable that holds it.

    Raises:
        BadInput: it is not declared in a file of its own.
    """
    locator = located.locator or ""
    name, _, variable = locator.rpartition(":")
    if name.endswith(".py"):
        return Path(name), variable
    found = importlib.util.find_spec(name) if name else None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise BadInput(f"port '{located.port.name}' is declared in no file; leave --write out and paste the map.")
    return Path(found.origin), variable


def write_into(located: Located, source: str) -> Path:
    """Put a map into the declaration ``NAME = Port(…)`` in a port's file, in place of the one that is there.

    Args:
        located: the port.
        source: of the map, an expression.

    Returns:
        The file. It is replaced when the new one is whole.

    Raises:
        BadInput: there is no such declaration, or the file does not import from portproof as usual.
    """
    path, variable = port_file(located)
    text = path.read_text(encoding="utf-8")
    changed = edited(text, variable, source)
    if changed is None:
        raise BadInput(
            f"'{path}' has no '{variable} = Port(…)' with a 'from portproof import …' above it; "
            "leave --write out and paste the map."
        )
    write_text(path, changed)
    return path


def edited(text: str, variable: str, source: str) -> str | None:
    """Return a port file with a map put in; None where it is not written as expected."""
    tree = ast.parse(text)
    imported = next(
        (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "portproof"), None
    )
    call = next(
        (
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and isinstance(node.value, ast.Call)
            and any(isinstance(t, ast.Name) and t.id == variable for t in _targets(node))
        ),
        None,
    )
    if imported is None or call is None or not (isinstance(call.func, ast.Name) and call.func.id == "Port"):
        return None
    lines = text.encode().splitlines(keepends=True)  # columns of the tree count bytes
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "weights"), None)
    if given is not None:
        lines = _put(
            lines, (given.lineno, given.col_offset), given, _indented(source, _indent(lines[given.lineno - 1]))
        )
    else:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        last = max(arguments, key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0))
        indent = _indent(lines[last.lineno - 1]) if last.lineno != call.lineno else "    "
        added = f",\n{indent}weights={_indented(source, indent)}"
        lines = _put(lines, (last.end_lineno or 0, last.end_col_offset or 0), last, added)
    made = b"".join(lines).decode()
    names = {alias.name for alias in imported.names}
    missing = [name for name in _NAMES if f"{name}(" in source and name not in names]
    return _with_imports(made, sorted({*names, *missing}, key=str.lower)) if missing else made


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _indent(line: bytes) -> str:
    return line[: len(line) - len(line.lstrip())].decode()


def _indented(source: str, indent: str) -> str:
    return source.replace("\n", f"\n{indent}")


def _put(lines: list[bytes], begin: tuple[int, int], node: ast.expr, source: str) -> list[bytes]:
    """Put source in the place of what stands from a line and column to a node's end."""
    assert node.end_lineno is not None
    row, column = begin
    head = [*lines[: row - 1], lines[row - 1][:column]]
    tail = [lines[node.end_lineno - 1][node.end_col_offset :], *lines[node.end_lineno :]]
    return [*head, source.encode(), *tail]


def _with_imports(text: str, names: list[str]) -> str:
    tree = ast.parse(text)
    node = next(node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "portproof")
    assert node.end_lineno is not None
    lines = text.splitlines(keepends=True)
    head, rest = lines[: node.lineno - 1], lines[node.end_lineno :]
    return "".join([*head, f"from portproof import {', '.join(names)}\n", *rest])
