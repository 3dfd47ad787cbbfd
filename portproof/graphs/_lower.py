"""An export in lower precision, made by ONNX Runtime's own tools: float16, and int8 calibrated on rows of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from safetensors.numpy import load_file

from portproof._errors import Unavailable, one_line, require_memory, require_packages
from portproof._numbers import Arrays

#: What is made of an export, by the name of the artefact. Static int8 counts activations from 0 to 255 and weights
#: from -127 to 127, each channel with a scale of its own: what x86 multiplies. TensorRT wants both signed.
KINDS = ("onnx-int8", "onnx-signed-int8", "onnx-dynamic-int8", "onnx-float16", "onnx-float16-weights")


def lower(path: Path, kind: str, calibration: Path, out: Path) -> None:
    """Write an export in lower precision; beside it, as ``.float.onnx``, the graph that was quantised.

    Args:
        path: of the export.
        kind: one of :data:`KINDS`.
        calibration: rows that the ranges of activations are read from.
        out: the file to write.

    Raises:
        Unavailable: the tool raises, or a weight is more than the precision holds.
    """
    require_packages("a graph in lower precision", "onnxruntime")
    try:
        if kind == "onnx-float16":
            from onnxruntime.transformers.float16 import convert_float_to_float16
            from onnxruntime.transformers.onnx_model import OnnxModel

            made = OnnxModel(convert_float_to_float16(onnx.load(path), keep_io_types=True))
            made.topological_sort()  # its casts of inputs stand last, which no reader of the standard has to take
            onnx.save(made.model, out)
        elif kind == "onnx-float16-weights":
            onnx.save(_stored_as_halves(onnx.load(path)), out)
        else:
            _quantise(path, kind, calibration, out)
    except Unavailable:
        raise
    except Exception as error:  # the tools raise whatever they trip over
        require_memory(error)
        raise Unavailable(
            f"ONNX Runtime's tools make no {kind.removeprefix('onnx-')} graph: {one_line(error)}"
        ) from error


def _stored_as_halves(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store matrices and kernels as float16, and compute in float32 all the same.

    ONNX Runtime's tool rounds activations, too. Vectors (biases, scales) weigh nothing and stay as they are.

    Raises:
        Unavailable: a weight is beyond what float16 holds.
    """
    casts = []
    for stored in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(stored)
        if array.dtype != np.float32 or array.ndim < 2 or not array.size:
            continue
        if np.abs(array).max() > np.finfo(np.float16).max:
            raise Unavailable(f"'{stored.name}' has {np.abs(array).max():.0e}, float16 holds 65504 at most")
        name, half = stored.name, f"{stored.name}__float16"
        stored.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), half))
        casts.append(onnx.helper.make_node("Cast", [half], [name], name=half, to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _quantise(path: Path, kind: str, calibration: Path, out: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain = out.with_suffix(".float.onnx")
    # Folds BatchNorm, and whatever else is no product: what is left is counted tensor by tensor.
    quant_pre_process(str(path), str(plain), skip_symbolic_shape=True)
    if kind == "onnx-dynamic-int8":
        quantize_dynamic(str(plain), str(out), per_channel=True, weight_type=QuantType.QInt8)
        return
    signed = kind == "onnx-signed-int8"
    quantize_static(
        str(plain), str(out), Rows(load_file(calibration), plain), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": signed},
    )  # fmt: skip


class Rows:
    """Calibration rows as ``onnxruntime.quantization`` reads them, one request a row."""

    def __init__(self, rows: Arrays, path: Path) -> None:
        taken = {value.name for value in onnx.load(path, load_external_data=False).graph.input}
        rows = {name: array for name, array in rows.items() if name in taken}
        count = max(len(array) for array in rows.values())
        self._requests = [{n: a[i : i + 1] if len(a) == count else a for n, a in rows.items()} for i in range(count)]

    def get_next(self) -> dict[str, Any] | None:
        """Return the next request, None after the last."""
        return self._requests.pop(0) if self._requests else None

    def __len__(self) -> int:
        return len(self._requests)
