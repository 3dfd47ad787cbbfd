"""The Python interface, and the ports it has to understand: several inputs, states, ties, masks, chaos."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import portproof
from portproof import BadInput, Input, Port, convert_state, export, verify
from portproof.judge._report import HOLDS
from tests import small_ports


def torch_subtract() -> Any:
    """Two inputs whose order matters, and is not the alphabet's."""
    from torch import nn

    class Subtract(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 3), nn.Linear(4, 3)

        def forward(self, z: Any, a: Any) -> Any:
            return self.one(z) - self.two(a)

    return Subtract()


def paddle_subtract() -> Any:
    """The same in Paddle."""
    from paddle import nn

    class Subtract(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 3), nn.Linear(4, 3)

        def forward(self, z, a):
            return self.one(z) - self.two(a)

    return Subtract()


ORDERED = Port("ordered", paddle_subtract, torch_subtract, {"z": Input(("batch", 6)), "a": Input(("batch", 4))})


def test_inputs_go_in_in_the_port_s_order_through_every_runner_and_export() -> None:
    report = verify(ORDERED, runners=("paddle-static", "torch-jit"))
    assert report, [(hop.target, hop.verdict, hop.reason) for hop in report.hops]


def test_a_state_dict_is_converted_both_ways_bit_for_bit() -> None:
    import paddle
    import torch

    state = small_ports.torch_mlp().state_dict()
    there = convert_state(small_ports.MLP, state, to="paddle")
    layer = small_ports.paddle_mlp()
    assert layer.set_state_dict({name: paddle.to_tensor(array) for name, array in there.items()}) == ([], [])
    back = convert_state(small_ports.MLP, layer.state_dict(), to="torch")
    assert all(torch.equal(torch.from_numpy(back[name]), tensor) for name, tensor in state.items())
    packed = convert_state(small_ports.PACKED, small_ports.torch_packed().state_dict(), to="paddle")
    assert sorted(packed) == sorted(f"{part}.{kind}" for part in "qkv" for kind in ("weight", "bias"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("0.bias"), "'0.bias' [8] float32 of the model is missing"),
        (lambda state: state.update(extra=np.zeros(2, np.float32)), "'extra' [2] of the file is not in the model"),
        (lambda state: state.update({"0.bias": "text"}), "'0.bias' is a str"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(change: Callable[[Any], Any], words: str) -> None:
    state = dict(small_ports.torch_mlp().state_dict())
    change(state)
    with pytest.raises(BadInput, match=words.replace("[", r"\[")):
        convert_state(small_ports.MLP, state, to="paddle")
    with pytest.raises(BadInput, match="to is 'paddle' or 'torch'"):
        convert_state(small_ports.MLP, state, to="jax")


def test_an_export_has_the_port_s_names_and_free_sizes(tmp_path: Path) -> None:
    for side in ("torch", "paddle"):
        target = tmp_path / f"{side}.onnx"
        assert export(small_ports.TWO_INPUTS, side, target) == ()
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        assert {value.name: value.shape for value in session.get_inputs()} == {
            "tokens": ["batch", "length"], "mask": ["batch", "length"]
        }  # fmt: skip
        longer = {"tokens": np.ones((3, 9), np.int64), "mask": np.ones((3, 9), np.float32)}
        assert session.run(["logits"], longer)[0].shape == (3, 9, 3)
    with pytest.raises(BadInput, match="exports from paddle or torch, found 'jax'"):
        export(small_ports.MLP, "jax", tmp_path / "no.onnx")


def test_every_public_name_is_there_and_documented() -> None:
    for name in portproof.__all__:
        assert getattr(portproof, name).__doc__, name


def torch_recurrent() -> Any:
    """A recurrent layer, whose state has its rows on the second axis."""
    from torch import nn

    return nn.Sequential(nn.GRU(4, 3, batch_first=True))


def paddle_recurrent() -> Any:
    """The same in Paddle."""
    from paddle import nn

    return nn.Sequential(nn.GRU(4, 3))


RECURRENT = Port(
    "recurrent", paddle_recurrent, torch_recurrent, {"x": Input(("batch", 5, 4))}, ("out", "state"), {"state": 1}
)


def test_outputs_may_have_their_rows_on_any_axis_and_must_say_so() -> None:
    report = verify(RECURRENT)
    assert report, [(hop.target, hop.verdict, hop.reason) for hop in report.hops]
    with pytest.raises(BadInput, match=r"'state' of one row has shape \[1, 1, 3\].*|rows do not lie along axis 0"):
        verify(replace(RECURRENT, torch=_two_layers("torch"), paddle=_two_layers("paddle"), batch_axes={}))
    with pytest.raises(BadInput, match="batch_axes names 'nothing'"):
        replace(RECURRENT, batch_axes={"nothing": 1})


def _two_layers(side: str) -> Callable[[], Any]:
    def made() -> Any:
        nn = __import__(side).nn
        options = {"batch_first": True} if side == "torch" else {}
        return nn.Sequential(nn.GRU(4, 3, 2, **options))

    return made


def test_swapped_gates_are_found_in_the_recurrent_layer() -> None:
    def swapped() -> Any:
        model = paddle_recurrent()
        forward = model[0].forward

        def turned(x: Any, *rest: Any) -> Any:
            weight = model[0].weight_ih_l0
            kept = weight.clone()
            weight.set_value(kept[[3, 4, 5, 0, 1, 2, 6, 7, 8]])
            result = forward(x, *rest)
            weight.set_value(kept)
            return result

        model[0].forward = turned
        return model

    culprits = verify(replace(RECURRENT, paddle=swapped), quick=True).culprits
    assert [(culprit.module, culprit.kind) for culprit in culprits] == [("0", "computes")]


def _tied(side: str, *, tied: bool) -> Callable[[], Any]:
    """Return a factory of an embedding whose table is also the last layer's, as a second module or by itself."""

    def torch_model() -> Any:
        from torch import nn

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
                self.head.weight = self.embed.weight if tied else self.head.weight

            def forward(self, x: Any) -> Any:
                return self.head(self.embed(x))

        return Model()

    def paddle_model() -> Any:
        from paddle import nn

        class Model(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.embed = nn.Embedding(9, 4)

            def forward(self, x):
                return self.embed(x) @ self.embed.weight.T

        return Model()

    return torch_model if side == "torch" else paddle_model


def test_a_tensor_of_two_names_on_one_side_is_one_tensor_and_an_untied_one_is_told() -> None:
    port = Port(
        "tied", _tied("paddle", tied=True), _tied("torch", tied=True), {"x": Input(("batch", 3), "int64", (0, 8))}
    )
    # The head is a Linear in torch and a product in Paddle: no module to pair, and the root agrees.
    assert verify(port, quick=True)
    loose = verify(replace(port, torch=_tied("torch", tied=False)), quick=True)
    assert [culprit.kind for culprit in loose.culprits] == ["weights"]
    assert "head.weight" in loose.culprits[0].message


def _chaotic(side: str) -> Callable[[], Any]:
    """Return a factory of a map that doubles an angle thirty times: a large input is lost in float32."""

    def made() -> Any:
        library = __import__(side)
        base: Any = library.nn.Module if side == "torch" else library.nn.Layer

        class Chaos(base):
            def __init__(self) -> None:
                super().__init__()
                self.mix = library.nn.Linear(6, 6)

            def forward(self, x):
                y = self.mix(x)
                return library.where(x.abs().max(1, keepdim=True)[0] > 6, y * 1e6 % 1.0, y) if side == "torch" else (
                    library.where(x.abs().max(1, keepdim=True) > 6, y * 1e6 % 1.0, y)
                )  # fmt: skip

        return Chaos()

    return made


def test_a_row_that_float32_cannot_follow_is_left_out_by_name_and_the_others_decide() -> None:
    port = Port("chaos", _chaotic("paddle"), _chaotic("torch"), {"x": Input(("batch", 6))})
    report = verify(port, modules=False)
    assert {hop.kind: hop.verdict for hop in report.hops}["semantics"] in HOLDS
    assert any(note.startswith("left out: normal, scaled by 8") for note in report.notes)


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_nodes_are_interpreted_as_the_runtime_runs_them(layer: str, direction: str) -> None:
    from onnx import helper, numpy_helper

    from portproof.graphs._interpret import Graph
    from portproof.runners._onnxruntime import run_bytes

    rng, ways = np.random.default_rng(0), 2 if direction == "bidirectional" else 1
    gates = 4 if layer == "LSTM" else 3
    shapes = {"w": (ways, gates * 3, 4), "r": (ways, gates * 3, 3), "b": (ways, 2 * gates * 3)}
    extra = {"linear_before_reset": 1} if layer == "GRU" else {}
    node = helper.make_node(
        layer, ["x", "w", "r", "b"], ["y", "h"], name="node", hidden_size=3, direction=direction, **extra
    )
    proto = helper.make_model(
        helper.make_graph(
            [node], "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [5, "batch", 4])],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("y", "h")],
            [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    inputs = {"x": rng.standard_normal((5, 2, 4)).astype(np.float32)}
    found, theirs = Graph(proto).run(inputs), run_bytes(proto.SerializeToString(), False, (), inputs)
    for name in ("y", "h"):
        assert found[name].shape == theirs[name].shape
        assert np.abs(found[name] - theirs[name]).max() < 64 * np.finfo(np.float32).eps
