"""``portproof init``: a port project to begin with, the small one or the flagship."""

from __future__ import annotations

import keyword
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from portproof._errors import BadInput

_ENDING = ".tmpl"
#: Lists the files of this repository that make the flagship; ``setup.py`` puts them into the wheel.
_FLAGSHIP = "FILES"


def write_project(target: Path, source: str | None = None) -> list[str]:
    """Write a port project into a folder that is not there yet, or is empty.

    Args:
        target: the folder; its name is the port's.
        source: ``"googlenet"`` for the flagship, None for a small example.

    Returns:
        The files written, relative to the folder.

    Raises:
        BadInput: the name is no Python name, the folder has something in it, or there is no such source.
    """
    name = target.name
    if source not in (None, "googlenet"):
        raise BadInput(f"--from takes googlenet, found '{source}'; leave it out for a small example.")
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise BadInput(f"'{name}' cannot name a port project: its modules need a Python name, such as my_port.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"'{target}' is there already and is not empty; name a new folder.")
    if not target.absolute().parent.is_dir():
        raise BadInput(f"'{target.parent}' is no folder; make it first.")
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target.absolute().parent) as scratch:
        whole = Path(scratch) / name
        for path, text in _texts(source or "small", name):
            file = whole / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
        if target.exists():
            target.rmdir()
        shutil.move(whole, target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def _texts(source: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield relative path and content of every file."""
    root = files("portproof.render") / "templates" / source
    for path, file in _walk(root, ""):
        if path.endswith(_ENDING):
            renamed = path.removesuffix(_ENDING).replace("NAME", name).replace("gitignore", ".gitignore")
            yield renamed, file.read_text(encoding="utf-8").replace("{{name}}", name).encode()
    if source == "googlenet":
        for path in (root / _FLAGSHIP).read_text(encoding="utf-8").split():
            yield path, _flagship(root, path)


def _flagship(root: Traversable, path: str) -> bytes:
    """Read one of the flagship's files: from the wheel, or from the checkout that this package lies in."""
    packed = root.joinpath(*path.split("/"))
    if packed.is_file():
        return packed.read_bytes()
    return (Path(__file__).parents[3] / path).read_bytes()


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry
