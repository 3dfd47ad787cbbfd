"""Which nodes of a graph may run on the CPU beside a GPU: those that compute shapes and nothing else.

ONNX Runtime puts shape arithmetic on the CPU on purpose, since its results are needed there. What carries an activation
and runs on the CPU is a kernel that the GPU's provider lacks: each call then copies to the host and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: What they put out depends on the shape of what they take in, never on its values.
_SHAPES = ("Shape", "Size")


def value_nodes(graph: Any) -> tuple[set[str], dict[str, bool]]:
    """Find the nodes whose results depend on the values of a graph's inputs, not on their shapes alone.

    Args:
        graph: an ``onnx.GraphProto``, its nodes in topological order, as the standard demands.

    Returns:
        The names of those nodes, and for every operator whether any node of it is one.
    """
    constants = {tensor.name for tensor in graph.initializer}
    carried = {value.name for value in graph.input} - constants
    names: set[str] = set()
    operators: dict[str, bool] = {}
    for node in graph.node:
        taken = {*node.input, *_captured(node)}
        carries = node.op_type not in _SHAPES and not carried.isdisjoint(taken)
        operators[node.op_type] = operators.get(node.op_type, False) or carries
        if carries:
            names.add(node.name)
            carried.update(node.output)
    return names, operators


def _captured(node: Any) -> Iterable[str]:
    """Return what the bodies of an If, Loop or Scan take from the graph around them."""
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in body.node:
                yield from inner.input
                yield from _captured(inner)


def on_the_cpu(
    graph: Any, assigned: Iterable[tuple[str, str]]
) -> tuple[Mapping[str, int], tuple[tuple[str, str], ...]]:
    """Divide the nodes that run on the CPU into those that compute shapes and those that carry activations.

    Args:
        graph: the ``onnx.GraphProto`` that the session was made from.
        assigned: name and operator of every node on the CPU. One that the graph has not, because an optimiser made it,
            counts as carrying an activation where any node of its operator does or the graph has no such operator.

    Returns:
        How many nodes of each operator compute shapes; name and operator of the others.
    """
    carrying, operators = value_nodes(graph)
    known = {node.name for node in graph.node if node.name}
    shapes: dict[str, int] = {}
    activations: list[tuple[str, str]] = []
    for name, operator in assigned:
        if name in carrying if name in known else operators.get(operator, True):
            activations.append((name, operator))
        else:
            shapes[operator] = shapes.get(operator, 0) + 1
    return shapes, tuple(activations)
