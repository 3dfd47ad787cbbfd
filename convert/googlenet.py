"""The port of GoogLeNet: the same function in Paddle and in PyTorch."""

from pathlib import Path

from portproof import Input, Port, WeightMap

GOOGLENET = Port(
    name="googlenet",
    paddle="paddle_impl.googlenet:GoogLeNet",
    torch="torch_impl.googlenet:GoogLeNet",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("out", "out1", "out2"),
    weights=WeightMap(),
    training={"paddle": "paddle_impl.training:Training", "torch": "torch_impl.training:Training"},
    mapping=Path(__file__).with_suffix(".csv"),
)
