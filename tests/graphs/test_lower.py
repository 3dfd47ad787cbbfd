"""Graphs in lower precision: right ones pass in every runtime, and planted faults are named where they are."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

from portproof._errors import Unavailable
from portproof._numbers import compare
from portproof.graphs._cost import cost_of, told
from portproof.graphs._lower import lower
from portproof.graphs._quantised import meaning_of
from portproof.graphs._units import judge_units, overflows, saturating, unsound
from portproof.judge._floor import verdict_of
from portproof.runners import _onnxruntime, _openvino

SHAPE = (8, 16, 12, 12)


def photographs(seed: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)}


def small_net() -> onnx.ModelProto:
    """Two convolutions whose channels differ in scale by a hundred, a pool and a linear layer."""
    rng = np.random.default_rng(5)
    scales = np.geomspace(0.01, 1.0, 16).reshape(16, 1, 1, 1)
    stored = {
        "w1": rng.standard_normal((16, 16, 3, 3)) * scales,
        "b1": rng.standard_normal(16),
        "w2": rng.standard_normal((8, 16, 3, 3)) / 12,
        "w3": rng.standard_normal((8, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="second"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="mean"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("MatMul", ["e", "w3"], ["y"], name="last"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *SHAPE[1:]])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 5])
    arrays = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("lower")
    onnx.save(small_net(), folder / "net.onnx")

    @functools.cache
    def make(kind: str = "onnx-int8", calibrated: str = "photographs") -> onnx.ModelProto:
        rows = photographs(1)
        save_file({"x": rows["x"] * (calibrated != "black")}, folder / f"{calibrated}.safetensors")
        out = folder / f"{kind}-{calibrated}.onnx"
        lower(folder / "net.onnx", kind, folder / f"{calibrated}.safetensors", out)
        return onnx.load(out)

    return make


def changed(proto: onnx.ModelProto, tensor: str, change: Callable[[Any], Any]) -> onnx.ModelProto:
    """The graph with one stored tensor changed."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    for stored in other.graph.initializer:
        if stored.name == tensor:
            array = numpy_helper.to_array(stored)
            stored.CopyFrom(numpy_helper.from_array(np.asarray(change(array)).astype(array.dtype), tensor))
            return other
    raise AssertionError(tensor)


def apart(proto: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> onnx.ModelProto:
    """The graph in which the DequantizeLinear of a tensor reads another scale or zero point than it was made with."""
    other = changed(proto, name, lambda array: array)
    stored = next(tensor for tensor in other.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(stored)
    other.graph.initializer.append(
        numpy_helper.from_array(np.asarray(change(array)).astype(array.dtype), f"{name}_other")
    )
    for node in other.graph.node:
        if node.op_type == "DequantizeLinear":
            node.input[:] = [f"{name}_other" if one == name else one for one in node.input]
    return other


RUNTIMES = {"onnxruntime": _onnxruntime.run_optimised, "openvino": _openvino.run_bytes}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", ["onnx-int8", "onnx-signed-int8"])
def test_every_unit_of_a_right_graph_rounds_as_its_interpretation_does(
    made: Callable[..., onnx.ModelProto], runtime: str, kind: str
) -> None:
    proto = made(kind)
    assert unsound(proto, per_channel=True) == []
    count, faults = judge_units(proto, photographs(2), RUNTIMES[runtime])
    assert (count, faults) == (sum(node.op_type == "QuantizeLinear" for node in proto.graph.node), [])


@pytest.mark.parametrize("kind", ["onnx-int8", "onnx-dynamic-int8"])
def test_a_runtime_of_a_quantised_graph_is_held_to_what_the_graph_means(
    made: Callable[..., onnx.ModelProto], kind: str
) -> None:
    rows, proto = photographs(2), made(kind)
    meaning = meaning_of(proto, rows)
    found = _onnxruntime.run_optimised(proto.SerializeToString(), rows)["y"]
    assert verdict_of(compare(found, meaning.outputs["y"], "int8"), meaning.floors["y"], "int8") != "divergent"
    wrong = _onnxruntime.run_optimised(changed(proto, weights(proto), np.negative).SerializeToString(), rows)["y"]
    assert verdict_of(compare(wrong, meaning.outputs["y"], "int8"), meaning.floors["y"], "int8") == "divergent"


def weights(proto: onnx.ModelProto) -> str:
    return next(t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1)


def test_a_wrong_zero_point_and_a_scale_off_by_two_are_named_where_levels_are_read(
    made: Callable[..., onnx.ModelProto],
) -> None:
    moved = unsound(apart(made(), "b_zero_point", lambda zero: zero + 1))
    assert [fault.node.split()[0] for fault in moved] == ["DequantizeLinear"]
    assert "zero point 0" in moved[0].text
    (doubled,) = unsound(apart(made(), "b_scale", lambda scale: 2 * scale))
    assert "of scale" in doubled.text
    assert "b_DequantizeLinear" in doubled.node


def test_a_runtime_that_reads_another_zero_point_or_scale_is_named_by_its_unit(
    made: Callable[..., onnx.ModelProto],
) -> None:
    proto = made()

    def reading(name: str, change: Callable[[Any], Any]) -> Callable[[bytes, Mapping[str, Any]], dict[str, Any]]:
        def run(model: bytes, inputs: Mapping[str, Any]) -> dict[str, Any]:
            unit = onnx.load_from_string(model)
            if not any(tensor.name == name for tensor in unit.graph.initializer):
                return _onnxruntime.run_optimised(model, inputs)
            return _onnxruntime.run_optimised(apart(unit, name, change).SerializeToString(), inputs)

        return run

    for name, change in (("b_zero_point", lambda zero: zero + 1), ("b_scale", lambda scale: 2 * scale)):
        _, faults = judge_units(proto, photographs(2), reading(name, change))
        assert [fault.node for fault in faults] == ["Conv 'second'"]
        assert "that no rounding explains" in faults[0].text


def test_one_scale_for_all_channels_is_named_and_costs_most(
    made: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    from portproof.graphs._lower import Rows

    onnx.save(small_net(), tmp_path / "net.onnx")
    quantize_static(
        str(tmp_path / "net.onnx"), str(tmp_path / "q.onnx"), Rows(photographs(1), tmp_path / "net.onnx"),
        quant_format=QuantFormat.QDQ, per_channel=False, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    proto = onnx.load(tmp_path / "q.onnx")
    assert [fault.node for fault in unsound(proto, per_channel=True)] == ["Conv 'first'", "Conv 'second'"]
    assert unsound(proto) == []  # where nothing else was said, one scale is a choice


def test_calibration_on_black_images_is_told_by_what_lies_beyond_its_ranges(
    made: Callable[..., onnx.ModelProto],
) -> None:
    black = cost_of(small_net(), made(calibrated="black"), photographs(2))
    right = cost_of(small_net(), made(), photographs(2))
    relu = [next(cost.beyond for cost in costs if cost.tensor == "b") for costs in (black, right)]
    assert relu[0] > 0.1 > 100 * relu[1]
    ends = [next(cost.whole_db for cost in costs if cost.tensor == "y") for costs in (black, right)]
    assert ends[0] < 10 < 25 < ends[1]
    assert "beyond its range" in told(small_net(), made(calibrated="black"), photographs(2))[0]


def test_inputs_that_are_normalised_otherwise_are_told_by_the_range_of_the_first_tensor(
    made: Callable[..., onnx.ModelProto],
) -> None:
    other = {"x": photographs(2)["x"] * 58 + 120}  # neither scaled nor centred
    cost = max(cost_of(small_net(), made(), other), key=lambda cost: cost.beyond)
    assert cost.beyond > 0.9


def test_accumulators_that_saturate_are_named_with_the_instruction(made: Callable[..., onnx.ModelProto]) -> None:
    full = made()
    for name in [t.name for t in full.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]:
        full = changed(full, name, lambda array: np.where(array < 0, -127, 127))
    _, right = judge_units(full, photographs(2), _onnxruntime.run_optimised)
    assert right == []
    _, faults = judge_units(full, photographs(2), _saturating)
    assert faults
    assert all("vpmaddubsw" in fault.text for fault in faults if fault.node.startswith("Conv"))
    assert re.fullmatch(r"Conv '[^']+'; two products .* vpmaddubsw .* VNNI", saturating(full))
    for name in [t.name for t in full.graph.initializer if t.data_type == onnx.TensorProto.INT8]:
        full = changed(full, name, lambda array: array // 2)
    assert saturating(full) == ""
    assert "Conv 'second'" in [fault.node for fault in faults]


def _saturating(model: bytes, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime without VNNI: pairs of products are added in 16 bits before they are widened."""
    import torch

    unit = onnx.load_from_string(model)
    found = _onnxruntime.run_optimised(model, inputs)
    conv = next((node for node in unit.graph.node if node.op_type == "Conv"), None)
    ((_, levels),) = inputs.items()
    if conv is None or levels.dtype != np.uint8:
        return found
    stored = {t.name: numpy_helper.to_array(t) for t in unit.graph.initializer}
    readers = {node.output[0]: node for node in unit.graph.node if node.op_type == "DequantizeLinear"}
    weight = stored[readers[conv.input[1]].input[0]].astype(np.float64)
    pads = next((list(a.ints) for a in conv.attribute if a.name == "pads"), [0, 0])[:2]
    zero = int(stored[readers[conv.input[0]].input[2]])
    padded = np.pad(levels, [(0, 0), (0, 0), *((p, p) for p in pads)], constant_values=zero)
    columns = torch.nn.functional.unfold(torch.tensor(padded.astype(np.float64)), weight.shape[2:]).numpy()
    products = columns[:, None] * weight.reshape(1, len(weight), -1, 1)
    pairs = products[:, :, 0::2] + products[:, :, 1::2]
    lost = (np.clip(pairs, -(2**15), 2**15 - 1) - pairs).sum(axis=2)
    factor = float(stored[readers[conv.input[0]].input[1]]) * stored[readers[conv.input[1]].input[1]]
    last = unit.graph.node[-1]
    (output,) = found
    moved = lost * factor.reshape(1, -1, 1) / float(stored[last.input[1]])
    return {output: np.clip(found[output] + np.rint(moved).reshape(found[output].shape), 0, 255).astype(np.uint8)}


def test_a_float16_graph_that_leaves_what_float16_holds_is_named(made: Callable[..., onnx.ModelProto]) -> None:
    assert overflows(made("onnx-float16"), photographs(2)) == []
    graph = small_net()
    mask = numpy_helper.from_array(np.float32([-1e9] * 5), "mask")
    graph.graph.initializer.append(mask)
    graph.graph.node[-1].output[0] = "scores"
    graph.graph.node.append(helper.make_node("Add", ["scores", "mask"], ["y"], name="masked"))
    halves = onnx.ModelProto()
    halves.CopyFrom(graph)
    for stored in halves.graph.initializer:
        with np.errstate(over="ignore"):
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).astype(np.float16), stored.name))
    (fault,) = overflows(halves, photographs(2))
    assert fault.node == "constant 'mask'"
    loud = {"x": photographs(2)["x"] * 1e5}
    (fault,) = overflows(made("onnx-float16"), loud)
    assert "float16 holds 65504 at most" in fault.text


def test_a_value_on_the_border_of_two_levels_may_fall_on_either_side() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
        helper.make_node("Mul", ["a", "half"], ["b"], name="half"),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    stored = {"s": np.float32(0.1), "z": np.uint8(0), "half": np.float32(0.5)}
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 256]) for name in "xy")
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], arrays)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    rows = {"x": np.arange(256, dtype=np.float32).reshape(1, 256) * np.float32(0.1)}

    def otherwise(model: bytes, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A runtime that rounds halves up: half a level is nothing that float32 can tell from a little more."""
        found = _onnxruntime.run_optimised(model, inputs)
        return {"p": (inputs["q"] // 2 + inputs["q"] % 2).astype(np.uint8)} if "p" in found else found

    assert judge_units(proto, rows, otherwise) == (2, [])
    off = judge_units(proto, rows, lambda m, i: {n: a + (n == "p") for n, a in otherwise(m, i).items()})
    assert len(off[1]) == 1


def test_weights_that_are_stored_as_halves_are_all_that_is_rounded(made: Callable[..., onnx.ModelProto]) -> None:
    proto, rows = made("onnx-float16-weights"), photographs(2)
    halves = {one.name for one in proto.graph.initializer if one.data_type == onnx.TensorProto.FLOAT16}
    assert halves == {"w1__float16", "w2__float16", "w3__float16"}
    rounded = small_net()
    for stored in rounded.graph.initializer:
        if f"{stored.name}__float16" in halves:
            array = numpy_helper.to_array(stored).astype(np.float16).astype(np.float32)
            stored.CopyFrom(numpy_helper.from_array(array, stored.name))
    for run in RUNTIMES.values():
        np.testing.assert_array_equal(
            run(proto.SerializeToString(), rows)["y"], run(rounded.SerializeToString(), rows)["y"]
        )


def test_a_weight_beyond_float16_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    onnx.save(changed(small_net(), "w2", lambda array: array * 1e6), tmp_path / "net.onnx")
    with pytest.raises(Unavailable, match=r"'w2' has \de\+05, float16 holds 65504 at most"):
        lower(tmp_path / "net.onnx", "onnx-float16-weights", tmp_path / "none", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
