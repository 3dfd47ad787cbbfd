"""A graph interpreted in float64: the judge of exports and of runtimes.

ONNX's own reference evaluator says what each operator means; it takes twenty seconds an image. So convolutions run on
a framework's kernels and pools on NumPy's windows, and the rest stays the reference's. ``tests/graphs/test_graphs.py``
holds these to ONNX Runtime.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_resize import Resize as Reference

from portproof._disk import require_itself
from portproof._errors import BadInput, Unavailable, one_line, require_memory, require_packages
from portproof._numbers import Array
from portproof.checkpoints._onnx import external_part
from portproof.graphs._allowed import Loop, Scan, require_allowed
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


class Conv(OpRun):  # type: ignore[misc]
    """Convolution on a framework's kernels, in the dtype of its input."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        axes = x.ndim - 2
        strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
        reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
        padded = np.pad(x, [(0, 0), (0, 0), *_pads(auto_pad, pads, x.shape[2:], reach, strides)])
        return (_convolve(padded, weight, bias, strides, dilations, group or 1),)


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Transposed convolution on a framework's kernels: the reference evaluator's knows no groups."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        axes = x.ndim - 2
        both = list(pads or [0] * (2 * axes))
        if auto_pad not in (None, "NOTSET") or output_shape or both[:axes] != both[axes:]:
            raise NotImplementedError("auto_pad, output_shape or uneven pads")
        strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
        given = (strides, both[:axes], list(output_padding or [0] * axes), group or 1, dilations)
        return (_on_a_framework(f"conv{axes}d_transpose", f"conv_transpose{axes}d", (x, weight, bias), given),)


class MaxPool(OpRun):  # type: ignore[misc]
    """Max-pool over NumPy windows."""

    op_domain = ""

    def _run(self, x: Array, storage_order: int | None = None, **attributes: Any) -> tuple[Array]:
        return (_pooled(x, -np.inf, lambda windows: windows.max(axis=_last(x)), attributes),)


class AveragePool(OpRun):  # type: ignore[misc]
    """Average-pool over NumPy windows; padded cells count where ``count_include_pad`` says so."""

    op_domain = ""

    def _run(self, x: Array, count_include_pad: int | None = None, **attributes: Any) -> tuple[Array]:
        sums = _pooled(x, 0.0, lambda windows: windows.sum(axis=_last(x)), attributes)
        counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
        fill = 1.0 if count_include_pad else 0.0
        counts = _pooled(counted, fill, lambda windows: windows.sum(axis=_last(x)), attributes, beyond=0.0)
        return (sums / counts,)


def _last(x: Array) -> tuple[int, ...]:
    return tuple(range(-(x.ndim - 2), 0))


def _pads(
    auto_pad: str | None, pads: Sequence[int] | None, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is padded before and after each axis."""
    axes = len(sizes)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        both = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(sizes, strides, reach, strict=True)]
        small = [(total // 2, total - total // 2) for total in both]
        return small if auto_pad == "SAME_UPPER" else [(b, a) for a, b in small]
    pads = [0] * (2 * axes) if pads is None or auto_pad == "VALID" else list(pads)
    return list(zip(pads[:axes], pads[axes:], strict=True))


def _pooled(
    x: Array,
    fill: float,
    reduce: Callable[[Array], Array],
    attributes: Mapping[str, Any],
    beyond: float | None = None,
) -> Array:
    """Pad, cut windows, reduce them. ``beyond``: what fills the cells that only ceil_mode reaches."""
    kernel = list(attributes["kernel_shape"])
    axes = len(kernel)
    strides = list(attributes.get("strides") or [1] * axes)
    dilations = list(attributes.get("dilations") or [1] * axes)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(attributes.get("auto_pad"), attributes.get("pads"), x.shape[2:], reach, strides)
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    if attributes.get("ceil_mode"):
        missing = [
            (-(n - r) % s if (-(-(n - r) // s)) * s < size + before else 0)
            for n, r, s, size, (before, _) in zip(padded.shape[2:], reach, strides, x.shape[2:], pads, strict=True)
        ]
        value = fill if beyond is None else beyond
        padded = np.pad(padded, [(0, 0), (0, 0), *((0, n) for n in missing)], constant_values=value)
    windows = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + axes)))
    steps = [slice(None)] * 2 + [slice(None, None, s) for s in strides] + [slice(None, None, d) for d in dilations]
    return np.asarray(reduce(windows[tuple(steps)]))


def _convolve(
    x: Array, weight: Array, bias: Array | None, strides: list[int], dilations: list[int], group: int
) -> Array:
    """Convolve an input that is padded already, with torch or Paddle, whichever is here."""
    name = f"conv{x.ndim - 2}d"
    return _on_a_framework(name, name, (x, weight, bias), (strides, 0, dilations, group))


def _on_a_framework(paddles: str, torchs: str, arrays: Sequence[Array | None], given: Sequence[Any]) -> Array:
    """Call a function of ``nn.functional``, of torch or Paddle, whichever is here."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        tensors = [None if a is None else torch.tensor(a) for a in arrays]
        with torch.inference_mode():
            return np.asarray(getattr(torch.nn.functional, torchs)(*tensors, *given).numpy())
    if importlib.util.find_spec("paddle") is not None:
        import paddle

        tensors = [None if a is None else paddle.to_tensor(a) for a in arrays]
        with paddle.no_grad():
            return np.asarray(getattr(paddle.nn.functional, paddles)(*tensors, *given).numpy())
    require_packages("a graph's convolutions, or paddle in its place", "torch")
    raise AssertionError("torch is here")


#: Coordinates that torch's ``interpolate`` computes, by mode: which of them means aligned corners.
_RESIZED: dict[str, dict[str, bool | None]] = {
    "nearest": {"asymmetric": None},
    "linear": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
    "cubic": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
}


class Resize(Reference):  # type: ignore[misc]
    """Resizing on torch's kernels where they compute the same; the reference takes minutes for a small image."""

    op_domain = ""

    def _run(self, x: Array, *given: Any, **attributes: Any) -> tuple[Array]:
        mode, coordinates = attributes.get("mode"), attributes.get("coordinate_transformation_mode")
        scales, sizes = (list(given[i]) if len(given) > i and given[i] is not None else [] for i in (1, 2))
        usual = (
            x.ndim == 4
            and coordinates in _RESIZED.get(str(mode), {})
            and (mode != "nearest" or attributes.get("nearest_mode") == "floor")
            and (mode != "cubic" or attributes.get("cubic_coeff_a") in (None, -0.75))
            and not attributes.get("antialias")
            and not attributes.get("axes")
            and (list(scales[:2]) == [1, 1] or list(sizes[:2]) == list(x.shape[:2]))
        )
        if not usual or importlib.util.find_spec("torch") is None:
            resized: tuple[Array] = super()._run(x, *given, **attributes)
            return resized
        import torch

        names = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
        aligned = _RESIZED[str(mode)][str(coordinates)]
        how: dict[str, Any] = {"scale_factor": [float(f) for f in scales[2:]]}
        if sizes:
            how = {"size": [int(n) for n in sizes[2:]]}
        with torch.inference_mode():
            found = torch.nn.functional.interpolate(
                torch.tensor(x),
                mode=names[str(mode)],
                align_corners=aligned,
                **how,
            )
        return (np.asarray(found.numpy()),)


_OWN = [Resize, Conv, ConvTranspose, MaxPool, AveragePool, LSTM, GRU, Loop, Scan]


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
            self.proto = computed_in(precision, proto)
            self._evaluator = ReferenceEvaluator(self.proto, new_ops=_OWN)
        except Exception as error:  # the evaluator raises what it likes for operators that it does not know
            require_memory(error)
            raise Unavailable(f"the graph cannot be interpreted: {one_line(error)}") from error

    def steps(self, inputs: Mapping[str, Array]) -> Iterator[tuple[int, Any, dict[str, Array]]]:
        """Yield each node's index, the node, and all values so far, after it has run; values may be overwritten.

        Raises:
            Unavailable: a node cannot be run.
        """
        values: dict[str, Any] = {"": None, **self._evaluator.rt_inits_}
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
        stored = {tensor.name for tensor in self.proto.graph.initializer}
        inputs = [value.name for value in self.proto.graph.input if value.name not in stored]
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


def computed_in(precision: str, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in another precision: initializers, constants, casts, declared types.

    Halves of a graph that is written in one are widened with the rest; in a graph of float32, a cast to a half stays,
    for it is what the graph computes.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    own = precision_of(proto)
    halves = {kind for kind, name in _HALVES.items() if name == own}
    _cast(wide.graph, {_TYPES["float32"], *halves} - {_TYPES[precision]}, _TYPES[precision])
    return wide


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
        array = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(to))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
