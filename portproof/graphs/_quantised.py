"""What a quantised graph computes, and how far honest rounding may lead from it.

The graph itself, interpreted in float64, is the function that it claims: what quantising costs is no error of a
runtime. Its noise is not float32's alone: a value that lies as near to the border of two levels as float32 rounds may
fall on either side, and a level is a hundred thousand times as much as what made it fall. So the floor is drawn: before
each rounding to levels every value is moved by as much noise as still passes for rounding there, and what that does to
the outputs is their floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from portproof._numbers import EPSILON, Array, Arrays, compare
from portproof.graphs._interpret import Graph
from portproof.judge._floor import FLOOR_MULTIPLE, Floor

ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear")
_DRAWS = 2


@dataclass(frozen=True)
class Meaning:
    """What a quantised graph means.

    Attributes:
        outputs: interpreted in float64.
        floors: by output.
    """

    outputs: Arrays
    floors: Mapping[str, Floor]


def is_quantised(proto: onnx.ModelProto) -> bool:
    """Whether a graph rounds to levels anywhere."""
    return any(node.op_type in ROUNDING for node in proto.graph.node)


def depends_on_the_batch(proto: onnx.ModelProto) -> bool:
    """Whether a graph looks for its ranges as it runs: over all rows of a request, so that one alone has others."""
    return any(node.op_type == "DynamicQuantizeLinear" for node in proto.graph.node)


def meaning_of(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> Meaning:
    """Interpret a quantised graph and draw the floors of its outputs."""
    rounded = {node.input[0] for node in proto.graph.node if node.op_type in ROUNDING}
    outputs, noise = _measured(proto, inputs, rounded)
    draws = [_drawn(proto, inputs, noise, np.random.default_rng(seed)) for seed in range(_DRAWS)]
    floors: dict[str, Floor] = {}
    for name, exact in outputs.items():
        if exact.dtype.kind != "f":
            floors[name] = Floor(EPSILON["float32"] / 2)
            continue
        errors = [compare(draw[name], exact, "float32", detail=False) for draw in draws]
        counted = [error for error in errors if error.mismatch is None]
        rms = float(np.sqrt(np.mean([error.rms**2 for error in counted]))) if counted else 0.0
        floors[name] = Floor(rms, tail=max((error.peak / rms for error in counted if rms), default=0.0))
    return Meaning(outputs, floors)


def _measured(
    proto: onnx.ModelProto, inputs: Mapping[str, Array], rounded: set[str]
) -> tuple[Arrays, dict[str, float]]:
    """Return the outputs, and what float32 errs by at each tensor that is rounded to levels, from right levels."""
    high = Graph(proto)
    low = Graph(proto, "float32").steps(inputs)
    noise: dict[str, float] = {}
    results: Mapping[str, Array] = {}
    for (_, node, exact), (_, _, near) in zip(high.steps(inputs), low, strict=True):
        for name in node.output:
            if name in rounded:
                noise[name] = float(np.sqrt(np.mean((near[name].astype(np.float64) - exact[name]) ** 2)))
            if node.op_type in ROUNDING and name and near[name].dtype.kind != "f":
                near[name] = exact[name]
        results = exact
    return {value.name: np.asarray(results[value.name]) for value in high.proto.graph.output}, noise


def _drawn(
    proto: onnx.ModelProto, inputs: Mapping[str, Array], noise: Mapping[str, float], rng: np.random.Generator
) -> Arrays:
    """Run a graph in float32, all that is rounded to levels moved before by what still passes for rounding."""

    def moved(array: Array, rms: float) -> Array:
        # Dividing by the scale is one more rounding of each element, whatever came before.
        reach = FLOOR_MULTIPLE * (rms + EPSILON["float32"] / 2 * np.abs(array))
        return (array + reach * rng.standard_normal(array.shape)).astype(array.dtype)

    graph = Graph(proto, "float32")
    rounded = {node.input[0] for node in proto.graph.node if node.op_type in ROUNDING}
    begun = {name: moved(a, 0.0) if name in rounded and a.dtype.kind == "f" else a for name, a in inputs.items()}
    results: Mapping[str, Array] = {}
    for _, node, values in graph.steps(begun):
        for name in node.output:
            if name in noise:
                values[name] = moved(values[name], noise[name])
        results = values
    return {value.name: np.asarray(results[value.name]) for value in graph.proto.graph.output}
