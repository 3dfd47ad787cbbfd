"""Exports: interpreted in float64, and blamed node by node, pass by pass, runtime by runtime."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import portproof.sides._tasks
from portproof import Input, Port, Unavailable, verify
from portproof.graphs._blame import blame_optimiser, blame_runtime, passes_that_acted
from portproof.graphs._interpret import Graph
from portproof.runners._onnxruntime import optimiser_log, run_bytes
from tests import small_ports

RNG = np.random.default_rng(0)
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def convolution(seed: int = 0, **attributes: Any) -> onnx.ModelProto:
    """A convolution, a ReLU, both pools and a second convolution, with the attributes given to all windows."""
    rng = np.random.default_rng(seed)  # its own: with some weights no leak gets past the max-pool
    weights = {"w1": rng.standard_normal((4, 3, 3, 3)), "w2": rng.standard_normal((2, 4, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MaxPool", ["b"], ["c"], name="max", kernel_shape=[3, 3], **attributes),
        helper.make_node("AveragePool", ["c"], ["d"], name="mean", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
        helper.make_node("Conv", ["d", "w2"], ["y"], name="second"),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, 11, 12])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip


X = {"x": RNG.standard_normal((2, 3, 11, 12)).astype(np.float32) - 1}  # so that whole windows are negative


WINDOWS: tuple[dict[str, Any], ...] = (
    {},
    {"strides": [2, 2]},
    {"strides": [2, 2], "ceil_mode": 1},
    {"strides": [2, 3], "pads": [1, 1, 1, 1]},
    {"auto_pad": "SAME_UPPER"},
)


@pytest.mark.parametrize("attributes", WINDOWS)
def test_a_graph_means_the_same_as_the_runtime_says(attributes: dict[str, Any]) -> None:
    proto = convolution(**attributes)
    found = Graph(proto).run(X)["y"]
    theirs = run_bytes(proto.SerializeToString(), False, (), X)["y"]
    assert found.dtype == np.float64
    assert found.shape == theirs.shape
    assert np.abs(found - theirs).max() < 64 * np.finfo(np.float32).eps * np.abs(found).max()


def with_leak(model: bytes) -> bytes:
    """Make the last ReLU leak, as a wrong kernel or a wrong pass would."""
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        if node.op_type == "Relu":
            node.op_type = "LeakyRelu"
    return proto.SerializeToString()


def test_a_runtime_that_computes_one_node_wrongly_is_named_by_that_node(tmp_path: Path) -> None:
    def wrong(model: bytes, optimise: bool, without: Collection[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
        return run_bytes(with_leak(model), optimise, without, inputs)

    onnx.save(convolution(), tmp_path / "m.onnx")
    assert [nodes.named for nodes in blame_runtime(str(tmp_path / "m.onnx"), X, wrong)] == ["Relu 'relu'"]
    assert blame_runtime(str(tmp_path / "m.onnx"), X, run_bytes) == []


def test_a_wrong_optimiser_pass_is_named_with_the_first_subgraph_that_it_breaks(tmp_path: Path) -> None:
    def wrong(model: bytes, optimise: bool, without: Collection[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
        planted = optimise and "WrongPass" not in without
        return run_bytes(with_leak(model) if planted else model, optimise, (), inputs)

    onnx.save(convolution(), tmp_path / "m.onnx")
    found = blame_optimiser(str(tmp_path / "m.onnx"), X, wrong, ["ConvActivationFusion", "WrongPass"])
    assert found.passes == ("WrongPass",)
    assert (found.first, found.nodes.named) == ("b", "Relu 'relu'")
    assert blame_optimiser(str(tmp_path / "m.onnx"), X, run_bytes, ["ConvActivationFusion"]).passes == ()


def test_the_passes_that_changed_a_model_are_read_from_the_runtime_itself(tmp_path: Path) -> None:
    onnx.save(convolution(), tmp_path / "m.onnx")
    acted = passes_that_acted(optimiser_log(str(tmp_path / "m.onnx")))
    assert acted
    assert all(name.isidentifier() for name in acted)


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_an_export_with_a_wrong_node_is_divergent_and_named(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = portproof.frameworks._export.export

    def wrong(model: Any, inputs: Any, target: Path) -> tuple[str, ...]:
        fixed = right(model, inputs, target)
        if model.framework.side == side:
            target.write_bytes(with_leak(target.read_bytes()))
        return fixed

    monkeypatch.setattr(portproof.sides._tasks, "export", wrong)
    report = verify(small_ports.MLP)
    assert report.verdict == "divergent"
    assert [hop.target for hop in report.hops if hop.kind == "semantics" and hop.verdict == "divergent"] == []
    (culprit,) = report.culprits
    assert (culprit.kind, culprit.side) == ("export", side)
    # torch's exporter notes the ReLU's own module; in Paddle's, the next layer with parameters is the first to show it
    assert culprit.module == {"torch": "1", "paddle": "2"}[side]
    assert "LeakyRelu" in culprit.message


def attention(kind: int, least: float, masked: int = 0) -> onnx.ModelProto:
    """A product with a mask that is added before a softmax, which has columns that are masked all through."""
    own = helper.tensor_dtype_to_np_dtype(kind)
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        mask = np.where(np.tri(5, k=-masked), 0, least).astype(own)
    stored = {"w": (rng.standard_normal((8, 5)) / 3).astype(own), "mask": mask}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], name="scores"),
        helper.make_node("Add", ["s", "mask"], ["m"], name="masked"),
        helper.make_node("Softmax", ["m"], ["y"], axis=-2, name="softmax"),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", kind, ["batch", 5, 8])],
            [helper.make_tensor_value_info("y", kind, ["batch", 5, 5])],
            [numpy_helper.from_array(array, name) for name, array in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip


HALF, SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


@pytest.mark.parametrize(("least", "masked", "verdict"), [(-1e4, 0, "equivalent"), (-1e9, 1, "divergent")])
def test_a_graph_in_float16_is_judged_in_float16(least: float, masked: int, verdict: str, tmp_path: Path) -> None:
    """An additive mask of -1e9 is -inf in float16: where a whole column is masked, a softmax makes NaN of it."""
    onnx.save(attention(HALF, least, masked), tmp_path / "half.onnx")
    onnx.save(attention(SINGLE, least, masked), tmp_path / "single.onnx")
    inputs = {"x": Input(("batch", 5, 8))}
    report = verify(Port("half", str(tmp_path / "half.onnx"), str(tmp_path / "single.onnx"), inputs, ("y",)))
    assert report.verdict == verdict
    assert {hop.precision for hop in report.hops if hop.target.startswith("half.onnx")} == {"float16"}
    if verdict == "divergent":
        (culprit,) = report.culprits
        assert "'mask' holds -1e+09, which is -inf in paddle's float16 (15 of 25 elements)" in culprit.message
        assert any(note.startswith("half.onnx: 'y' holds NaN or infinity in ") for note in report.notes)


def test_a_cast_to_float16_in_a_graph_of_float32_stays_one() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=HALF),
        helper.make_node("Cast", ["h"], ["y"], to=SINGLE),
    ]
    values = [helper.make_tensor_value_info(name, SINGLE, ["batch", 3]) for name in "xy"]
    proto = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
    found = Graph(proto).run({"x": np.full((1, 3), 1 / 3)})["y"]
    assert found.dtype == np.float64
    assert (found == np.float16(1 / 3)).all()


def test_a_number_of_shape_one_is_taken_where_runtimes_take_it() -> None:
    nodes = [
        helper.make_node("Trilu", ["x", "one"], ["a"], upper=1, name="triangle"),
        helper.make_node("CumSum", ["a", "two"], ["y"], name="sum"),
    ]
    stored = {"one": 1, "two": 2}
    proto = helper.make_model(
        helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", SINGLE, ["batch", 5, 5])],
            [helper.make_tensor_value_info("y", SINGLE, None)],
            [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    rows = {"x": RNG.standard_normal((2, 5, 5)).astype(np.float32)}
    theirs = run_bytes(proto.SerializeToString(), False, (), rows)["y"]
    assert np.allclose(Graph(proto).run(rows)["y"], theirs, atol=1e-5)


def test_an_export_that_only_the_runtime_can_run_is_judged_by_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Graph.steps

    def steps(self: Graph, inputs: Mapping[str, Any]) -> Any:
        for index, node, values in right(self, inputs):
            if node.op_type == "Relu":
                raise Unavailable(f"node '{node.name}' (Relu) cannot be interpreted: as if it were not known")
            yield index, node, values

    monkeypatch.setattr(Graph, "steps", steps)
    report = verify(small_ports.MLP)
    assert report.verdict == "equivalent"
    exports = [hop for hop in report.hops if hop.kind == "export"]
    assert [hop.verdict for hop in exports] == ["equivalent", "equivalent"]
    assert all("judged by the runtime's own answer alone" in (hop.reason or "") for hop in exports)
    assert not [hop for hop in report.hops if hop.kind == "graph"]


def test_a_graph_that_cannot_be_interpreted_is_unavailable_and_not_a_verdict() -> None:
    node = helper.make_node("Nonsense", ["x"], ["y"], domain="nowhere")
    proto = helper.make_model(helper.make_graph([node], "g", [], []))
    with pytest.raises(Unavailable, match="cannot be interpreted"):
        Graph(proto).run({"x": np.zeros(1)})
