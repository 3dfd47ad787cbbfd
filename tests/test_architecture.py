"""Imports go down only: what the packages are, in which order they stand, and that nothing reaches up or round."""

import ast
import functools
from pathlib import Path

ENGINE = Path(__file__).parents[1] / "portproof"

#: From the ground up. A package may import those in lines below its own, never one beside or above it.
LAYERS = (
    ("_errors", "_text", "_disk", "_machine", "_numbers"),
    ("ports", "judge"),
    ("frameworks",),
    ("runners", "checkpoints", "render"),
    ("convert",),
    ("sides",),
    ("replay",),
    ("graphs", "faults", "training", "lines"),
    ("lockstep",),
    ("maps",),
    ("parity", "bench", "agree"),
    ("deploy",),
    ("_api",),
    ("cli", "pytest_plugin", "__init__", "__main__"),
)
#: Modules that may import each other, as long as it is no circle.
GROUND, TOP = LAYERS[0], LAYERS[-1]
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
FRAMEWORKS = ("torch", "paddle")


@functools.cache
def imports() -> dict[str, set[str]]:
    """Return each module with those of the engine that it imports, at whatever depth of the file and for typing too."""
    modules = {}
    for path in ENGINE.rglob("*.py"):
        name = ".".join(path.relative_to(ENGINE).with_suffix("").parts)
        modules[name if name == "__init__" else name.removesuffix(".__init__")] = path
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted = found.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name.removeprefix("portproof.") for alias in node.names if _is_ours(alias.name)}
            if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
                base = (node.module or "").removeprefix("portproof").removeprefix(".")
                for alias in node.names:
                    whole = f"{base}.{alias.name}".removeprefix(".")
                    wanted.add(whole if whole in modules else base or "__init__")
        wanted.discard(name)
    return found


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "portproof"


def _package(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_a_place() -> None:
    assert {_package(name) for name in imports()} == set(RANK)


def test_imports_go_down() -> None:
    up = []
    for name, wanted in imports().items():
        mine = _package(name)
        for other in wanted:
            theirs = _package(other)
            beside = RANK[mine] == RANK[theirs] and mine not in (*GROUND, *TOP)
            if mine != theirs and (RANK[theirs] > RANK[mine] or beside):
                up.append(f"{name} -> {other}")
    assert sorted(up) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = imports()
    state: dict[str, str] = {}
    circles = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if state.get(name) == "open":
            circles.append(" -> ".join((*path[path.index(name) :], name)))
        if name in state:
            return
        state[name] = "open"
        for other in sorted(graph.get(name, ())):
            visit(other, (*path, name))
        state[name] = "done"

    for name in sorted(graph):
        visit(name, ())
    assert circles == []


def test_only_the_tasks_and_what_they_run_touch_a_framework() -> None:
    allowed = {"frameworks", "runners", "graphs", "replay", "training", "lockstep", "lines"}
    touching = set()
    for path in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(_package(name) in FRAMEWORKS for name in named):
                touching.add(path.relative_to(ENGINE).parts[0])
    assert touching <= allowed


def test_the_effect_of_a_fault_is_decided_without_the_comparison() -> None:
    reached, left = set(), ["faults._effect"]
    graph = imports()
    while left:
        name = left.pop()
        reached.add(name)
        left += [other for other in graph[name] - reached if _package(other) == "faults"]
    wanted = {_package(other) for name in reached for other in graph[name]}
    assert wanted & {"_numbers", "judge", "replay"} == set()


def _too_long(kinds: tuple[type[ast.AST], ...], most: int) -> list[str]:
    """Return what has more lines than that, longest first."""
    found = []
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and isinstance(node, kinds):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > most:
                    found.append((lines, f"{path.relative_to(ENGINE)}: {node.name} has {lines} lines"))
    return [text for _, text in sorted(found, reverse=True)]


def test_no_class_has_more_than_250_lines() -> None:
    assert _too_long((ast.ClassDef,), 250) == []


def test_no_function_has_more_than_80_lines() -> None:
    assert _too_long((ast.FunctionDef, ast.AsyncFunctionDef), 80) == []


def test_a_person_who_opens_the_package_sees_at_most_thirty_names() -> None:
    names = sorted(path.name for path in ENGINE.iterdir() if path.name != "__pycache__")
    assert len(names) <= 30, names
