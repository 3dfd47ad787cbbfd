"""What the table of layers says is what the layers do: same weights through the map, same function."""

from typing import Any

import pytest

from portproof import Input, Port, WeightMap, verify

ROW = {"x": Input(("batch", 6))}
SEQUENCE = {"x": Input(("batch", 6, 9))}
IMAGE = {"x": Input(("batch", 6, 7, 7), range=(-2, 2))}
VOLUME = {"x": Input(("batch", 6, 4, 4, 4))}
TOKENS = {"x": Input(("batch", 5), "int64", range=(0, 8))}

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
    "LeakyReLU": (ROW, lambda n: n.LeakyReLU(0.1), lambda n: n.LeakyReLU(0.1)),
    "ELU": (ROW, lambda n: n.ELU(0.7), lambda n: n.ELU(0.7)),
    "CELU": (ROW, lambda n: n.CELU(0.7), lambda n: n.CELU(0.7)),
    "Hardshrink": (ROW, lambda n: n.Hardshrink(0.3), lambda n: n.Hardshrink(0.3)),
    "Softshrink": (ROW, lambda n: n.Softshrink(0.3), lambda n: n.Softshrink(0.3)),
    "Softplus": (ROW, lambda n: n.Softplus(1.3, 15.1), lambda n: n.Softplus(1.3, 15.1)),
    "Hardtanh": (ROW, lambda n: n.Hardtanh(-0.7, 0.9), lambda n: n.Hardtanh(-0.7, 0.9)),
    "Hardswish": (ROW, lambda n: n.Hardswish(), lambda n: n.Hardswish()),
    "GELU": (ROW, lambda n: n.GELU(), lambda n: n.GELU()),
    "SiLU": (ROW, lambda n: n.SiLU(), lambda n: n.Silu()),
    "Mish": (ROW, lambda n: n.Mish(), lambda n: n.Mish()),
    "Threshold": (ROW, lambda n: n.Threshold(0.3, 0.1), lambda n: n.ThresholdedReLU(0.3, 0.1)),
    "ReLU6": (ROW, lambda n: n.ReLU6(), lambda n: n.ReLU6()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    inputs, torch_layer, paddle_layer = LAYERS[name]

    def torch_model() -> Any:
        from torch import nn

        return nn.Sequential(torch_layer(nn))

    def paddle_model() -> Any:
        from paddle import nn

        return nn.Sequential(paddle_layer(nn))

    report = verify(Port("layer", paddle_model, torch_model, inputs), quick=True)
    assert report, (report.hops, report.culprits)


def test_a_setting_that_paddle_rounds_is_said_to_be_rounded() -> None:
    port = Port(
        "norm",
        lambda: __import__("paddle").nn.Sequential(__import__("paddle").nn.LayerNorm(6)),
        lambda: __import__("torch").nn.Sequential(__import__("torch").nn.LayerNorm(6)),
        ROW,
    )
    notes = verify(port, quick=True).notes
    assert any("LayerNorm.eps (one module) in float32" in note for note in notes)


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
