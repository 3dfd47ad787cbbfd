"""A quantised graph held to itself unit by unit: what lies between one rounding to levels and the next.

The noise of a whole quantised graph hides much, for one value on the other side of a border moves all that follow. A
unit gets right levels; then each level that it puts out must be one that the exact value, moved by what passes for
rounding, can fall to. Nothing is pooled and nothing grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from portproof._numbers import EPSILON, Array, Arrays
from portproof.graphs._blamed import NodeFault
from portproof.graphs._integers import along
from portproof.graphs._interpret import Graph
from portproof.graphs._origins import origins
from portproof.judge._floor import FLOOR_MULTIPLE

#: Runs a model that is in memory on the inputs named.
Run = Callable[[bytes, Mapping[str, Array]], dict[str, Array]]

#: What one lane of ``vpmaddubsw`` holds: the sum of two products of levels.
_PAIR = 2**15 - 1
_HALF_MOST = float(np.finfo(np.float16).max)


def _named(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name or node.output[0]}'"


def _fault(node: onnx.NodeProto, text: str) -> NodeFault:
    return NodeFault(_named(node), text, origins([node]))


def _stored(proto: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def unsound(proto: onnx.ModelProto, *, per_channel: bool = False) -> list[NodeFault]:
    """Name the nodes that take levels for other numbers than they were made of, and weights without their own scales.

    Args:
        proto: a graph of QuantizeLinear and DequantizeLinear.
        per_channel: whether the weights of convolutions are said to have a scale a channel.
    """
    stored, makers = _stored(proto), {name: node for node in proto.graph.node for name in node.output}
    takers = {name: node for node in proto.graph.node for name in node.input}
    found: list[NodeFault] = []
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        maker = makers.get(node.input[0])
        if maker is not None and maker.op_type == "QuantizeLinear":
            for place, what in ((1, "scale"), (2, "zero point")):
                made, read = (_value(stored, one, place) for one in (maker, node))
                if made is not None and read is not None and not np.array_equal(made, read):
                    text = f"takes levels of {what} {_short(made)}, as {_named(maker)} made them, for {_short(read)}"
                    found.append(_fault(node, text))
        taker = takers.get(node.output[0])
        weight = stored.get(node.input[0])
        if per_channel and weight is not None and taker is not None and taker.op_type == "Conv":
            scale = _value(stored, node, 1)
            if taker.input[1] == node.output[0] and len(weight) > 1 and scale is not None and scale.size == 1:
                found.append(_fault(taker, f"has one scale for all {len(weight)} channels of its weights"))
    return found


def _value(stored: Mapping[str, Array], node: onnx.NodeProto, place: int) -> Array | None:
    name = node.input[place] if len(node.input) > place else ""
    if not name and place == 2:
        return np.zeros((), np.int64)
    return stored.get(name)


def _short(value: Array) -> str:
    return f"{value.ravel()[0]:.6g}"


def overflows(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[NodeFault]:
    """Name the first nodes of a float16 graph whose values float16 does not hold, and constants so."""
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float16 and not np.isfinite(array).all():
            return [NodeFault(f"constant '{tensor.name}'", "holds what float16 does not, and is infinite")]
    for _, node, values in Graph(proto).steps(inputs):
        for name in node.output:
            array = values.get(name)
            if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size:
                most = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
                if most > _HALF_MOST:
                    return [_fault(node, f"reaches {most:.3g}; float16 holds {_HALF_MOST:.0f} at most")]
    return []


def judge_units(proto: onnx.ModelProto, inputs: Mapping[str, Array], run: Run) -> tuple[int, list[NodeFault]]:
    """Run every unit of a quantised graph on right levels.

    Args:
        proto: a graph of QuantizeLinear and DequantizeLinear.
        inputs: a few rows.
        run: the runtime.

    Returns:
        How many units were run, and those whose levels no rounding explains.
    """
    count, found = 0, []
    for unit in _units(proto, inputs):
        levels = run(unit.model, unit.inputs)[unit.output]
        wrong = (levels.astype(np.int64) < unit.low) | (levels.astype(np.int64) > unit.high)
        count += 1
        if wrong.any():
            far = int(np.maximum(unit.low - levels.astype(np.int64), levels.astype(np.int64) - unit.high).max())
            text = f"puts out {int(wrong.sum())} of {wrong.size} levels that no rounding explains, up to {far} away"
            found.append(_fault(unit.about, text + unit.instruction))
    return count, found


@dataclass(frozen=True)
class _Unit:
    """A part of a graph with the levels that it gets and those that it may put out."""

    about: onnx.NodeProto
    model: bytes
    inputs: Arrays
    output: str
    low: Array
    high: Array
    instruction: str


def _units(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> Iterator[_Unit]:
    stored = _stored(proto)
    rounding = [node for node in proto.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in stored]
    borders = {node.output[0] for node in rounding}
    quantisers = {node.output[0]: node for node in rounding}
    near = Graph(proto, "float32").steps(inputs)
    for (_, node, exact), (_, _, rough) in zip(Graph(proto).steps(inputs), near, strict=True):
        for name in node.output:
            if name not in borders:
                continue
            rough[name] = exact[name]
            x, quantiser = exact[node.input[0]], quantisers[name]
            rms = float(np.sqrt(np.mean((rough[node.input[0]].astype(np.float64) - x) ** 2)))
            reach = FLOOR_MULTIPLE * (rms + EPSILON["float32"] / 2 * np.abs(x))
            low, high = (_levels(quantiser, stored, x + step, exact[name].dtype) for step in (-reach, reach))
            part, taken = _part(proto, name, borders, inputs)
            given = {one: exact[one] if one in borders else inputs[one] for one in taken}
            model = _model(proto, part, given, name, exact[name])
            yield _Unit(_about(part, quantiser), model, given, name, low, high, _instruction(part, stored))


def _levels(node: onnx.NodeProto, stored: Mapping[str, Array], x: Array, dtype: Any) -> Array:
    """Return the levels of exact values."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    scale, zero = (_value(stored, node, place) for place in (1, 2))
    assert scale is not None
    assert zero is not None
    limits = np.iinfo(dtype)
    levels = np.rint(x / along(scale.astype(np.float64), x.ndim, axis)) + along(zero.astype(np.float64), x.ndim, axis)
    return np.asarray(np.clip(levels, limits.min, limits.max).astype(np.int64))


def _part(
    proto: onnx.ModelProto, output: str, borders: set[str], inputs: Mapping[str, Array]
) -> tuple[list[onnx.NodeProto], list[str]]:
    """Return the nodes between the nearest levels and an output, in order, and what they take from outside."""
    wanted, part, taken = {output}, [], []
    for node in reversed(proto.graph.node):
        if wanted.isdisjoint(node.output):
            continue
        part.append(node)
        for name in node.input:
            if name in borders or name in inputs:
                taken.append(name)
            else:
                wanted.add(name)
    return part[::-1], list(dict.fromkeys(taken))


def _model(
    proto: onnx.ModelProto, part: list[onnx.NodeProto], given: Mapping[str, Array], output: str, levels: Array
) -> bytes:
    used = {name for node in part for name in node.input}
    named = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
    graph = helper.make_graph(
        part, "unit",
        [helper.make_tensor_value_info(name, kind, given[name].shape) for name, kind in named.items()],
        [helper.make_tensor_value_info(output, helper.np_dtype_to_tensor_dtype(levels.dtype), None)],
        [tensor for tensor in proto.graph.initializer if tensor.name in used],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    written: bytes = model.SerializeToString()
    return written


def _about(part: list[onnx.NodeProto], quantiser: onnx.NodeProto) -> onnx.NodeProto:
    """Return the node that a unit is about: its product where it has one."""
    own = [node for node in part if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    return own[-1] if own else quantiser


def saturating(proto: onnx.ModelProto) -> str:
    """Say which product of a graph can overflow in a narrow instruction, "" for none."""
    stored = _stored(proto)
    for node in proto.graph.node:
        if said := _instruction([node], stored):
            taker = next((one for one in proto.graph.node if node.output[0] in one.input), node)
            return _named(taker) + said
    return ""


def _instruction(part: list[onnx.NodeProto], stored: Mapping[str, Array]) -> str:
    """Name the instruction that can do this to a unit: where the weights of two neighbours fill 16 bits."""
    for node in part:
        weight = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is None or weight.dtype != np.int8 or weight.ndim < 2:
            continue
        largest = np.sort(np.abs(weight.astype(np.int64)).reshape(len(weight), -1), axis=1)[:, -2:].sum(axis=1).max()
        if 255 * largest > _PAIR:
            return (
                "; two products of a level and these weights exceed the 16 bits in which vpmaddubsw adds them "
                "(AVX2, AVX-512 without VNNI): quantise with reduce_range, or run where there is VNNI"
            )
    return ""
