"""Are two exports the same graph? Matched node by node from the outputs, attributes and initializers bit by bit.

Exporters spell one thing in several ways, so both graphs are read in one spelling: pass-through nodes are left out, a
product with a stored matrix and an added vector is a Linear with its weight as (out, in), a reshape that keeps the
rows and joins the rest is a Flatten, and every attribute that is left out has its operator's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from portproof.graphs._interpret import Graph

Array = np.ndarray[Any, Any]

_PASS_THROUGH = {"Identity", "Dropout", "Cast"}
_COMMUTATIVE = {"Add", "Mul", "Max", "Min"}


@dataclass(frozen=True)
class Step:
    """One node in the common spelling.

    Attributes:
        op: operator.
        title: as a person would name it in its own graph.
        inputs: tensor names.
        attributes: with defaults filled in.
        stored: initializers that were brought into the common layout, by position.
    """

    op: str
    title: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    stored: Mapping[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """What matched.

    Attributes:
        matched: pairs of node titles, in the order in which they were met from the outputs.
        differences: in words; empty where the graphs are the same.
    """

    matched: tuple[tuple[str, str], ...]
    differences: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.differences


class Spelling:
    """A graph read in the common spelling.

    Args:
        proto: an export.
        inputs: one small batch, run once to see which reshapes are flattens.
    """

    def __init__(self, proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> None:
        self.stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self.inputs = {value.name for value in proto.graph.input} - set(self.stored)
        self._version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self._made = {name: node for node in proto.graph.node for name in node.output}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for _, _, values in Graph(proto, "float32").steps(inputs):
            self._shapes = {name: np.shape(value) for name, value in values.items() if value is not None}

    def source(self, name: str) -> str:
        """Return the tensor behind pass-through nodes."""
        node = self._made.get(name)
        while node is not None and node.op_type in _PASS_THROUGH:
            name = node.input[0]
            node = self._made.get(name)
        return name

    def step(self, name: str) -> Step | None:
        """Return the step that makes a tensor; None for inputs and initializers."""
        node = self._made.get(name)
        if node is None:
            return None
        title = f"{node.op_type} '{node.name}'"
        attributes = self._attributes(node)
        if node.op_type == "Add":
            for product, added in (node.input, reversed(node.input)):
                made, bias = self._made.get(self.source(product)), self.stored.get(self.source(added))
                if made is not None and made.op_type == "MatMul" and made.input[1] in self.stored and bias is not None:
                    title = f"MatMul '{made.name}' and {title}"
                    weight = self.stored[made.input[1]].T
                    return Step(
                        "Linear", title, (made.input[0], made.input[1], added), {}, {1: weight, 2: bias.ravel()}
                    )
        if node.op_type == "Gemm" and node.input[1] in self.stored and not attributes.get("transA"):
            weight = self.stored[node.input[1]]
            stored = {1: weight if attributes["transB"] else weight.T}
            scale = {key: attributes[key] for key in ("alpha", "beta") if attributes[key] != 1.0}
            return Step("Linear", title, tuple(node.input), scale, stored)
        if node.op_type == "ReduceMean" and attributes.get("keepdims"):
            before, after = self._shapes[node.input[0]], self._shapes[name]
            if len(after) > 2 and after == (*before[:2], *([1] * (len(before) - 2))):
                return Step("GlobalAveragePool", title, (node.input[0],), {})
        if node.op_type in ("Reshape", "Flatten"):
            before, after = self._shapes[node.input[0]], self._shapes[name]
            if len(after) == 2 and after[:1] == before[:1]:
                return Step("Flatten", title, (node.input[0],), {})
        return Step(node.op_type, title, tuple(node.input), attributes)

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return a node's attributes with defaults, windows spelt out for every axis."""
        schema = defs.get_schema(node.op_type, self._version, node.domain)
        found = {
            name: helper.get_attribute_value(attribute.default_value)
            for name, attribute in schema.attributes.items()
            if attribute.default_value.name
        }
        found |= {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        found = {key: value.decode() if isinstance(value, bytes) else value for key, value in found.items()}
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            if node.op_type == "Conv" and node.input[1] in self.stored:
                found["kernel_shape"] = list(self.stored[node.input[1]].shape[2:])
            axes = len(found["kernel_shape"])
            ones = {"strides": [1] * axes, "dilations": [1] * axes, "pads": [0] * (2 * axes)}
            found = ones | {key: list(v) if isinstance(v, (list, tuple)) else v for key, v in found.items()}
            if not any(found["pads"]):
                found.pop("count_include_pad", None)
        found.pop("storage_order", None)
        return found


def match_graphs(
    one: onnx.ModelProto, two: onnx.ModelProto, inputs: Mapping[str, Array], names: tuple[str, str] = ("one", "two")
) -> Match:
    """Match two graphs that have the same input and output names.

    Args:
        one, two: exports of the two sides under the same weights.
        inputs: one small batch.
        names: of the graphs, in messages.

    Returns:
        The nodes that correspond, and what differs. Where operators differ, what lies before them is not compared.
    """
    graphs = Spelling(one, inputs), Spelling(two, inputs)
    outputs = [[value.name for value in proto.graph.output] for proto in (one, two)]
    differences: list[str] = []
    if outputs[0] != outputs[1]:
        return Match((), (f"the outputs are {outputs[0]} in {names[0]} and {outputs[1]} in {names[1]}",))
    matched: dict[tuple[str, str], tuple[str, str]] = {}
    left = [(name, name) for name in reversed(outputs[0])]
    while left:
        pair = left.pop()
        first, second = graphs[0].source(pair[0]), graphs[1].source(pair[1])
        if (first, second) in matched:
            continue
        steps = graphs[0].step(first), graphs[1].step(second)
        if steps[0] is None or steps[1] is None:
            differences += _ends(graphs, (first, second), steps, names)
            continue
        matched[first, second] = steps[0].title, steps[1].title
        if steps[0].op != steps[1].op or len(steps[0].inputs) != len(steps[1].inputs):
            differences.append(f"{steps[0].title} in {names[0]} stands where {names[1]} has {steps[1].title}")
            continue
        differences += _attributes(steps[0], steps[1], names)
        for index, sources in enumerate(zip(steps[0].inputs, steps[1].inputs, strict=True)):
            arrays = [
                step.stored.get(index, graph.stored.get(graph.source(source)))
                for step, graph, source in zip((steps[0], steps[1]), graphs, sources, strict=True)
            ]
            if arrays[0] is not None and arrays[1] is not None:
                differences += _tensors(steps[0], sources[0], arrays[0], arrays[1], names)
            elif any(sources):
                left.append((sources[0], sources[1]))
    return Match(tuple(matched.values()), tuple(dict.fromkeys(differences)))


def _ends(
    graphs: tuple[Spelling, Spelling],
    tensors: tuple[str, str],
    steps: tuple[Step | None, Step | None],
    names: tuple[str, str],
) -> list[str]:
    """Compare where one of two tensors is made by no node."""
    if tensors[0] == tensors[1] and all(tensors[0] in graph.inputs for graph in graphs):
        return []
    said = [step.title if step is not None else f"'{tensor}'" for step, tensor in zip(steps, tensors, strict=True)]
    return [f"{said[0]} in {names[0]} stands where {names[1]} has {said[1]}"]


def _attributes(one: Step, two: Step, names: tuple[str, str]) -> list[str]:
    keys = sorted({*one.attributes, *two.attributes})
    return [
        f"{one.title}: {key} is {one.attributes.get(key)} in {names[0]} and {two.attributes.get(key)} in {names[1]}"
        for key in keys
        if one.attributes.get(key) != two.attributes.get(key)
    ]


def _tensors(step: Step, name: str, one: Array, two: Array, names: tuple[str, str]) -> list[str]:
    if one.size == two.size and one.ndim != two.ndim and max(one.shape, default=1) == one.size:
        one, two = one.ravel(), two.ravel()  # a vector, spelt with axes of size one
    if one.shape != two.shape:
        return [f"{step.title}: '{name}' is {list(one.shape)} in {names[0]} and {list(two.shape)} in {names[1]}"]
    if one.tobytes() != np.ascontiguousarray(two).tobytes() and not np.array_equal(one, two):
        apart = int(np.count_nonzero(one != two))
        return [f"{step.title}: '{name}' differs between {names[0]} and {names[1]} in {apart} of {one.size} elements"]
    return []
