"""Which node, which optimiser pass or which runtime is wrong, where an export or a run of it is divergent."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from portproof._numbers import Array, compare
from portproof.graphs._blamed import Nodes, NodeTap, PassBlame
from portproof.graphs._interpret import Graph, load_graph
from portproof.graphs._origins import origins
from portproof.judge._floor import FLOOR_MULTIPLE, Floor, measure_floor, ratio
from portproof.replay._taps import RETURNED, TapDifference, TapStore

#: Runs a model: its bytes, whether the runtime may rewrite it, and names of passes that it must leave out.
Run = Callable[[bytes, bool, Collection[str], Mapping[str, Array]], dict[str, Array]]

_SCOPES = "pkg.torch.onnx.name_scopes"


def pair_tensors(proto: onnx.ModelProto, side: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the graph's tensors that are outputs of modules, each with its module's key.

    torch's exporter notes the modules that every node came from; in Paddle's, nodes are known by the names of their
    parameters. A module whose last node cannot be told is not paired; nothing is paired by shape.

    Args:
        proto: an export as it was written.
        side: that exported it.
        keys: that side's paths of modules without children, each with its key.
    """
    last: dict[str, str] = {}
    stored = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        owners = [name.rpartition(".")[0] for name in node.input if name in stored]
        paths = _scopes(node) if side == "torch" else owners
        for path in paths:
            if path in keys:
                last[path] = node.output[0]
    taken = list(last.values())
    return {tensor: keys[path] for path, tensor in last.items() if taken.count(tensor) == 1}


def _scopes(node: onnx.NodeProto) -> list[str]:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            found = ast.literal_eval(entry.value)
            return [str(path) for path in found]
    return []


def force_graph(graph: Graph, taps: Mapping[str, str], inputs: Mapping[str, Array], store: TapStore) -> list[NodeTap]:
    """Interpret a graph with every paired tensor replaced by the recording, and compare what it computed there.

    Args:
        graph: in float64.
        taps: tensor name to module key.
        inputs: the rows of the recording.
        store: the recording.
    """
    found: list[NodeTap] = []
    for index, node, values in graph.steps(inputs):
        for name in node.output:
            recorded = store.read(taps[name], 0) if name in taps else None
            if recorded is None or len(recorded[1]) != 1:
                continue
            (expected,) = recorded[1]
            difference = compare(values[name], expected, "float64", detail=False)
            tap = TapDifference(taps[name], 0, RETURNED, 0, difference)
            found.append(NodeTap(tap, _between(graph.proto, index, taps)))
            if difference.mismatch is None:
                values[name] = expected.astype(np.float32).astype(values[name].dtype)
    return found


def _between(proto: onnx.ModelProto, index: int, taps: Mapping[str, str]) -> Nodes:
    """Name the nodes that lie between the nearest taps before a node and the node itself."""
    nodes = proto.graph.node
    wanted, named = set(nodes[index].input), [nodes[index]]
    for node in reversed(nodes[:index]):
        if wanted.isdisjoint(node.output) or any(name in taps for name in node.output):
            continue
        named.append(node)
        wanted |= set(node.input)
    return _named(named[::-1])


def _named(nodes: Sequence[onnx.NodeProto]) -> Nodes:
    return Nodes(", ".join(f"{node.op_type} '{node.name}'" for node in nodes), origins(nodes))


def blame_runtime(path: str, inputs: Mapping[str, Array], run: Run) -> list[Nodes]:
    """Name the nodes that a runtime computes wrongly although their inputs are right.

    Args:
        path: of the model; it is run as written, with every node's output handed out.
        inputs: a few rows.
        run: the runtime.
    """
    proto = load_graph(Path(path))
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    known = {value.name for value in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    found = run(tapped.SerializeToString(), False, (), inputs)
    wrong: set[str] = set()
    named: list[Nodes] = []
    for node, high, floors in _with_floors(proto, inputs):
        for name, floor in floors.items():
            if name not in found:
                continue
            if ratio(compare(found[name], high[name], "float32", detail=False), floor, "float32") > FLOOR_MULTIPLE:
                if wrong.isdisjoint(node.input):
                    named.append(_named([node]))
                wrong.add(name)
    return named


def blame_optimiser(path: str, inputs: Mapping[str, Array], run: Run, passes: Sequence[str]) -> PassBlame:
    """Find the optimiser passes and the first subgraph that they break.

    A tap would change what the optimiser does, so each tensor is tried as the only output of an extracted subgraph;
    the first wrong one is found by bisection.

    Args:
        path: of the model.
        inputs: a few rows.
        run: the runtime.
        passes: names of the passes that changed this model.
    """
    proto = load_graph(Path(path))
    names = [node.output[0] for node in proto.graph.node]

    def wrong(name: str, without: Collection[str] = ()) -> bool:
        part = _prefix(proto, name)
        plain = run(part, False, (), inputs)[name]
        return _apart(run(part, True, without, inputs)[name], plain, floors[name])

    floors: dict[str, Floor] = {}
    for _, _, measured in _with_floors(proto, inputs):
        floors |= measured
    names = [name for name in names if name in floors]
    broken = [value.name for value in proto.graph.output if value.name in floors and wrong(value.name)]
    if not broken:
        return PassBlame((), "", Nodes(""))
    low_index, high_index = 0, names.index(broken[0])
    while low_index < high_index:
        middle = (low_index + high_index) // 2
        if wrong(names[middle]):
            high_index = middle
        else:
            low_index = middle + 1
    first = names[high_index]
    guilty = tuple(name for name in passes if not wrong(first, (name,)))
    if not guilty and passes and not wrong(first, passes):
        guilty = tuple(passes)
    return PassBlame(guilty, first, _named([next(node for node in proto.graph.node if first in node.output)]))


def _with_floors(
    proto: onnx.ModelProto, inputs: Mapping[str, Array]
) -> Iterator[tuple[onnx.NodeProto, dict[str, Array], dict[str, Floor]]]:
    """Yield each node, the float64 values so far, and the floors of its floating outputs.

    A floor is the error of the same graph interpreted in float32.
    """
    low = Graph(proto, "float32").steps(inputs)
    for (_, node, high), (_, _, rounded) in zip(Graph(proto).steps(inputs), low, strict=True):
        named = [name for name in node.output if name and high[name].dtype.kind == "f"]
        yield (
            node,
            high,
            {name: measure_floor([compare(rounded[name], high[name], "float32", detail=False)]) for name in named},
        )


def _apart(found: Array, expected: Array, floor: Floor) -> bool:
    return ratio(compare(found, expected, "float32", detail=False), floor, "float32") > FLOOR_MULTIPLE


def _prefix(proto: onnx.ModelProto, name: str) -> bytes:
    """Return the part of a graph that one tensor needs, as a model with that tensor as its only output."""
    part = onnx.ModelProto()
    part.CopyFrom(proto)
    wanted, kept = {name}, []
    for node in reversed(proto.graph.node):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted |= set(node.input)
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    part.graph.node.extend(reversed(kept))
    part.graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name in wanted)
    part.graph.output.append(onnx.ValueInfoProto(name=name))
    serialised: bytes = part.SerializeToString()
    return serialised


def passes_that_acted(log: str) -> list[str]:
    """Read from ONNX Runtime's verbose log which optimiser passes changed the model."""
    return list(dict.fromkeys(re.findall(r"GraphTransformer (\w+) modified: 1", log)))
