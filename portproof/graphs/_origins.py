"""Which line of a model a node of a graph comes from, where its exporter wrote it.

What a file says of itself is a stranger's text: it is bounded and cleaned, and the file that it names is never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import onnx

from portproof._text import visible
from portproof.frameworks._paddle_origins import STACK
from portproof.judge._report import Line

#: Keys under which exporters write a node's call stack, outermost frame first, and the side that they are of.
_STACKS = {"pkg.torch.onnx.stack_trace": "torch", STACK: "paddle"}
#: Characters of a call stack and of an expression that are read, and lines that are named.
_STACK, _TEXT, _NAMED = 2**16, 120, 8
_FRAME = re.compile(r'File "([^"\n]{1,400})", line (\d{1,7})(?:, in [^\n]{0,200})?(?:\n(?! *File ")([^\n]*))?')
#: A framework's own code, its published models left out.
_FRAMEWORK = re.compile(r"[/\\](?:site|dist)-packages[/\\](?:torch|paddle)[/\\](?!vision[/\\]models[/\\])")
_OWN = str(Path(__file__).parents[1])


def origin(node: onnx.NodeProto) -> Line | None:
    """Return the line of the model's own code that made a node; None where the exporter wrote none."""
    for entry in node.metadata_props:
        if entry.key in _STACKS:
            frames = _FRAME.findall(entry.value[-_STACK:])
            for file, line, text in reversed(frames):
                if not _FRAMEWORK.search(file) and not file.startswith(_OWN):
                    said = visible(text)
                    said = said if len(said) <= _TEXT else f"{said[: _TEXT - 1]}…"
                    return Line(_STACKS[entry.key], visible(file), int(line), said)
    return None


def origins(nodes: Iterable[onnx.NodeProto]) -> tuple[Line, ...]:
    """Return the lines that nodes come from, each once, the first few."""
    found = dict.fromkeys(line for node in nodes if (line := origin(node)) is not None)
    return tuple(found)[:_NAMED]
