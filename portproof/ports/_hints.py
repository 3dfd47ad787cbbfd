"""What a person may have meant who named no port, and the Port that is to be written, filled in as far as can be told.

Each hint is a part of one line: an error's.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from portproof.ports._port import PROGRAMS

_BASES = {"torch": ("torch.nn", "Module"), "paddle": ("paddle.nn", "Layer")}
_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pdparams", ".pdiparams", ".npz", ".pkl")
_DRIVE = re.compile(r"([A-Za-z]):[\\/]")


def framework_of(value: Any) -> str | None:
    """Return the framework that a model, or a class of models, is of; None for anything else. Imports neither."""
    for base in value.__mro__ if isinstance(value, type) else type(value).__mro__:
        for side, (package, name) in _BASES.items():
            if base.__name__ == name and f"{base.__module__}.".startswith(f"{package}."):
                return side
    return None


def near(name: str, known: Collection[str]) -> str:
    """Return "; did you mean …?" where something of nearly that name is known, "" where nothing is."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def windows_path(name: str) -> str | None:
    """Return how a path of Windows is written here, None where this is none."""
    if "\\" not in name and not _DRIVE.match(name):
        return None
    drive = _DRIVE.match(name)
    rest = name[drive.end() :] if drive else name
    return (f"/mnt/{drive[1].lower()}/" if drive else "") + rest.replace("\\", "/")


def port_to_write(stem: str, found: Mapping[str, Any], **sides: str) -> str:
    """Return the lines to write, on one: the models that a module has by their names, dots for what cannot be told.

    Args:
        stem: what the port may be called.
        found: the module's names.
        sides: side to its factory, where that is known.
    """
    inputs = ["x"]
    own = {name: value for name, value in found.items() if inspect.isfunction(value) or isinstance(value, type)}
    for name, value in own.items():
        told = framework_of(value) if isinstance(value, type) else None
        if told is None and inspect.isfunction(value):
            told = next((side for side in _BASES if side in name.lower()), None)
        if told is not None and not value.__module__.startswith(("torch.", "paddle.")) and told not in sides:
            sides[told] = name
            inputs = _arguments(value) or inputs
    factories = ", ".join(f"{side}={sides.get(side, '...')}" for side in ("paddle", "torch"))
    given = ", ".join(f'"{name}": Input(("batch", 3, 224, 224))' for name in inputs)
    name = re.sub(r"\W", "_", stem) if stem[:1].isalpha() else "my_port"
    return f'from portproof import Input, Port; PORT = Port("{name}", {factories}, inputs={{{given}}})'


def file_to_bind(name: str, inputs: str = "", outputs: str = "") -> str:
    """Return what to write where a model's own file was named: a port of which it is one side.

    Args:
        name: of the file.
        inputs, outputs: of the file, as Python, where they were read from it.
    """
    port = port_to_write(Path(name).stem, {}, torch=f'"{name}"')
    if inputs:
        port = f"{port.partition(', inputs=')[0]}, inputs={{{inputs}}}, outputs={outputs})"
    beside = f"name the other model, too: portproof verify {name} OTHER.py:NAME; or " if name.endswith(".onnx") else ""
    return (
        f" A model's file is one side of a port; {beside}write in my_port.py: {port}; then: portproof verify my_port.py"
    )


def models_to_name(file: str, found: Mapping[str, Any]) -> str:
    """Return how a file's model is judged beside another without a port, where the file has a model of its own."""
    own = [name for name, value in found.items() if isinstance(value, type) and framework_of(value)
           and not value.__module__.startswith(("torch.", "paddle."))]  # fmt: skip
    return f"portproof verify {file}:{own[-1]} OTHER.py:NAME --input 1,3,224,224, or " if own else ""


def _arguments(model: Any) -> list[str]:
    """Return what a class's forward must be given."""
    if not isinstance(model, type):
        return []
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]  # type: ignore[attr-defined]
    return [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default is p.empty]


def meant(name: str, known: Mapping[str, str]) -> str:
    """Return what a person may have meant by a name that no port has.

    Args:
        name: that was typed.
        known: name of each port to its locator.
    """
    path = Path(name)
    if path.is_dir():
        return f" '{name}' is a folder: {_in_folder(path)}"
    if path.suffix in (".onnx", *PROGRAMS):
        return file_to_bind(name)
    if path.suffix in _WEIGHTS:
        return " A checkpoint holds weights and no model: portproof verify PORT --weights FILE judges a port on it."
    if not path.suffix and path.with_suffix(".py").is_file():
        return f" Did you mean {path.with_suffix('.py')}?"
    if name == "googlenet" and not known:
        return " `portproof init my_googlenet --from googlenet` writes a project that has it."
    by_locator = {text: text for text in known.values()} | {text.partition(":")[0]: text for text in known.values()}
    found = difflib.get_close_matches(name, [*known, *by_locator], n=1)
    return f" Did you mean {found[0] if found[0] in known else by_locator[found[0]]}?" if found else ""


def _in_folder(folder: Path) -> str:
    """Say what can be named in a folder."""
    project = folder / "pyproject.toml"
    try:
        if project.is_file() and "[tool.portproof]" in project.read_text(encoding="utf-8"):
            return f"it is a port project, so: cd {folder} && portproof verify"
        files = [file for file in sorted(folder.glob("*.py")) if "Port(" in file.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError):
        files = []
    if files:
        return f"name a file in it, such as {files[0]}."
    return "no file in it has a Port; `portproof init my_port` writes a project with one."
