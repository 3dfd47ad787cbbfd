"""Which line of a Paddle model a node of its export comes from.

A program knows the call stack of each operator until it is saved; paddle2onnx drops it, and names tensors after the
operators that make them: ``p2o.pd_op.add.3.0`` is the first result of the fourth ``add``. A node is known where that,
and what all nodes of its operator read, fit the program; of any other nothing is said.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Metadata of a node, in the form of the one that torch's exporter writes.
STACK = "pkg.paddle.stack_trace"
_FILE = re.compile(r'\s*File "(.*)", line \d+')
#: What stands behind the name of a list for the tensors in it.
_LIST = re.compile(r"_\d+$")
_OWN = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Operator:
    """An operator of a saved program.

    Attributes:
        given, made: names of tensors in the export.
        stack: the frames of the model's own code that led to it, innermost last; "" for none.
    """

    given: tuple[str, ...]
    made: tuple[str, ...]
    stack: str


@contextlib.contextmanager
def noting_operators(found: list[Operator]) -> Iterator[None]:
    """Let programs that are saved within the block be noted in ``found``, as they are written."""
    import paddle

    core, name = paddle.base.core, "serialize_pir_program"
    real = getattr(core, name, None)
    if real is None:  # a later Paddle: nothing is noted, and nothing is said
        yield
        return

    def noting(program: Any, *args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            found[:] = _operators(program)
        return real(program, *args, **kwargs)

    setattr(core, name, noting)
    try:
        yield
    finally:
        setattr(core, name, real)


def _operators(program: Any) -> list[Operator]:
    """Return the operators of a program's outermost block."""
    found: list[Operator] = []
    names: dict[Any, tuple[str, ...]] = {}  # of values; a list of tensors has several
    counted: Counter[str] = Counter()
    fetched: dict[Any, list[str]] = {}
    for operator in program.global_block().ops:
        kind, sources = operator.name(), [value.id for value in operator.operands_source() if value.initialized()]
        given = tuple(name for source in sources for name in names.get(source, ()))
        results = [value.id for value in operator.results()]
        if kind == "builtin.parameter":
            names[results[0]] = (operator.attrs()["parameter_name"],)
        elif kind == "pd_op.data":
            names[results[0]] = (operator.attrs()["name"],)
        elif kind == "builtin.combine":
            names[results[0]] = given
        elif kind == "pd_op.fetch":
            fetched.setdefault(sources[0], []).append(f"fetch_name_{operator.attrs()['col']}")
        else:
            number = counted[kind]
            counted[kind] += 1
            made = tuple(f"p2o.{kind}.{number}.{slot}" for slot in range(len(results)))
            names |= {result: (name,) for result, name in zip(results, made, strict=True)}
            found.append(Operator(given, made, _stack(operator.callstack)))
    outputs = {name: ends for value, ends in fetched.items() for name in names.get(value, ())}
    return [
        Operator(one.given, (*one.made, *(end for name in one.made for end in outputs.get(name, ()))), one.stack)
        for one in found
    ]


def _stack(lines: Sequence[str]) -> str:
    """Return a call stack's frames inside the model's forward, without those of Paddle and portproof."""
    import paddle

    package = str(Path(paddle.__file__).parent)
    frames = [
        (match.group(1), f"{head.strip()}\n    {text.strip()}")
        for head, text in zip(lines[::2], lines[1::2], strict=False) if (match := _FILE.match(head))
    ]  # fmt: skip
    traced = [place for place, (file, _) in enumerate(frames) if file.startswith(f"{package}/jit/")]
    inside = frames[traced[-1] + 1 :] if traced else []
    models = f"{package}/vision/models/"
    return "\n  ".join(
        frame for file, frame in inside if not file.startswith((f"{package}/", _OWN)) or file.startswith(models)
    )


def stacks(proto: Any, operators: Sequence[Operator]) -> dict[str, str]:
    """Return the call stack behind each tensor of a graph as paddle2onnx writes it, where that is certain."""
    maker = {name: number for number, operator in enumerate(operators) for name in operator.made}
    parts = {
        part: whole
        for node in proto.graph.node for part in node.output
        if part not in maker and (whole := _LIST.sub("", part)) in maker
    }  # fmt: skip
    maker |= {part: maker[whole] for part, whole in parts.items()}
    owners: dict[str, set[int]] = {}  # of a tensor: operators of which it is a result, or whose nodes alone read it
    owned: dict[int, list[Any]] = {}
    for node in reversed(proto.graph.node):
        of = {owner for name in node.output for owner in ({maker[name]} if name in maker else owners.get(name, set()))}
        if len(of) == 1:
            owned.setdefault(next(iter(of)), []).append(node)
        for name in node.input:
            if name not in maker:
                owners.setdefault(name, set()).update(of)
    constants = {name for node in proto.graph.node if node.op_type == "Constant" for name in node.output} - maker.keys()
    parameters = {name for operator in operators for name in operator.given} - maker.keys()
    found: dict[str, str] = {}
    for number, nodes in owned.items():
        operator = operators[number]
        outputs = {name for node in nodes for name in node.output}
        read = {name for node in nodes for name in node.input if name} - outputs - (constants - parameters)
        if operator.stack and read and {parts.get(name, name) for name in read} <= set(operator.given):
            found |= dict.fromkeys(outputs, operator.stack)
    return found


def note_stacks(proto: Any, found: dict[str, str]) -> None:
    """Write into each node of a graph the call stack behind its first result, where that is known."""
    for node in proto.graph.node:
        stack = found.get(node.output[0]) if node.output else None
        if stack:
            entry = node.metadata_props.add()
            entry.key, entry.value = STACK, stack
