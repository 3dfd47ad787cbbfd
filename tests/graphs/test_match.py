"""Two exports are matched node by node; whatever is changed in one of them is named."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from portproof import Input, Port
from portproof._disk import save_arrays
from portproof.graphs._match import match_graphs
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, Project
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from tests.conftest import Run


def torch_net() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 4, 1),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5),
    )  # fmt: skip


def paddle_net() -> Any:
    from paddle import nn

    return nn.Sequential(
        nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.ReLU(), nn.AvgPool2D(3, 2, 1, exclusive=False),
        nn.Conv2D(4, 4, 1), nn.MaxPool2D(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5),
    )  # fmt: skip


# No LeakyReLU: paddle2onnx 2.1.0 writes an alpha of its own into it (docs/sight.md).
PORT = Port(
    name="plain", torch="tests.graphs.test_match:torch_net", paddle="tests.graphs.test_match:paddle_net",
    inputs={"x": Input(("batch", 3, 8, 8))},
)  # fmt: skip
ROWS = make_batch(PORT, rows=2).arrays
NAMES = ("torch", "paddle")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both exports of one small port under the same weights."""
    folder = tmp_path_factory.mktemp("exports")
    with Sessions(Located(PORT, None, Project())) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        inputs = sides.folder / "inputs.safetensors"
        save_arrays(inputs, make_batch(PORT).arrays)
        for side, file in sides.spread(*sides.sensitise(inputs, 0)).items():
            sides.open[side].call(Tasks.load, weights=file)
            sides.open[side].call(Tasks.export, inputs=inputs, out=folder / f"{side}.onnx")
    return {side: folder / f"{side}.onnx" for side in NAMES}


def loaded(exports: dict[str, Path]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return onnx.load(exports["torch"]), onnx.load(exports["paddle"])


def test_the_exports_of_a_right_port_are_the_same_graph(exports: dict[str, Path]) -> None:
    found = match_graphs(*loaded(exports), ROWS, NAMES)
    assert found, found.differences
    assert len(found.matched) >= 7


def test_any_attribute_that_is_changed_is_named(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    changed = 0
    for index, node in enumerate(right.graph.node):
        for place, attribute in enumerate(node.attribute):
            value = helper.get_attribute_value(attribute)
            wrong = onnx.ModelProto()
            wrong.CopyFrom(right)
            target = wrong.graph.node[index].attribute[place]
            if attribute.name in ("kernel_shape", "group", "auto_pad", "transB", "axis", "allowzero", "storage_order"):
                continue  # these cannot be changed alone: the graph would not run
            if isinstance(value, list) and attribute.name in ("pads", "strides", "dilations"):
                continue  # sizes would change; the attributes below keep them
            if isinstance(value, float):
                target.f = value + 0.25
            elif attribute.name in ("ceil_mode", "count_include_pad"):
                target.i = 1 - value
            else:
                continue
            found = match_graphs(wrong, other, ROWS, NAMES)
            if attribute.name == "ceil_mode" and not found.matched:
                continue
            changed += 1
            assert any(attribute.name in difference for difference in found.differences), (node.op_type, attribute.name)
    assert changed >= 2


def test_a_padding_a_dilation_and_a_stride_are_said_in_words(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    convolution = next(node for node in right.graph.node if node.op_type == "Conv")
    del convolution.attribute[:]
    convolution.attribute.append(helper.make_attribute("pads", [2, 2, 2, 2]))
    convolution.attribute.append(helper.make_attribute("dilations", [2, 2]))
    said = " ".join(match_graphs(right, other, ROWS, NAMES).differences)
    assert "pads is [2, 2, 2, 2] in torch and [1, 1, 1, 1] in paddle" in said
    assert "dilations is [2, 2] in torch and [1, 1] in paddle" in said


def test_one_bit_of_one_weight_is_named(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    for tensor in right.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype != np.float32 or array.ndim < 2:
            continue
        array.flat[0] = np.nextafter(array.flat[0], np.float32(9))
        kept = onnx.TensorProto()
        kept.CopyFrom(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        found = match_graphs(right, other, ROWS, NAMES)
        assert any(
            f"'{tensor.name}' differs" in difference and "1 of" in difference for difference in found.differences
        )
        tensor.CopyFrom(kept)
    assert match_graphs(right, other, ROWS, NAMES)


def test_another_operator_is_named_with_both(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    relu = next(node for node in right.graph.node if node.op_type == "Relu")
    relu.op_type = "Sigmoid"
    (difference,) = match_graphs(right, other, ROWS, NAMES).differences
    assert difference.startswith(f"Sigmoid '{relu.name}' in torch stands where paddle has Relu")


def test_a_node_that_only_one_graph_has_is_named_and_stepped_over(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    relu = next(node for node in right.graph.node if node.op_type == "Relu")
    added = [helper.make_node(op, [f"x{i}"], [f"x{i + 1}"], name=op) for i, op in enumerate(("Tanh", "Elu"))]
    added[0].input[0], added[-1].output[0] = relu.output[0], "lone"
    for node in right.graph.node:
        node.input[:] = ["lone" if name == relu.output[0] else name for name in node.input]
    place = list(right.graph.node).index(relu) + 1
    nodes = [*right.graph.node[:place], *added, *right.graph.node[place:]]
    del right.graph.node[:]
    right.graph.node.extend(nodes)
    whole = match_graphs(*loaded(exports), ROWS, NAMES)
    found = match_graphs(right, other, ROWS, NAMES)
    assert sorted(found.differences) == ["Elu 'Elu' stands only in torch", "Tanh 'Tanh' stands only in torch"]
    assert len(found.matched) == len(whole.matched)
    assert found.tensors == whole.tensors


def test_other_weights_are_the_same_graph_by_shape(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    for tensor in right.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array + 1, tensor.name))
    assert not match_graphs(right, other, ROWS, NAMES)
    assert match_graphs(right, other, ROWS, NAMES, "shapes")


def test_an_output_of_one_graph_is_named_and_the_rest_matched(exports: dict[str, Path]) -> None:
    right, other = loaded(exports)
    relu = next(node for node in right.graph.node if node.op_type == "Relu")
    right.graph.output.append(helper.make_tensor_value_info(relu.output[0], onnx.TensorProto.FLOAT, None))
    found = match_graphs(right, other, ROWS, NAMES)
    assert found.differences == (f"output '{relu.output[0]}' stands only in torch",)
    assert len(found.matched) >= 7


def test_the_command_says_what_differs_and_refuses_what_is_no_graph(
    exports: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    port = ("--port", "tests.graphs.test_match:PORT")
    same = run("match", exports["torch"], exports["paddle"], *port)
    assert same.code == 0, same
    assert "the graphs are the same" in same.out
    wrong = onnx.load(exports["torch"])
    next(node for node in wrong.graph.node if node.op_type == "Relu").op_type = "Sigmoid"
    onnx.save(wrong, tmp_path / "wrong.onnx")
    assert run("match", tmp_path / "wrong.onnx", exports["paddle"], *port).code == 1
    both = ("match", exports["torch"], exports["paddle"], *port)
    run(*both, "--rename", "y=z").refused(2, "no input or output 'y'", "there are x, out")
    run(*both, "--rename", "y").refused(2, "--rename takes OLD=NEW")
    run(*both, "--rename", "x=image").refused(2, "input 'image'", "the port name x")
    assert "output 'out' stands only in torch.onnx" in run(*both, "--rename", "out=logits").out
    (tmp_path / "text.onnx").write_text("hello")
    run("match", tmp_path / "text.onnx", exports["paddle"], *port).refused(2, "no ONNX file")
    run("match", tmp_path / "nowhere.onnx", exports["paddle"], *port).refused(2, "no such file")


def two_branches(operator: str, order: str, second: str = "Sigmoid", swap_weights: bool = False) -> onnx.ModelProto:
    """A sum, say, of two products of one input with two matrices of one shape."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((8, 8)).astype(np.float32) for _ in range(2)]
    stored = [
        numpy_helper.from_array(w, n) for w, n in zip(weights[::-1] if swap_weights else weights, "vw", strict=True)
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], "first"), helper.make_node("MatMul", ["x", "w"], ["b"], "second"),
        helper.make_node("Tanh", ["a"], ["c"], "tanh"), helper.make_node(second, ["b"], ["d"], "other"),
        helper.make_node(operator, list(order), ["y"], "both"),
    ]  # fmt: skip
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 8]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("operator", ["Add", "Mul", "Max", "Min"])
def test_the_order_of_operands_that_commute_is_no_difference(operator: str) -> None:
    rows = {"x": np.ones((2, 8), np.float32)}
    assert match_graphs(two_branches(operator, "cd"), two_branches(operator, "dc"), rows)
    # Branches of one shape are told apart by their weights, bit by bit.
    same = two_branches(operator, "cd", "Tanh"), two_branches(operator, "dc", "Tanh")
    assert match_graphs(*same, rows)
    assert match_graphs(*same, rows, weights="shapes")
    changed = match_graphs(two_branches(operator, "cd"), two_branches(operator, "dc", swap_weights=True), rows)
    assert len(changed.differences) == 2, changed.differences
    assert not match_graphs(two_branches("Sub", "cd"), two_branches("Sub", "dc"), rows)
