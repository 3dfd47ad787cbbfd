"""What quantising costs, node by node: measured, and not judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from portproof._numbers import Array
from portproof.graphs._interpret import Graph

#: Nodes that are named.
_DEAR = 3


@dataclass(frozen=True)
class NodeCost:
    """What is lost at one node of a quantised graph.

    Attributes:
        node: as a person would name it.
        tensor: what it puts out, under its name in both graphs.
        own_db: signal over noise where its inputs are the float graph's own: what its rounding and weights lose.
        whole_db: where they come out of the quantised graph before it.
        beyond: share of its values that lie beyond the range that they are counted in.
    """

    node: str
    tensor: str
    own_db: float
    whole_db: float
    beyond: float


def cost_of(plain: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[NodeCost, ...]:
    """Return what each node loses that both graphs have a tensor of, the dearest by itself first.

    Args:
        plain: the float graph that was quantised.
        quantised: what was made of it.
        inputs: a few rows.
    """
    exact = _tensors(plain, inputs)
    titles = {name: f"{node.op_type} '{node.name or name}'" for node in plain.graph.node for name in node.output}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    whole, own = (_heard(quantised, inputs, exact, forced) for forced in (False, True))
    beyond = {
        node.input[0]: _beyond(exact[node.input[0]], *(stored[name] for name in node.input[1:3]))
        for node in quantised.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in exact and set(node.input[1:3]) <= stored.keys()
    }
    found = [NodeCost(titles[name], name, own[name], whole[name], beyond.get(name, 0.0)) for name in own]
    return tuple(sorted(found, key=lambda cost: cost.own_db))


def told(plain: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Say what quantising loses at a graph's outputs and at which nodes it loses most, to leave those in float."""
    costs = cost_of(plain, quantised, inputs)
    outputs = {value.name for value in plain.graph.output}
    said = [
        f"{cost.whole_db:z.0f} dB of signal over noise at '{cost.tensor}'" for cost in costs if cost.tensor in outputs
    ]
    dear = [
        f"{cost.node} ({cost.own_db:z.0f} dB{f', {cost.beyond:.1%} beyond its range' if cost.beyond else ''})"
        for cost in costs[:_DEAR]
    ]
    return (f"quantising leaves {', '.join(said)}; it loses most at {', '.join(dear)}: leave those in float first",)


def _tensors(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for _, node, values in Graph(proto).steps(inputs):
        found |= {n: values[n] for n in node.output if n and getattr(values[n], "dtype", np.dtype(int)).kind == "f"}
    return found


def _heard(
    proto: onnx.ModelProto, inputs: Mapping[str, Array], exact: Mapping[str, Array], forced: bool
) -> dict[str, float]:
    """Return decibels at each tensor as those behind it read it; ``forced``: they read the exact one all the same."""
    sources = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    levels, found = set(sources.values()), {}
    for _, node, values in Graph(proto).steps(inputs):
        name = node.output[0]
        read = sources.get(node.input[0], "") if node.op_type == "DequantizeLinear" else ""
        if read in exact:
            found[read] = decibels(exact[read], values[name])
            if forced:
                values[name] = exact[read]
        elif name in exact and name not in levels:
            found[name] = decibels(exact[name], values[name])
    return found


def _beyond(exact: Array, scale: Array, zero_point: Array) -> float:
    """Return the share of exact values that the levels of a scale do not reach, by more than half a level."""
    limits = np.iinfo(zero_point.dtype)
    levels = np.rint(exact / float(scale.ravel()[0])) + int(zero_point.ravel()[0])
    return float(np.mean((levels < limits.min) | (levels > limits.max)))


def decibels(exact: Array, found: Array) -> float:
    """Return the power of a signal over that of what differs from it, in decibels."""
    noise, signal = float(np.mean((found - exact) ** 2)), float(np.mean(exact**2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
