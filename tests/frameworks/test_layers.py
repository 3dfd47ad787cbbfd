"""What the table of layers says is what the layers do: same weights through the map, same function."""

from pathlib import Path
from typing import Any

import pytest

from portproof import Input, Port, WeightMap, verify

ROW = {"x": Input(("batch", 6))}
SEQUENCE = {"x": Input(("batch", 6, 9))}
IMAGE = {"x": Input(("batch", 6, 7, 7), range=(-2, 2))}
VOLUME = {"x": Input(("batch", 6, 4, 4, 4))}
TOKENS = {"x": Input(("batch", 5), "int64", range=(0, 8))}
STEPS = {"x": Input(("batch", 5, 6))}
TWO = {"x": Input(("batch", 6)), "y": Input(("batch", 4))}
THREE = {name: Input(("batch", 5, 6)) for name in ("query", "key", "value")}
STATE = {"x": Input(("batch", 6)), "h": Input(("batch", 4))}


def _first(side: str, layer: Any, count: int = 2) -> Any:
    """Return a model that hands on the first of what a layer returns, and takes its inputs as they come."""

    def first(result: Any) -> Any:
        return result[0] if isinstance(result, tuple) else result

    def one(self: Any, x: Any) -> Any:
        return first(self.layer(x))

    def two(self: Any, x: Any, y: Any) -> Any:
        return first(self.layer(x, y))

    def three(self: Any, x: Any, y: Any, z: Any) -> Any:
        return first(self.layer(x, y, z))

    base: Any = __import__("torch").nn.Module if side == "torch" else __import__("paddle").nn.Layer
    model = type("First", (base,), {"forward": (one, two, three)[count - 1]})()
    model.layer = layer
    return model


def _attention(nn: Any, **options: Any) -> Any:
    return _first("torch", nn.MultiheadAttention(6, 2, batch_first=True, **options), 3)


def _normed(side: str, layer: Any, **options: Any) -> Any:
    import warnings

    utils = __import__(side).nn.utils
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's older one is what Paddle follows
        return utils.weight_norm(layer, **options)


def _self_attention(nn: Any) -> Any:
    """Return attention that torch is to call with one tensor three times, and Paddle with it once."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.layer(x, x, x)[0]

    return Attention()


def _spectral(nn: Any) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.spectral_norm(nn.Linear(6, 4))


#: A layer of each type: its inputs, how torch makes it and how Paddle does.
LAYERS: dict[str, tuple[dict[str, Input], Any, Any]] = {
    "Linear, square": (ROW, lambda n: n.Linear(6, 6), lambda n: n.Linear(6, 6)),
    "Linear, no bias": (ROW, lambda n: n.Linear(6, 4, bias=False), lambda n: n.Linear(6, 4, bias_attr=False)),
    "Conv1d": (SEQUENCE, lambda n: n.Conv1d(6, 4, 3), lambda n: n.Conv1D(6, 4, 3)),
    "Conv2d, groups": (IMAGE, lambda n: n.Conv2d(6, 6, 3, groups=3), lambda n: n.Conv2D(6, 6, 3, groups=3)),
    "Conv3d": (VOLUME, lambda n: n.Conv3d(6, 4, 2), lambda n: n.Conv3D(6, 4, 2)),
    "ConvTranspose1d": (SEQUENCE, lambda n: n.ConvTranspose1d(6, 4, 3), lambda n: n.Conv1DTranspose(6, 4, 3)),
    "ConvTranspose2d": (IMAGE, lambda n: n.ConvTranspose2d(6, 4, 3), lambda n: n.Conv2DTranspose(6, 4, 3)),
    "ConvTranspose2d, groups": (
        IMAGE,
        lambda n: n.ConvTranspose2d(6, 4, 3, groups=2),
        lambda n: n.Conv2DTranspose(6, 4, 3, groups=2),
    ),
    "BatchNorm1d": (ROW, lambda n: n.BatchNorm1d(6), lambda n: n.BatchNorm1D(6)),
    "BatchNorm2d": (IMAGE, lambda n: n.BatchNorm2d(6), lambda n: n.BatchNorm2D(6)),
    "InstanceNorm2d": (IMAGE, lambda n: n.InstanceNorm2d(6, affine=True), lambda n: n.InstanceNorm2D(6)),
    "LayerNorm": (ROW, lambda n: n.LayerNorm(6), lambda n: n.LayerNorm(6)),
    "GroupNorm": (IMAGE, lambda n: n.GroupNorm(3, 6), lambda n: n.GroupNorm(3, 6)),
    "Embedding": (TOKENS, lambda n: n.Embedding(9, 4), lambda n: n.Embedding(9, 4)),
    "PReLU": (IMAGE, lambda n: n.PReLU(6), lambda n: n.PReLU(6)),
    "ConvTranspose3d": (VOLUME, lambda n: n.ConvTranspose3d(6, 4, 2), lambda n: n.Conv3DTranspose(6, 4, 2)),
    "BatchNorm3d": (VOLUME, lambda n: n.BatchNorm3d(6), lambda n: n.BatchNorm3D(6)),
    "BatchNorm2d, Paddle's older one": (IMAGE, lambda n: n.BatchNorm2d(6), lambda n: n.BatchNorm(6)),
    "InstanceNorm1d": (SEQUENCE, lambda n: n.InstanceNorm1d(6, affine=True), lambda n: n.InstanceNorm1D(6)),
    "InstanceNorm3d": (VOLUME, lambda n: n.InstanceNorm3d(6, affine=True), lambda n: n.InstanceNorm3D(6)),
    "PReLU, one slope": (IMAGE, lambda n: n.PReLU(), lambda n: n.PReLU()),
    "Bilinear": (TWO, lambda n: _first("torch", n.Bilinear(6, 4, 3)), lambda n: _first("paddle", n.Bilinear(6, 4, 3))),
    "RNN": (STEPS, lambda n: n.RNN(6, 4, batch_first=True), lambda n: n.SimpleRNN(6, 4)),
    "RNN, relu": (
        STEPS,
        lambda n: n.RNN(6, 4, nonlinearity="relu", batch_first=True),
        lambda n: n.SimpleRNN(6, 4, activation="relu"),
    ),
    "LSTM": (STEPS, lambda n: n.LSTM(6, 4, batch_first=True), lambda n: n.LSTM(6, 4)),
    "LSTM, two layers, both ways": (
        STEPS,
        lambda n: n.LSTM(6, 4, 2, batch_first=True, bidirectional=True),
        lambda n: n.LSTM(6, 4, 2, direction="bidirect"),
    ),
    "GRU": (STEPS, lambda n: n.GRU(6, 4, batch_first=True), lambda n: n.GRU(6, 4)),
    "GRU, two layers, both ways": (
        STEPS,
        lambda n: n.GRU(6, 4, 2, batch_first=True, bidirectional=True),
        lambda n: n.GRU(6, 4, 2, direction="bidirect"),
    ),
    "RNNCell": (
        STATE,
        lambda n: _first("torch", n.RNNCell(6, 4)),
        lambda n: _first("paddle", n.SimpleRNNCell(6, 4)),
    ),
    "GRUCell": (STATE, lambda n: _first("torch", n.GRUCell(6, 4)), lambda n: _first("paddle", n.GRUCell(6, 4))),
    "LSTMCell": (ROW, lambda n: _first("torch", n.LSTMCell(6, 4), 1), lambda n: _first("paddle", n.LSTMCell(6, 4), 1)),
    "MultiheadAttention": (THREE, _attention, lambda n: _first("paddle", n.MultiHeadAttention(6, 2), 3)),
    "MultiheadAttention, of itself": (
        STEPS,
        _self_attention,
        lambda n: _first("paddle", n.MultiHeadAttention(6, 2), 1),
    ),
    "MultiheadAttention, other widths": (
        {"query": Input(("batch", 5, 6)), "key": Input(("batch", 7, 4)), "value": Input(("batch", 7, 3))},
        lambda n: _attention(n, kdim=4, vdim=3),
        lambda n: _first("paddle", n.MultiHeadAttention(6, 2, kdim=4, vdim=3), 3),
    ),
    "TransformerEncoderLayer": (
        STEPS,
        lambda n: n.TransformerEncoderLayer(6, 2, 8, batch_first=True),
        lambda n: n.TransformerEncoderLayer(6, 2, 8),
    ),
    "TransformerEncoder, norm first": (
        STEPS,
        lambda n: n.TransformerEncoder(
            n.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
        ),
        lambda n: n.TransformerEncoder(n.TransformerEncoderLayer(6, 2, 8, normalize_before=True), 2),
    ),
    "TransformerDecoderLayer": (
        {"x": Input(("batch", 5, 6)), "memory": Input(("batch", 7, 6))},
        lambda n: _first("torch", n.TransformerDecoderLayer(6, 2, 8, batch_first=True)),
        lambda n: _first("paddle", n.TransformerDecoderLayer(6, 2, 8)),
    ),
    "Linear, spectral norm": (ROW, _spectral, lambda n: __import__("paddle").nn.utils.spectral_norm(n.Linear(6, 4))),
    "LeakyReLU": (ROW, lambda n: n.LeakyReLU(0.1), lambda n: n.LeakyReLU(0.1)),
    "ELU": (ROW, lambda n: n.ELU(0.7), lambda n: n.ELU(0.7)),
    "CELU": (ROW, lambda n: n.CELU(0.7), lambda n: n.CELU(0.7)),
    "Hardshrink": (ROW, lambda n: n.Hardshrink(0.3), lambda n: n.Hardshrink(0.3)),
    "Softshrink": (ROW, lambda n: n.Softshrink(0.3), lambda n: n.Softshrink(0.3)),
    "Softplus": (ROW, lambda n: n.Softplus(1.3, 15.1), lambda n: n.Softplus(1.3, 15.1)),
    "Hardtanh": (ROW, lambda n: n.Hardtanh(-0.7, 0.9), lambda n: n.Hardtanh(-0.7, 0.9)),
    "Hardsigmoid": (ROW, lambda n: n.Hardsigmoid(), lambda n: n.Hardsigmoid()),
    "SELU": (ROW, lambda n: n.SELU(), lambda n: n.SELU()),
    "Hardswish": (ROW, lambda n: n.Hardswish(), lambda n: n.Hardswish()),
    "GELU": (ROW, lambda n: n.GELU(), lambda n: n.GELU()),
    "SiLU": (ROW, lambda n: n.SiLU(), lambda n: n.Silu()),
    "Mish": (ROW, lambda n: n.Mish(), lambda n: n.Mish()),
    "Threshold": (ROW, lambda n: n.Threshold(0.3, 0.1), lambda n: n.ThresholdedReLU(0.3, 0.1)),
    "ReLU6": (ROW, lambda n: n.ReLU6(), lambda n: n.ReLU6()),
}


#: Held to their forward only; see ``test_paddles_weight_norm_has_an_epsilon_in_its_gradient``.
NORMED = {
    "Conv2d, weight norm": (
        IMAGE,
        lambda n: _normed("torch", n.Conv2d(6, 4, 3)),
        lambda n: _normed("paddle", n.Conv2D(6, 4, 3)),
    ),
    "Linear, weight norm": (
        ROW,
        lambda n: _normed("torch", n.Linear(6, 4)),
        lambda n: _normed("paddle", n.Linear(6, 4), dim=1),
    ),
}
#: Outputs of the layers that return several, and those whose rows do not come first.
OUTPUTS = {"LSTM": ("out", "h", "c"), "GRU": ("out", "h"), "RNN": ("out", "h")}
BATCH_AXES = {"h": 1, "c": 1}


def _port(inputs: dict[str, Input], torch_layer: Any, paddle_layer: Any, outputs: tuple[str, ...] = ("out",)) -> Port:
    def torch_model() -> Any:
        from torch import nn

        return nn.Sequential(torch_layer(nn)) if len(inputs) == 1 else torch_layer(nn)

    def paddle_model() -> Any:
        from paddle import nn

        return nn.Sequential(paddle_layer(nn)) if len(inputs) == 1 else paddle_layer(nn)

    axes = {name: axis for name, axis in BATCH_AXES.items() if name in outputs}
    return Port("layer", paddle_model, torch_model, inputs, outputs, axes)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    """Each layer is the same function in both frameworks, forward and backward, under weights carried over."""
    report = verify(_port(*LAYERS[name], OUTPUTS.get(name.partition(",")[0], ("out",))), quick=True, gradients=True)
    assert report, (report.hops, report.culprits)
    assert report.modules is not None
    assert report.modules.recut == ()  # called otherwise or not, each is held side by side by itself


@pytest.mark.parametrize("name", NORMED)
def test_paddles_weight_norm_has_an_epsilon_in_its_gradient(name: str) -> None:
    """``F.l2_norm`` adds 1e-12 to the norm in its backward pass: 1e-13 of a gradient, and nothing forward."""
    assert verify(_port(*NORMED[name]), quick=True)
    (culprit,) = verify(_port(*NORMED[name]), quick=True, gradients=True).culprits
    assert (culprit.direction, culprit.module) == ("backward", "0")
    assert "weight_v' differs by" in culprit.message


#: Layers of ``paddle.nn`` with parameters that have no test above, and why.
NOT_HELD = {
    "SyncBatchNorm": "Paddle has no CPU kernel for it; its tensors are BatchNorm's (its rule is tested on the names)",
    "AdaptiveLogSoftmaxWithLoss": "Paddle leaves its tail out of the state dict (docs/gallery.md)",
    "HSigmoidLoss": "torch has none",
    "SpectralNorm": "a function of a weight that is handed to it; torch has none. nn.utils.spectral_norm is tested",
    "Transformer": "an encoder and a decoder, whose layers are tested",
}


def test_every_layer_with_parameters_is_held_or_has_a_reason() -> None:
    """A layer that a new Paddle brings shows up here."""
    import inspect
    import re

    from paddle import nn

    source = Path(__file__).read_text(encoding="utf-8")
    layers = {name: kind for name, kind in vars(nn).items() if inspect.isclass(kind) and issubclass(kind, nn.Layer)}
    own = {
        name: "".join(
            inspect.getsource(base) for base in kind.__mro__ if issubclass(base, nn.Layer) and base is not nn.Layer
        )
        for name, kind in layers.items()
        if name.partition(".")[0] not in ("Layer", "Module", "Sequential") and not name.endswith(("List", "Dict"))
    }
    made = {name for name, text in own.items() if re.search(r"create_parameter|_rnn_|Linear\(|EncoderLayer", text)}
    held = {name for name in made if re.search(rf"\bn\.{name}\(", source)}
    same_class = {name for name in made if any(layers[name] is layers[other] for other in held)}  # Conv2d is Conv2D
    assert made - held - same_class == set(NOT_HELD)


def test_a_scalar_that_paddle_rounds_is_exact_in_the_oracle_and_said() -> None:
    port = Port(
        "norm",
        lambda: __import__("paddle").nn.Sequential(__import__("paddle").nn.LayerNorm(6)),
        lambda: __import__("torch").nn.Sequential(__import__("torch").nn.LayerNorm(6)),
        ROW,
    )
    notes = verify(port, quick=True).notes
    assert "Paddle keeps scalars of layer_norm in float32; the float64 oracle has them exact" in notes


def test_batch_counters_are_left_out_with_a_reason() -> None:
    inputs, torch_layer, paddle_layer = LAYERS["BatchNorm1d"]

    def torch_model() -> Any:
        from torch import nn

        return torch_layer(nn)

    def paddle_model() -> Any:
        from paddle import nn

        return paddle_layer(nn)

    report = verify(Port("layer", paddle_model, torch_model, inputs, weights=WeightMap()), quick=True)
    assert report
    assert [(side, name) for side, name, _ in report.ignored] == [("torch", "num_batches_tracked")]
    assert "only torch keeps" in report.ignored[0][2]
