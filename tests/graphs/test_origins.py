"""Nodes of exported graphs and the lines of the model that they come from."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

import portproof.sides._tasks
from portproof import Input, Port, Report, verify
from portproof.frameworks._paddle_origins import STACK, Operator, note_stacks, stacks
from portproof.graphs._blame import blame_runtime
from portproof.graphs._match import match_graphs
from portproof.graphs._origins import origin
from portproof.judge._report import Line
from portproof.render import write_report
from portproof.render._summary import junit, markdown
from portproof.render._terminal import print_cause
from portproof.render._words import causes
from portproof.runners._onnxruntime import run_bytes
from tests.graphs.test_graphs import X, convolution, with_leak

HERE = Path(__file__)
TORCH = "pkg.torch.onnx.stack_trace"


def line_of(mark: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}"))


def torch_net() -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            h = self.norm(self.conv(x))
            h = torch.relu(h)  # torch: relu
            a, b = h.split(2, 1)
            h = torch.cat([b * 2, a], 1)
            h = h + x.mean(1, keepdim=True)
            return self.out(h.flatten(2).mean(2))

    return Net()


def paddle_net() -> Any:
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.out = nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            h = self.norm(self.conv(x))  # paddle: conv
            h = nn.functional.relu(h)  # paddle: relu
            a, b = h.split(2, axis=1)  # paddle: split
            h = paddle.concat([b * 2, a], axis=1)  # paddle: concat
            h = h + x.mean(axis=1, keepdim=True)  # paddle: sum
            return self.out(h.flatten(2).mean(axis=2))  # paddle: out

    return Net()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, onnx.ModelProto]:
    """A report on a port whose ReLUs leak in both exports, and Paddle's export as it is."""
    right, kept = portproof.sides._tasks.export, tmp_path_factory.mktemp("origins") / "paddle.onnx"

    def wrong(model: Any, inputs: Any, target: Path) -> tuple[str, ...]:
        fixed = right(model, inputs, target)
        if model.framework.side == "paddle":
            kept.write_bytes(target.read_bytes())
        target.write_bytes(with_leak(target.read_bytes()))
        return fixed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(portproof.sides._tasks, "export", wrong)
        report = verify(Port("origins", paddle_net, torch_net, {"x": Input(("batch", 3, 6, 6))}))
    return report, onnx.load(kept)


def test_a_wrong_exported_node_is_named_with_the_line_that_it_comes_from(judged: tuple[Report, Any]) -> None:
    found = {culprit.side: culprit for culprit in judged[0].culprits}
    assert {culprit.kind for culprit in found.values()} == {"export"}
    for side, text in (("torch", "torch.relu(h)"), ("paddle", "nn.functional.relu(h)")):
        said = f"h = {text} # {side}: relu"
        assert Line(side, str(HERE), line_of(f"{side}: relu"), said) in found[side].origins
        assert {(one.side, one.file) for one in found[side].origins} == {(side, str(HERE))}


def test_all_reports_have_the_line(judged: tuple[Report, Any], tmp_path: Path) -> None:
    report = judged[0]
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as terminal:
        for cause in causes(report, report.culprits):
            print_cause(cause, console)
    write_report(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    for text in (terminal.get(), page, markdown(report), str(report), report._repr_html_(), junit(report)):
        assert f"test_origins.py:{line_of('torch: relu')}" in " ".join(text.split())
        assert "torch.relu(h)" in text
    told = {culprit["side"]: culprit["origins"] for culprit in report.to_json()["culprits"]}
    assert line_of("paddle: relu") in [one["line"] for one in told["paddle"]]


def test_paddle_s_nodes_come_from_the_lines_that_made_their_operators(judged: tuple[Report, Any]) -> None:
    nodes = judged[1].graph.node
    found = [(node.op_type, line.line) for node in nodes if (line := origin(node)) is not None]
    marks = ("conv", "relu", "split", "concat", "sum", "out")
    assert len(found) == len(nodes)  # each was certain here
    assert set(dict.fromkeys(line for _, line in found)) == {line_of(f"paddle: {mark}") for mark in marks}
    for kind, mark in (("Conv", "conv"), ("Relu", "relu"), ("Split", "split"), ("Concat", "concat"), ("MatMul", "out")):
        assert next(line for op, line in found if op == kind) == line_of(f"paddle: {mark}")
    assert [line for op, line in found if op == "ReduceMean"] == [line_of("paddle: sum"), line_of("paddle: out")]


def converted() -> tuple[onnx.ModelProto, list[Operator]]:
    """Two sums as paddle2onnx writes them, and the program that they are from."""
    nodes = [
        helper.make_node("Add", ["x", "w"], ["Add.1"]),
        helper.make_node("Identity", ["Add.1"], ["p2o.pd_op.add.0.0"]),
        helper.make_node("Add", ["p2o.pd_op.add.0.0", "v"], ["Add.3"]),
        helper.make_node("Identity", ["Add.3"], ["fetch_name_0"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "fetch_name_0"))
    proto = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
    return proto, [
        Operator(("x", "w"), ("p2o.pd_op.add.0.0",), 'File "m.py", line 1, in forward'),
        Operator(("p2o.pd_op.add.0.0", "v"), ("p2o.pd_op.add.1.0", "fetch_name_0"), 'File "m.py", line 2, in forward'),
    ]


def lines(proto: onnx.ModelProto) -> list[int]:
    return [line.line if (line := origin(node)) is not None else 0 for node in proto.graph.node]


def test_where_the_program_does_not_fit_the_graph_nothing_is_said() -> None:
    proto, operators = converted()
    note_stacks(proto, stacks(proto, operators))
    assert lines(proto) == [1, 1, 2, 2]
    proto, operators = converted()
    first, second = operators
    crossed = [replace(first, made=second.made), replace(second, made=first.made)]
    note_stacks(proto, stacks(proto, crossed))
    assert lines(proto) == [0, 0, 0, 0]
    proto, operators = converted()
    note_stacks(proto, stacks(proto, [first]))
    assert lines(proto) == [1, 1, 0, 0]
    proto, operators = converted()
    proto.graph.node.insert(0, helper.make_node("Neg", ["w"], ["shared"]))  # read by nodes of both operators
    for node in proto.graph.node[1:]:
        if node.op_type == "Add":
            node.input[1] = "shared"
    note_stacks(proto, stacks(proto, [replace(one, given=(*one.given, "shared")) for one in operators]))
    assert lines(proto) == [0, 1, 1, 2, 2]
    proto, _ = converted()
    note_stacks(proto, stacks(proto, []))
    assert lines(proto) == [0, 0, 0, 0]


def node_with(stack: str, key: str = TORCH) -> onnx.NodeProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    entry = node.metadata_props.add()
    entry.key, entry.value = key, stack
    return node


def test_the_line_is_the_model_s_own_and_no_framework_s() -> None:
    outer = 'File "/m/net.py", line 9, in forward\n    h = self.conv(x)'
    inner = 'File "/v/lib/python3.11/site-packages/torch/nn/modules/conv.py", line 565, in forward\n    return conv(x)'
    models = 'File "/v/site-packages/paddle/vision/models/resnet.py", line 3, in forward\n    x = self.a(x)'
    assert origin(node_with(f"{outer}\n  {inner}")) == Line("torch", "/m/net.py", 9, "h = self.conv(x)")
    assert origin(node_with('File "/m/net.py", line 9, in f\n  File "/m/net.py", line 4, in g')) == Line(
        "torch", "/m/net.py", 4, ""
    )
    assert origin(node_with(models, STACK)) is not None
    assert origin(node_with(inner)) is None
    assert origin(node_with("no stack")) is None
    assert origin(helper.make_node("Relu", ["x"], ["y"])) is None


def test_what_a_stranger_s_file_says_of_its_lines_is_bounded_and_obeyed_by_nothing(
    judged: tuple[Report, Any], tmp_path: Path
) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("the secret\n")
    told = origin(node_with(f'File "{secret}", line 1, in f\n    \x1b[2J<script>{"a" * 10**6}'[: 2**16 - 1]))
    assert told is not None
    assert "\x1b" not in told.text
    assert len(told.text) <= 120
    culprit = replace(judged[0].culprits[0], origins=(told,))
    report = replace(judged[0], culprits=(culprit,))
    write_report(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "secret.py:1" in page
    assert "the secret" not in page  # the file that is named is not opened
    assert "<script>a" not in page
    assert origin(node_with("x" * 10**6 + 'File "' * 10**5)) is None


def test_a_runtime_s_wrong_node_is_named_with_its_line(tmp_path: Path) -> None:
    def wrong(model: bytes, optimise: bool, without: Any, inputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        return run_bytes(with_leak(model), optimise, without, inputs)

    proto = convolution()
    for node in proto.graph.node:
        node.metadata_props.extend(node_with(f'File "net.py", line {len(node.name)}, in forward').metadata_props)
    onnx.save(proto, tmp_path / "m.onnx")
    (found,) = blame_runtime(str(tmp_path / "m.onnx"), X, wrong)
    assert (found.named, [line.line for line in found.origins]) == ("Relu 'relu'", [4])


def test_what_differs_between_two_graphs_is_named_with_the_lines_of_both() -> None:
    def graph(side: str, key: str, op: str) -> onnx.ModelProto:
        proto = convolution()
        for number, node in enumerate(proto.graph.node):
            node.op_type = op if node.op_type == "Relu" else node.op_type
            stack = f'File "{side}.py", line {number + 1}, in forward'
            node.metadata_props.extend(node_with(stack, key).metadata_props)
        return proto

    found = match_graphs(graph("a", TORCH, "Relu"), graph("b", STACK, "Sigmoid"), X, ("one", "two"))
    assert found.differences == ("Relu 'relu' in one stands where two has Sigmoid 'relu'",)
    assert found.origins == ((Line("torch", "a.py", 2, ""), Line("paddle", "b.py", 2, "")),)
