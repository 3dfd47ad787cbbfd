"""What a shell is offered for a word that a person has begun. Nothing of a project runs for that: Tab is no consent."""

from __future__ import annotations

import ast
from pathlib import Path


def ports(incomplete: str) -> list[str]:
    """Return the names of the project's ports; files are the shell's own matter."""
    from portproof._errors import PortproofError
    from portproof.ports._locate import find_project

    try:
        project = find_project()
    except PortproofError:
        return []
    return [name for locator in project.ports if (name := _name(project.root, locator)).startswith(incomplete)]


def _name(root: Path | None, locator: str) -> str:
    """Return the name that a port's declaration gives it, as a literal; its locator where it gives none."""
    module, _, attribute = locator.partition(":")
    file = (root or Path()) / f"{module.replace('.', '/')}.py"
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return locator
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        if any(isinstance(target, ast.Name) and target.id == attribute for target in node.targets):
            given = [word.value for word in node.value.keywords if word.arg == "name"] or node.value.args[:1]
            if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
                return given[0].value
    return locator


def runners(incomplete: str) -> list[str]:
    """Return the names of runners; of several with commas, for the last."""
    from portproof.runners import runners as known

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in known() if name.startswith(last)]


def documents(incomplete: str) -> list[str]:
    """Return the documents that have a schema."""
    from portproof.cli._schemas import DOCUMENTS

    return [name for name in DOCUMENTS if name.startswith(incomplete)]
