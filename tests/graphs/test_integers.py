"""Quantised operators mean what ONNX writes: held to hand-made cases and, at random, to ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from portproof.graphs._interpret import Graph

RNG = np.random.default_rng(0)
U8, I8, I32, FLOAT = (getattr(onnx.TensorProto, kind) for kind in ("UINT8", "INT8", "INT32", "FLOAT"))


def one(operator: str, inputs: dict[str, Any], outputs: list[int], **attributes: Any) -> onnx.ModelProto:
    """A graph of one node whose first input is the graph's and whose others are stored."""
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    first = next(iter(arrays))
    kind = helper.np_dtype_to_tensor_dtype(arrays[first].dtype)
    names = [f"y{number}" for number in range(len(outputs))]
    graph = helper.make_graph(
        [helper.make_node(operator, list(arrays), names, name="it", **attributes)], "g",
        [helper.make_tensor_value_info(first, kind, None)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, outputs, strict=True)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name != first],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def means(model: onnx.ModelProto, x: Any) -> Any:
    return Graph(model).run({"x": np.asarray(x)})["y0"]


F32 = np.float32


def test_a_half_goes_to_the_even_level_before_the_zero_point_is_added() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5], F32)
    model = one("QuantizeLinear", {"x": x, "s": F32(1), "z": np.uint8(3)}, [U8])
    np.testing.assert_array_equal(means(model, x), [3, 5, 5, 3])
    a = np.array([[1, 3, 5]], np.uint8)  # times .5: halves, with an odd zero point
    given = {"x": a, "sa": F32(0.5), "za": np.uint8(0), "b": np.eye(3, dtype=np.int8), "sb": F32(1), "zb": np.int8(0)}
    model = one("QLinearMatMul", {**given, "sy": F32(1), "zy": np.uint8(3)}, [U8])
    np.testing.assert_array_equal(means(model, a), [[3, 5, 5]])


def test_what_a_level_cannot_hold_stays_at_its_end() -> None:
    a = np.array([[200, 200]], np.uint8)
    given = {"x": a, "sa": F32(1), "za": np.uint8(0), "b": np.array([[1, -1], [1, -1]], np.int8)}
    given |= {"sb": F32(1), "zb": np.int8(0), "sy": F32(1), "zy": np.uint8(0)}
    np.testing.assert_array_equal(means(one("QLinearMatMul", given, [U8]), a), [[255, 0]])
    x = np.array([1e9, -1e9], F32)
    np.testing.assert_array_equal(
        means(one("QuantizeLinear", {"x": x, "s": F32(1e-3), "z": np.int8(1)}, [I8]), x), [127, -128]
    )


def test_a_bias_of_more_than_twenty_four_bits_is_not_rounded() -> None:
    x = np.array([2**24 + 1], np.int32)
    assert means(one("DequantizeLinear", {"x": x, "s": F32(1)}, [FLOAT]), x)[0] == 2**24 + 1


CONV = {"w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)}
LEVELS = RNG.integers(0, 256, (2, 3, 7, 7)).astype(np.uint8)
CASES: tuple[tuple[str, dict[str, Any], list[int], dict[str, Any]], ...] = (
    ("QuantizeLinear", {"x": RNG.standard_normal((2, 3, 4)).astype(F32), "s": np.array([0.01, 0.02, 0.03], F32),
                        "z": np.array([3, 128, 255], np.uint8)}, [U8], {"axis": 1}),
    ("DequantizeLinear", {"x": CONV["w"], "s": RNG.random(4).astype(F32), "z": np.zeros(4, np.int8)}, [FLOAT],
     {"axis": 0}),
    ("DynamicQuantizeLinear", {"x": RNG.standard_normal((5, 6)).astype(F32)}, [U8, FLOAT, U8], {}),
    ("QLinearConv", {"x": LEVELS, "sx": F32(0.02), "zx": np.uint8(7), **CONV, "sw": RNG.random(4).astype(F32) / 50,
                     "zw": np.zeros(4, np.int8), "sy": F32(0.5), "zy": np.uint8(101),
                     "b": RNG.integers(-900, 900, 4).astype(np.int32)}, [U8], {"pads": [1, 1, 1, 1]}),
    ("ConvInteger", {"x": LEVELS, **CONV, "zx": np.uint8(7)}, [I32], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("QLinearMatMul", {"x": LEVELS[0, 0], "sa": F32(0.1), "za": np.uint8(5),
                       "b": RNG.integers(-127, 128, (7, 5)).astype(np.int8), "sb": F32(0.02), "zb": np.int8(0),
                       "sy": F32(3.1), "zy": np.uint8(99)}, [U8], {}),
    ("MatMulInteger", {"x": LEVELS[0, 0], "b": RNG.integers(-127, 128, (7, 5)).astype(np.int8), "za": np.uint8(5)},
     [I32], {}),
)  # fmt: skip


@pytest.mark.parametrize(("operator", "inputs", "outputs", "attributes"), CASES, ids=[case[0] for case in CASES])
def test_a_quantised_operator_means_what_the_runtime_counts(
    operator: str, inputs: dict[str, Any], outputs: list[int], attributes: dict[str, Any]
) -> None:
    model = one(operator, inputs, outputs, **attributes)
    first = {"x": inputs["x"]}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for (name, mine), runtime in zip(Graph(model).run(first).items(), session.run(None, first), strict=True):
        if runtime.dtype.kind == "f":
            np.testing.assert_allclose(mine, runtime, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(mine, runtime, err_msg=name)
