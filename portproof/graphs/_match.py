"""Are two exports the same graph? Matched node by node from the outputs, attributes and initializers bit by bit.

Exporters spell one thing in several ways, so both graphs are read in one spelling: pass-through nodes are left out, a
product with a stored matrix and an added vector is a Linear with its weight as (out, in), a reshape that keeps the
rows and joins the rest is a Flatten, and every attribute that is left out has its operator's default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.graphs._interpret import Graph
from portproof.graphs._origins import origins
from portproof.judge._report import Line

_PASS_THROUGH = {"Identity", "Dropout", "Cast"}
#: Two operands of these may come in either order, bit for bit.
_COMMUTATIVE = {"Add", "Mul", "Max", "Min"}


@dataclass(frozen=True)
class GraphStep:
    """One node in the common spelling.

    Attributes:
        op: operator.
        title: as a person would name it in its own graph.
        inputs: tensor names.
        attributes: with defaults filled in.
        stored: initializers that were brought into the common layout, by position.
        node: that makes the tensor, the last one of several.
    """

    op: str
    title: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    stored: Mapping[int, Array] = field(default_factory=dict)
    node: onnx.NodeProto | None = None


@dataclass(frozen=True)
class Match:
    """What matched.

    Attributes:
        matched: pairs of node titles, in the order in which they were met from the outputs.
        differences: in words; empty where the graphs are the same.
        tensors: pairs of initializers that stand in the same place, by name.
        origins: of each difference, the lines of the models that its nodes come from.
    """

    matched: tuple[tuple[str, str], ...]
    differences: tuple[str, ...]
    tensors: tuple[tuple[str, str], ...] = ()
    origins: tuple[tuple[Line, ...], ...] = ()

    def __bool__(self) -> bool:
        return not self.differences


class Spelling:
    """A graph read in the common spelling.

    Args:
        proto: an export.
        inputs: one small batch, run once to see which reshapes are flattens.
        weights: ``"bits"`` or ``"shapes"``: what makes two initializers equal.
    """

    def __init__(self, proto: onnx.ModelProto, inputs: Mapping[str, Array], weights: str = "bits") -> None:
        self._weights = weights
        self.stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self.inputs = {value.name for value in proto.graph.input} - set(self.stored)
        missing = sorted(self.inputs - set(inputs))
        if missing:
            raise BadInput(f"a graph has the input '{missing[0]}'; the other and the port name {', '.join(inputs)}.")
        self._version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self._made = {name: node for node in proto.graph.node for name in node.output}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._fingerprints: dict[str, str] = {}
        for _, node, values in Graph(proto, "float32").steps(inputs):
            self._shapes = {name: np.shape(value) for name, value in values.items() if value is not None}
            if node.input and all(name in self.stored for name in node.input):  # a constant, spelt as a computation
                self.stored |= {name: np.asarray(values[name]) for name in node.output if name}

    def source(self, name: str) -> str:
        """Return the tensor behind pass-through nodes."""
        node = self._made.get(name)
        while node is not None and node.op_type in _PASS_THROUGH:
            name = node.input[0]
            node = self._made.get(name)
        return name

    def step(self, name: str) -> GraphStep | None:
        """Return the step that makes a tensor; None for inputs and initializers."""
        node = self._made.get(name)
        if node is None or name in self.stored:
            return None
        return replace(self._step(name, node), node=node)

    def _step(self, name: str, node: onnx.NodeProto) -> GraphStep:
        title = f"{node.op_type} '{node.name}'"
        attributes = self._attributes(node)
        if node.op_type == "Add":
            for product, added in (node.input, reversed(node.input)):
                made, bias = self._made.get(self.source(product)), self.stored.get(self.source(added))
                if made is not None and made.op_type == "MatMul" and made.input[1] in self.stored and bias is not None:
                    title = f"MatMul '{made.name}' and {title}"
                    weight = self.stored[made.input[1]].T
                    return GraphStep(
                        "Linear", title, (made.input[0], made.input[1], added), {}, {1: weight, 2: bias.ravel()}
                    )
        if node.op_type == "Gemm" and node.input[1] in self.stored and not attributes.get("transA"):
            weight = self.stored[node.input[1]]
            stored = {1: weight if attributes["transB"] else weight.T}
            scale = {key: attributes[key] for key in ("alpha", "beta") if attributes[key] != 1.0}
            return GraphStep("Linear", title, tuple(node.input), scale, stored)
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in self.stored:
            zeros = np.zeros(len(self.stored[node.input[1]]), self.stored[node.input[1]].dtype)
            # Some exporters drop a bias of zeros.
            return GraphStep("Conv", title, (*node.input, ""), attributes, {2: zeros})
        if node.op_type == "ReduceMean" and attributes.get("keepdims"):
            before, after = self._shapes[node.input[0]], self._shapes[name]
            if len(after) > 2 and after == (*before[:2], *([1] * (len(before) - 2))):
                return GraphStep("GlobalAveragePool", title, (node.input[0],), {})
        if node.op_type in ("Reshape", "Flatten"):
            before, after = self._shapes[node.input[0]], self._shapes[name]
            if len(after) == 2 and after[:1] == before[:1]:
                return GraphStep("Flatten", title, (node.input[0],), {})
        return GraphStep(node.op_type, title, tuple(node.input), attributes)

    def fingerprint(self, name: str) -> str:
        """Return a hash of all that makes a tensor: operators, attributes, weights, the graph's inputs by name.

        Equal tensors have equal fingerprints, whatever their nodes are called and however commuting operands stand.
        """
        waiting = [self.source(name)]
        while waiting:
            tensor = waiting[-1]
            step = self.step(tensor)
            left = [] if step is None else [self.source(source) for source in step.inputs if source]
            left = [source for source in left if source not in self._fingerprints]
            if left and tensor not in self._fingerprints:
                waiting += left
                continue
            waiting.pop()
            if tensor not in self._fingerprints:
                self._fingerprints[tensor] = self._fingerprint(tensor, step)
        return self._fingerprints[self.source(name)]

    def _fingerprint(self, tensor: str, step: GraphStep | None) -> str:
        if step is None:
            said = self._said(self.stored[tensor]) if tensor in self.stored else tensor
        else:
            before = [
                self._said(step.stored[index])
                if index in step.stored
                else self._fingerprints.get(self.source(source), "")
                for index, source in enumerate(step.inputs)
            ]
            said = repr((step.op, sorted(step.attributes.items()), sorted(before) if commutes(step) else before))
        return hashlib.sha256(said.encode()).hexdigest()

    def _said(self, array: Array) -> str:
        flat = np.ascontiguousarray(array.ravel() if max(array.shape, default=1) == array.size else array)
        bits = hashlib.sha256(flat.tobytes()).hexdigest() if self._weights == "bits" else ""
        return f"{flat.dtype.str} {flat.shape} {bits}"

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
            ones: dict[str, Any] = {"strides": [1] * axes, "dilations": [1] * axes, "pads": [0] * (2 * axes)}
            if node.op_type != "Conv":
                ones["ceil_mode"] = 0  # operator sets before the 10th have no such attribute
            found = ones | {key: list(v) if isinstance(v, (list, tuple)) else v for key, v in found.items()}
            if not any(found["pads"]):
                found.pop("count_include_pad", None)
        found.pop("storage_order", None)
        return found


def commutes(step: GraphStep) -> bool:
    """Whether the two operands of a step may come in either order."""
    return step.op in _COMMUTATIVE and len(step.inputs) == 2 and not step.stored


def renamed(proto: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """Return a graph with inputs and outputs renamed.

    Raises:
        BadInput: the graph has no such input or output.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    values = {value.name: value for value in (*changed.graph.input, *changed.graph.output)}
    for name, new in names.items():
        if name not in values:
            raise BadInput(f"the graph has no input or output '{name}'; there are {', '.join(values)}.")
        values[name].name = new
    for node in changed.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return changed


def fixed_rows(proto: onnx.ModelProto) -> int | None:
    """Return the number of rows that a graph is written for; None where it takes any."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if value.name not in stored and dimensions and dimensions[0].HasField("dim_value"):
            return int(dimensions[0].dim_value)
    return None


def match_graphs(
    one: onnx.ModelProto,
    two: onnx.ModelProto,
    inputs: Mapping[str, Array],
    names: tuple[str, str] = ("one", "two"),
    weights: Literal["bits", "shapes"] = "bits",
) -> Match:
    """Match two graphs from the outputs that they share by name.

    Args:
        one, two: graphs with the same input names.
        inputs: one small batch.
        names: of the graphs, in messages.
        weights: whether initializers must be equal to the last bit, or only in shape, for graphs with other weights.

    Returns:
        The nodes that correspond, and what differs. A node that only one graph has is named and stepped over; where
        operators differ and so does what lies before them, that is not compared.
    """
    spelt = Spelling(one, inputs, weights), Spelling(two, inputs, weights)
    return _Matching(spelt, names, weights).match(
        [[value.name for value in proto.graph.output] for proto in (one, two)]
    )


#: How many nodes in a row that only one graph has are stepped over.
_LOOKAHEAD = 3


class _Matching:
    """The work in progress of :func:`match_graphs`: pairs of tensors that are still to be compared."""

    def __init__(self, graphs: tuple[Spelling, Spelling], names: tuple[str, str], weights: str) -> None:
        self.graphs, self.names, self.weights = graphs, names, weights
        self.differences: dict[str, tuple[Line, ...]] = {}
        self.matched: dict[tuple[str, str], tuple[str, str]] = {}
        self.tensors: dict[tuple[str, str], None] = {}

    def match(self, outputs: list[list[str]]) -> Match:
        shared = [name for name in outputs[0] if name in outputs[1]]
        for own, names, title in zip(outputs, reversed(outputs), self.names, strict=True):
            lone = [name for name in own if name not in names]
            self._say(f"output '{name}' stands only in {title}" for name in lone)
        left = [(name, name) for name in reversed(shared)]
        while left:
            pair = left.pop()
            first, second = (graph.source(name) for graph, name in zip(self.graphs, pair, strict=True))
            if (first, second) not in self.matched:
                left += self._compare(first, second)
        said = tuple(self.differences), tuple(self.differences.values())
        return Match(tuple(self.matched.values()), said[0], tuple(self.tensors), said[1])

    def _say(self, texts: Iterable[str], *steps: GraphStep | None) -> None:
        """Note differences, with the lines that their nodes come from."""
        for text in texts:
            nodes = (step.node for step in steps if step is not None and step.node is not None)
            self.differences.setdefault(text, origins(nodes))

    def _compare(self, first: str, second: str) -> list[tuple[str, str]]:
        """Compare what makes two tensors; returns the pairs of tensors before them."""
        one, two = self.graphs[0].step(first), self.graphs[1].step(second)
        if one is None or two is None:
            self._say(_ends(self.graphs, (first, second), (one, two), self.names), one, two)
            return []
        if one.op == two.op and len(one.inputs) != len(two.inputs):
            counts = f"{len(one.inputs)} inputs in {self.names[0]} and {len(two.inputs)} in {self.names[1]}"
            self._say([f"{one.title} has {counts}"], one, two)
            return []
        if one.op != two.op:
            return self._step_over(first, second)
        self.matched[first, second] = one.title, two.title
        self._say(_attributes(one, two, self.names), one, two)
        left: list[tuple[str, str]] = []
        for index, sources in enumerate(zip(one.inputs, self._ordered(one, two), strict=True)):
            stored = [
                (graph.source(source), step.stored.get(index, graph.stored.get(graph.source(source))))
                for step, graph, source in zip((one, two), self.graphs, sources, strict=True)
            ]
            (name, array), (twin, other) = stored
            if array is not None and other is not None:
                self.tensors[name, twin] = None
                self._say(_tensors(one, sources[0], array, other, self.names, self.weights), one, two)
            elif any(sources):
                left.append((sources[0], sources[1]))
        return left

    def _ordered(self, one: GraphStep, two: GraphStep) -> tuple[str, ...]:
        """Return the second step's inputs in the order of the first's, where they commute and that makes them equal."""
        if not commutes(one) or not commutes(two):
            return two.inputs
        steps = zip(self.graphs, (one, two), strict=True)
        prints = [[graph.fingerprint(name) for name in step.inputs] for graph, step in steps]
        straight = sum(a == b for a, b in zip(*prints, strict=True))
        turned = sum(a == b for a, b in zip(prints[0], reversed(prints[1]), strict=True))
        return two.inputs[::-1] if turned > straight else two.inputs

    def _step_over(self, first: str, second: str) -> list[tuple[str, str]]:
        """Name the nodes that one graph has and the other has not, or that stand in each other's place."""
        chains = [self._chain(graph, name) for graph, name in zip(self.graphs, (first, second), strict=True)]
        reach = [(i, j) for i in range(len(chains[0])) for j in range(len(chains[1])) if i + j]
        for i, j in sorted(reach, key=sum):
            (name, one), (twin, two) = chains[0][i], chains[1][j]
            if one.op != two.op:
                continue
            lone = [[step for _, step in chain[:n]] for chain, n in zip(chains, (i, j), strict=True)]
            if i == j == 1:
                self._instead(lone[0][0], lone[1][0])
            else:
                for steps, graph in zip(lone, self.names, strict=True):
                    for step in steps:
                        self._say([f"{step.title} stands only in {graph}"], step)
            return [(name, twin)]
        self._instead(chains[0][0][1], chains[1][0][1])
        return []

    def _instead(self, one: GraphStep, two: GraphStep) -> None:
        self._say([f"{one.title} in {self.names[0]} stands where {self.names[1]} has {two.title}"], one, two)

    @staticmethod
    def _chain(graph: Spelling, name: str) -> list[tuple[str, GraphStep]]:
        """Return a step and those before it, as far as each takes one tensor that is no initializer."""
        found: list[tuple[str, GraphStep]] = []
        step = graph.step(name)
        while step is not None and len(found) <= _LOOKAHEAD:
            found.append((name, step))
            data = [source for source in step.inputs if source and graph.source(source) not in graph.stored]
            if len(data) != 1:
                break
            name = graph.source(data[0])
            step = graph.step(name)
        return found


def _ends(
    graphs: tuple[Spelling, Spelling],
    tensors: tuple[str, str],
    steps: tuple[GraphStep | None, GraphStep | None],
    names: tuple[str, str],
) -> list[str]:
    """Compare where one of two tensors is made by no node."""
    if tensors[0] == tensors[1] and all(tensors[0] in graph.inputs for graph in graphs):
        return []
    said = [step.title if step is not None else f"'{tensor}'" for step, tensor in zip(steps, tensors, strict=True)]
    return [f"{said[0]} in {names[0]} stands where {names[1]} has {said[1]}"]


def _attributes(one: GraphStep, two: GraphStep, names: tuple[str, str]) -> list[str]:
    keys = sorted({*one.attributes, *two.attributes})
    if "count_include_pad" not in one.attributes or "count_include_pad" not in two.attributes:
        keys = [key for key in keys if key != "count_include_pad"]  # without padding on one side it says nothing
    return [
        f"{one.title}: {key} is {one.attributes.get(key)} in {names[0]} and {two.attributes.get(key)} in {names[1]}"
        for key in keys
        if one.attributes.get(key) != two.attributes.get(key)
    ]


def _tensors(step: GraphStep, name: str, one: Array, two: Array, names: tuple[str, str], weights: str) -> list[str]:
    if one.size == two.size and one.ndim != two.ndim and max(one.shape, default=1) == one.size:
        one, two = one.ravel(), two.ravel()  # a vector, spelt with axes of size one
    if one.shape != two.shape:
        return [f"{step.title}: '{name}' is {list(one.shape)} in {names[0]} and {list(two.shape)} in {names[1]}"]
    if weights == "shapes":
        return []
    if one.dtype.kind == two.dtype.kind == "f" and one.dtype != two.dtype:
        narrow = min(one.dtype, two.dtype, key=lambda dtype: dtype.itemsize)
        with np.errstate(over="ignore"):
            rounded = [array.astype(narrow) for array in (one, two)]
        for array, kept, title in zip((one, two), rounded, names[::-1], strict=True):
            lost = np.isfinite(array) & np.isinf(kept)
            if lost.any():
                text = f"'{name}' holds {array[lost].flat[0]:g}, which is {kept[lost].flat[0]:g} in {title}'s {narrow}"
                return [f"{step.title}: {text} ({int(lost.sum())} of {one.size} elements)"]
        one, two = rounded
    if one.tobytes() != np.ascontiguousarray(two).tobytes() and not np.array_equal(one, two):
        apart = int(np.count_nonzero(one != two))
        return [f"{step.title}: '{name}' differs between {names[0]} and {names[1]} in {apart} of {one.size} elements"]
    return []
