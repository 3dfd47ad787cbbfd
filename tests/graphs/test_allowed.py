"""A graph from a stranger starts nothing and ends in time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portproof import Unavailable
from portproof.graphs import _allowed
from portproof.graphs._interpret import Graph


def model(nodes: list[Any], outputs: tuple[str, ...] = ("y",), functions: tuple[Any, ...] = (), **stored: Any) -> Any:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


ROWS = {"x": np.ones((3, 2), np.float32)}


@pytest.mark.parametrize(
    "operator", ["ImageDecoder", "RegexFullMatch", "StringSplit", "RandomUniformLike", "Bernoulli"]
)
def test_what_is_no_arithmetic_is_refused_by_name_before_anything_runs(operator: str) -> None:
    with pytest.raises(Unavailable, match=rf"node 'evil' \({operator}\) cannot be interpreted: it is none of"):
        Graph(model([helper.make_node(operator, ["x"], ["y"], name="evil")]))


def test_it_is_refused_in_functions_in_branches_and_in_loops_too() -> None:
    evil = helper.make_node("ImageDecoder", ["x"], ["y"], name="evil")
    function = helper.make_function("own", "Hidden", ["x"], ["y"], [evil], [helper.make_opsetid("", 20)])
    called = model([helper.make_node("Hidden", ["x"], ["y"], domain="own")], functions=(function,))
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branch = helper.make_graph([evil], "b", [], [value])
    chosen = model([helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)], yes=np.array(True))
    for proto in (called, chosen):
        with pytest.raises(Unavailable, match="ImageDecoder"):
            Graph(proto)


def test_functions_that_double_their_calls_are_refused_and_nothing_is_spelt_out() -> None:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    chain = [helper.make_function("own", "F0", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], opsets)]
    for i in range(1, 30):
        twice = [
            helper.make_node(f"F{i - 1}", ["x"], ["h"], domain="own"),
            helper.make_node(f"F{i - 1}", ["h"], ["y"], domain="own"),
        ]
        chain.append(helper.make_function("own", f"F{i}", ["x"], ["y"], twice, opsets))
    proto = model([helper.make_node("F29", ["x"], ["y"], domain="own")], functions=tuple(chain))
    begun = time.process_time()
    with pytest.raises(Unavailable, match=r"spelt out it has 1\.\d+e\+09 nodes"):
        Graph(proto)
    assert time.process_time() - begun < 60  # 2 ** 29 calls would take days
    own = [helper.make_node("Self", ["x"], ["y"], domain="own")]
    circle = helper.make_function("own", "Self", ["x"], ["y"], own, opsets)
    with pytest.raises(Unavailable, match="its function 'Self' calls itself"):
        Graph(model(own, functions=(circle,)))


def loop(turns: int) -> Any:
    """Add one to the input, turn by turn."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["was", "one"], ["now"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("was", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("now", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["turns", "yes", "x"], ["y"], name="loop", body=body)
    return model([node], turns=np.array(turns), yes=np.array(True), one=np.float32(1))


def test_a_loop_runs_and_one_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Graph(loop(5)).run(ROWS)["y"] == 6).all()
    monkeypatch.setattr(_allowed, "MOST_TURNS", 100)
    graph = Graph(loop(100))
    for _ in range(2):  # each run has all its turns
        assert (graph.run(ROWS)["y"] == 101).all()
    with pytest.raises(Unavailable, match=r"'loop' \(Loop\) cannot be interpreted: .*more than 100 turns"):
        Graph(loop(2**40)).run(ROWS)


def test_every_operator_that_is_allowed_is_one_of_onnx() -> None:
    later = {"Attention", "RMSNormalization", "RotaryEmbedding", "Swish"}  # of later opsets than this onnx may have
    assert not [name for name in _allowed.ARITHMETIC - later if not onnx.defs.has(name)]
