"""A graph interpreted in float64: the judge of exports and of runtimes.

ONNX's own reference evaluator says what each operator means; it takes twenty seconds an image. So convolutions run on
a framework's kernels and pools on NumPy's windows, and the rest stays the reference's. ``tests/graphs/test_graphs.py``
holds these to ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from portproof._disk import require_itself
from portproof._errors import BadInput, Unavailable, one_line, require_memory
from portproof._numbers import Array
from portproof.checkpoints._onnx import external_part
from portproof.graphs._allowed import Loop, Scan, require_allowed
from portproof.graphs._integers import COUNTED
from portproof.graphs._kernels import AveragePool, Conv, ConvTranspose, MaxPool, Resize
from portproof.graphs._recurrent import GRU, LSTM
from portproof.ports._port import Port

_TYPES = {"float64": onnx.TensorProto.DOUBLE, "float32": onnx.TensorProto.FLOAT}
#: Types of half the width, by the name of their precision.
_HALVES = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
#: Inputs that are one number, by operator: runtimes take them of shape (1,), too, and the reference does not.
_SCALARS = {"Trilu": (1,), "CumSum": (1,), "OneHot": (1,), "Clip": (1, 2)}


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with external data from its own folder only.

    Raises:
        BadInput: it is none, names data outside its folder, or has a cycle.
    """
    if not path.is_file():
        raise BadInput(f"'{path}': no such file.")
    require_itself(path)
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises what it likes for a file that is none of its own
        raise BadInput(f"'{path}' is no ONNX file ({one_line(error, 120)}).") from error
    if not proto.HasField("graph"):
        raise BadInput(f"'{path}' is no ONNX file: it has no graph.")
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            try:
                part = external_part(path, {entry.key: entry.value for entry in tensor.external_data})
                tensor.raw_data = part.map().tobytes()
            except (BadInput, OSError) as error:
                raise BadInput(f"'{path}': the data of its tensor '{tensor.name[:60]}': {error}") from error
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT
    missing = _unmade(proto.graph, set())
    if missing is not None:
        raise BadInput(f"'{path}' is no sound ONNX graph: {missing}, which nothing before it makes.")
    return proto


def _unmade(graph: onnx.GraphProto, outside: set[str]) -> str | None:
    """Name the first node that needs what nothing before it makes, in words: in a cycle there is one."""
    known = {"", *outside, *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        for name in node.input:
            if name not in known:
                return f"node '{node.name}' ({node.op_type}) needs '{name}'"
        for inner in _inner(node):
            found = _unmade(inner, known)
            if found is not None:
                return found
        known.update(node.output)
    return None


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs within a node."""
    for attribute in node.attribute:
        yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model, wherever it stands: in attributes, inner graphs, functions, sparse tensors."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)


_OWN = [Resize, Conv, ConvTranspose, MaxPool, AveragePool, LSTM, GRU, Loop, Scan, *COUNTED]


class Graph:
    """A graph that can be run node by node.

    Args:
        proto: in any precision.
        precision: to interpret it in, ``"float64"`` or ``"float32"``.

    Raises:
        Unavailable: an operator is no plain arithmetic or has no reference implementation, or there are too many.
    """

    def __init__(self, proto: onnx.ModelProto, precision: str = "float64") -> None:
        self.precision = precision
        require_allowed(proto)
        try:
            self.proto, self._stored = computed_in(precision, proto)
            self._evaluator = ReferenceEvaluator(self.proto, new_ops=_OWN)
        except Exception as error:  # the evaluator raises what it likes for operators that it does not know
            require_memory(error)
            raise Unavailable(f"the graph cannot be interpreted: {one_line(error)}") from error

    def steps(self, inputs: Mapping[str, Array]) -> Iterator[tuple[int, Any, dict[str, Array]]]:
        """Yield each node's index, the node, and all values so far, after it has run; values may be overwritten.

        Raises:
            Unavailable: a node cannot be run.
        """
        values: dict[str, Any] = {"": None, **self._evaluator.rt_inits_, **self._stored}
        values |= {name: a.astype(self.precision) if a.dtype.kind == "f" else a for name, a in inputs.items()}
        for index, (node, run) in enumerate(zip(self.proto.graph.node, self._evaluator.rt_nodes_, strict=True)):
            missing = next((name for name in run.input if name not in values), None)
            if missing is not None:
                raise BadInput(f"node '{node.name}' ({node.op_type}) needs '{missing}', which nothing before it makes.")
            scalars = _SCALARS.get(node.op_type, ())
            received = [
                values[name].reshape(())
                if i in scalars and getattr(values[name], "shape", ()) == (1,)
                else values[name]
                for i, name in enumerate(run.input)
            ]
            try:
                outputs = run.run(*received, context=values) if run.need_context() else run.run(*received)
            except Exception as error:  # see above
                require_memory(error)
                raise Unavailable(
                    f"node '{node.name}' ({node.op_type}) cannot be interpreted: {one_line(error)}"
                ) from error
            values.update(zip(run.output, outputs, strict=False))
            yield index, node, values

    def require_interface(self, title: str, port: Port) -> None:
        """Check that inputs and outputs have the port's names; raises BadInput."""
        inputs = [value.name for value in self.proto.graph.input if value.name not in self._stored]
        port.require_interface(title, inputs, [value.name for value in self.proto.graph.output])

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the graph's outputs."""
        results: dict[str, Array] = {}
        for _, _, values in self.steps(inputs):
            results = values
        for value in self.proto.graph.output:
            if value.name not in results:
                raise BadInput(f"the graph has an output '{value.name}' that no node makes.")
        return {value.name: results[value.name] for value in self.proto.graph.output}


def precision_of(proto: onnx.ModelProto) -> str:
    """Return the precision that a graph is written in: a half where it holds or takes tensors of one."""
    graph = proto.graph
    types = [tensor.data_type for tensor in _tensors(graph)]
    types += [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    return next((name for kind, name in _HALVES.items() if kind in types), "float32")


def computed_in(precision: str, proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return the graph in another precision (constants, casts, declared types), and what it stores as arrays beside it.

    Halves of a graph that is written in one are widened with the rest; in a graph of float32, a cast to a half stays,
    for it is what the graph computes.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    own = precision_of(proto)
    halves = {kind for kind, name in _HALVES.items() if name == own}
    kinds, to = {_TYPES["float32"], *halves} - {_TYPES[precision]}, _TYPES[precision]
    stored = {tensor.name: _array(tensor, kinds, to) for tensor in wide.graph.initializer}
    del wide.graph.initializer[:]  # the evaluator would copy each of them twice
    _cast(wide.graph, kinds, to)
    return wide, stored


def _cast(graph: onnx.GraphProto, kinds: Set[int], to: int) -> None:
    for tensor in graph.initializer:
        _cast_tensor(tensor, kinds, to)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in kinds:
            value.type.tensor_type.elem_type = to
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _cast_tensor(attribute.t, kinds, to)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in kinds:
                attribute.i = to
        for inner in _inner(node):
            _cast(inner, kinds, to)


def _cast_tensor(tensor: onnx.TensorProto, kinds: Set[int], to: int) -> None:
    if tensor.data_type in kinds:
        tensor.CopyFrom(numpy_helper.from_array(_array(tensor, kinds, to), tensor.name))


def _array(tensor: onnx.TensorProto, kinds: Set[int], to: int) -> Array:
    """Return what a tensor holds, in another type where its own is one of some kinds."""
    array: Array = numpy_helper.to_array(tensor)
    return array.astype(onnx.helper.tensor_dtype_to_np_dtype(to)) if tensor.data_type in kinds else array
