"""A fault planted into a forward that is alive: its function's code exchanged for a rewritten one, and put back."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parity_tests.evidence.lines.faults import Fault, faults
from portproof.lines._calls import Place


@dataclass(frozen=True)
class Planted:
    """A fault, the function that it goes into, and the nearest lines before and after it that make a call."""

    file: str
    owner: str
    function: types.FunctionType
    fault: Fault
    beside: tuple[int, int] = (0, 0)

    @property
    def key(self) -> str:
        """What names it in every run."""
        return f"{Path(self.file).name}:{self.fault.first}:{self.fault.kind}:{self.fault.text}"

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the fault, for the time of the block."""
        before = self.function.__code__
        self.function.__code__ = _compiled(self)
        try:
            yield
        finally:
            self.function.__code__ = before


def plantable(places: Sequence[Place]) -> list[Planted]:
    """Return every fault in the functions that some places lie in."""
    lines: dict[str, set[int]] = {}
    for place in places:
        lines.setdefault(place.file, set()).update(range(place.line, place.end + 1))
    modules = {getattr(m, "__file__", None): m for m in list(sys.modules.values())}
    found = []
    for file, executed in lines.items():
        module = modules.get(file)
        if module is None:
            continue
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        for qualname, node in _functions(tree, ""):
            function = _live(module, qualname)
            if function is None or not executed & set(range(node.body[0].lineno, (node.end_lineno or 0) + 1)):
                continue
            owner = qualname.rpartition(".")[0]
            for fault in faults(node):
                if executed & set(range(fault.first, fault.last + 1)):
                    planted = Planted(file, owner, function, fault, _beside(node, fault))
                    if _fits(planted):
                        found.append(planted)
    return found


def _beside(function: ast.FunctionDef, fault: Fault) -> tuple[int, int]:
    """Return the first line of the statement before a fault's and of the one after it; its own where there is none."""
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    above = max((node.lineno for node in statements if (node.end_lineno or 0) < fault.first), default=fault.first)
    below = min((node.lineno for node in statements if node.lineno > fault.last), default=fault.last)
    return above, below


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
            yield f"{prefix}{node.name}", node


def _live(module: types.ModuleType, qualname: str) -> types.FunctionType | None:
    value: object = module
    for name in qualname.split("."):
        value = inspect.getattr_static(value, name, None)
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else None
    return value if isinstance(value, types.FunctionType) else None


def _compiled(planted: Planted) -> types.CodeType:
    node = planted.fault.function
    node.decorator_list = []
    body: list[ast.stmt] = [node]
    if planted.owner:
        body = [ast.ClassDef(planted.owner.rpartition(".")[2], [], [], [node], [])]
        ast.copy_location(body[0], node)
    tree = ast.fix_missing_locations(ast.Module(body, []))
    code = compile(tree, planted.file, "exec", dont_inherit=True)
    if planted.owner:
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType))
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == node.name)


def _fits(planted: Planted) -> bool:
    try:
        return len(_compiled(planted).co_freevars) == len(planted.function.__code__.co_freevars)
    except (SyntaxError, ValueError, StopIteration):
        return False
