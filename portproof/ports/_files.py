"""Two models named by their files: which is whose, what they take, and the port file that binds them.

Files are read here and not run: a side's own process imports them, and no framework is needed to say what is wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from portproof._errors import BadInput
from portproof.ports._hints import near, windows_path
from portproof.ports._imports import modules_in
from portproof.ports._port import FLOATS, INTEGERS, PROGRAMS, Input, Port

#: Packages whose models are a side's, as they are imported.
_PACKAGES = {
    "torch": {"torch", "torchvision", "torchaudio", "timm", "transformers"},
    "paddle": {"paddle", "paddlenlp", "paddleclas", "paddleseg", "ppdet"},
}
#: Sizes of an input of which nothing is known.
GUESS = "1,3,224,224"
_BASES = {"Module": "torch", "Layer": "paddle"}
_SPEC = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sizes>[^:=]+)(?::(?P<dtype>[a-z]+\d*))?(?::(?P<range>[^:]+))?")
_RANGE = re.compile(r"(?P<low>-?[\d.eE+-]+?)\.\.(?P<high>-?[\d.eE+-]+)")


@dataclass(frozen=True)
class ModelFile:
    """A model as it is named.

    Attributes:
        factory: what a port calls it: ``"path/to/file.py:Net"``, or ``"package.module:Net"``.
        name: of the class or function.
        side: whose model it is, None where that cannot be told from the text.
        takes: the arguments of its forward; empty where they cannot be told.
        needs: how many of those it must be given.
        graph: whether it is an ONNX file, whose own inputs and outputs the port's are then.
    """

    factory: str
    name: str
    side: str | None
    takes: tuple[str, ...] = ()
    needs: int = 0
    graph: bool = False


def model_file(text: str) -> ModelFile:
    """Return the model that a person names as ``file.py:NAME``, ``package.module:NAME`` or ``file.onnx``.

    Raises:
        BadInput: there is no such file, or no such name in it.
    """
    here = windows_path(text)
    if here is not None:
        raise BadInput(f"'{text}' is a path of Windows; here it is written {here}.")
    file, colon, name = text.partition(":")
    if text.endswith((".onnx", *PROGRAMS)):
        _require_file(Path(text))
        if text.endswith(".onnx"):
            return ModelFile(text, Path(text).stem, None, graph=True)
        raise BadInput(f"'{text}' is no Python but a model's file: a port has it as a side; portproof verify {text}"
                       " prints one to write.")  # fmt: skip
    if not file.endswith(".py"):
        if not colon or Path(file).exists():
            raise BadInput(f"'{text}' names no model; expected file.py:NAME or package.module:NAME.")
        return ModelFile(text, name, _side_of_packages([file]))
    path = Path(file)
    _require_file(path)
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f" at line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise BadInput(f"'{file}' is no Python: {type(error).__name__}{line}; mend it.") from error
    defined = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    models = [key for key, node in defined.items() if _side_of_bases(node) is not None]
    if not name:
        if len(models) != 1:
            listed = ", ".join(models or defined) or "no class and no function"
            raise BadInput(f"'{file}': name the model as {file}:NAME; it has {listed}.")
        name = models[0]
    if name not in defined and not _mentions(tree, name):
        listed = ", ".join(models or defined) or "nothing"
        raise BadInput(f"'{file}' has no '{name}'; it has {listed}{near(name, list(defined)) or '.'}")
    node = defined.get(name)
    side = (_side_of_bases(node) if node is not None else None) or _side_of_packages(modules_in(node or tree))
    takes, needs = _arguments(node)
    return ModelFile(f"{file}:{name}", name, side or _side_of_packages(modules_in(tree)), takes, needs)


def _require_file(path: Path) -> None:
    if not path.is_file():
        beside = [other.name for other in path.parent.glob(f"*{path.suffix}")] if path.parent.is_dir() else []
        raise BadInput(f"'{path}': no such file{near(path.name, beside) or '.'}")


def by_side(first: str, second: str) -> dict[str, ModelFile]:
    """Return two models by their sides, told from their texts; PyTorch's comes first where they do not tell.

    Raises:
        BadInput: one is none, or both are of one framework.
    """
    models = [model_file(first), model_file(second)]
    told = [model.side for model in models]
    if told[0] is not None and told[0] == told[1]:
        raise BadInput(f"'{first}' and '{second}' are both {told[0]} models; name one of torch's and one of Paddle's.")
    if told[0] == "paddle" or told[1] == "torch":
        models.reverse()
    return dict(zip(("torch", "paddle"), models, strict=True))


def inputs_of(specs: Sequence[str], models: Mapping[str, ModelFile]) -> dict[str, Input]:
    """Return the inputs of two models, as ``--input`` gives them.

    Args:
        specs: ``SIZES``, ``NAME=SIZES``, each with ``:DTYPE`` and ``:LOWEST..HIGHEST`` where it has them. The first
            size counts rows. Those without a name get that of the forward's argument in their place.
        models: of the sides.

    Raises:
        BadInput: one cannot be read, or a name stands twice.
    """
    model = next((model for model in models.values() if model.takes), None)
    takes, needs = ((), 0) if model is None else (model.takes, model.needs)
    if not specs:
        shown = " ".join(f"--input {name}={GUESS}" for name in takes[:needs] or ("x",))
        raise BadInput(f"--input is missing: what the models take, such as {shown}; integers as ids=1,16:int64:0..999.")
    found: dict[str, Input] = {}
    for place, spec in enumerate(specs):
        name, declared = input_of(spec)
        name = name or (takes[place] if place < len(takes) else "x" if len(specs) == 1 else f"x{place}")
        if name in found:
            raise BadInput(f"--input names '{name}' twice.")
        found[name] = declared
    return found


def input_of(spec: str) -> tuple[str, Input]:
    """Read one ``--input``; returns its name, "" where it has none, and what it declares.

    Raises:
        BadInput: it cannot be read.
    """
    form = "NAME=1,3,224,224, or ids=1,16:int64:0..999"
    read = _SPEC.fullmatch(
        spec.strip().replace("x", ",") if re.fullmatch(r"\d+(x\d+)+", spec.strip()) else spec.strip()
    )
    if read is None:
        raise BadInput(f"--input takes {form}, found '{spec}'.")
    sizes = [size.strip() for size in read["sizes"].strip("()[]").split(",") if size.strip()]
    rows = ["1" if size.isidentifier() else size for size in sizes[:1]]  # 1, batch, N: it is the check that chooses
    if not sizes or not all(size.isdecimal() and int(size) > 0 for size in (*rows, *sizes[1:])):
        raise BadInput(f"--input takes {form}, found '{spec}': sizes are whole numbers, and the first counts rows.")
    dtype = read["dtype"] or "float32"
    limits = None
    if read["range"] is not None:
        ends = _RANGE.fullmatch(read["range"])
        try:
            limits = None if ends is None else (float(ends["low"]), float(ends["high"]))
        except ValueError:
            limits = None
        if limits is None or limits[0] > limits[1]:
            raise BadInput(f"--input '{spec}': a range is LOWEST..HIGHEST, such as 0..999, found '{read['range']}'.")
    if dtype not in (*FLOATS, *INTEGERS, "bool"):
        raise BadInput(f"--input '{spec}': no dtype '{dtype}'{near(dtype, (*FLOATS, *INTEGERS)) or '.'}")
    if dtype in INTEGERS:
        if limits is None:
            raise BadInput(f"--input '{spec}': whole numbers need a range, such as {spec}:0..999 for a thousand words.")
        limits = (int(limits[0]), int(limits[1]))
    return read["name"] or "", Input(("batch", *map(int, sizes[1:])), dtype, limits)


def input_of_graph(shape: Sequence[int | str | None], dtype: str) -> Input:
    """Return an input as a graph declares it: its first size counts rows, other free ones get a name and a size.

    Whole numbers get a range that is a guess: a graph has none.
    """
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
    free = {f"size{place}": 16 for place, size in enumerate(sizes) if size is None and place}
    named = tuple("batch" if not place else size or f"size{place}" for place, size in enumerate(sizes))
    return Input(named, dtype or "float32", (0, 999) if dtype in INTEGERS else None, sizes=free)


def handed_over(inputs: Mapping[str, Input], models: Mapping[str, ModelFile]) -> Literal["positional", "keyword"]:
    """Return how inputs are handed to two forwards: by keyword where both know their names, in whatever order."""
    known = all(set(inputs) <= set(model.takes) for model in models.values())
    ordered = all(tuple(inputs) == model.takes[: len(inputs)] for model in models.values())
    return "keyword" if known and not ordered else "positional"


def port_source(port: Port, note: str = "") -> str:
    """Return a file that declares a port of two models in files.

    Args:
        port: whose factories are strings.
        note: a comment on what is to be looked at.
    """
    declared = "".join(f"        {python_of(name)}: {input_source(one)},\n" for name, one in port.inputs.items())
    lines = [
        '"""The port: both sides, what they take and what they return."""\n',
        "from portproof import Input, Port\n",
        *([f"# {note}"] if note else []),
        "PORT = Port(",
        f"    name={python_of(port.name)},",
        *(f"    {side}={python_of(port.factory(side))}," for side in port.sides),
        f"    inputs={{\n{declared}    }},",
        f"    outputs={python_of(tuple(port.outputs))},",
    ]
    if port.batch_axes:
        lines.append(f"    batch_axes={python_of(dict(port.batch_axes))},  # where the rows of an output are")
    if port.kwargs:
        lines.append(f"    kwargs={python_of(dict(port.kwargs))},")
    if port.call != "positional":
        lines.append(f"    call={python_of(port.call)},")
    return "\n".join([*lines, ")", ""])


def python_of(value: Any) -> str:
    """Return a value as Python, quoted as people quote."""
    text = repr(value)
    return text if '"' in text or "\\" in text else text.replace("'", '"')


def input_source(declared: Input) -> str:
    """Return an input as Python."""
    more = "" if declared.dtype == "float32" else f", dtype={python_of(declared.dtype)}"
    more += "" if declared.range is None else f", range={declared.range!r}"
    more += f", sizes={python_of(dict(declared.sizes))}" if declared.sizes else ""
    return f"Input(shape={python_of(tuple(declared.shape))}{more})"


def port_name(name: str) -> str:
    """Return what a port of a model of this name is called."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name).strip("_") or "models"


def _side_of_packages(modules: Sequence[str]) -> str | None:
    tops = {module.partition(".")[0] for module in modules}
    sides = [side for side, packages in _PACKAGES.items() if tops & packages]
    return sides[0] if len(sides) == 1 else None


def _side_of_bases(node: ast.AST | None) -> str | None:
    """Return the side of a class that says whose model it is, None for anything else."""
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        last = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if last in _BASES:
            return _BASES[last]
    return None


def _mentions(tree: ast.Module, name: str) -> bool:
    """Whether a file may have a name that is no class and no function of its own: assigned, or imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"):
            return True
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
    return False


def _arguments(node: ast.AST | None) -> tuple[tuple[str, ...], int]:
    """Return the arguments of a class's forward, and how many of them it must be given."""
    for part in node.body if isinstance(node, ast.ClassDef) else []:
        if isinstance(part, ast.FunctionDef) and part.name == "forward":
            names = [argument.arg for argument in (*part.args.posonlyargs, *part.args.args)][1:]
            return tuple(names), len(names) - len(part.args.defaults)
    return (), 0
