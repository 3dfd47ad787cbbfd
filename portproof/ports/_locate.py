"""From what a person types to an object: registered names, ``module:NAME``, ``path/to/file.py:NAME``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from portproof._errors import BadInput, one_line, told_with_line
from portproof.ports._hints import framework_of, meant, models_to_name, near, port_to_write, windows_path
from portproof.ports._imports import imported_by, name_modules, reach
from portproof.ports._port import SIDES, Port


@dataclass(frozen=True)
class Project:
    """A port project: the folder of the nearest pyproject.toml that has ``[tool.portproof]``.

    Attributes:
        root: the folder, which is put on the import path.
        ports: locators, ``module:NAME``, in the order of the file; the first is the default.
        python: side to the interpreter that runs it, where it has one of its own.
        ship: patterns of files, beside Python's, that the ports read and workers of a cluster need.
    """

    root: Path | None = None
    ports: tuple[str, ...] = ()
    python: dict[str, str] = field(default_factory=dict)
    ship: tuple[str, ...] = ()

    def interpreters(self) -> list[str]:
        """Say which interpreters it names, a line each: they are about to be started."""
        file = "pyproject.toml" if self.root is None else self.root / "pyproject.toml"
        return [f"the {side} side runs in {python}, as {file} says" for side, python in self.python.items()]

    def put_on_path(self) -> None:
        """Make the project's modules importable: those of its ports first, the others after all that is installed."""
        if self.root is not None:
            reach(self.root, [locator.partition(":")[0] for locator in self.ports])


@dataclass(frozen=True)
class Located:
    """A port and how to find it again from another process.

    Attributes:
        port: the port.
        locator: ``module:NAME`` or ``file.py:NAME``, None for a port made in this process.
        project: the project that it was found in.
    """

    port: Port
    locator: str | None
    project: Project


def find_project(start: Path | None = None) -> Project:
    """Return the port project that ``start`` (default: the working directory) lies in.

    Raises:
        BadInput: its pyproject.toml cannot be read, or ``[tool.portproof]`` is malformed.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            tools = tomllib.loads(file.read_text(encoding="utf-8")).get("tool")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
            raise BadInput(f"'{file}' cannot be read: {one_line(error)}") from error
        table = tools.get("portproof") if isinstance(tools, dict) else None
        if table is not None:
            _require_own(file)
            return _project(folder, file, table)
    return Project()


#: Folders of other users whose projects may run code, as PATH lists them.
TRUST_VARIABLE = "PORTPROOF_TRUST"


def _require_own(file: Path) -> None:
    """Check that a project file, which names code and interpreters that run, is this user's own.

    Raises:
        BadInput: it belongs to somebody else, and nobody said that it may be trusted.
    """
    owner = file.stat().st_uid
    trusted = [Path(entry).resolve() for entry in os.environ.get(TRUST_VARIABLE, "").split(os.pathsep) if entry]
    if owner != os.geteuid() and file.parent not in trusted:
        raise BadInput(
            f"'{file}' belongs to another user (id {owner}), and the ports that it names run code. If you trust it: "
            f"export {TRUST_VARIABLE}={file.parent}"
        )


def _project(folder: Path, file: Path, table: Any) -> Project:
    if not isinstance(table, dict):
        raise BadInput(f"'{file}': [tool.portproof] must be a table, found {table!r}.")
    ports, python, ship = table.get("ports", []), table.get("python", {}), table.get("ship", [])
    if not isinstance(ports, list) or not all(isinstance(p, str) and p.count(":") == 1 for p in ports):
        raise BadInput(f"'{file}': [tool.portproof] ports must be a list of \"module:NAME\", found {ports!r}.")
    known = isinstance(python, dict) and set(python) <= set(SIDES)
    if not known or not all(isinstance(path, str) and "\0" not in path for path in python.values()):
        raise BadInput(f"'{file}': [tool.portproof.python] takes paths of {' and '.join(SIDES)}, found {python!r}.")
    if not isinstance(ship, list) or not all(isinstance(pattern, str) for pattern in ship):
        raise BadInput(f"'{file}': [tool.portproof] ship must be a list of file patterns, found {ship!r}.")
    absolute = {side: str((folder / path).absolute()) if "/" in path else path for side, path in python.items()}
    return Project(folder, tuple(ports), absolute, tuple(ship))


def find_port(name: str | None, project: Project | None = None) -> Located:
    """Return the port that a person means.

    Args:
        name: a registered name, ``module:NAME``, ``file.py:NAME`` (or ``file.py`` with one port in it), or None
            for the project's first.
        project: default: that of the working directory.

    Raises:
        BadInput: there is no such port, or its file cannot be imported.
    """
    project = project or find_project()
    project.put_on_path()
    if name is None:
        if not project.ports:
            raise BadInput(
                "no port given, and no [tool.portproof] ports in a pyproject.toml here or above; name one (--port where"
                " a command takes files), or write a project with `portproof init my_port`."
            )
        name = project.ports[0]
    here = windows_path(name)
    if here is not None:
        raise BadInput(f"'{name}' is a path of Windows; here it is written {here} (/mnt/c is where WSL has drive C).")
    file, _, attribute = name.partition(":")
    if file.endswith(".py"):
        path = Path(file).absolute()
        port, attribute = _port_of_file(path, attribute)
        return Located(_anchored(port, path.parent), f"{path}:{attribute}", project)
    folder = project.root or Path.cwd()
    if ":" in name:
        return Located(_anchored(_port_of_module(name), folder), name, project)
    known = {}
    for locator in (*project.ports, *_entry_points()):
        port = _port_of_module(locator)
        if port.name == name:
            return Located(_anchored(port, folder), locator, project)
        known[port.name] = locator
    listed = f"there are {', '.join(known)}" if known else "none is registered here"
    raise BadInput(f"no port '{name}'; {listed}.{meant(name, known) or ' Name a file as path/to/file.py:NAME.'}")


def _anchored(port: Port, folder: Path) -> Port:
    """Return a port whose factories in files are named by whole paths; relative ones begin at a folder."""

    def whole(factory: Any) -> Any:
        file, colon, name = factory.partition(":") if isinstance(factory, str) else ("", "", "")
        return f"{folder / file}:{name}" if colon and file.endswith(".py") else factory

    paddle, torch = whole(port.paddle), whole(port.torch)
    return port if (paddle, torch) == (port.paddle, port.torch) else replace(port, paddle=paddle, torch=torch)


def registered_ports(project: Project) -> list[Located]:
    """Return the ports of a project and of installed packages."""
    project.put_on_path()
    return [Located(_port_of_module(locator), locator, project) for locator in (*project.ports, *_entry_points())]


def _entry_points() -> list[str]:
    from importlib.metadata import entry_points

    return [point.value for point in entry_points(group="portproof.ports")]


def _port_of_module(locator: str) -> Port:
    module, _, attribute = locator.partition(":")
    return _as_port(import_attribute(module, attribute, f"port '{locator}'"), locator)


def _port_of_file(path: Path, attribute: str) -> tuple[Port, str]:
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise BadInput(f"'{path}': no such file{near(path.name, beside) or '.'}")
    module = _module_of_file(path)
    ports = [key for key, value in vars(module).items() if isinstance(value, Port)]
    if not attribute:
        if not ports:
            both = models_to_name(_as_typed(str(path)), vars(module))
            raise BadInput(f"'{path}' has no Port; {both}write in it: {port_to_write(path.stem, vars(module))}")
        if len(ports) > 1:
            raise BadInput(f"'{path}': name the port as {path.name}:NAME; it has {', '.join(ports)}.")
        attribute = ports[0]
    if not hasattr(module, attribute):
        raise BadInput(
            f"'{path}' has no '{attribute}'; its ports are {', '.join(ports) or 'none'}{near(attribute, ports) or '.'}"
        )
    port = _as_port(getattr(module, attribute), f"{path}:{attribute}")
    return port, attribute


def _as_typed(locator: str) -> str:
    """Return a locator as a person would type it here."""
    return locator.removeprefix(f"{Path.cwd()}{os.sep}")


def _module_of_file(path: Path) -> ModuleType:
    """Import a file, which can import what lies beside it.

    Raises:
        BadInput: the import raises.
    """
    reach(path.parent)
    name_modules(imported_by(path))
    name = f"_portproof_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadInput(f"'{path}' cannot be imported: {told_with_line(error)}") from error
    return module


def _as_port(value: object, locator: str) -> Port:
    if not isinstance(value, Port):
        side = framework_of(value)
        if side is not None:
            raise BadInput(
                f"'{locator}' is a {side} model, expected a portproof.Port; name the other model, too: "
                f"portproof verify {_as_typed(locator)} OTHER.py:NAME --input 1,3,224,224"
            )
        raise BadInput(f"'{locator}' is a {type(value).__name__}, expected a portproof.Port.")
    return value


def import_attribute(module: str, attribute: str, what: str) -> Any:
    """Import ``module`` and return one attribute of it.

    Raises:
        BadInput: either is not there, or the import raises.
    """
    name_modules([module])
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: '{module}' cannot be imported: {told_with_line(error)}") from error
    value: Any = imported
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise BadInput(f"{what}: '{module}' has no '{attribute}'.")
        value = getattr(value, part)
    return value


def resolve_factory(port: Port, side: str) -> Callable[..., Any]:
    """Return the callable behind a port's side.

    Raises:
        BadInput: the port has no such side, or its name leads nowhere.
    """
    factory = port.factory(side)
    if factory is None:
        raise BadInput(f"port '{port.name}' has no {side} side.")
    return resolve_callable(factory, f"{side} side of port '{port.name}'")


def resolve_callable(named: str | Callable[..., Any], what: str) -> Callable[..., Any]:
    """Return a callable given as itself, as ``"module:name"`` or as ``"file.py:name"``.

    Raises:
        BadInput: the name leads nowhere or to something that cannot be called.
    """
    if not isinstance(named, str):
        return named
    module, colon, attribute = named.partition(":")
    if not colon:
        raise BadInput(f'{what}: expected "module:name" or "file.py:name", found \'{named}\'.')
    if module.endswith(".py"):
        value = _attribute_of_file(Path(module).absolute(), attribute, what)
    else:
        value = import_attribute(module, attribute, what)
    if not callable(value):
        raise BadInput(f"{what}: '{named}' is a {type(value).__name__}, which cannot be called.")
    factory: Callable[..., Any] = value
    return factory


def _attribute_of_file(path: Path, attribute: str, what: str) -> Any:
    """Return one name of a file: of a package where it is in one, so that it can import what its package has."""
    if not path.is_file():
        raise BadInput(f"{what}: '{path}': no such file.")
    folder = path.parent
    parts = [path.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.append(folder.name)
        folder = folder.parent
    if len(parts) > 1:
        reach(path.parent)
        name_modules(imported_by(path))
        reach(folder, [parts[-1]])
        return import_attribute(".".join(reversed(parts)), attribute, what)
    module = _module_of_file(path)
    if not hasattr(module, attribute):
        raise BadInput(f"{what}: '{path}' has no '{attribute}'{near(attribute, list(vars(module))) or '.'}")
    return getattr(module, attribute)


def artefact_path(located: Located, side: str) -> Path:
    """Return the file that is a port's side; relative paths begin at the project, or at the port's own file.

    Raises:
        BadInput: there is no such file.
    """
    named = Path(located.port.artefact(side) or "")
    locator = (located.locator or "").rpartition(":")[0]
    base = Path(locator).parent if locator.endswith(".py") else located.project.root or Path.cwd()
    path = named if named.is_absolute() else base / named
    if not path.is_file():
        raise BadInput(f"port '{located.port.name}': its {side} side '{path}' is no file.")
    return path
