"""A port project as one file, and back: what workers on other machines run is what lies here now."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from portproof._errors import BadInput
from portproof.ports._locate import Located, Project, artefact_path
from portproof.ports._port import PROGRAMS

_SKIPPED = {"build", "dist", "node_modules", "site-packages", "__pycache__"}
#: A project's code is small. More is a sign that the wrong folder was taken for it.
_MOST_BYTES, _MOST_FILES = 200_000_000, 5_000
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Shipped:
    """A port project to be unpacked elsewhere.

    Attributes:
        content: the zip file, the same bytes for the same files.
        locator: of the port in it; a file is named relative to the top.
        python: side to the interpreter that runs it.
    """

    content: bytes
    locator: str
    python: dict[str, str]


def pack(located: Located) -> Shipped:
    """Pack what a port needs: the Python files of its project, or of the folder of its file where there is none, the
    files that are its sides, and what ``[tool.portproof] ship`` names.

    Raises:
        BadInput: the port cannot be found by name, or the project is too large to be one.
    """
    if located.locator is None:
        raise BadInput("the port must be one that can be found by name; name it as module:NAME or file.py:NAME.")
    file, colon, name = located.locator.rpartition(":")
    root, locator = located.project.root, located.locator
    if file.endswith(".py"):
        path = Path(file)
        if root is None or not path.is_relative_to(root):
            root = path.parent
        locator = f"{path.relative_to(root).as_posix()}{colon}{name}"
    files = [] if root is None else [*_code(root), *_named(root, located.project.ship), *_sides(root, located)]
    size = sum(path.stat().st_size for path in files)
    if size > _MOST_BYTES:
        raise BadInput(
            f"'{root}' has {size / 1e6:.0f} MB to send to the workers, more than {_MOST_BYTES / 1e6:.0f} MB."
        )
    return Shipped(_zipped(sorted(set(files)), root or Path()), locator, dict(located.project.python))


def _code(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, inside, names in os.walk(root):
        inside[:] = sorted(
            name for name in inside
            if name not in _SKIPPED and not name.startswith(".") and not (Path(folder, name) / "pyvenv.cfg").is_file()
        )  # fmt: skip
        found += [Path(folder, name) for name in names if name.endswith(".py") and Path(folder, name).is_file()]
        if len(found) > _MOST_FILES:
            raise BadInput(
                f"the port project '{root}' has more than {_MOST_FILES} Python files to send to the workers; give it a "
                "folder of its own, with a pyproject.toml that has [tool.portproof]."
            )
    return found


def _named(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        matching = [path for path in root.glob(pattern) if path.is_file()]
        if not matching:
            raise BadInput(f"[tool.portproof] ship names '{pattern}', and no file of '{root}' is called so.")
        found += matching
    return found


def _sides(root: Path, located: Located) -> list[Path]:
    paths = [artefact_path(located, side) for side in located.port.sides if located.port.artefact(side)]
    paths += [path.with_suffix(".pdiparams") for path in paths if path.suffix in PROGRAMS]
    for path in paths:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadInput(
                f"'{path}' lies outside the port's project '{root}', and is not sent to workers; move it there."
            )
    return paths


def _zipped(files: list[Path], root: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.writestr(zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH), path.read_bytes())
    return out.getvalue()


def unpack(archive: Path, locator: str, python: Mapping[str, str], folder: Path) -> tuple[Project, str]:
    """Unpack a project into a folder; returns it and the port's locator there. Nothing of it is imported."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise BadInput(f"the packed project has a file outside itself, '{name}'.")
        opened.extractall(folder)
    file, _, name = locator.rpartition(":")
    return Project(folder, (), dict(python)), f"{folder / file}:{name}" if file.endswith(".py") else locator
